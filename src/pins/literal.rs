//! What a recipe points to by a pattern: it must be there as often as the recipe says.

use pep440_rs::Version;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::site::{Form, Place, Site, line_of};
use super::{PinError, PinRule, policy::Policy};
use crate::python::pep508;

/// A literal in a build script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LiteralRule {
    /// The file, relative to the source tree.
    pub file: String,
    /// A regular expression whose group `requirement` is a PEP 508 requirement, or whose group
    /// `version` is a version.
    pub pattern: String,
    /// How often it matches.
    pub matches: usize,
}

const GROUPS: [&str; 2] = ["requirement", "version"];

impl LiteralRule {
    /// The pattern, which has exactly one of both groups.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn compiled(&self) -> Result<Regex, String> {
        let regex = Regex::new(&self.pattern).map_err(|error| error.to_string())?;
        let has = GROUPS.map(|group| regex.capture_names().flatten().any(|name| name == group));
        match has {
            [true, false] | [false, true] => Ok(regex),
            _ => Err("a pattern has a group `(?<requirement>…)` or `(?<version>…)`".to_owned()),
        }
    }
}

/// The places of a file that a rule points to.
pub(super) fn find(
    text: &str,
    rule: &PinRule,
    literal: &LiteralRule,
) -> Result<Vec<Site>, PinError> {
    let fail = |line: usize, reason: String| PinError::Literal {
        file: literal.file.clone(),
        line,
        reason,
    };
    let regex = literal.compiled().map_err(|reason| fail(1, reason))?;
    let mut sites = Vec::new();
    for found in regex.captures_iter(text) {
        let (group, captured) = GROUPS
            .iter()
            .find_map(|group| Some((*group, found.name(group)?)))
            .ok_or_else(|| fail(1, "the group matches nothing".to_owned()))?;
        let (written, span) = (captured.as_str().to_owned(), captured.range());
        let line = line_of(text, span.start);
        let site = if group == "version" {
            if written.parse::<Version>().is_err() {
                return Err(fail(line, format!("`{written}` is no version")));
            }
            if rule.policy == Some(Policy::Drop) {
                return Err(fail(line, "a version cannot be dropped".to_owned()));
            }
            let (form, place) = (Form::Version { at_least: false }, Place::Build);
            Site { name: rule.name.clone(), text: written, span, form, place }
        } else {
            let names = [rule.name.clone()].into();
            Site::requirement(written.clone(), span, Place::Run, &names).ok_or_else(|| {
                let reason = match pep508::parse(&written) {
                    Ok(_) => format!("`{written}` is not a requirement on `{}`", rule.name),
                    Err(_) => format!("`{written}` is no requirement"),
                };
                fail(line, reason)
            })?
        };
        sites.push(site);
    }
    if sites.len() != literal.matches {
        return Err(PinError::Matches {
            name: rule.name.to_string(),
            file: literal.file.clone(),
            expected: literal.matches,
            found: sites
                .iter()
                .map(|site| {
                    let line = line_of(text, site.span.start);
                    (line, text.lines().nth(line - 1).unwrap_or_default().trim().to_owned())
                })
                .collect(),
        });
    }
    Ok(sites)
}
