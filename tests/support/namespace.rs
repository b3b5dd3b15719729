//! Runs on a machine that is a little different: with small disks, or other files.

use std::path::Path;

use duct::Expression;

use super::xtask::XTASK;

/// What a mount namespace of one run changes. It takes util-linux, and root or user namespaces.
#[derive(Debug, Default)]
pub struct Changed {
    script: String,
}

impl Changed {
    /// The machine as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder becomes an empty disk of this size, such as `64k`.
    pub fn small(mut self, folder: &Path, size: &str) -> Self {
        fs_err::create_dir_all(folder).unwrap();
        self.script += &format!("mount -t tmpfs -o size={size} tmpfs {}\n", quoted(folder));
        self
    }

    /// A file becomes another.
    pub fn instead(mut self, file: &Path, other: &Path) -> Self {
        assert!(file.is_file(), "{}", file.display());
        self.script += &format!("mount --bind {} {}\n", quoted(other), quoted(file));
        self
    }

    /// The executable on that machine; at the end, what lies in a folder is told on standard error.
    pub fn xtask(self, words: &[&str], look: &Path) -> Expression {
        let left = format!("echo \"left: $(ls -A {})\" >&2", quoted(look));
        let script =
            format!("set -e\n{}code=0\n\"$@\" || code=$?\n{left}\nexit $code", self.script);
        let words = ["sh", "-c", &script, "sh", XTASK].into_iter().chain(words.iter().copied());
        duct::cmd("unshare", namespaces().iter().copied().chain(words))
    }
}

/// A user namespace makes root of anybody; where the machine forbids that, root needs none.
fn namespaces() -> &'static [&'static str] {
    let candidates: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let works = |candidate: &&[&str]| {
        let trial = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
        let trial = duct::cmd("unshare", candidate.iter().chain(&trial).copied());
        trial.stderr_null().unchecked().run().is_ok_and(|output| output.status.success())
    };
    candidates
        .into_iter()
        .find(works)
        .expect("this test needs `unshare` and `mount`, and root or user namespaces")
}

fn quoted(path: &Path) -> String {
    let text = path.to_str().unwrap();
    assert!(!text.contains('\''), "{text}");
    format!("'{text}'")
}
