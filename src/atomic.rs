//! Files that are whole or not there: written beside their place, then renamed into it.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What anyone may read and the owner may write, less what the umask forbids.
pub(crate) const PLAIN: u32 = 0o666;

/// What nobody may write: a file whose name says its content.
pub(crate) const READ_ONLY: u32 = 0o444;

/// A file that is whole and on the disk, beside the place that it will take.
#[must_use = "it goes with this value, unless it takes its place"]
pub(crate) struct Staged<'a> {
    file: tempfile::NamedTempFile,
    path: &'a Path,
}

impl<'a> Staged<'a> {
    /// Writes it. `mode` is as for `open`: the umask applies.
    pub(crate) fn write(path: &'a Path, mode: u32, bytes: &[u8]) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(Self { file, path })
    }

    /// Gives it its place, which needs no more room.
    pub(crate) fn place(self) -> io::Result<()> {
        self.file.persist(self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Writes a file whole or not at all. `mode` is as for `open`: the umask applies.
pub(crate) fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    Staged::write(path, mode, bytes)?.place()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_has_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        write(&path, PLAIN, b"first").unwrap();
        write(&path, READ_ONLY, b"second").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"second");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, READ_ONLY);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_where_a_file_cannot_take_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs_err::create_dir(&taken).unwrap();
        write(&taken, PLAIN, b"a folder has this name").unwrap_err();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }
}
