//! What the builds of one run write: no two of them may give one wheel.
//!
//! In most cases that can be told before anything is built, from what is locked. Where a source
//! does not tell its name or version, or two torches have one version, the wheel's name tells.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::lock::Locked;
use crate::sync;
use crate::target::Arch;

/// The wheels of one run, expected and written.
#[derive(Debug, Default)]
pub struct Outputs {
    expected: BTreeMap<Expected, String>,
    written: Mutex<BTreeMap<String, String>>,
}

/// What two builds have in common that give one file name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    project: String,
    python: String,
    arch: Arch,
    local: Local,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Given(String),
    Of { torch: Sha256, variant: String },
}

/// Two builds of one run that give one wheel.
#[derive(Debug, thiserror::Error)]
#[error("{first} and {second} give the same wheel{}", file.as_ref().map(|f| format!(", `{f}`")).unwrap_or_default())]
pub struct SameOutput {
    /// The first build.
    pub first: String,
    /// The second build.
    pub second: String,
    /// The wheel's name, where it is known.
    pub file: Option<String>,
}

impl Diagnose for SameOutput {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(
            "name it once; or build them one by one, with `--out` or `--local-version` of its own"
                .to_owned(),
        )
    }
}

impl Outputs {
    /// Takes note of a build, before it is begun.
    pub fn expect(&mut self, locked: &Locked) -> Result<(), SameOutput> {
        let second = describe(locked);
        match self.expected.insert(Expected::of(locked), second.clone()) {
            Some(first) => Err(SameOutput { first, second, file: None }),
            None => Ok(()),
        }
    }

    /// Takes note of a wheel, before it is written.
    pub fn claim(&self, file: &str, locked: &Locked) -> Result<(), SameOutput> {
        let second = describe(locked);
        match sync::lock(&self.written).insert(file.to_owned(), second.clone()) {
            Some(first) => Err(SameOutput { first, second, file: Some(file.to_owned()) }),
            None => Ok(()),
        }
    }
}

impl Expected {
    fn of(locked: &Locked) -> Self {
        let resolved = &locked.resolved;
        let project = match (&locked.identity.name, &locked.identity.version) {
            (Some(name), Some(version)) => {
                let name = name.to_lowercase().replace(['_', '.'], "-");
                format!("{name} {version}")
            }
            // Two sources that do not tell may still be two packages.
            _ => serde_json::to_string(&locked.source).expect("strings serialise"),
        };
        let local = match &resolved.local_version {
            Some(local) => Local::Given(local.clone()),
            None => Local::Of { torch: locked.torch.digest(), variant: resolved.variant.clone() },
        };
        Self { project, python: resolved.python.clone(), arch: resolved.target.arch, local }
    }
}

/// A build as messages name it.
fn describe(locked: &Locked) -> String {
    let resolved = &locked.resolved;
    format!(
        "`{}` for {}, Python {}, torch {}",
        resolved.request, resolved.variant, resolved.python, resolved.torch
    )
}
