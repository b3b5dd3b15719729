//! The store: content-addressed downloads and unpacked, read-only components.
//!
//! In: locked artifacts. Out: paths of verified files. Several processes may use one store at
//! once: what is made is made under a lock and appears whole, by a rename.
//!
//! ```text
//! downloads/ab/<sha256>           a verified file, read-only
//! downloads/ab/<sha256>.partial   what a broken download left; the next goes on from it
//! git/<digest of a URL>/          a bare repository, and trees of its commits
//! components/<name>-<digest>/     unpacked, read-only, with a listing beside it
//! builds/<package>-<target>-<digest>/  what a build goes on from (`configure.rs`)
//! environments/<digest>/          wheels of build requirements, as they are installed
//! objects/                        the object cache
//! running/                        what builds tell each other of what they run
//! audits/                         what was found in large wheels, and symbols of torches
//! torch-parts/<digest>.zip         what a bundle brought of a torch wheel
//! trees/<digest>/                 a source tree that a bundle brought
//! locks/<name>                    empty files, locked while someone makes the thing of that name
//! ```

pub mod component;
mod error;
mod fetch;
mod listing;

use std::path::{Path, PathBuf};

pub use component::{ComponentError, Components, Hold, Installed, Key};
pub use error::StoreError;
pub use fetch::Fetcher;
pub use listing::Mismatch;

use crate::artifact::Sha256;
use crate::environment::Environment;

/// A folder of downloads and components.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Holds a named lock of the store until it is dropped. The kernel frees it when the process dies.
#[derive(Debug)]
#[must_use = "the lock is held only as long as this lives"]
pub struct Guard {
    _file: fs_err::File,
}

impl Store {
    /// Where the store is unless the caller says otherwise: `CROSSWHEEL_STORE`, else
    /// `crosswheel` below `XDG_CACHE_HOME` or `~/.cache`.
    pub fn default_root(environment: &Environment) -> Result<PathBuf, StoreError> {
        environment
            .path("CROSSWHEEL_STORE")
            .or_else(|| environment.path("XDG_CACHE_HOME").map(|cache| cache.join("crosswheel")))
            .or_else(|| environment.home().map(|home| home.join(".cache/crosswheel")))
            .ok_or(StoreError::NoRoot)
    }

    /// Opens the store in this folder, and makes it where there is none.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { root: root.into() };
        fs_err::create_dir_all(store.root.join("downloads"))?;
        fs_err::create_dir_all(store.root.join("locks"))?;
        Ok(store)
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a download of this digest is, or would be.
    pub fn blob_path(&self, sha256: &Sha256) -> PathBuf {
        let digits = sha256.to_string();
        self.root.join("downloads").join(&digits[..2]).join(digits)
    }

    /// Where the parts of a torch wheel with this digest of its members are, or would be: a zip
    /// archive that came with a bundle.
    pub fn torch_parts(&self, extract: &Sha256) -> PathBuf {
        self.root.join("torch-parts").join(format!("{extract}.zip"))
    }

    /// Where a source tree with this digest is, or would be, that came with a bundle.
    pub fn tree(&self, digest: &Sha256) -> PathBuf {
        self.root.join("trees").join(digest.to_string())
    }

    /// A download that is there. It was verified when it arrived, and is not read again: see
    /// [`Store::verified_blob`].
    pub fn blob(&self, sha256: &Sha256) -> Option<PathBuf> {
        Some(self.blob_path(sha256)).filter(|path| path.is_file())
    }

    /// A download that is there, read once more: [`StoreError::Changed`] names a file that someone
    /// changed since.
    pub fn verified_blob(&self, sha256: &Sha256) -> Result<Option<PathBuf>, StoreError> {
        let Some(path) = self.blob(sha256) else { return Ok(None) };
        let (actual, _) = Sha256::of_reader(fs_err::File::open(&path)?)?;
        if actual != *sha256 {
            return Err(StoreError::Changed { path, expected: *sha256, actual });
        }
        Ok(Some(path))
    }

    /// The folders of the store that can be removed as a whole: everything in them is made again
    /// when it is needed.
    pub fn areas(&self) -> [(&'static str, PathBuf); 9] {
        [
            "audits",
            "builds",
            "downloads",
            "environments",
            "git",
            "named",
            "torch-parts",
            "trees",
            "uv-cache",
        ]
        .map(|name| (name, self.root.join(name)))
    }

    /// Removes an area; the caller makes sure that nobody uses it ([`Components::alone`]).
    pub fn remove_area(&self, folder: &Path) -> Result<(), StoreError> {
        component::remove_tree(folder)?;
        Ok(fs_err::create_dir_all(folder)?)
    }

    /// Waits for the lock of this name, which holds between processes and between threads.
    pub fn lock(&self, name: &str) -> Result<Guard, StoreError> {
        self.lock_or_wait(name, || ())
    }

    /// [`Store::lock`], with something to do where another holds it and this waits.
    pub fn lock_or_wait<T>(
        &self,
        name: &str,
        waiting: impl FnOnce() -> T,
    ) -> Result<Guard, StoreError> {
        let path = self.root.join("locks").join(name.replace('/', "_"));
        let take = || {
            let mut options = fs_err::OpenOptions::new();
            let file = options.create(true).append(true).open(&path)?;
            if file.file().try_lock().is_err() {
                let _waiting = waiting();
                file.file().lock()?;
            }
            Ok(file)
        };
        let file = take().map_err(|source| StoreError::Lock { path: path.clone(), source })?;
        Ok(Guard { _file: file })
    }
}

/// Bytes that the files of a folder take on disk; hard links count once (stat(2): blocks of 512).
pub fn disk_use(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    for entry in walkdir::WalkDir::new(folder) {
        let metadata = entry?.metadata()?;
        if metadata.nlink() == 1
            || metadata.is_dir()
            || seen.insert((metadata.dev(), metadata.ino()))
        {
            total += metadata.blocks() * 512;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_what_the_environment_says() {
        let root = |variables: &[(&str, &str)]| {
            Store::default_root(&Environment::new(variables.iter().copied(), Path::new("/w")))
        };
        let all = [("CROSSWHEEL_STORE", "s"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(root(&all).unwrap(), Path::new("/w/s"));
        assert_eq!(root(&all[1..]).unwrap(), Path::new("/c/crosswheel"));
        assert_eq!(root(&all[2..]).unwrap(), Path::new("/h/.cache/crosswheel"));
        assert!(matches!(root(&[]), Err(StoreError::NoRoot)));
    }

    #[test]
    fn a_changed_blob_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let sha256 = Sha256::of("right");
        assert_eq!(store.verified_blob(&sha256).unwrap(), None);
        let path = store.blob_path(&sha256);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, "right").unwrap();
        assert_eq!(store.verified_blob(&sha256).unwrap(), Some(path.clone()));
        fs_err::write(&path, "wrong").unwrap();
        let error = store.verified_blob(&sha256).unwrap_err().to_string();
        assert!(error.contains(&sha256.to_string()), "{error}");
        assert!(error.contains(&Sha256::of("wrong").to_string()), "{error}");
    }

    #[test]
    fn a_lock_is_held_until_its_guard_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let guard = store.lock("a/b").unwrap();
        let file = fs_err::File::open(folder.path().join("locks/a_b")).unwrap();
        assert!(file.file().try_lock().is_err());
        drop(guard);
        assert!(file.file().try_lock().is_ok());
    }
}
