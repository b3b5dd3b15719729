//! Wheels that were installed once: later environments get copies of their files, which takes a
//! tenth of the time.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::artifact::Sha256;

/// The files of an environment after its wheels were installed.
pub(super) struct Installed {
    folder: PathBuf,
}

/// What of an environment installing changes.
const FOLDERS: [&str; 2] = ["bin", "lib"];

impl Installed {
    /// What `made_of` decides, in a folder of such files.
    pub(super) fn new(environments: &Path, made_of: &[u8]) -> Self {
        Self { folder: environments.join(Sha256::of(made_of).short()) }
    }

    /// Puts the files into an environment, and says whether they were there.
    pub(super) fn copy_to(&self, root: &Path) -> io::Result<bool> {
        if !self.folder.is_dir() {
            return Ok(false);
        }
        for name in FOLDERS {
            copy_tree(&self.folder.join(name), &root.join(name))?;
        }
        Ok(true)
    }

    /// Keeps the files of an environment. That they cannot be kept costs time later, and nothing
    /// else.
    pub(super) fn keep(&self, root: &Path) {
        let keep = || -> io::Result<()> {
            let parent = self.folder.parent().unwrap_or(Path::new("/"));
            fs_err::create_dir_all(parent)?;
            let staged = tempfile::Builder::new().prefix(".tmp-").tempdir_in(parent)?;
            for name in FOLDERS {
                copy_tree(&root.join(name), &staged.path().join(name))?;
            }
            fs_err::rename(staged.path(), &self.folder)
        };
        let _ = keep();
    }
}

/// Copies files with their times, by which Python knows whether what it compiled of them is still
/// theirs, and links as they are.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(io::Error::from)?;
        let path = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let kind = entry.file_type();
        if kind.is_dir() {
            fs_err::create_dir_all(&path)?;
        } else if path.symlink_metadata().is_ok() {
            // The environment's own Python.
        } else if kind.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(entry.path())?, &path)?;
        } else {
            fs_err::copy(entry.path(), &path)?;
            let modified = entry.metadata().map_err(io::Error::from)?.modified()?;
            fs_err::File::options().append(true).open(&path)?.file().set_modified(modified)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn files_times_and_links_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let site = "lib/python3.13/site-packages";
        fs_err::create_dir_all(at("one").join(site)).unwrap();
        fs_err::create_dir_all(at("one/bin")).unwrap();
        fs_err::os::unix::fs::symlink("/p/python3.13", at("one/bin/python")).unwrap();
        let file = at("one").join(site).join("a.py");
        fs_err::write(&file, "a = 1\n").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let opened = fs_err::File::options().append(true).open(&file).unwrap();
        opened.file().set_modified(time).unwrap();

        let installed = Installed::new(&at("environments"), b"wheels");
        assert!(!installed.copy_to(&at("two")).unwrap());
        installed.keep(&at("one"));
        installed.keep(&at("one"));
        fs_err::create_dir_all(at("two/bin")).unwrap();
        fs_err::write(at("two/bin/python"), "its own").unwrap();
        assert!(installed.copy_to(&at("two")).unwrap());
        assert_eq!(fs_err::read_to_string(at("two/bin/python")).unwrap(), "its own");
        let copy = at("two").join(site).join("a.py");
        assert_eq!(fs_err::read_to_string(&copy).unwrap(), "a = 1\n");
        assert_eq!(fs_err::metadata(&copy).unwrap().modified().unwrap(), time);
        assert!(!Installed::new(&at("environments"), b"other").copy_to(&at("two")).unwrap());
        assert_eq!(fs_err::read_dir(at("environments")).unwrap().count(), 1);
    }
}
