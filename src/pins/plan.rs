//! What every pin of a tree becomes, and the files as they will be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, Requirement};

use super::policy::{Decision, Policy, TORCH, decide, one_version, release_pair};
use super::scan::{File, scan, speaks_of};
use super::site::{Form, Place, Site, line_of};
use super::{Moment, Pin, PinError, PinRule, TargetTorch, apart, requirement};

/// What decides about pins.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// The target's torch.
    pub torch: &'a TargetTorch,
    /// What was asked for.
    pub rules: &'a [PinRule],
    /// The target's markers.
    pub markers: &'a MarkerEnvironment,
}

impl Setting<'_> {
    fn policy(&self, site: &Site) -> Option<&Policy> {
        self.rules.iter().find(|rule| rule.name == site.name)?.policy.as_ref()
    }

    /// Whether nothing on the target may ever ask for it.
    fn may_be_unread(&self, site: &Site) -> bool {
        let optional = match &site.form {
            Form::Requirement { parsed, .. } => self.is_optional(parsed),
            _ => false,
        };
        site.place == Place::Perhaps || optional
    }

    /// Whether a requirement applies on the target, with whatever extras.
    pub(super) fn applies(&self, requirement: &Requirement) -> bool {
        let marker = requirement.marker.clone().simplify_extras_with(|_| true);
        marker.evaluate(self.markers, &[])
    }

    /// Whether it applies only where somebody asks for an extra.
    pub(super) fn is_optional(&self, requirement: &Requirement) -> bool {
        !requirement.evaluate_markers(self.markers, &[])
    }
}

/// Every pin of a tree, and the files that change, by their paths in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By file and line; those that stay as they are among them.
    pub pins: Vec<Pin>,
    /// The whole new content of every file that changes.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Plan {
    /// The pins that become others.
    pub fn changes(&self) -> Vec<Pin> {
        self.pins.iter().filter(|pin| pin.changes()).cloned().collect()
    }
}

/// Looks through a source tree and decides. Reads, and writes nothing.
///
/// # Errors
/// [`PinError`], with the lines: where the target cannot satisfy a pin that must not be relaxed, or
/// where what was asked for is not there, or not as often as was said.
pub fn plan(tree: &Path, setting: &Setting<'_>) -> Result<Plan, PinError> {
    let files = scan(tree, setting.rules)?;
    for rule in setting.rules {
        if !speaks_of(tree, &rule.name, &files)? {
            return Err(PinError::Unmatched { name: rule.name.to_string() });
        }
    }
    let mut plan = Plan::default();
    let mut refused = Vec::new();
    for file in &files {
        let mut edits = Vec::new();
        let apart = whole_file_apart(file);
        for site in &file.sites {
            let line = line_of(&file.text, site.span.start);
            let pin = |then: Option<String>, why: String| Pin {
                file: file.path.clone(),
                line,
                name: site.name.to_string(),
                now: site.text.clone(),
                then,
                why,
            };
            let stays = |why: String| pin(Some(site.text.clone()), why);
            match outcome(site, setting, apart.as_deref()) {
                Outcome::Unseen => {}
                Outcome::Stays(why) => plan.pins.push(stays(why)),
                Outcome::Becomes { text, edits: more, why } => {
                    edits.extend(more);
                    plan.pins.push(pin(Some(text), why));
                }
                Outcome::Goes { whole: Some(whole), why } => {
                    edits.push((whole, String::new()));
                    plan.pins.push(pin(None, why));
                }
                Outcome::Goes { whole: None, .. } => {
                    let (text, file) = (site.text.clone(), file.path.clone());
                    return Err(PinError::NoItem { text, file, line });
                }
                // What nobody asked for and perhaps nothing reads is only told.
                Outcome::Refused(why)
                    if setting.may_be_unread(site) && setting.policy(site).is_none() =>
                {
                    plan.pins.push(stays(why));
                }
                Outcome::Refused(why) => {
                    refused.push((format!("{}:{line}", file.path), site.text.clone(), why));
                }
            }
        }
        if !edits.is_empty() {
            let mut content = edited(&file.text, edits).into_bytes();
            content.extend(&file.rest);
            plan.files.insert(file.path.clone().into(), content);
        }
    }
    match refused.is_empty() {
        true => Ok(plan),
        false => Err(PinError::Refused { refused }),
    }
}

/// Replaces parts of a text. Where one lies within another, as two items of a line do, the outer
/// one counts.
pub(super) fn edited(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
    let mut new = String::with_capacity(text.len());
    let mut at = 0;
    for (span, replacement) in edits {
        if span.start < at {
            continue;
        }
        new.push_str(&text[at..span.start]);
        new.push_str(&replacement);
        at = span.end;
    }
    new + &text[at..]
}

/// What happens at a place.
enum Outcome {
    /// It is no pin.
    Unseen,
    Stays(String),
    Becomes {
        text: String,
        edits: Vec<(Range<usize>, String)>,
        why: String,
    },
    Goes {
        whole: Option<Range<usize>>,
        why: String,
    },
    Refused(String),
}

fn outcome(site: &Site, setting: &Setting<'_>, apart: Option<&str>) -> Outcome {
    match &site.form {
        Form::Requirement { .. } => of_requirement(site, setting, apart),
        Form::Version { at_least } => of_version(site, *at_least, setting),
        Form::Computed => Outcome::Stays(
            "the script puts it together when it runs; a literal of a recipe can change it"
                .to_owned(),
        ),
        Form::StableTarget(oldest) => {
            let why = format!("the stable ABI of torch {oldest} is compiled against");
            let older = release_pair(&setting.torch.version) < release_pair(oldest);
            match older && setting.policy(site).is_none() {
                true => Outcome::Refused(format!("{why}, and {} is older", setting.torch)),
                false => Outcome::Stays(why),
            }
        }
    }
}

fn of_requirement(site: &Site, setting: &Setting<'_>, apart: Option<&str>) -> Outcome {
    let Form::Requirement { parsed, whole, hashes, escaped } = &site.form else {
        return Outcome::Unseen;
    };
    let policy = setting.policy(site);
    if parsed.version_or_url.is_none() && policy.is_none() {
        return Outcome::Unseen;
    }
    if !setting.applies(parsed) {
        return Outcome::Stays("its marker excludes the target".to_owned());
    }
    if let Some(accelerator) = apart {
        return Outcome::Stays(format!("the file is for {accelerator}"));
    }
    let moment = if site.place == Place::Build { Moment::Build } else { Moment::Source };
    let wanted = parsed.version_or_url.as_ref();
    match decide(&site.name, wanted, policy, &moment, setting.torch) {
        Decision::Stays(why) => Outcome::Stays(why),
        Decision::Becomes(specifiers, mut why) => {
            let text = requirement::with_specifier(&site.text, &specifiers);
            let written = match escaped {
                true => text.replace('\\', "\\\\").replace('"', "\\\""),
                false => text.clone(),
            };
            let mut edits = vec![(site.span.clone(), written)];
            if let Some(hashes) = hashes {
                edits.push((hashes.clone(), String::new()));
                why += "; its hashes, which are those of other files, go";
            }
            Outcome::Becomes { text, edits, why }
        }
        Decision::Goes(why) => Outcome::Goes { whole: whole.clone(), why },
        Decision::Refused(why) => Outcome::Refused(why),
    }
}

/// A bare version becomes the release that the target has: a script compares it with torch's.
fn of_version(site: &Site, at_least: bool, setting: &Setting<'_>) -> Outcome {
    let known = setting.torch.knows(&site.name);
    let (release, why) = match (setting.policy(site), &known) {
        (Some(Policy::Specifier(asked)), _) => match one_version(asked) {
            Some(version) => (version.clone(), "asked for".to_owned()),
            None => {
                return Outcome::Refused(
                    "a script has one version here, and several were asked for".to_owned(),
                );
            }
        },
        (_, Some(known)) => (known.version().only_release(), known.says(&site.name)),
        (_, None) => {
            return Outcome::Stays(format!("nothing is known of the target's {}", site.name));
        }
    };
    let now = site.text.parse::<Version>();
    let fits = |now: &Version| if at_least { *now <= release } else { *now == release };
    match now.is_ok_and(|now| fits(&now)) {
        true => Outcome::Stays(why),
        false => {
            let text = release.to_string();
            Outcome::Becomes { edits: vec![(site.span.clone(), text.clone())], text, why }
        }
    }
}

/// The accelerator that a requirements file is for, where it is not CUDA: by its name, or by a
/// version in it.
fn whole_file_apart(file: &File) -> Option<String> {
    let is_list = [".txt", ".in", ".pip"].iter().any(|end| file.path.ends_with(end));
    if !is_list || file.path == "CMakeLists.txt" {
        return None;
    }
    let family = file.sites.iter().filter(|site| site.name.as_ref().starts_with(TORCH));
    let by_version = family.filter_map(|site| apart::accelerator(&site.text)).next();
    apart::accelerator_of_path(&file.path).or(by_version).map(str::to_owned)
}
