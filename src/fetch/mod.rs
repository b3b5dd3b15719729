//! Fetch: from locked inputs to files on disk, verified, and what is made of them: the toolchain
//! and the torch SDK.

mod torch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use torch::read_torch_parts;
pub use torch::torch_sdk;
pub(crate) use torch::torch_version;

use crate::Result;
use crate::artifact::{Artifact, Input};
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::lock::{Locked, Source, toolchain_request};
use crate::pins::{self, Pin, Plan};
use crate::report::Step;
use crate::series::{self, Patch};
use crate::toolchain::Toolchain;
use crate::torch::sdk::TorchSdk;
use crate::{git, patch, rust, unpack};

/// Every input, on disk.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What they are.
    pub locked: Locked,
    /// Compilers and Pythons.
    pub toolchain: Toolchain,
    /// The target's torch.
    pub torch: TorchSdk,
    /// The wheels of the build environment, in the store.
    pub wheels: Vec<PathBuf>,
    /// The archives of its crates, in the store, in the order of the lock.
    pub crates: Vec<PathBuf>,
}

/// A file that could not be brought into place.
#[derive(Debug, thiserror::Error)]
#[error("fetched files cannot be written")]
pub struct FetchError(#[from] std::io::Error);

impl Diagnose for FetchError {
    fn class(&self) -> Class {
        Class::Io
    }
}

/// Downloads what is missing, and provisions the toolchain and the torch SDK.
pub fn fetch(context: &Context, locked: Locked) -> Result<Fetched> {
    for source in locked.sources() {
        match source {
            Source::Index(artifact) => drop(context.fetch(&[Input::Whole(artifact.clone())])?),
            Source::Git { url, commit, digest } => drop(git::tree(context, url, commit, *digest)?),
            Source::Archive { .. } | Source::Folder { .. } => {}
        }
    }
    let wheels = named_wheels(context, &locked.requirements)?;
    let torch = torch_sdk(context, &locked.resolved.target, &locked.torch)?;
    let request = toolchain_request(&locked.resolved, &locked.libraries, locked.rust.as_ref());
    let toolchain = context.with_provisioner(|p| p.provision(&request))?;
    let crates = match &locked.rust {
        Some(rust) => {
            let Locked { source, patches, resolved, recipe, .. } = &locked;
            rust::fetch(context, &rust.crates, |tree| {
                let plan = |tree: &Path| pins::for_target(tree, resolved, recipe, &torch);
                patched_tree(context, source, tree, |_| Ok(patches.clone()), plan).map(drop)
            })?
        }
        None => Vec::new(),
    };
    Ok(Fetched { locked, toolchain, torch, wheels, crates })
}

/// Downloads wheels and returns them under their file names, by which installers go.
pub fn named_wheels(context: &Context, wheels: &[Artifact]) -> Result<Vec<PathBuf>> {
    let inputs: Vec<Input> = wheels.iter().cloned().map(Input::Whole).collect();
    let found = context.fetch(&inputs)?;
    let named = |wheel: &Artifact| named(context, wheel, &found[&wheel.sha256]);
    wheels.iter().map(named).collect()
}

/// Puts the source tree, with these local patches, into a folder, where it is not there yet; that
/// of a folder is brought up to date.
pub fn source_tree(
    context: &Context,
    source: &Source,
    patches: &[Patch],
    tree: &Path,
) -> Result<()> {
    let patches = |_: &Path| Ok(patches.to_vec());
    patched_tree(context, source, tree, patches, |_| Ok(Plan::default())).map(drop)
}

/// [`source_tree`], with the files that a plan changes as it says. The patches are chosen by the
/// tree as it came, the plan is made of the patched one, and the pins that it changes are returned.
/// A folder is what it is: no patches are for it.
pub fn patched_tree(
    context: &Context,
    source: &Source,
    tree: &Path,
    patches: impl FnOnce(&Path) -> Result<Vec<Patch>>,
    plan: impl FnOnce(&Path) -> Result<Plan>,
) -> Result<Vec<Pin>> {
    if let Source::Folder { path, digest } = source {
        // Of a folder on another machine a bundle may have brought the files.
        let bundled = context.store.tree(digest);
        let folder = if !path.exists() && bundled.is_dir() { &bundled } else { path };
        patches(folder)?;
        let plan = plan(folder)?;
        patch::sync_tree(folder, tree, &plan.files).map_err(FetchError)?;
        return Ok(plan.changes());
    }
    // Written before the tree has its name: one without it is of an older crosswheel.
    let mut record = tree.as_os_str().to_owned();
    record.push(".pins.json");
    if tree.exists() {
        let recorded = fs_err::read(&record).ok();
        if let Some(pins) = recorded.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(pins);
        }
        fs_err::remove_dir_all(tree).map_err(FetchError)?;
    }
    let parent = tree.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent).map_err(FetchError)?;
    let staging = tempfile::tempdir_in(parent).map_err(FetchError)?;
    let top = unpacked(context, source, staging.path())?;
    let trial = series::apply_locked(context, source, &patches(&top)?, &top)?;
    trial.report(context.reporter.as_ref());
    let plan = plan(&top)?;
    let pins = plan.changes();
    let text = serde_json::to_vec_pretty(&pins).expect("strings and numbers serialise");
    let place = || {
        for (path, content) in &plan.files {
            fs_err::write(top.join(path), content)?;
        }
        fs_err::write(&record, text)?;
        fs_err::rename(&top, tree)
    };
    place().map_err(FetchError)?;
    Ok(pins)
}

/// Unpacks a source below a folder, and returns its top.
pub(crate) fn unpacked(context: &Context, source: &Source, into: &Path) -> Result<PathBuf> {
    let copied = |from: &Path| {
        let top = into.join("tree");
        patch::sync_tree(from, &top, &BTreeMap::new()).map_err(FetchError)?;
        Ok(top)
    };
    let archive = match source {
        Source::Folder { path, .. } => return copied(path),
        Source::Git { url, commit, digest } => {
            return copied(&git::tree(context, url, commit, *digest)?);
        }
        Source::Archive { path, .. } => path.clone(),
        Source::Index(artifact) => {
            let found = context.fetch(&[Input::Whole(artifact.clone())])?;
            named(context, artifact, &found[&artifact.sha256])?
        }
    };
    let _step = Step::start(context.reporter.as_ref(), "unpacking", source.label());
    Ok(unpack::sdist(&archive, into)?)
}

/// A download of the store under its own file name: a hard link, or a copy.
fn named(context: &Context, artifact: &Artifact, blob: &Path) -> Result<PathBuf> {
    let folder = context.store.root().join("named").join(artifact.sha256.short());
    let path = folder.join(artifact.file_name());
    let place = || {
        fs_err::create_dir_all(&folder)?;
        match fs_err::hard_link(blob, &path) {
            Err(_) if !path.exists() => fs_err::copy(blob, &path).map(drop),
            _ => Ok(()),
        }
    };
    place().map_err(FetchError)?;
    Ok(path)
}
