//! What a build will run, as far as a build tool has said it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Action, ActionsError, Kind};
use crate::artifact::Sha256;
use crate::atomic;

/// An action that a build tool is about to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Planned {
    /// The output, as [`Action::output`] has it.
    pub output: String,
    /// What it will do.
    pub kind: Kind,
}

impl Planned {
    /// As [`Action::label`].
    pub fn label(&self) -> &str {
        self.output.rsplit('/').next().unwrap_or_default()
    }
}

/// All that a build consists of, which is known once its build tool was asked; a file of the build
/// folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanRecord {
    /// The digest of the inputs that it is for.
    inputs: Sha256,
    /// Kinds by output.
    actions: BTreeMap<String, Kind>,
}

impl PlanRecord {
    /// What was recorded for these inputs: nothing, where it was for others.
    pub fn load(path: &Path, inputs: Sha256) -> Self {
        let bytes = fs_err::read(path).unwrap_or_default();
        let found = serde_json::from_slice(&bytes).ok().filter(|plan: &Self| plan.inputs == inputs);
        found.unwrap_or(Self { inputs, actions: BTreeMap::new() })
    }

    /// Adds what a run was to do: later runs have less to do.
    pub fn add(&mut self, planned: Vec<Planned>) {
        self.actions.extend(planned.into_iter().map(|action| (action.output, action.kind)));
    }

    /// Writes it, where there is something in it.
    pub fn save(&self, path: &Path) -> Result<(), ActionsError> {
        if self.actions.is_empty() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::from)?;
        Ok(atomic::write(path, atomic::PLAIN, &bytes)?)
    }

    /// How many actions there are; `None` where that is not known.
    pub fn count(&self) -> Option<usize> {
        (!self.actions.is_empty()).then_some(self.actions.len())
    }

    /// What is left to do after these actions.
    pub fn without(mut self, done: &[Action]) -> Vec<Planned> {
        for output in done.iter().filter(|action| action.exit == 0).flat_map(|a| &a.output) {
            self.actions.remove(output);
        }
        self.actions.into_iter().map(|(output, kind)| Planned { output, kind }).collect()
    }
}
