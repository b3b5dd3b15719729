//! The source trees that a recipe names beside the package's own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::is_current;
use super::source::{self, Source};
use crate::Result;
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::project::Substitute;
use crate::recipe::{Origin, Recipe, SourceTree};
use crate::request::Request;

/// A source tree beside the package's own, locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedTree {
    /// As the recipe names it.
    pub wanted: SourceTree,
    /// What `crosswheel.toml` has in its place, where that is not the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What it is; none where nothing of it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

impl LockedTree {
    /// The folder, in that of all such trees, which the build is told of.
    pub fn folder(&self) -> PathBuf {
        let folder = self.wanted.folder.iter().flat_map(|folder| folder.iter());
        Path::new(&self.wanted.name).iter().chain(folder).collect()
    }
}

/// Why a source tree cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It cannot be had.
    #[error("the source `{name}`, which the recipe names, cannot be had")]
    Missing {
        /// What the recipe calls it.
        name: String,
        /// Its repository, where it is a commit of one.
        git: Option<String>,
        /// Why.
        source: crate::Error,
    },
    /// It has no folder of that name.
    #[error("the source `{name}` has no folder `{}`", folder.display())]
    NoFolder {
        /// What the recipe calls it.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
}

impl Diagnose for TreeError {
    fn class(&self) -> Class {
        match self {
            Self::Missing { source, .. } => source.class(),
            Self::NoFolder { .. } => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { git: Some(git), source, .. } => Some(elsewhere(git, source.hint())),
            Self::Missing { source, .. } => source.hint(),
            Self::NoFolder { .. } => Some("correct `folder` in the recipe".to_owned()),
        }
    }
}

/// What helps where a repository cannot be had, after what its own error says.
pub(crate) fn elsewhere(git: &str, own: Option<String>) -> String {
    let own = own.map(|hint| format!("{hint}; ")).unwrap_or_default();
    format!(
        "{own}`crosswheel.toml` can name a mirror or clone that has it, `[sources.\"{git}\"]` with \
         `git = \"…\"`, another `commit` of it, or a folder with `path = \"…\"`"
    )
}

/// Locks a commit of a repository; beside it, what the configuration has in its place.
pub(crate) fn commit(
    context: &Context,
    git: &str,
    commit: &str,
) -> Result<(Source, Option<String>)> {
    let (text, instead) = of_commit(context, git, commit);
    let request = Request::parse(&text, context.project.root()).map_err(crate::Error::from)?;
    Ok((source::lock(context, &request)?, instead))
}

/// Whether a commit of a repository is still what the configuration says, and can be had.
pub(crate) fn is_current_commit(
    context: &Context,
    git: &str,
    commit: &str,
    instead: &Option<String>,
    source: &Source,
) -> bool {
    of_commit(context, git, commit).1 == *instead && is_there(context, source)
}

/// Locks the trees of a recipe. What was locked before, and is what is wanted still, stays.
pub(super) fn lock(
    context: &Context,
    recipe: &Recipe,
    package: Option<&str>,
    known: &[LockedTree],
) -> Result<Vec<LockedTree>> {
    let patches = context.project.patches().join(package.unwrap_or_default());
    let lock = |wanted: &SourceTree| {
        let (request, instead) = text(context, wanted);
        let same = |tree: &&LockedTree| tree.wanted == *wanted && tree.instead == instead;
        if let Some(tree) = known
            .iter()
            .find(same)
            .filter(|tree| tree.source.as_ref().is_none_or(|source| is_there(context, source)))
        {
            return Ok(tree.clone());
        }
        let lock = |text: String| {
            let request = Request::parse(&text, &patches).map_err(crate::Error::from)?;
            source::lock(context, &request)
        };
        let source = request.map(lock).transpose().map_err(|source| missing(wanted, source))?;
        Ok(LockedTree { wanted: wanted.clone(), instead, source })
    };
    recipe.sources.iter().map(lock).collect()
}

fn missing(wanted: &SourceTree, source: crate::Error) -> crate::Error {
    let git = match &wanted.origin {
        Origin::Git { git, .. } => Some(git.clone()),
        _ => None,
    };
    TreeError::Missing { name: wanted.name.clone(), git, source }.into()
}

/// Whether a tree can still be had as it was locked: of folders, where it lies or in the store.
fn is_there(context: &Context, source: &Source) -> bool {
    match source {
        Source::Folder { path, digest } if !path.exists() => context.store.tree(digest).is_dir(),
        source => is_current(source).unwrap_or(false),
    }
}

/// What is asked for, as a request, and the same where it is another than the recipe's. Of paths
/// nothing is resolved: they may be those of the machine that wrote a bundle.
fn text(context: &Context, wanted: &SourceTree) -> (Option<String>, Option<String>) {
    match &wanted.origin {
        Origin::Empty { .. } => (None, None),
        Origin::Pypi { pypi } => (Some(pypi.clone()), None),
        Origin::Path { path } => (Some(folder(path)), None),
        Origin::Git { git, commit } => {
            let (text, instead) = of_commit(context, git, commit);
            (Some(text), instead)
        }
    }
}

/// A folder as a request: with a slash it is a path, whatever its name is.
fn folder(path: &Path) -> String {
    format!("{}/", path.display())
}

/// The same of a commit of a repository.
fn of_commit(context: &Context, git: &str, commit: &str) -> (String, Option<String>) {
    match context.config.sources.get(git) {
        Some(Substitute { path: Some(path), .. }) => {
            let path = context.project.root().join(path);
            (folder(&path), Some(path.display().to_string()))
        }
        Some(Substitute { commit: Some(other), .. }) if other != commit => {
            let text = format!("git+{git}@{other}");
            (text.clone(), Some(text))
        }
        _ => (format!("git+{git}@{commit}"), None),
    }
}
