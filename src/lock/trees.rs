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
            Self::Missing { git: Some(git), source, .. } => {
                let own = source.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
                Some(format!(
                    "{own}`crosswheel.toml` can name a mirror or clone that has it, \
                     `[sources.\"{git}\"]` with `git = \"…\"`, another `commit` of it, or a folder \
                     with `path = \"…\"`"
                ))
            }
            Self::Missing { source, .. } => source.hint(),
            Self::NoFolder { .. } => Some("correct `folder` in the recipe".to_owned()),
        }
    }
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
        if let Some(tree) = known.iter().find(same).filter(|tree| is_there(context, tree)) {
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
fn is_there(context: &Context, tree: &LockedTree) -> bool {
    match &tree.source {
        None => true,
        Some(Source::Folder { path, digest }) if !path.exists() => {
            context.store.tree(digest).is_dir()
        }
        Some(source) => is_current(source).unwrap_or(false),
    }
}

/// What is asked for, as a request, and the same where it is another than the recipe's. Of paths
/// nothing is resolved: they may be those of the machine that wrote a bundle.
fn text(context: &Context, wanted: &SourceTree) -> (Option<String>, Option<String>) {
    // With a slash it is a path, whatever its name is.
    let folder = |path: &Path| format!("{}/", path.display());
    match &wanted.origin {
        Origin::Empty { .. } => (None, None),
        Origin::Pypi { pypi } => (Some(pypi.clone()), None),
        Origin::Path { path } => (Some(folder(path)), None),
        Origin::Git { git, commit } => match context.config.sources.get(git) {
            Some(Substitute { path: Some(path), .. }) => {
                let path = context.project.root().join(path);
                (Some(folder(&path)), Some(path.display().to_string()))
            }
            Some(Substitute { commit: Some(other), .. }) if other != commit => {
                let text = format!("git+{git}@{other}");
                (Some(text.clone()), Some(text))
            }
            _ => (Some(format!("git+{git}@{commit}")), None),
        },
    }
}
