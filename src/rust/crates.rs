//! Crates: looked up and downloaded by the machine's cargo, kept in the store by sha256.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cargo::Cargo;
use super::cargo_lock::{LockedCrate, Named, with_versions};
use super::error::RustError;
use super::git_source::GitSource;
use super::repositories::CrateRepository;
use super::{Crates, home, manifests};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::atomic;
use crate::configure::BuildFolder;
use crate::context::Context;
use crate::pins::{CratePin, exact};
use crate::report::Step;
use crate::store::StoreError;

const LOCK: &str = "Cargo.lock";

/// Finds out which crates the source tree of a build folder is built from, and brings them into the
/// store. Where the tree has no `Cargo.lock`, cargo makes one, of the newest versions that fit; where
/// another commit or a folder is in the place of a repository, or manifests were changed, it looks up
/// what that needs.
pub fn lock(context: &Context, folder: &BuildFolder, asked: Asked<'_>) -> Result<Crates> {
    let _step = Step::start(context.reporter.as_ref(), "resolving", "crates");
    let cargo = Cargo::new(context)?;
    let mut locks = Locks::read(&cargo, folder, asked.known)?;
    let named = locks.named()?;
    let mut repositories = Vec::new();
    let mut overridden = Vec::new();
    for (wanted, crates) in &named.repositories {
        let repository = CrateRepository::lock(context, wanted, crates)?;
        let versions = repository.place(context, &folder.git_crates())?;
        if repository.instead.is_some() {
            overridden.push((wanted, versions));
        }
        repositories.push(repository);
    }
    let config = home::repositories(folder, &repositories).map_err(RustError::Io)?;
    for (wanted, versions) in &overridden {
        locks.set_versions(wanted, versions)?;
    }
    locks.update(&cargo, &config, asked.pins)?;
    locks.fetch(&cargo, &config, overridden.is_empty() && !asked.changed)?;
    let artifacts = locks.named()?.crates.into_iter().map(|krate| keep(context, &cargo, &krate));
    let crates = artifacts.collect::<Result<_>>()?;
    Ok(Crates { crates, repositories, cargo_locks: locks.made })
}

/// What is known of crates before they are locked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Requirements that the manifests have instead of their own.
    pub pins: &'a BTreeMap<String, CratePin>,
    /// Whether a `Cargo.lock` of the source may have become out of date, by those or by patches.
    pub changed: bool,
    /// The `Cargo.lock`s that were made for an earlier state of the source.
    pub known: Option<&'a BTreeMap<String, String>>,
}

/// The `Cargo.lock`s of a source tree.
struct Locks {
    tree: PathBuf,
    /// The manifests of the workspaces that are built.
    workspaces: Vec<PathBuf>,
    /// Those that the source lacks, or that are others now, by their paths in it.
    made: BTreeMap<String, String>,
}

impl Locks {
    /// Finds them, and has cargo make those that are not there, or bring those up to date that it made
    /// before.
    fn read(
        cargo: &Cargo<'_>,
        folder: &BuildFolder,
        known: Option<&BTreeMap<String, String>>,
    ) -> Result<Self> {
        let tree = folder.source();
        let workspaces = workspaces(cargo, &tree)?;
        let mut locks = Self { tree, workspaces, made: BTreeMap::new() };
        for manifest in locks.workspaces.clone() {
            let lock = manifest.with_file_name(LOCK);
            if lock.exists() {
                continue;
            }
            let shown = locks.shown(&lock).display().to_string();
            let args = match known.and_then(|known| known.get(&shown)) {
                None => &["generate-lockfile"][..],
                Some(text) => {
                    fs_err::write(&lock, text).map_err(RustError::Io)?;
                    &["update", "--workspace"]
                }
            };
            cargo.run("lock the crates", args, &manifest, &locks.tree)?;
            locks.note(&lock)?;
        }
        Ok(locks)
    }

    fn shown<'a>(&self, lock: &'a Path) -> &'a Path {
        lock.strip_prefix(&self.tree).unwrap_or(lock)
    }

    fn note(&mut self, lock: &Path) -> Result<(), RustError> {
        let text = fs_err::read_to_string(lock)?;
        self.made.insert(self.shown(lock).display().to_string(), text);
        Ok(())
    }

    /// What they name, taken together.
    fn named(&self) -> Result<Named, RustError> {
        let mut named = Named::default();
        for manifest in &self.workspaces {
            let lock = manifest.with_file_name(LOCK);
            named.read(&lock, self.shown(&lock))?;
        }
        Ok(named)
    }

    /// Writes the versions that crates of a repository have in what is in its place.
    fn set_versions(
        &mut self,
        repository: &GitSource,
        versions: &BTreeMap<String, String>,
    ) -> Result<(), RustError> {
        for manifest in self.workspaces.clone() {
            let lock = manifest.with_file_name(LOCK);
            let text = fs_err::read_to_string(&lock)?;
            // It was read before.
            let changed = with_versions(&text, repository, versions).unwrap_or(text.clone());
            if changed != text {
                atomic::write(&lock, atomic::PLAIN, changed.as_bytes())?;
                self.note(&lock)?;
            }
        }
        Ok(())
    }

    /// Gives crates the one version that they are pinned to.
    fn update(
        &mut self,
        cargo: &Cargo<'_>,
        config: &Path,
        pins: &BTreeMap<String, CratePin>,
    ) -> Result<()> {
        let config = config.display().to_string();
        let exact =
            pins.iter().filter_map(|(name, to)| Some((name, exact(to.version.as_deref()?)?)));
        for (name, version) in exact {
            for manifest in self.workspaces.clone() {
                let lock = manifest.with_file_name(LOCK);
                let mut named = Named::default();
                named.read(&lock, self.shown(&lock))?;
                let others = named.crates.iter().filter(|krate| krate.name == *name);
                if others.clone().any(|krate| krate.version != version) {
                    let args = ["update", "--config", &config, name, "--precise", version];
                    cargo.run(
                        "take the version that is asked for",
                        &args,
                        &manifest,
                        &self.tree,
                    )?;
                    self.note(&lock)?;
                }
            }
        }
        Ok(())
    }

    /// Has cargo fetch what they name, and look up what is missing in those that were changed.
    fn fetch(&mut self, cargo: &Cargo<'_>, config: &Path, locked: bool) -> Result<()> {
        let config = config.display().to_string();
        let mut args = vec!["fetch", "--config", &config];
        args.extend(locked.then_some("--locked"));
        for manifest in self.workspaces.clone() {
            let lock = manifest.with_file_name(LOCK);
            let before = fs_err::read(&lock).map_err(RustError::Io)?;
            cargo.run("fetch the crates", &args, &manifest, &self.tree)?;
            if before != fs_err::read(&lock).map_err(RustError::Io)? {
                self.note(&lock)?;
            }
        }
        Ok(())
    }
}

/// The manifests of the workspaces that are built.
fn workspaces(cargo: &Cargo<'_>, tree: &Path) -> Result<Vec<PathBuf>> {
    let mut workspaces = Vec::new();
    for manifest in manifests::find(tree).map_err(RustError::Io)? {
        let workspace = cargo.workspace(&manifest, tree)?;
        if !workspaces.contains(&workspace) {
            workspaces.push(workspace);
        }
    }
    if workspaces.is_empty() {
        return Err(RustError::NoManifest.into());
    }
    Ok(workspaces)
}

/// Brings crates that were locked before into the store, and says where they are. The trees of their
/// repositories are sources like the package's own. `source` puts the package's own source, as it is
/// built, into a folder.
pub fn fetch(
    context: &Context,
    crates: &Crates,
    source: impl FnOnce(&Path) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for artifact in &crates.crates {
        match context.store.verified_blob(&artifact.sha256)? {
            Some(path) => found.push(path),
            None => missing.push(artifact.clone()),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    if context.offline {
        return Err(StoreError::Offline { wanted: crates.crates.len(), missing }.into());
    }
    let _step = Step::start(context.reporter.as_ref(), "fetching", "crates");
    let scratch = tempfile::tempdir_in(context.store.root()).map_err(RustError::Io)?;
    let folder = BuildFolder::new(scratch.path());
    source(&folder.source())?;
    place_locks(crates, &folder.source()).map_err(RustError::Io)?;
    for repository in &crates.repositories {
        repository.place(context, &folder.git_crates())?;
    }
    let config = home::repositories(&folder, &crates.repositories).map_err(RustError::Io)?;
    let cargo = Cargo::new(context)?;
    Locks::read(&cargo, &folder, None)?.fetch(&cargo, &config, true)?;
    for artifact in missing {
        let Artifact { registry, name, version, sha256, .. } = artifact;
        keep(context, &cargo, &LockedCrate { name, version, registry, sha256 })?;
    }
    Ok(crates.crates.iter().map(|artifact| context.store.blob_path(&artifact.sha256)).collect())
}

/// Writes the `Cargo.lock`s that a source tree lacks. One that is as it should be keeps its time.
pub(super) fn place_locks(crates: &Crates, tree: &Path) -> std::io::Result<()> {
    for (path, text) in &crates.cargo_locks {
        let path = tree.join(path);
        if !fs_err::read_to_string(&path).is_ok_and(|there| there == *text) {
            fs_err::write(path, text)?;
        }
    }
    Ok(())
}

/// Takes a crate out of what cargo downloaded into the store.
fn keep(context: &Context, cargo: &Cargo<'_>, krate: &LockedCrate) -> Result<Artifact> {
    let file = krate.file_name();
    let blob = context.store.blob_path(&krate.sha256);
    if !blob.is_file() {
        let bytes = downloaded(cargo, &file, krate.sha256).map_err(RustError::Io)?;
        let sha256 = krate.sha256;
        let bytes = bytes.ok_or_else(|| RustError::Missing { file: file.clone(), sha256 })?;
        if let Some(folder) = blob.parent() {
            fs_err::create_dir_all(folder).map_err(RustError::Io)?;
        }
        atomic::write(&blob, atomic::READ_ONLY, &bytes).map_err(RustError::Io)?;
    }
    let size = fs_err::metadata(&blob).map_err(RustError::Io)?.len();
    Ok(Artifact {
        registry: krate.registry.clone(),
        name: krate.name.clone(),
        version: krate.version.clone(),
        file,
        size,
        sha256: krate.sha256,
    })
}

/// The archive of this digest, of whichever registry cargo had it from.
fn downloaded(cargo: &Cargo<'_>, file: &str, sha256: Sha256) -> std::io::Result<Option<Vec<u8>>> {
    let Some(cache) = cargo.home().map(|home| home.join("registry/cache")) else { return Ok(None) };
    let Ok(registries) = fs_err::read_dir(cache) else { return Ok(None) };
    for registry in registries {
        let path = registry?.path().join(file);
        if path.is_file() {
            let bytes = fs_err::read(path)?;
            if Sha256::of(&bytes) == sha256 {
                return Ok(Some(bytes));
            }
        }
    }
    Ok(None)
}
