//! The stage: no wheel is handed over that violates its target's floors.

use std::path::PathBuf;

use walkdir::WalkDir;

use super::{Policy, Report, Violation, audit};
use crate::Result;
use crate::compile::Built;
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

/// Audits a wheel that was just packaged.
pub fn check(built: &Built, packaged: &Packaged) -> Result<Report> {
    let target = &built.locked.resolved.target;
    let recipe = &built.locked.recipe;
    let policy = Policy {
        expect_device_code: has_device_sources(built),
        contract: recipe.contract.clone(),
        waivers: recipe.waivers.clone(),
    };
    let report = audit(&packaged.path, Some(target), &policy)?;
    if report.passed() {
        return Ok(report);
    }
    let (wheel, target) = (packaged.path.clone(), target.name.clone());
    Err(Rejected { wheel, target, violations: report.violations }.into())
}

/// Whether the source tree has CUDA sources.
fn has_device_sources(built: &Built) -> bool {
    let files = WalkDir::new(built.folder.source()).into_iter().filter_map(Result::ok);
    files.map(walkdir::DirEntry::into_path).any(|path| path.extension().is_some_and(|e| e == "cu"))
}
