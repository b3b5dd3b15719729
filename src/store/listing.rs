//! What a component's folder held when it was unpacked.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::artifact::Sha256;

/// Every entry of a folder, by its path below it. The folder itself has the empty path.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing {
    entries: BTreeMap<PathBuf, Entry>,
}

/// One entry. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Entry {
    File { size: u64, mode: u32, mtime: i64, ctime: i64, sha256: Sha256 },
    Folder { mtime: i64 },
    Link { destination: PathBuf },
}

/// In which way a file is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Other bytes, another kind of file, or another destination of a link.
    #[error("was changed after it was unpacked")]
    Changed,
    /// It is gone.
    #[error("is missing")]
    Missing,
    /// It was not unpacked there.
    #[error("was added after the component was unpacked")]
    Added,
    /// Its run bit was set or cleared.
    #[error("has another mode than it was unpacked with")]
    Mode,
}

/// Why a folder is not what its listing says.
#[derive(Debug)]
pub(super) enum VerifyError {
    Mismatch { path: PathBuf, mismatch: Mismatch },
    Io(io::Error),
}

impl From<io::Error> for VerifyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Listing {
    /// Makes every file below `root` read-only, and lists all.
    pub(super) fn seal(root: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        // Folders after what they hold, because they turn read-only.
        for entry in WalkDir::new(root).contents_first(true).sort_by_file_name() {
            let entry = entry?;
            let path = entry.path();
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            if !entry.path_is_symlink() && entry.depth() > 0 {
                let mode = if executable { 0o555 } else { 0o444 };
                fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            }
            let below = path.strip_prefix(root).map_err(io::Error::other)?;
            entries.insert(below.to_owned(), Entry::of(path)?);
        }
        Ok(Self { entries })
    }

    /// Bytes of all files.
    pub(super) fn size(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match entry {
            Entry::File { size, .. } => *size,
            Entry::Folder { .. } | Entry::Link { .. } => 0,
        });
        sizes.sum()
    }

    /// Compares sizes, modes and times; reads only what differs in its times. Returns whether any
    /// times differed where the bytes did not, in which case the listing has the new ones.
    pub(super) fn verify_quick(&mut self, root: &Path) -> Result<bool, VerifyError> {
        let mut refreshed = Vec::new();
        for (path, expected) in &self.entries {
            let at = root.join(path);
            let metadata = metadata(&at, path)?;
            if !expected.has_stamp(&metadata, &at)? {
                let found = expected.compare(&at, path)?;
                if matches!(found, Entry::Folder { .. }) {
                    self.find_added(root, &at)?;
                }
                refreshed.push((path.clone(), found));
            }
        }
        let any = !refreshed.is_empty();
        self.entries.extend(refreshed);
        Ok(any)
    }

    /// Reads every file and compares.
    pub(super) fn verify_full(&self, root: &Path) -> Result<(), VerifyError> {
        for (path, expected) in &self.entries {
            let at = root.join(path);
            metadata(&at, path)?;
            expected.compare(&at, path)?;
            if matches!(expected, Entry::Folder { .. }) {
                self.find_added(root, &at)?;
            }
        }
        Ok(())
    }

    /// Names an entry of one folder that the listing does not have.
    fn find_added(&self, root: &Path, folder: &Path) -> Result<(), VerifyError> {
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            let below = path.strip_prefix(root).map_err(io::Error::other)?;
            if !self.entries.contains_key(below) {
                let path = below.to_owned();
                return Err(VerifyError::Mismatch { path, mismatch: Mismatch::Added });
            }
        }
        Ok(())
    }
}

impl Entry {
    /// What is at a path now.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs_err::symlink_metadata(path)?;
        if metadata.is_symlink() {
            return Ok(Self::Link { destination: fs_err::read_link(path)? });
        }
        let mtime = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
        if metadata.is_dir() {
            return Ok(Self::Folder { mtime });
        }
        let ctime = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        let (sha256, size) = Sha256::of_reader(fs_err::File::open(path)?)?;
        Ok(Self::File { size, mode: metadata.mode() & 0o7777, mtime, ctime, sha256 })
    }

    /// Whether a file looks as it did, without reading it.
    fn has_stamp(&self, found: &std::fs::Metadata, at: &Path) -> io::Result<bool> {
        let found_mtime = nanoseconds(found.mtime(), found.mtime_nsec());
        Ok(match self {
            Self::File { size, mode, mtime, ctime, .. } => {
                found.is_file()
                    && found.len() == *size
                    && found.mode() & 0o7777 == *mode
                    && found_mtime == *mtime
                    && nanoseconds(found.ctime(), found.ctime_nsec()) == *ctime
            }
            Self::Folder { mtime } => found.is_dir() && found_mtime == *mtime,
            Self::Link { destination } => {
                found.is_symlink() && fs_err::read_link(at)? == *destination
            }
        })
    }

    /// Reads what is at a path and returns it, if it differs in nothing but times.
    fn compare(&self, at: &Path, path: &Path) -> Result<Self, VerifyError> {
        let found = Self::of(at)?;
        let mismatch = match (self, &found) {
            (
                Self::File { size, mode, sha256, .. },
                Self::File { size: found_size, mode: found_mode, sha256: found_sha256, .. },
            ) => {
                if (size, sha256) != (found_size, found_sha256) {
                    Some(Mismatch::Changed)
                } else {
                    (mode != found_mode).then_some(Mismatch::Mode)
                }
            }
            (Self::Folder { .. }, Self::Folder { .. }) => None,
            (expected, found) => (expected != found).then_some(Mismatch::Changed),
        };
        match mismatch {
            Some(mismatch) => Err(VerifyError::Mismatch { path: path.to_owned(), mismatch }),
            None => Ok(found),
        }
    }
}

fn metadata(at: &Path, path: &Path) -> Result<std::fs::Metadata, VerifyError> {
    fs_err::symlink_metadata(at).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            VerifyError::Mismatch { path: path.to_owned(), mismatch: Mismatch::Missing }
        }
        _ => VerifyError::Io(error),
    })
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds * 1_000_000_000 + nanoseconds
}
