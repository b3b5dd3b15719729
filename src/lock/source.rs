//! The package's own source.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LockError, includes};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::context::Context;
use crate::git;
use crate::patch::{tree_digest, tree_digest_without};
use crate::python::pyproject::Project;
use crate::report::Event;
use crate::request::Request;

/// Where a package's source comes from, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A source distribution of the index.
    Index(Artifact),
    /// A source distribution on disk.
    Archive {
        /// Where it lies.
        path: PathBuf,
        /// Its digest.
        sha256: Sha256,
    },
    /// A source tree on disk.
    Folder {
        /// Where it lies.
        path: PathBuf,
        /// The digest of its files, as [`tree_digest`] defines it.
        digest: Sha256,
    },
    /// A commit of a git repository.
    Git {
        /// What git clones.
        url: String,
        /// The whole name of the commit.
        commit: String,
        /// The digest of its tree, submodules included, as [`tree_digest`] defines it.
        digest: Sha256,
    },
}

/// Of a folder, the digest without what compilers alone read.
pub(super) fn scripts(source: &Source) -> Result<Option<Sha256>, LockError> {
    let Source::Folder { path, .. } = source else { return Ok(None) };
    Ok(Some(tree_digest_without(path, includes::is_for_compilers)?))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "source".to_owned())
}

/// A name that is safe as a part of a folder's.
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c), "-")
}

impl Source {
    /// The digest of what it holds.
    pub fn digest(&self) -> Sha256 {
        match self {
            Self::Index(Artifact { sha256: digest, .. })
            | Self::Archive { sha256: digest, .. }
            | Self::Folder { digest, .. }
            | Self::Git { digest, .. } => *digest,
        }
    }

    /// What a person calls it: `causal-conv1d-1.7.0`, `my-checkout`.
    pub fn label(&self) -> String {
        match self {
            Self::Index(artifact) => format!("{}-{}", artifact.name, artifact.version),
            Self::Archive { path, .. } | Self::Folder { path, .. } => {
                let name = file_name(path);
                plain(name.trim_end_matches(".tar.gz").trim_end_matches(".zip"))
            }
            Self::Git { url, commit, .. } => {
                let name = file_name(Path::new(url));
                // As git abbreviates them.
                let commit = &commit[..commit.len().min(12)];
                format!("{}-{commit}", plain(name.trim_end_matches(".git")))
            }
        }
    }
}

/// What a source says that it is, as far as it does without being run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The project's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Identity {
    /// What a release of the index is called there, and what another source tree says of itself.
    pub(crate) fn of(source: &Source, project: &Project) -> Self {
        match source {
            Source::Index(artifact) => {
                Self { name: Some(artifact.name.clone()), version: Some(artifact.version.clone()) }
            }
            Source::Archive { .. } | Source::Folder { .. } | Source::Git { .. } => {
                Self { name: project.name.clone(), version: project.version.clone() }
            }
        }
    }
}

/// Looks the source up, or reads it.
pub(super) fn lock(context: &Context, request: &Request) -> Result<Source> {
    match request {
        Request::Index { name, version } => {
            let pypi = context.registries.pypi()?;
            let project = pypi.project(name)?;
            let choice = project.sdist(version.as_ref())?;
            if let Some(warning) = &choice.warning {
                context.reporter.report(Event::Warning(warning.to_string()));
            }
            Ok(Source::Index(pypi.artifact(&project, &choice)?))
        }
        Request::Archive(path) => of_archive(path),
        Request::Folder(path) | Request::Crate { folder: path, .. } | Request::Cmake(path) => {
            let digest = tree_digest(path).map_err(LockError::Io)?;
            Ok(Source::Folder { path: path.clone(), digest })
        }
        Request::Git(request) => {
            let (commit, digest) = git::lock(context, request)?;
            Ok(Source::Git { url: request.url.clone(), commit, digest })
        }
    }
}

fn of_archive(path: &Path) -> Result<Source> {
    let file = fs_err::File::open(path).map_err(LockError::Io)?;
    let (sha256, _) = Sha256::of_reader(file).map_err(LockError::Io)?;
    Ok(Source::Archive { path: path.to_owned(), sha256 })
}
