//! Pins: version requirements on what the target fixes.
//!
//! In: a source tree, what the target has ([`TargetTorch`]) and what was asked for ([`PinRule`]).
//! Out: a [`Plan`] with every place that pins something, what it becomes and why, and the files as
//! they will be. Later, at packaging, the same for the wheel's own requirements, by what was built.
//! Nothing here writes into a tree, and nothing is half changed: a plan is whole or an error.

mod abi;
mod apart;
mod crates;
mod diff;
mod error;
mod fields;
mod listed;
mod literal;
mod plan;
mod policy;
mod pyproject;
mod requirement;
mod scan;
mod script;
mod setup_cfg;
mod show;
mod site;
mod target;
mod wheel;

use std::str::FromStr as _;

use pep508_rs::PackageName;
use serde::{Deserialize, Serialize};

pub(crate) use apart::cuda_major;
pub(crate) use crates::exact;
pub use crates::{CratePin, parse_crate};
pub use diff::unified;
pub use error::PinError;
pub use literal::LiteralRule;
pub use plan::{Plan, Setting, plan};
pub use policy::{Abi, Moment, Policy};
pub(crate) use show::for_target;
pub use show::{Shown, show};
pub use target::{FAMILY, TargetTorch};
pub(crate) use wheel::of_wheel;

/// A place that pins something; `docs/schemas/pins.schema.json` describes its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The file, relative to the source tree; `METADATA` is the wheel's.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The package, its name normalised.
    pub name: String,
    /// What stands there.
    pub now: String,
    /// What will stand there; none where the requirement goes.
    pub then: Option<String>,
    /// Why.
    pub why: String,
}

impl Pin {
    /// Whether it becomes another.
    pub fn changes(&self) -> bool {
        self.then.as_deref() != Some(self.now.as_str())
    }
}

/// What is asked for one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PinRule {
    /// The package.
    pub name: PackageName,
    /// What its requirements become, where that is not the default's to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Where build scripts speak of it in their own ways.
    #[serde(default, rename = "literal", skip_serializing_if = "Vec::is_empty")]
    pub literals: Vec<LiteralRule>,
}

impl PinRule {
    /// Reads `NAME=target`, `NAME=compatible`, `NAME=drop` or `NAME=SPECIFIER`, such as
    /// `torch=>=2.9,<2.10`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, policy) =
            text.split_once('=').ok_or("`NAME=target|compatible|drop|SPECIFIER` is expected")?;
        let name = PackageName::from_str(name.trim())
            .map_err(|_| format!("`{name}` is no name of a package"))?;
        let policy: Policy = policy.parse()?;
        let rule = Self { name, policy: Some(policy), literals: Vec::new() };
        rule.check()?;
        Ok(rule)
    }

    /// What can be said of it without a source.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), String> {
        let known = FAMILY.contains(&self.name.as_ref());
        if !known && matches!(self.policy, Some(Policy::Target | Policy::Compatible)) {
            return Err(format!(
                "nothing is known of the target's {}: `drop` or a specifier is expected",
                self.name
            ));
        }
        self.literals.iter().try_for_each(|literal| literal.compiled().map(drop))
    }
}

/// Lays rules over others: of one package the later policy wins, and literals add up.
pub fn overlay(rules: &mut Vec<PinRule>, over: impl IntoIterator<Item = PinRule>) {
    for rule in over {
        match rules.iter_mut().find(|known| known.name == rule.name) {
            Some(known) => {
                known.policy = rule.policy.or(known.policy.take());
                known.literals.extend(rule.literals);
            }
            None => rules.push(rule),
        }
    }
}

#[cfg(test)]
mod tests;
