//! Trees to make patches in: a package's patched source with a git history.
//!
//! In: a release or a commit. Out: a folder whose history is the source as it came, tagged
//! `crosswheel/base`, and a commit for each patch of its series; then, of what people commit
//! there, patches. Git is the machine's own; what it writes is held to what it was made from, by
//! the same code that applies patches in builds.

mod git;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use git::Git;

use super::edit::{not_patchable, number_of, unpack};
use super::{
    Description, Heading, Named, Recorded, Series, SeriesError, attempt, file_name, find,
    of_package, package_of,
};
use crate::Result;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::git::GitError;
use crate::lock::{Identity, Source, source_of};
use crate::python::pyproject::Project;
use crate::report::Event;
use crate::request::Request;

/// The folder of trees, below the project's root.
const TREES: &str = "work";
/// The source as it came.
const BASE: &str = "crosswheel/base";
/// The commit up to which the series has the history.
const EXPORTED: &str = "refs/crosswheel/exported";
/// What a tree was made from, below git's own folder, where it is no part of the tree.
const STATE: &str = ".git/crosswheel.json";

/// What a tree was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    package: String,
    series: String,
    source: Recorded,
    /// Over the patches that the series had, where it had any.
    patches: Option<Sha256>,
}

impl State {
    fn read(tree: &Path) -> Result<Self, SeriesError> {
        let none = || SeriesError::NotATree(tree.to_owned());
        let text = fs_err::read(tree.join(STATE)).map_err(|_| none())?;
        serde_json::from_slice(&text).map_err(|_| none())
    }

    fn write(&self, tree: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("strings serialise");
        fs_err::write(tree.join(STATE), text)
    }

    /// The series, which may have nothing in it yet.
    fn series(&self, context: &Context) -> Result<Series, SeriesError> {
        let patches = context.project.patches();
        let there = of_package(&patches, &self.package)?;
        let found = there.into_iter().find(|series| series.name == self.series);
        Ok(found.unwrap_or_else(|| Series {
            package: self.package.clone(),
            name: self.series.clone(),
            folder: patches.join(&self.package).join(&self.series),
            description: Description::for_one(self.source.clone()),
        }))
    }
}

fn digest(patches: &[Named]) -> Option<Sha256> {
    let digests: Vec<_> = patches.iter().map(|p| Sha256::of(&p.text).to_string()).collect();
    (!digests.is_empty()).then(|| Sha256::of(digests.join("\n")))
}

/// A tree that was made.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where it is.
    pub tree: PathBuf,
    /// The series that its patches belong to.
    pub series: String,
    /// How many patches were applied.
    pub patches: usize,
}

/// Opens a patched source tree with a history, in `folder` or below `work/`.
pub fn start(context: &Context, request: &Request, folder: Option<PathBuf>) -> Result<Started> {
    if matches!(request, Request::Folder(_)) {
        return Err(not_patchable(request).into());
    }
    let source = source_of(context, request)?;
    let place = context.project.root().join(TREES).join(source.label());
    let tree = folder.unwrap_or(place);
    if tree.exists() {
        return Err(SeriesError::Taken(tree).into());
    }
    let unpacked = unpack(context, &source)?;
    let root = &unpacked.root;
    let identity = Identity::of(&source, &Project::read(root)?);
    let recorded = Recorded::of(&source, &identity).map_err(SeriesError::Io)?;
    let (Some(package), Some(recorded)) = (package_of(&identity), recorded) else {
        return Err(not_patchable(request).into());
    };
    let series = find(&context.project.patches(), &source, &identity)?;
    let patches = series.as_ref().map_or(Ok(Vec::new()), Series::patches);
    let patches = patches.map_err(SeriesError::Io)?;
    attempt(root, &patches).map_err(SeriesError::Io)?.check(&source.label())?;
    let state = State {
        series: series.map_or_else(|| recorded.label(), |series| series.name),
        package,
        source: recorded,
        patches: digest(&patches),
    };
    history(context, root, &source, &patches)?;
    state.write(root).map_err(SeriesError::Io)?;
    keep_archive(context, &source).map_err(SeriesError::Io)?;
    place_tree(root, &tree).map_err(SeriesError::Io)?;
    let series = format!("{} {}", state.package, state.series);
    Ok(Started { tree, series, patches: patches.len() })
}

/// Commits the source, and each patch.
fn history(
    context: &Context,
    root: &Path,
    source: &Source,
    patches: &[Named],
) -> Result<(), crate::Error> {
    let git = Git::new(context, root)?;
    git.run(["init", "--quiet", "--initial-branch=main"])?;
    // Whatever the package's own attributes say, files are kept byte for byte.
    let attributes = "* -text -ident -filter -working-tree-encoding -eol\n";
    fs_err::create_dir_all(root.join(".git/info")).map_err(SeriesError::Io)?;
    fs_err::write(root.join(".git/info/attributes"), attributes).map_err(SeriesError::Io)?;
    for setting in ["core.autocrlf=false", "core.symlinks=true", "core.fileMode=true"] {
        let (name, value) = setting.split_once('=').expect("a name and a value");
        git.run(["config", name, value])?;
    }
    let commit = |heading: &[String]| -> Result<(), GitError> {
        git.run(["add", "--all", "--force"])?;
        let words = ["commit", "--quiet", "--no-verify", "--allow-empty", "--cleanup=verbatim"];
        git.run(words.iter().map(|word| (*word).to_owned()).chain(heading.iter().cloned()))
    };
    commit(&[format!("--message={}, as it came", source.label())])?;
    git.run(["tag", BASE])?;
    for patch in patches {
        attempt(root, std::slice::from_ref(patch))
            .and_then(|trial| trial.write())
            .map_err(SeriesError::Io)?;
        commit(&words(patch))?;
    }
    git.run(["update-ref", EXPORTED, "HEAD"])?;
    Ok(())
}

/// What a patch says of itself, as words of `git commit`.
fn words(patch: &Named) -> Vec<String> {
    let heading = Heading::read(&patch.text);
    let subject = heading.subject.unwrap_or_else(|| patch.name.trim_end_matches(".patch").into());
    let message = match heading.body.is_empty() {
        true => format!("--message={subject}\n"),
        false => format!("--message={subject}\n\n{}\n", heading.body),
    };
    let author = heading.author.filter(|author| author.contains('<') && author.ends_with('>'));
    let author = author.map(|author| format!("--author={author}"));
    let date = heading.date.map(|date| format!("--date={date}"));
    [Some(message), author, date].into_iter().flatten().collect()
}

/// An archive on disk is kept in the store, from which the series can be checked later.
fn keep_archive(context: &Context, source: &Source) -> std::io::Result<()> {
    let Source::Archive { path, sha256 } = source else { return Ok(()) };
    super::keep(&context.store, *sha256, &fs_err::read(path)?)
}

/// Gives a tree its place, which may be on another disk than the store.
fn place_tree(root: &Path, tree: &Path) -> std::io::Result<()> {
    let parent = tree.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    if fs_err::rename(root, tree).is_ok() {
        return Ok(());
    }
    let staging = tempfile::tempdir_in(parent)?;
    let copy = staging.path().join("tree");
    copy_all(root, &copy)?;
    fs_err::rename(copy, tree)
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let path = entry.path().strip_prefix(from).map_err(std::io::Error::other)?;
        let copy = to.join(path);
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(copy)?;
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(fs_err::read_link(entry.path())?, copy)?;
        } else {
            fs_err::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// Patches that were made of a tree's history.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The series' folder.
    pub folder: PathBuf,
    /// The files' names that are new, or all where the history was rewritten.
    pub patches: Vec<String>,
    /// Whether the series was written anew.
    pub rewritten: bool,
}

/// Makes of what changed in a tree the next patch of its series, and of commits that people made
/// there further ones. Where the history was rewritten, so is the series.
pub fn commit(context: &Context, tree: &Path, message: Option<&str>) -> Result<Committed> {
    let mut state = State::read(tree)?;
    let series = state.series(context)?;
    let before = series.patches().map_err(SeriesError::Io)?;
    if digest(&before) != state.patches {
        let (folder, tree) = (series.folder, tree.to_owned());
        return Err(SeriesError::Diverged { folder, tree }.into());
    }
    let git = Git::new(context, tree)?;
    commit_changes(context, &git, tree, message)?;
    let rewritten = !git.says(["merge-base", "--is-ancestor", EXPORTED, "HEAD"])?;
    let from = if rewritten { BASE } else { EXPORTED };
    let range = format!("{from}..HEAD");
    if git.read(["rev-list", "--merges", "--count", &range])?.trim() != "0" {
        return Err(SeriesError::Merge(tree.to_owned()).into());
    }
    let kept = if rewritten { Vec::new() } else { before };
    let made = format_patches(context, &git, &range, &kept)?;
    if made.is_empty() && !rewritten {
        return Err(SeriesError::NothingChanged(tree.to_owned()).into());
    }
    let names = made.iter().map(|patch| patch.name.clone()).collect();
    let all: Vec<Named> = kept.into_iter().chain(made).collect();
    hold(context, &state, &all, tree)?;
    series.write(&all)?;
    state.patches = digest(&all);
    state.write(tree).map_err(SeriesError::Io)?;
    git.run(["update-ref", EXPORTED, "HEAD"])?;
    Ok(Committed { folder: series.folder, patches: names, rewritten })
}

fn commit_changes(
    context: &Context,
    git: &Git<'_>,
    tree: &Path,
    message: Option<&str>,
) -> Result<()> {
    let ignored = git.ignored()?;
    if !ignored.is_empty() {
        let note = format!("the tree's `.gitignore` keeps out: {}", ignored.join(", "));
        context.reporter.report(Event::Note(note));
    }
    if git.changed()?.is_empty() {
        return Ok(());
    }
    let Some(message) = message.filter(|message| !message.trim().is_empty()) else {
        return Err(SeriesError::NoMessage(tree.to_owned()).into());
    };
    git.run(["add", "--all"])?;
    git.run(["commit", "--quiet", "--no-verify", &format!("--message={message}")])?;
    Ok(())
}

/// A range of commits as patches, numbered on from those that there are.
fn format_patches(
    context: &Context,
    git: &Git<'_>,
    range: &str,
    kept: &[Named],
) -> Result<Vec<Named>> {
    let last = kept.iter().filter_map(|patch| number_of(&patch.name)).max().unwrap_or(0);
    let out = tempfile::tempdir_in(context.store.root()).map_err(SeriesError::Io)?;
    let words = "format-patch --quiet --binary --full-index --no-signature --zero-commit \
         --no-numbered --no-encode-email-headers --find-renames --src-prefix=a/ --dst-prefix=b/";
    let words = words.split_whitespace().map(str::to_owned);
    let own = [
        format!("--start-number={}", last + 1),
        format!("--output-directory={}", out.path().display()),
        range.to_owned(),
    ];
    git.run(words.chain(own))?;
    let read = |path: PathBuf| Ok(Named { name: file_name(&path), text: fs_err::read(path)? });
    let made = super::entries(out.path()).and_then(|all| all.into_iter().map(read).collect());
    Ok(made.map_err(SeriesError::Io)?)
}

/// That patches lead from the source as it came to what is in a tree.
fn hold(context: &Context, state: &State, patches: &[Named], tree: &Path) -> Result<()> {
    let source = state.source.source(&state.package);
    let unpacked = unpack(context, &source)?;
    let trial = attempt(&unpacked.root, patches).map_err(SeriesError::Io)?;
    trial.check(&source.label())?;
    match trial.is_as_in(tree).map_err(SeriesError::Io)? {
        true => Ok(()),
        false => Err(SeriesError::NotTheTree { tree: tree.to_owned() }.into()),
    }
}

/// How a tree stands to its series.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The tree.
    pub tree: PathBuf,
    /// The package.
    pub package: String,
    /// The series.
    pub series: String,
    /// The version, or the commit, that it was made from.
    pub source: String,
    /// Patches in the series.
    pub patches: usize,
    /// Files that differ from the last commit.
    pub changed: Vec<String>,
    /// The subjects of commits that are not in the series yet, the oldest first.
    pub commits: Vec<String>,
    /// Whether history that the series has was rewritten.
    pub rewritten: bool,
    /// Whether the series is not the one any more that the tree was made with.
    pub diverged: bool,
}

/// How a tree stands to its series.
pub fn status(context: &Context, tree: &Path) -> Result<Status> {
    let state = State::read(tree)?;
    let patches = state.series(context)?.patches().map_err(SeriesError::Io)?;
    let git = Git::new(context, tree)?;
    let rewritten = !git.says(["merge-base", "--is-ancestor", EXPORTED, "HEAD"])?;
    let from = if rewritten { BASE } else { EXPORTED };
    let log = git.read(["log", "--reverse", "--format=%s", &format!("{from}..HEAD")])?;
    let names = git.changed()?.into_iter().map(|line| line[3..].to_owned()).collect();
    Ok(Status {
        tree: tree.to_owned(),
        source: state.source.label(),
        patches: patches.len(),
        changed: names,
        commits: log.lines().map(str::to_owned).collect(),
        rewritten,
        diverged: digest(&patches) != state.patches,
        package: state.package,
        series: state.series,
    })
}

/// The trees below `work/`.
pub fn trees(context: &Context) -> Result<Vec<PathBuf>, SeriesError> {
    let all = super::entries(&context.project.root().join(TREES))?;
    Ok(all.into_iter().filter(|tree| tree.join(STATE).is_file()).collect())
}

/// The tree that is meant: the one named, the one that this runs in, or the only one.
pub fn meant(context: &Context, named: Option<&Path>) -> Result<PathBuf, SeriesError> {
    let here = context.environment.current_dir();
    if let Some(named) = named {
        let tree = here.join(named);
        return match tree.join(STATE).is_file() {
            true => Ok(fs_err::canonicalize(tree)?),
            false => Err(SeriesError::NotATree(tree)),
        };
    }
    if let Some(tree) = here.ancestors().find(|folder| folder.join(STATE).is_file()) {
        return Ok(tree.to_owned());
    }
    let all = trees(context)?;
    match &all[..] {
        [only] => Ok(only.clone()),
        _ => Err(SeriesError::WhichTree {
            known: all.iter().map(|tree| tree.display().to_string()).collect(),
        }),
    }
}
