//! Unpacked components: folders of read-only files, each with a listing by which a change is
//! noticed and named.
//!
//! ```text
//! components/gcc-1f0c6b8a9d2e4f37/        the files
//! components/gcc-1f0c6b8a9d2e4f37.json    the listing
//! components/.gcc-1f0c6b8a9d2e4f37.lock   held while it is installed or removed
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use walkdir::WalkDir;

use super::listing::{Listing, Mismatch};
use crate::artifact::Sha256;
use crate::atomic;
use crate::error::{Class, Diagnose};

/// The folder of components in a store.
#[derive(Debug, Clone)]
pub struct Components {
    folder: PathBuf,
}

/// What a component's folder is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

/// One that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// The folder's name, such as `gcc-1f0c6b8a9d2e4f37`.
    pub key: String,
    /// The folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub size: u64,
}

/// What cannot be done with a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// A file was changed, removed or added after the component was unpacked.
    #[error("`{path}` in the store {mismatch}")]
    Changed {
        /// The component's folder name.
        key: String,
        /// The file.
        path: PathBuf,
        /// In which way.
        mismatch: Mismatch,
    },
    /// The listing is not one.
    #[error("`{path}` is not a listing of a component")]
    Listing {
        /// The listing.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Nothing has that name.
    #[error("there is no component `{name}` in the store")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A build uses the store.
    #[error("the store `{path}` is in use by another crosswheel")]
    InUse {
        /// The store's folder of components.
        path: PathBuf,
    },
    /// Reading or writing the store failed.
    #[error("the store cannot be read or written")]
    Io(#[from] io::Error),
}

impl Diagnose for ComponentError {
    fn class(&self) -> Class {
        match self {
            Self::Changed { .. } | Self::Listing { .. } => Class::Integrity,
            Self::Unknown { .. } => Class::Request,
            Self::InUse { .. } | Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { key, .. } => Some(format!(
                "`cargo xtask store gc --component {key}` removes it, and the next build unpacks it anew"
            )),
            Self::Listing { .. } => Some("delete it, and the next build unpacks it anew".into()),
            Self::Unknown { known, .. } if known.is_empty() => Some("the store is empty".into()),
            Self::Unknown { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::InUse { .. } => Some("try again when the other one has ended".into()),
            Self::Io(_) => None,
        }
    }
}

impl Key {
    /// The key of a component by its name and the digest of what it is made of and where.
    pub fn new(name: &str, digest: Sha256) -> Self {
        Self(format!("{name}-{}", digest.short()))
    }

    /// The folder's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Components {
    /// The components of the store at `root`, which need not be there yet.
    pub fn new(root: &Path) -> Self {
        Self { folder: root.join("components") }
    }

    /// Where a component is or will be.
    pub fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(&key.0)
    }

    /// Keeps the components from being removed for as long as the result lives.
    pub fn hold(&self) -> Result<Hold, ComponentError> {
        let file = self.lock_file(".in-use.lock")?;
        file.lock_shared()?;
        Ok(Hold { _file: file })
    }

    /// A component that is there, after a look at its files' sizes and times.
    ///
    /// # Errors
    /// [`ComponentError::Changed`] names a file that is not as it was unpacked.
    pub fn find(&self, key: &Key) -> Result<Option<Installed>, ComponentError> {
        let Some(mut listing) = self.listing(&key.0)? else { return Ok(None) };
        let path = self.path(key);
        let refreshed = listing.verify_quick(&path).map_err(|e| self.changed(&key.0, e))?;
        if refreshed {
            // The bytes are right, the times are not: the store was copied, for example.
            self.write_listing(&key.0, &listing)?;
        }
        Ok(Some(Installed { key: key.0.clone(), path, size: listing.size() }))
    }

    /// Finds a component, or makes it: `fill` gets an empty folder, whose files become read-only
    /// and appear under the component's own path all at once. Two processes that want the same one
    /// wait for each other.
    pub fn install(
        &self,
        key: &Key,
        fill: impl FnOnce(&Path) -> crate::Result<()>,
    ) -> crate::Result<Installed> {
        if let Some(installed) = self.find(key)? {
            return Ok(installed);
        }
        let lock = self.lock_file(&format!(".{}.lock", key.0)).map_err(crate::Error::from)?;
        lock.lock().map_err(ComponentError::Io)?;
        if let Some(installed) = self.find(key)? {
            return Ok(installed);
        }
        let path = self.path(key);
        remove_tree(&path).map_err(ComponentError::Io)?;
        let staging = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(&self.folder)
            .map_err(ComponentError::Io)?;
        fill(staging.path())?;
        let listing = Listing::seal(staging.path()).map_err(ComponentError::Io)?;
        fs_err::rename(staging.keep(), &path).map_err(ComponentError::Io)?;
        self.write_listing(&key.0, &listing)?;
        Ok(Installed { key: key.0.clone(), path, size: listing.size() })
    }

    /// All that are there, sorted by key.
    pub fn list(&self) -> Result<Vec<Installed>, ComponentError> {
        let mut installed = Vec::new();
        for key in self.keys()? {
            if let Some(listing) = self.listing(&key)? {
                let path = self.folder.join(&key);
                installed.push(Installed { key, path, size: listing.size() });
            }
        }
        Ok(installed)
    }

    /// Those of a name (`gcc`), or the one of a key (`gcc-1f0c6b8a9d2e4f37`).
    pub fn named(&self, name: &str) -> Result<Vec<Installed>, ComponentError> {
        let mut all = self.list()?;
        let known = all.iter().map(|component| component.key.clone()).collect();
        all.retain(|c| c.key == name || c.key.rsplit_once('-').is_some_and(|(n, _)| n == name));
        if all.is_empty() {
            return Err(ComponentError::Unknown { name: name.to_owned(), known });
        }
        Ok(all)
    }

    /// Reads every byte of a component and compares.
    pub fn verify_full(&self, component: &Installed) -> Result<(), ComponentError> {
        match self.listing(&component.key)? {
            Some(listing) => {
                let verified = listing.verify_full(&component.path);
                verified.map_err(|e| self.changed(&component.key, e))
            }
            None => {
                let (name, known) = (component.key.clone(), self.keys()?);
                Err(ComponentError::Unknown { name, known })
            }
        }
    }

    /// Makes sure that nobody builds with the store, for as long as the result lives.
    pub fn alone(&self) -> Result<Hold, ComponentError> {
        let file = self.lock_file(".in-use.lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Hold { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(ComponentError::InUse { path: self.folder.clone() })
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Removes components for which `unwanted` is true, and what interrupted runs left behind.
    /// Returns what was removed.
    pub fn remove(
        &self,
        unwanted: impl Fn(&Installed) -> bool,
    ) -> Result<Vec<Installed>, ComponentError> {
        let _alone = self.alone()?;
        let mut removed = self.list()?;
        removed.retain(unwanted);
        for component in &removed {
            // The listing goes first: without one, a folder is not a component.
            fs_err::remove_file(self.listing_path(&component.key))?;
            remove_tree(&component.path)?;
        }
        for entry in fs_err::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".tmp-") {
                remove_tree(&entry.path())?;
            }
        }
        Ok(removed)
    }

    fn keys(&self) -> Result<Vec<String>, ComponentError> {
        let mut keys = Vec::new();
        if self.folder.is_dir() {
            for entry in fs_err::read_dir(&self.folder)? {
                let name = entry?.file_name();
                let key = name.to_str().and_then(|name| name.strip_suffix(".json"));
                keys.extend(key.filter(|key| !key.starts_with('.')).map(str::to_owned));
            }
        }
        keys.sort();
        Ok(keys)
    }

    fn lock_file(&self, name: &str) -> Result<File, ComponentError> {
        fs_err::create_dir_all(&self.folder)?;
        let mut options = fs_err::OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).read(true);
        Ok(options.open(self.folder.join(name))?.into_parts().0)
    }

    fn listing_path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    fn listing(&self, key: &str) -> Result<Option<Listing>, ComponentError> {
        let path = self.listing_path(key);
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let listing = serde_json::from_slice(&text);
        listing.map(Some).map_err(|source| ComponentError::Listing { path, source })
    }

    fn write_listing(&self, key: &str, listing: &Listing) -> Result<(), ComponentError> {
        let path = self.listing_path(key);
        let bytes = serde_json::to_vec(listing)
            .map_err(|source| ComponentError::Listing { path: path.clone(), source })?;
        Ok(atomic::write(&path, atomic::PLAIN, &bytes)?)
    }

    fn changed(&self, key: &str, error: super::listing::VerifyError) -> ComponentError {
        use super::listing::VerifyError;
        match error {
            VerifyError::Mismatch { path, mismatch } => {
                let path = self.folder.join(key).join(path);
                ComponentError::Changed { key: key.to_owned(), path, mismatch }
            }
            VerifyError::Io(error) => ComponentError::Io(error),
        }
    }
}

/// Keeps components from being removed while it lives.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// Removes a folder whose subfolders are read-only, if it is there.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !path.exists() {
        return Ok(());
    }
    for entry in WalkDir::new(path) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            let writable = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(entry.path(), writable)?;
        }
    }
    fs_err::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Store {
        _folder: tempfile::TempDir,
        components: Components,
        key: Key,
    }

    fn installed() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let components = Components::new(folder.path());
        let key = Key::new("gcc", Sha256::of("inputs"));
        components.install(&key, fill).unwrap();
        Store { _folder: folder, components, key }
    }

    fn fill(root: &Path) -> crate::Result<()> {
        fs_err::create_dir(root.join("bin")).unwrap();
        fs_err::write(root.join("bin/tool"), "tool").unwrap();
        std::os::unix::fs::symlink("tool", root.join("bin/link")).unwrap();
        Ok(())
    }

    impl Store {
        fn at(&self, path: &str) -> PathBuf {
            self.components.path(&self.key).join(path)
        }

        /// Writes although the files are read-only, as root may.
        fn tamper(&self, path: &str, content: &str) {
            let path = self.at(path);
            let parent = path.parent().unwrap();
            fs_err::set_permissions(parent, PermissionsExt::from_mode(0o755)).unwrap();
            if path.exists() {
                fs_err::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            }
            fs_err::write(&path, content).unwrap();
            fs_err::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        }

        fn complaint(&self) -> (PathBuf, Mismatch) {
            let installed = Installed { key: self.key.0.clone(), path: self.at(""), size: 0 };
            let full = self.components.verify_full(&installed).unwrap_err();
            let quick = self.components.find(&self.key).unwrap_err();
            assert_eq!(full.to_string(), quick.to_string());
            let ComponentError::Changed { path, mismatch, .. } = quick else { panic!("{quick:?}") };
            (path.strip_prefix(self.at("")).unwrap().to_owned(), mismatch)
        }
    }

    #[test]
    fn files_are_read_only_and_found_again() {
        let store = installed();
        let mode =
            |path: &str| fs_err::metadata(store.at(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("bin/tool"), mode("bin")), (0o444, 0o555));
        let found = store.components.find(&store.key).unwrap().unwrap();
        assert_eq!((found.path, found.size), (store.at(""), 4));
        let other = Key::new("gcc", Sha256::of("other inputs"));
        assert_eq!(store.components.find(&other).unwrap(), None);
    }

    #[test]
    fn a_change_is_named() {
        let store = installed();
        store.tamper("bin/tool", "loot");
        assert_eq!(store.complaint(), ("bin/tool".into(), Mismatch::Changed));

        let store = installed();
        store.tamper("bin/more", "");
        assert_eq!(store.complaint(), ("bin/more".into(), Mismatch::Added));

        let store = installed();
        fs_err::set_permissions(store.at("bin"), PermissionsExt::from_mode(0o755)).unwrap();
        fs_err::remove_file(store.at("bin/tool")).unwrap();
        // The folder's time changed too: what is in it still has its listing.
        assert_eq!(store.complaint(), ("bin/tool".into(), Mismatch::Missing));

        let store = installed();
        fs_err::set_permissions(store.at("bin/tool"), PermissionsExt::from_mode(0o555)).unwrap();
        assert_eq!(store.complaint(), ("bin/tool".into(), Mismatch::Mode));
    }

    #[test]
    fn rewritten_but_equal_files_are_accepted() {
        let store = installed();
        store.tamper("bin/tool", "tool");
        let before = fs_err::read(store.components.listing_path(&store.key.0)).unwrap();
        assert!(store.components.find(&store.key).unwrap().is_some());
        let after = fs_err::read(store.components.listing_path(&store.key.0)).unwrap();
        assert_ne!(before, after, "the new times are noted");
    }

    #[test]
    fn an_interrupted_install_is_begun_anew() {
        let store = installed();
        fs_err::remove_file(store.components.listing_path(&store.key.0)).unwrap();
        assert_eq!(store.components.find(&store.key).unwrap(), None);
        store.components.install(&store.key, fill).unwrap();
        assert!(store.components.find(&store.key).unwrap().is_some());
    }

    #[test]
    fn two_that_want_one_component_install_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let components = Components::new(folder.path());
        let key = Key::new("gcc", Sha256::of("inputs"));
        let fills = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let install = components.install(&key, |root| {
                        fills.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        fill(root)
                    });
                    install.unwrap();
                });
            }
        });
        assert_eq!(fills.into_inner(), 1);
    }

    #[test]
    fn components_in_use_are_not_removed() {
        let store = installed();
        let hold = store.components.hold().unwrap();
        let refused = store.components.remove(|_| true).unwrap_err();
        assert!(matches!(refused, ComponentError::InUse { .. }), "{refused:?}");
        drop(hold);
        assert_eq!(store.components.remove(|_| true).unwrap().len(), 1);
        assert!(!store.at("").exists());
        assert!(store.components.list().unwrap().is_empty());
    }
}
