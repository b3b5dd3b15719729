//! Looking after series: whether they still apply, and to what else they do.

use std::path::{Path, PathBuf};

use pep440_rs::{Version, VersionSpecifier, VersionSpecifiers};
use serde::Serialize;

use super::hunks::Place;
use super::{Description, Named, Outcome, Recorded, Series, SeriesError, attempt, file_name, text};
use crate::Result;
use crate::context::Context;
use crate::fetch;
use crate::lock::{Identity, Source, source_of};
use crate::manifest::write_together;
use crate::python::pyproject::Project;
use crate::request::Request;

/// What came of trying a series on a source.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The package.
    pub package: String,
    /// The series.
    pub series: String,
    /// The version, or the commit.
    pub source: String,
    /// Whether all of it applies.
    pub applies: bool,
    /// What came of each change.
    pub changes: Vec<Outcome>,
}

/// What came of trying a series on another source.
#[derive(Debug, Clone, Serialize)]
pub struct Refreshed {
    /// How the patches fit.
    pub checked: Checked,
    /// The series' folder that is for the source now; none where a patch does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<PathBuf>,
}

impl Checked {
    fn of(series: &Series, source: String, changes: Vec<Outcome>) -> Self {
        let (package, name) = (series.package.clone(), series.name.clone());
        let applies = changes.iter().all(Outcome::fits);
        Self { package, series: name, source, applies, changes }
    }
}

/// A source unpacked for a look at it, which goes with this value.
pub(super) struct Unpacked {
    pub(super) root: PathBuf,
    _scratch: tempfile::TempDir,
}

/// Unpacks a source, unpatched.
pub(super) fn unpack(context: &Context, source: &Source) -> Result<Unpacked> {
    let scratch = tempfile::tempdir_in(context.store.root()).map_err(SeriesError::Io)?;
    let root = fetch::unpacked(context, source, scratch.path())?;
    Ok(Unpacked { root, _scratch: scratch })
}

/// Tries a series on every source that it is recorded for.
pub fn check(context: &Context, series: &Series) -> Result<Vec<Checked>> {
    let patches = series.patches().map_err(SeriesError::Io)?;
    let of = |recorded: &Recorded| {
        let unpacked = unpack(context, &recorded.source(&series.package))?;
        let trial = attempt(&unpacked.root, &patches).map_err(SeriesError::Io)?;
        Ok(Checked::of(series, recorded.label(), trial.outcomes))
    };
    series.description.source.iter().map(of).collect()
}

/// Removes a patch, by its number or its file's name, where the others apply without it.
pub fn drop(context: &Context, series: &Series, patch: &str) -> Result<PathBuf> {
    let files = series.files().map_err(SeriesError::Io)?;
    let dropped = one(series, &files, patch)?;
    let mut rest = series.patches().map_err(SeriesError::Io)?;
    rest.retain(|named| named.name != file_name(&dropped));
    for recorded in &series.description.source {
        let source = recorded.source(&series.package);
        let unpacked = unpack(context, &source)?;
        let trial = attempt(&unpacked.root, &rest).map_err(SeriesError::Io)?;
        trial.check(&source.label())?;
    }
    remove(series, &dropped, rest.is_empty()).map_err(SeriesError::Io)?;
    Ok(dropped)
}

fn remove(series: &Series, patch: &Path, is_last: bool) -> std::io::Result<()> {
    fs_err::remove_file(patch)?;
    if is_last {
        fs_err::remove_file(series.folder.join(super::DESCRIPTION))?;
        // Something else may lie there.
        let _ = std::fs::remove_dir(&series.folder);
    }
    Ok(())
}

/// The patch of a series that a number or a file's name means.
fn one(series: &Series, files: &[PathBuf], patch: &str) -> Result<PathBuf, SeriesError> {
    let number = patch.parse::<usize>().ok();
    let is_meant = |path: &&PathBuf| {
        let name = file_name(path);
        name == patch || (number.is_some() && number_of(&name) == number)
    };
    let mut meant = files.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(path), None) => Ok(path.clone()),
        _ => Err(SeriesError::NoPatch {
            folder: series.folder.clone(),
            patch: patch.to_owned(),
            known: files.iter().map(|path| format!("`{}`", file_name(path))).collect(),
        }),
    }
}

/// The number that git's file names begin with.
pub(super) fn number_of(name: &str) -> Option<usize> {
    name.split('-').next()?.parse().ok()
}

/// Tries a series on another source and, where all of it applies, makes it one of that source too:
/// of a version that `when` names it is noted, for another a series of its own is written.
pub fn refresh(context: &Context, series: &Series, request: &Request) -> Result<Refreshed> {
    let source = source_of(context, request)?;
    let unpacked = unpack(context, &source)?;
    let told = Identity::of(&source, &Project::read(&unpacked.root)?);
    let identity = Identity { name: Some(series.package.clone()), ..told };
    let recorded = Recorded::of(&source, &identity).map_err(SeriesError::Io)?;
    let recorded = recorded.ok_or_else(|| not_patchable(request))?;
    let patches = series.patches().map_err(SeriesError::Io)?;
    let trial = attempt(&unpacked.root, &patches).map_err(SeriesError::Io)?;
    let checked = Checked::of(series, recorded.label(), trial.outcomes);
    if !checked.applies {
        return Ok(Refreshed { checked, written: None });
    }
    let is_its_own = match &recorded {
        Recorded::Sdist { version, .. } => series.names(version),
        Recorded::Git { .. } => false,
    };
    let written = match is_its_own {
        true => {
            let mut series = series.clone();
            series.record(recorded);
            series.describe().map_err(SeriesError::Io)?;
            series.folder
        }
        false => copy(series, recorded, &patches, &checked.changes)?,
    };
    Ok(Refreshed { checked, written: Some(written) })
}

/// Why there are no patches for what was asked for.
pub(super) fn not_patchable(request: &Request) -> SeriesError {
    let (reason, instead) = match request {
        Request::Folder(path) => (
            format!("`{}` is a folder, which is built as it lies", path.display()),
            "edit it where it is, and build it: `cargo xtask build-wheels PATH`",
        ),
        other => (
            format!("`{other}` does not tell its name and version"),
            "name a release of the index, or a commit",
        ),
    };
    SeriesError::NotPatchable { reason, instead }
}

/// A series for another source, with every hunk's number the one of its line there.
fn copy(
    series: &Series,
    recorded: Recorded,
    patches: &[Named],
    changes: &[Outcome],
) -> Result<PathBuf> {
    let name = recorded.label();
    let folder = series.folder.with_file_name(&name);
    if folder.exists() {
        return Err(SeriesError::Taken(folder).into());
    }
    let copy = Series {
        name,
        folder,
        description: Description::for_one(recorded),
        package: series.package.clone(),
    };
    let texts: Vec<Named> = patches
        .iter()
        .map(|patch| {
            let text = text::renumbered(&patch.text, &starts(patch, changes));
            Named { name: patch.name.clone(), text }
        })
        .collect();
    copy.write(&texts)?;
    Ok(copy.folder)
}

/// Where the hunks of a patch begin, before and after it.
fn starts(patch: &Named, changes: &[Outcome]) -> Vec<(usize, usize)> {
    let parsed = text::parse(&patch.text).unwrap_or_default();
    let outcomes = changes.iter().filter(|outcome| outcome.patch == patch.name);
    let mut starts = Vec::new();
    for (change, outcome) in parsed.iter().zip(outcomes) {
        for (hunk, placed) in super::hunks::of(&change.kind).iter().zip(&outcome.hunks) {
            let (old, new) = (hunk.old_range().start(), hunk.new_range().start());
            let moved = match placed.place {
                Place::Moved { to } => to.cast_signed() - placed.line.cast_signed(),
                _ => 0,
            };
            starts.push((old.saturating_add_signed(moved), new.saturating_add_signed(moved)));
        }
    }
    starts
}

impl Description {
    /// Of a series that is for one source.
    pub(super) fn for_one(recorded: Recorded) -> Self {
        let when = match &recorded {
            Recorded::Sdist { version, .. } => {
                let exactly = VersionSpecifier::equals_version(version.clone());
                Some(VersionSpecifiers::from(exactly))
            }
            Recorded::Git { .. } => None,
        };
        Self { when, source: vec![recorded] }
    }
}

impl Series {
    /// The patch that a number or a file's name means; all without one.
    pub fn some(&self, patch: Option<&str>) -> Result<Vec<Named>, SeriesError> {
        let mut patches = self.patches()?;
        if let Some(patch) = patch {
            let meant = file_name(&one(self, &self.files()?, patch)?);
            patches.retain(|patch| patch.name == meant);
        }
        Ok(patches)
    }

    /// Whether it says that it is for a version.
    pub fn names(&self, version: &Version) -> bool {
        let Description { when, source } = &self.description;
        let is_it =
            |other: &Recorded| matches!(other, Recorded::Sdist { version: v, .. } if v == version);
        source.iter().any(is_it) || when.as_ref().is_some_and(|when| when.contains(version))
    }

    /// Notes that the patches apply to a source, in place of another of its name.
    fn record(&mut self, recorded: Recorded) {
        let sources = &mut self.description.source;
        sources.retain(|other| other.label() != recorded.label());
        sources.push(recorded);
        sources.sort_by_key(Recorded::order);
    }

    /// Writes it with these patches, all or nothing; those of its files that are none of them go.
    pub(super) fn write(&self, patches: &[Named]) -> Result<()> {
        fs_err::create_dir_all(&self.folder).map_err(SeriesError::Io)?;
        let before = self.files().map_err(SeriesError::Io)?;
        let description = self.folder.join(super::DESCRIPTION);
        let text = self.text();
        let files: Vec<(PathBuf, &[u8])> = patches
            .iter()
            .map(|patch| (self.folder.join(&patch.name), &patch.text[..]))
            .chain([(description, text.as_bytes())])
            .collect();
        let places: Vec<(&Path, &[u8])> =
            files.iter().map(|(path, text)| (path.as_path(), *text)).collect();
        write_together(&places)?;
        for gone in before.iter().filter(|path| !files.iter().any(|(file, _)| file == *path)) {
            fs_err::remove_file(gone).map_err(SeriesError::Io)?;
        }
        Ok(())
    }
}

impl Recorded {
    /// Releases by their versions, then commits.
    fn order(&self) -> (Option<Version>, String) {
        match self {
            Self::Sdist { version, .. } => (Some(version.clone()), String::new()),
            Self::Git { commit, .. } => (None, commit.clone()),
        }
    }
}
