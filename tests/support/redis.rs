//! A real Redis server, of this machine or of its package index.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use duct::cmd;

use super::processes::eventually;

/// What of Debian's packages the server needs beside libraries that every machine has.
const PACKAGES: [&str; 8] = [
    "redis-server",
    "redis-tools",
    "libjemalloc2",
    "liblua5.1-0",
    "liblzf1",
    "libhiredis0.14",
    "lua-cjson",
    "lua-bitop",
];

/// A server that ends with this value.
pub struct Redis {
    handle: duct::Handle,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one, with these further lines of configuration.
    pub fn start(configuration: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (program, libraries) = find(folder.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut text = format!("bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\n");
        configuration.iter().for_each(|line| text += &format!("{line}\n"));
        let file = folder.path().join("redis.conf");
        fs_err::write(&file, text).unwrap();
        let log = folder.path().join("log");
        let server = cmd!(program, file).dir(folder.path()).stdout_path(&log).unchecked();
        let server = match libraries {
            Some(libraries) => server.env("LD_LIBRARY_PATH", libraries),
            None => server,
        };
        let handle = server.start().unwrap();
        eventually("Redis listens", || {
            let text = fs_err::read_to_string(&log).unwrap_or_default();
            assert!(handle.try_wait().unwrap().is_none(), "{text}");
            text.contains("Ready to accept connections").then_some(())
        });
        Self { handle, port, _folder: folder }
    }

    /// Kills it.
    pub fn kill(&self) {
        self.handle.kill().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.handle.kill();
    }
}

/// The server's executable, and where its libraries are.
fn find(folder: &Path) -> (PathBuf, Option<PathBuf>) {
    if let Ok(found) = cmd!("sh", "-c", "command -v redis-server").read() {
        return (found.into(), None);
    }
    cmd("apt-get", ["-q", "download"].into_iter().chain(PACKAGES))
        .dir(folder)
        .stdout_null()
        .run()
        .expect("`redis-server` on PATH, or Debian's packages by `apt-get download`");
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            cmd!("dpkg-deb", "-x", path, folder).run().unwrap();
        }
    }
    let libraries = folder.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    (folder.join("usr/bin/redis-server"), Some(libraries))
}
