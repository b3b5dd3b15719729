//! The stage: no wheel is handed over that violates its target's floors.

use std::path::PathBuf;

use walkdir::WalkDir;

use super::closure::Providers;
use super::{Policy, Report, Violation, inspect_for, libraries};
use crate::Result;
use crate::compile::Built;
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::package::Packaged;

/// A wheel that would not work on its target.
#[derive(Debug, thiserror::Error)]
#[error("`{}` does not fit the target `{target}`{}", wheel.display(), list(violations))]
pub struct Rejected {
    /// The wheel, which stays in the build's folder.
    pub wheel: PathBuf,
    /// The target's name.
    pub target: String,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
}

impl Diagnose for Rejected {
    fn class(&self) -> Class {
        Class::Audit
    }

    fn hint(&self) -> Option<String> {
        self.violations.iter().find_map(|violation| violation.hint.clone())
    }
}

fn list(violations: &[Violation]) -> String {
    let line = |v: &Violation| format!("\n  | {}: `{}`: {}", v.code.name(), v.file, v.message);
    violations.iter().map(line).collect()
}

/// Audits a wheel that was just packaged: also whether its target, of which `providers` tells,
/// has every symbol that it needs.
pub fn check(built: &Built, packaged: &Packaged, providers: &Providers) -> Result<Report> {
    let target = &built.locked.resolved.target;
    let recipe = &built.locked.recipe;
    // What was left out on purpose is not missed.
    let whole = built.locked.resolved.only.is_empty();
    let policy = Policy {
        expect_device_code: whole && has_device_sources(built),
        contract: recipe.contract.iter().filter(|_| whole).cloned().collect(),
        waivers: recipe.waivers.clone(),
        own: true,
    };
    let folders = [built.folder.root(), &built.store].map(|path| path.display().to_string());
    let report = inspect_for(&packaged.path, &folders)?.check_with(
        Some(target),
        &policy,
        Some(providers),
    )?;
    if report.passed() {
        return Ok(report);
    }
    let (wheel, target) = (packaged.path.clone(), target.name.clone());
    Err(Rejected { wheel, target, violations: report.violations }.into())
}

/// What the target has for a wheel: its torch as the SDK has it, by whole libraries or by stubs,
/// which have the same symbols.
pub fn providers(context: &Context, built: &Built) -> Result<Providers> {
    let resolved = &built.locked.resolved;
    let facts = &built.torch.facts;
    let torch = libraries::of_folder(&built.torch.python_path.join("torch"), resolved.target.arch)?;
    let providers = libraries::of_target(context.sources()?, &resolved.target)?.with_torch(
        facts.version.clone(),
        Some(facts.cuda.clone()),
        torch.iter().map(|(file, library)| (file.as_str(), library)),
    );
    Ok(providers.for_python(&resolved.python))
}

/// Whether the source tree has CUDA sources.
fn has_device_sources(built: &Built) -> bool {
    let files = WalkDir::new(built.folder.source()).into_iter().filter_map(Result::ok);
    files.map(walkdir::DirEntry::into_path).any(|path| path.extension().is_some_and(|e| e == "cu"))
}
