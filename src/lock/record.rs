//! What was locked before: `crosswheel.lock` of the project, and the store's own record.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CudaHeaders, Identity, LockError, Locked, LockedTree, Source};
use crate::artifact::{Artifact, Sha256};
use crate::atomic;
use crate::context::Context;
use crate::patch::tree_digest;
use crate::request::Request;
use crate::rust::Crates;
use crate::series;

/// A package's source and build requirements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackageLock {
    /// As asked for.
    pub request: String,
    /// The digest of what the recipe gives to the build requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Sha256>,
    /// The digest of its local patches: a patched source may ask for other requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<Sha256>,
    /// What the source says that it is, by which its recipe and its patches are found.
    #[serde(default)]
    pub identity: Identity,
    /// The source.
    pub source: Source,
    /// Of a folder, the digest without what compilers alone read: as long as it is the same, so are
    /// the requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Sha256>,
    /// The CUDA libraries that the source wants the headers of; none where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<CudaHeaders>,
    /// The wheels of its build environment, sorted.
    #[serde(default)]
    pub requirement: Vec<Artifact>,
    /// Its crates, where it is built with Rust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<Crates>,
    /// The source trees that its recipe names, in the recipe's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tree: Vec<LockedTree>,
}

impl PackageLock {
    /// The lock from which these inputs come. What its source includes is found out anew.
    pub(crate) fn of(locked: &Locked) -> Self {
        Self {
            request: locked.resolved.request.to_string(),
            recipe: locked.recipe.requirements_digest(),
            patches: series::digest_of(&locked.patches),
            identity: locked.identity.clone(),
            source: locked.source.clone(),
            scripts: None,
            cuda: None,
            requirement: locked.requirements.clone(),
            rust: locked.rust.as_ref().map(|rust| rust.crates.clone()),
            tree: locked.trees.clone(),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    package: Vec<PackageLock>,
}

/// All that was locked before.
#[derive(Debug)]
pub struct PackageLocks {
    /// `crosswheel.lock`.
    project: Vec<PackageLock>,
    /// The store's, a file a request.
    folder: PathBuf,
}

impl PackageLocks {
    /// Reads the project's lock.
    pub(crate) fn load(context: &Context) -> Result<Self, LockError> {
        let project = read(&context.project.package_lock())?.package;
        Ok(Self { project, folder: context.store.root().join("packages") })
    }

    /// The locks of a request whose source is still what it was: all of one source, the
    /// project's before the store's. There are several where a recipe differs between targets.
    pub(super) fn find(&self, request: &Request) -> Result<Vec<PackageLock>, LockError> {
        let text = request.to_string();
        let mut found: Vec<_> =
            self.project.iter().filter(|locked| locked.request == text).cloned().collect();
        let remembered = read(&self.path(&text))?.package;
        if found.is_empty() {
            match remembered.first() {
                Some(locked) if is_current(&locked.source)? => {}
                _ => return Ok(Vec::new()),
            }
        }
        found.extend(remembered);
        let source = found.first().map(|locked| locked.source.clone());
        found.retain(|locked| Some(&locked.source) == source.as_ref());
        Ok(found)
    }

    /// The store's locks of folders, wherever they lie, that differ in what compilers alone read.
    pub(super) fn of_scripts(&self, scripts: Sha256) -> Result<Vec<PackageLock>, LockError> {
        Ok(read(&self.path(&scripts.to_string()))?.package)
    }

    /// The store's locks of a request, whatever became of its source.
    pub(super) fn of_earlier_states(
        &self,
        request: &Request,
    ) -> Result<Vec<PackageLock>, LockError> {
        Ok(read(&self.path(&request.to_string()))?.package)
    }

    /// Remembers a lock in the store, beside those of the same source with another recipe
    /// or other patches.
    pub(crate) fn remember(&self, locked: PackageLock) -> Result<(), LockError> {
        fs_err::create_dir_all(&self.folder)?;
        if let Some(scripts) = locked.scripts {
            self.add(&self.path(&scripts.to_string()), &locked, |_| true)?;
        }
        let of_source = |other: &PackageLock| other.source == locked.source;
        self.add(&self.path(&locked.request), &locked, of_source)
    }

    /// Puts a lock before those that stay beside it in a file.
    fn add(
        &self,
        path: &Path,
        locked: &PackageLock,
        stays: impl Fn(&PackageLock) -> bool,
    ) -> Result<(), LockError> {
        let mut all = read(path)?.package;
        let decides = |lock: &PackageLock| (lock.recipe, lock.patches);
        all.retain(|other| stays(other) && decides(other) != decides(locked));
        all.insert(0, locked.clone());
        write(path, &all)
    }

    fn path(&self, request: &str) -> PathBuf {
        self.folder.join(format!("{}.toml", Sha256::of(request).short()))
    }

    /// Writes `crosswheel.lock`.
    pub fn save(context: &Context, locks: &[PackageLock]) -> Result<(), LockError> {
        write(&context.project.package_lock(), locks)
    }
}

/// Whether a source is still what was locked.
pub(super) fn is_current(source: &Source) -> Result<bool, LockError> {
    match source {
        Source::Index(_) | Source::Git { .. } => Ok(true),
        Source::Archive { path, sha256 } => {
            Ok(Sha256::of_reader(fs_err::File::open(path)?)?.0 == *sha256)
        }
        Source::Folder { path, digest } => Ok(tree_digest(path)? == *digest),
    }
}

fn read(path: &Path) -> Result<File, LockError> {
    if !path.exists() {
        return Ok(File::default());
    }
    let text = fs_err::read_to_string(path)?;
    toml::from_str(&text)
        .map_err(|source| LockError::Malformed { path: path.to_owned(), source: Box::new(source) })
}

fn write(path: &Path, locks: &[PackageLock]) -> Result<(), LockError> {
    let body = toml::to_string(&File { package: locks.to_vec() })
        .expect("a lock is tables of strings and numbers");
    let text = format!("# Written by `cargo xtask lock`.\n\n{body}");
    Ok(atomic::write(path, atomic::PLAIN, text.as_bytes())?)
}
