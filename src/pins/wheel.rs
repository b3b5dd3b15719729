//! The wheel's own requirements, decided by what was built.

use pep508_rs::{Requirement, VersionOrUrl};

use super::plan::edited;
use super::policy::{Decision, Moment, decide};
use super::scan::family;
use super::site::{Form, Place, line_of};
use super::{Pin, PinError, Setting, abi, fields, requirement};
use crate::Result;
use crate::audit::Inspection;
use crate::compile::Built;
use crate::python::requirements::markers;
use crate::python::{pep508, requirements::RequirementError};

/// The `METADATA` of a wheel with the requirements that fit what was built, and what changed.
pub(crate) fn of_wheel(
    built: &Built,
    inspection: &Inspection,
    metadata: &[u8],
) -> Result<(Vec<u8>, Vec<Pin>)> {
    let resolved = &built.locked.resolved;
    let torch = super::TargetTorch::of_sdk(&built.torch)?;
    let python = python_pair(&resolved.python)?;
    let markers = markers(resolved.target.arch, python)?;
    let rules = &built.locked.recipe.pins;
    let setting = Setting { torch: &torch, rules, markers: &markers };
    let abi = abi::of_wheel(built, inspection, &torch)?;
    Ok(decided(metadata, &setting, &Moment::Wheel(abi), &built.pins)?)
}

/// Major and minor version of a Python.
pub(super) fn python_pair(python: &str) -> Result<(u16, u16), RequirementError> {
    let pair = python
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    pair.ok_or_else(|| RequirementError::Provided {
        name: "python".to_owned(),
        version: python.to_owned(),
        reason: "a version such as 3.12 is expected".to_owned(),
    })
}

/// Decides about every `Requires-Dist`. `earlier` are the changes in the source: what the backend
/// made of those is decided anew, as if it had never been changed.
pub(super) fn decided(
    metadata: &[u8],
    setting: &Setting<'_>,
    moment: &Moment,
    earlier: &[Pin],
) -> Result<(Vec<u8>, Vec<Pin>), PinError> {
    let valid = match std::str::from_utf8(metadata) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&metadata[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut names = family();
    names.extend(setting.rules.iter().map(|rule| rule.name.clone()));
    let (mut edits, mut pins, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for site in fields::find(valid, Place::Run, &names) {
        let Form::Requirement { parsed, whole, .. } = &site.form else { continue };
        if !setting.applies(parsed) {
            continue;
        }
        let line = line_of(valid, site.span.start);
        let pin = |then: Option<String>, why: String| Pin {
            file: METADATA.to_owned(),
            line,
            name: site.name.to_string(),
            now: site.text.clone(),
            then,
            why,
        };
        let rule = setting.rules.iter().find(|rule| rule.name == site.name);
        let policy = rule.and_then(|rule| rule.policy.as_ref());
        let original = original(parsed, earlier);
        let wanted = original.as_ref().unwrap_or(parsed).version_or_url.as_ref();
        match decide(&site.name, wanted, policy, moment, setting.torch) {
            Decision::Stays(_) => {}
            Decision::Becomes(specifiers, why) => {
                let is = match &parsed.version_or_url {
                    Some(VersionOrUrl::VersionSpecifier(now)) => same(now, &specifiers),
                    _ => false,
                };
                if !is {
                    let text = requirement::with_specifier(&site.text, &specifiers);
                    edits.push((site.span.clone(), text.clone()));
                    pins.push(pin(Some(text), why));
                }
            }
            Decision::Goes(why) => {
                edits.push((whole.clone().unwrap_or(site.span.clone()), String::new()));
                pins.push(pin(None, why));
            }
            Decision::Refused(_) if policy.is_none() && setting.is_optional(parsed) => {}
            Decision::Refused(why) => {
                refused.push((format!("{METADATA}:{line}"), site.text.clone(), why));
            }
        }
    }
    if !refused.is_empty() {
        return Err(PinError::Refused { refused });
    }
    let mut changed = edited(valid, edits).into_bytes();
    changed.extend(&metadata[valid.len()..]);
    Ok((changed, pins))
}

/// What a pin of a wheel calls its file.
const METADATA: &str = "METADATA";

/// Of a requirement that the source was changed to what it was before.
fn original(now: &Requirement, earlier: &[Pin]) -> Option<Requirement> {
    let made = |pin: &&Pin| {
        let then = pin.then.as_deref().and_then(|then| pep508::parse(then).ok());
        then.is_some_and(|then| then.name == now.name && version(&then) == version(now))
    };
    let found = earlier.iter().filter(|pin| pin.changes()).find(made)?;
    pep508::parse(&found.now).ok()
}

fn version(requirement: &Requirement) -> Vec<String> {
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => clauses(specifiers),
        Some(VersionOrUrl::Url(url)) => vec![url.to_string()],
        None => Vec::new(),
    }
}

fn same(one: &pep440_rs::VersionSpecifiers, other: &pep440_rs::VersionSpecifiers) -> bool {
    clauses(one) == clauses(other)
}

/// The clauses, whatever their order.
fn clauses(specifiers: &pep440_rs::VersionSpecifiers) -> Vec<String> {
    let mut clauses: Vec<_> = specifiers.iter().map(ToString::to_string).collect();
    clauses.sort();
    clauses
}
