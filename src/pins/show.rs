//! Plans for what is built: of a tree at hand, and of a request without building it.

use std::path::Path;

use super::wheel::python_pair;
use super::{Plan, Setting, TargetTorch, crates, plan, unified};
use crate::Result;
use crate::context::Context;
use crate::fetch::{source_tree, torch_sdk, torch_version};
use crate::lock::{Identity, LockError, TorchInput, find_recipe, lock_torch, source_of};
use crate::python::pyproject::Project;
use crate::python::requirements::markers;
use crate::recipe::Recipe;
use crate::request::Request;
use crate::resolve::{Options, Resolved, resolve};
use crate::series;
use crate::torch;
use crate::torch::sdk::TorchSdk;

/// The plan for a tree that is built with this torch.
pub(crate) fn for_target(
    tree: &Path,
    resolved: &Resolved,
    recipe: &Recipe,
    torch: &TorchSdk,
) -> Result<Plan> {
    for_torch(tree, resolved, recipe, &TargetTorch::of_sdk(torch)?)
}

fn for_torch(
    tree: &Path,
    resolved: &Resolved,
    recipe: &Recipe,
    torch: &TargetTorch,
) -> Result<Plan> {
    let markers = markers(resolved.target.arch, python_pair(&resolved.python)?)?;
    let mut plan = plan(tree, &Setting { torch, rules: &recipe.pins, markers: &markers })?;
    let crates = crates::plan(tree, &recipe.crates)?;
    plan.pins.extend(crates.pins);
    plan.files.extend(crates.files);
    Ok(plan)
}

/// What a request pins.
#[derive(Debug)]
pub struct Shown {
    /// What it is, such as `vllm-0.33.0`.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// What its torch is.
    pub torch: TargetTorch,
    /// Every pin, and the files that change.
    pub plan: Plan,
    /// The change as a patch.
    pub patch: String,
}

/// Finds what a request pins, and what a build would make of it; builds nothing.
pub fn show(context: &Context, request: Request, options: &Options) -> Result<Shown> {
    let resolved = resolve(context, request, options)?;
    let torch = torch_of(context, &resolved)?;
    let source = source_of(context, &resolved.request)?;
    let scratch = tempfile::tempdir_in(context.store.root()).map_err(LockError::Io)?;
    let tree = scratch.path().join("source");
    source_tree(context, &source, &[], &tree)?;
    let identity = Identity::of(&source, &Project::read(&tree)?);
    let patches = series::lock(context, &source, &identity)?;
    series::apply_locked(context, &source, &patches, &tree)?;
    let recipe = find_recipe(context, &resolved, &identity)?;
    let plan = for_torch(&tree, &resolved, &recipe, &torch)?;
    let patch = unified(&tree, &plan)?;
    Ok(Shown { source: source.label(), target: resolved.variant, torch, plan, patch })
}

/// The target's torch. One of the index is asked for its version alone.
fn torch_of(context: &Context, resolved: &Resolved) -> Result<TargetTorch> {
    let input = lock_torch(context, resolved)?;
    match &input {
        TorchInput::Locked { torch, .. } => Ok(TargetTorch::new(&torch.version, &torch.cuda)?),
        TorchInput::Whole(artifact) => {
            let version = torch_version(context, artifact)?;
            torch::check(&version, &resolved.target)?;
            let cuda = version.cuda.unwrap_or_default();
            Ok(TargetTorch::new(&artifact.version, &cuda)?)
        }
        TorchInput::Wheel { .. } | TorchInput::Folder { .. } => {
            Ok(TargetTorch::of_sdk(&torch_sdk(context, &resolved.target, &input)?)?)
        }
    }
}
