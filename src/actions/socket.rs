//! Unix sockets at paths of any length.
//!
//! A socket's address holds 108 bytes (unix(7)), which a deep build folder exceeds; through
//! `/proc/self/fd` every folder's name is short.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens at this path, which must not exist.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    through_short_path(path, UnixListener::bind)
}

/// Connects to a listener at this path.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    through_short_path(path, UnixStream::connect)
}

fn through_short_path<T>(path: &Path, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = fs_err::File::open(folder)?;
    act(PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("f".repeat(120)).join("g".repeat(120));
        fs_err::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let _listener = bind(&path).unwrap();
        connect(&path).unwrap();
    }
}
