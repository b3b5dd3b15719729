//! Crates: looked up and downloaded by the machine's cargo, kept in the store by sha256.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cargo::Cargo;
use super::cargo_lock::{LockedCrate, Named};
use super::error::RustError;
use super::{CRATES, Crates, manifests};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::context::Context;
use crate::lock::Source;
use crate::report::Step;
use crate::series::Patch;
use crate::store::StoreError;
use crate::{atomic, fetch};

const LOCK: &str = "Cargo.lock";

/// Finds out which crates a source tree is built from, and brings them into the store. Where the
/// tree has no `Cargo.lock`, cargo makes one, of the newest versions that fit.
pub fn lock(context: &Context, tree: &Path) -> Result<Crates> {
    let _step = Step::start(context.reporter.as_ref(), "resolving", "crates");
    let cargo = Cargo::new(context)?;
    let mut named = Named::default();
    let mut cargo_locks = BTreeMap::new();
    for manifest in workspaces(&cargo, tree)? {
        let lock = manifest.with_file_name(LOCK);
        let shown = lock.strip_prefix(tree).unwrap_or(&lock);
        if !lock.exists() {
            cargo.run("lock the crates", &["generate-lockfile"], &manifest, tree)?;
            let text = fs_err::read_to_string(&lock).map_err(RustError::Io)?;
            cargo_locks.insert(shown.display().to_string(), text);
        }
        named.read(&lock, shown)?;
        cargo.run("fetch the crates", &["fetch", "--locked"], &manifest, tree)?;
    }
    let artifacts = named.crates.iter().map(|krate| keep(context, &cargo, krate));
    Ok(Crates { crates: artifacts.collect::<Result<_>>()?, cargo_locks })
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

/// Brings crates that were locked before into the store, and says where they are.
pub fn fetch(
    context: &Context,
    source: &Source,
    patches: &[Patch],
    crates: &Crates,
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
    let tree = scratch.path().join("source");
    fetch::source_tree(context, source, patches, &tree)?;
    place_locks(crates, &tree).map_err(RustError::Io)?;
    let cargo = Cargo::new(context)?;
    for manifest in workspaces(&cargo, &tree)? {
        cargo.run("fetch the crates", &["fetch", "--locked"], &manifest, &tree)?;
    }
    for artifact in missing {
        let Artifact { name, version, sha256, .. } = artifact;
        keep(context, &cargo, &LockedCrate { name, version, sha256 })?;
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
        registry: CRATES.to_owned(),
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
