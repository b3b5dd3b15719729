//! Verify: builds a wheel a second time from its manifest, and compares.
//!
//! In: a manifest, or a wheel with one beside it. Out: a [`Verdict`]. Nothing is resolved anew:
//! source, toolchain, torch, build requirements, recipe and options are the recorded ones, and
//! where this machine or this checkout has others, these are named before anything is built. The
//! second build shares no folder with the first.

pub mod compare;
mod inputs;
mod record;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use compare::{Cause, CauseKind, Difference, Kind, Place};
pub use inputs::Changed;
pub use record::{Record, Subject};

use crate::Result;
use crate::actions::Action;
use crate::artifact::Sha256;
use crate::atomic;
use crate::compile::Built;
use crate::configure::BuildFolder;
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::exec::{Command, Isolation, capture};
use crate::extension::HandedOver;
use crate::fetch::{Fetched, fetch};
use crate::lock::keep_log;
use crate::package::Packaged;
use crate::pipeline;
use crate::report::Event;
use crate::resolve::MaxSilence;

/// What a caller may choose: where things lie now, and what does not decide bytes.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the source folder or archive lies, if not where it lay.
    pub source: Option<PathBuf>,
    /// Where the torch wheel or folder lies, if not where it lay.
    pub torch: Option<PathBuf>,
    /// Where the headers of the target's Python lie, if not where they lay.
    pub python_headers: Option<PathBuf>,
    /// How many compilers may run at once.
    pub jobs: Option<NonZeroUsize>,
    /// How long a build script may do nothing.
    pub max_silence: Option<MaxSilence>,
    /// A folder for the second wheel.
    pub keep: Option<PathBuf>,
}

/// What came of it; `docs/schemas/verify.schema.json` describes its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The manifest.
    pub manifest: PathBuf,
    /// Whether both wheels have the same bytes.
    pub reproduced: bool,
    /// The first wheel's file name and digest, from the manifest.
    pub first: Wheel,
    /// The second wheel's.
    pub second: Wheel,
    /// How the first build was kept apart.
    pub first_isolation: Isolation,
    /// How the second build was.
    pub second_isolation: Isolation,
    /// Compiler calls that were others in the second build.
    pub commands: Vec<CommandDifference>,
    /// Members that differ; none where the first wheel is not at hand.
    pub differences: Vec<Difference>,
    /// Where the second wheel was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
    /// diffoscope's report, where that program is on the machine and the second wheel is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diffoscope: Option<PathBuf>,
    /// What else is to be known of the result.
    pub notes: Vec<String>,
}

/// A wheel of one of the builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wheel {
    /// Its file name.
    pub file: String,
    /// Its digest.
    pub sha256: Sha256,
}

/// A compiler call that was not the same in both builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandDifference {
    /// What it made.
    pub label: String,
    /// Arguments that only the first build's had.
    pub first: Vec<String>,
    /// Arguments that only the second build's had.
    pub second: Vec<String>,
}

/// Why a wheel cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A wheel alone.
    #[error("`{wheel}` has no manifest beside it")]
    NoManifest {
        /// The wheel.
        wheel: PathBuf,
        /// Where its manifest would be.
        manifest: PathBuf,
    },
    /// Something else, or from before manifests told enough.
    #[error("`{path}` is not a manifest that a build can be repeated from")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A form of another crosswheel.
    #[error(
        "`{path}` has the form {found}, and this crosswheel reads {}",
        crate::manifest::SCHEMA_VERSION
    )]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// Its `schema_version`.
        found: u32,
    },
    /// The wheel is not the one of the manifest.
    #[error(
        "`{wheel}` is not the wheel of its manifest: it has sha256 `{actual}` where `{expected}` is expected"
    )]
    WheelChanged {
        /// The wheel.
        wheel: PathBuf,
        /// From the manifest.
        expected: Sha256,
        /// Of what it holds now.
        actual: Sha256,
    },
    /// Inputs that are not here what they were.
    #[error("the recorded inputs are not those that are here{}", list(changed))]
    Inputs {
        /// All of them.
        changed: Vec<Changed>,
    },
    /// A file cannot be read or written.
    #[error("files of a verification cannot be read or written")]
    Io(#[from] std::io::Error),
}

fn list(changed: &[Changed]) -> String {
    changed.iter().map(|changed| format!("\n  {changed}")).collect()
}

impl Diagnose for VerifyError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::Schema { .. } => Class::Usage,
            Self::NoManifest { .. } => Class::Request,
            Self::WheelChanged { .. } | Self::Inputs { .. } => Class::Integrity,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoManifest { manifest, .. } => {
                format!("`{}` is expected, which `build-wheels` wrote", manifest.display())
            }
            Self::Malformed { .. } | Self::Schema { .. } => {
                "give the `.manifest.json` that `build-wheels` wrote beside a wheel, with the same version of crosswheel".to_owned()
            }
            Self::WheelChanged { .. } => {
                "the wheel was changed or replaced after it was built".to_owned()
            }
            Self::Inputs { changed } => hint(changed),
            Self::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "give a wheel with its manifest beside it, or the manifest itself".to_owned()
            }
            Self::Io(_) => return None,
        })
    }
}

fn hint(changed: &[Changed]) -> String {
    let sources = ["source ", "torch `", "Python headers "];
    let on_disk = |changed: &Changed| sources.iter().any(|start| changed.input.starts_with(start));
    match changed.iter().all(on_disk) {
        true => "restore what was built, or say where it lies now with `--source`, `--torch` or `--python-headers`".to_owned(),
        false => "check out the crosswheel that built the wheel, with its `toolchains/`".to_owned(),
    }
}

/// Gets every input of a manifest's build, for a later verification without a network.
pub fn prefetch(context: &Context, subject: &Subject, options: &Options) -> Result<Fetched> {
    fetch(context, inputs::locked(context, &subject.record, options)?)
}

/// Builds the wheel of a manifest again, and compares.
pub fn verify(context: &Context, subject: &Subject, options: &Options) -> Result<Verdict> {
    let record = &subject.record;
    let locked = inputs::locked(context, record, options)?;
    if let Some(folder) = &options.keep {
        fs_err::create_dir_all(folder).map_err(VerifyError::Io)?;
    }
    let builds = context.store.root().join("builds");
    fs_err::create_dir_all(&builds).map_err(VerifyError::Io)?;
    let scratch = tempfile::Builder::new().prefix(".verify-").tempdir_in(builds);
    let scratch = scratch.map_err(VerifyError::Io)?;
    // What the cache serves says nothing about a second build.
    let folder = BuildFolder::new(scratch.path()).without_cache();
    let made = pipeline::make(context, locked, folder);
    let (built, packaged) = match made {
        Ok(made) => made,
        Err(error) => {
            keep_log(scratch).map_err(VerifyError::Io)?;
            return Err(error);
        }
    };
    context.interrupt.check()?;
    verdict(context, subject, options, &built, &packaged)
}

fn verdict(
    context: &Context,
    subject: &Subject,
    options: &Options,
    built: &Built,
    packaged: &Packaged,
) -> Result<Verdict> {
    let record = &subject.record;
    let first = Wheel { file: record.wheel.file.clone(), sha256: record.wheel.sha256 };
    let handed = HandedOver::of(&built.locked.resolved.request, packaged)?;
    let second = Wheel { file: handed.entry.file.clone(), sha256: handed.entry.sha256 };
    let reproduced = first.sha256 == second.sha256;
    let kept = options.keep.as_ref().map(|folder| keep(&handed, folder)).transpose()?;
    let at_hand = subject.wheel.as_deref().filter(|_| !reproduced);
    // A shared library has no members: diffoscope tells more.
    let members = at_hand.filter(|path| path.extension().is_some_and(|e| e == "whl"));
    let differences = match members {
        Some(wheel) => compare::compare(wheel, &packaged.path)?,
        None => Vec::new(),
    };
    let diffoscope = match (at_hand, &kept) {
        (Some(wheel), Some(kept)) => diffoscope(context, wheel, kept)?,
        _ => None,
    };
    let commands = match reproduced {
        true => Vec::new(),
        false => commands(&record.actions, &built.actions),
    };
    Ok(Verdict {
        manifest: subject.manifest.clone(),
        reproduced,
        notes: notes(subject, built, reproduced),
        first,
        second,
        first_isolation: record.isolation.clone(),
        second_isolation: built.isolation.clone(),
        commands,
        differences,
        kept,
        diffoscope,
    })
}

fn notes(subject: &Subject, built: &Built, reproduced: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !reproduced && subject.wheel.is_none() {
        let file = &subject.record.wheel.file;
        notes.push(format!("`{file}` is not beside its manifest: members cannot be compared"));
    }
    let fixed = [&subject.record.isolation, &built.isolation].map(Isolation::has_fixed_path);
    if fixed.contains(&false) {
        notes.push(paths_note(fixed));
    }
    notes
}

/// What it means that a build saw the machine's own paths.
fn paths_note(fixed: [bool; 2]) -> String {
    let which = match fixed {
        [false, false] => "both builds",
        [false, true] => "the first build",
        _ => "the second build",
    };
    format!(
        "{which} ran without a fixed path: compiler options stand for it, which do not map what \
         nvcc's `-G` writes, nor what a build script writes itself"
    )
}

/// Compiler calls whose words differ, by what they made.
fn commands(first: &[Action], second: &[Action]) -> Vec<CommandDifference> {
    let key = |action: &Action| (action.label.clone(), action.output.clone(), action.cwd.clone());
    let mut found = Vec::new();
    for one in first {
        let Some(two) = second.iter().find(|two| key(two) == key(one)) else {
            let (label, first) = (one.label.clone(), one.command.clone());
            found.push(CommandDifference { label, first, second: Vec::new() });
            continue;
        };
        let without = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|word| !b.contains(word) && !maps_to_itself(word)).cloned().collect()
        };
        let first = without(&one.command, &two.command);
        let second = without(&two.command, &one.command);
        if !first.is_empty() || !second.is_empty() {
            found.push(CommandDifference { label: one.label.clone(), first, second });
        }
    }
    for two in second.iter().filter(|two| !first.iter().any(|one| key(one) == key(two))) {
        let (label, second) = (two.label.clone(), two.command.clone());
        found.push(CommandDifference { label, first: Vec::new(), second });
    }
    found
}

/// An option that is there only without a fixed path, as manifests write it.
fn maps_to_itself(word: &str) -> bool {
    let map = word.strip_prefix("-ffile-prefix-map=").and_then(|map| map.split_once('='));
    map.is_some_and(|(real, canonical)| real == canonical)
}

fn keep(handed: &HandedOver, folder: &Path) -> Result<PathBuf, VerifyError> {
    let path = folder.join(&handed.entry.file);
    atomic::write(&path, atomic::PLAIN, &handed.bytes)?;
    Ok(path)
}

/// Has diffoscope write its report beside the kept wheel, where it is on the machine.
fn diffoscope(context: &Context, first: &Path, kept: &Path) -> Result<Option<PathBuf>> {
    let Some(program) = capture::find(&context.environment, "diffoscope") else { return Ok(None) };
    let report = kept.with_extension("diffoscope.txt");
    let folder = kept.parent().unwrap_or(Path::new("."));
    let finished = Command::new(program, folder)
        .arg("--text")
        .arg(&report)
        .args([first, kept])
        .variables(context.environment.get("PATH").map(|path| ("PATH", path)))
        .run(&context.interrupt)?;
    if report.is_file() {
        return Ok(Some(report));
    }
    // Its own exit code is 1 where files differ; without a report, it failed.
    let said = finished.tail.last().map_or("it says nothing", String::as_str);
    context.reporter.report(Event::Warning(format!("diffoscope wrote no report: {said}")));
    Ok(None)
}
