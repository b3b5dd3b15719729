//! What can go wrong with a repository.

use std::path::PathBuf;

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::exec::ExecError;

/// Why a source tree cannot be had from git.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No `git` on the `PATH`.
    #[error("there is no `git` on the PATH")]
    Missing,
    /// The repository has no such commit or tag.
    #[error("`{url}` has no commit or tag `{reference}`")]
    Unknown {
        /// The repository.
        url: String,
        /// As asked for.
        reference: String,
    },
    /// Something that is not in the store would have to be fetched.
    #[error("`{url}` is not in the store as far as it is needed, and crosswheel is offline")]
    Offline {
        /// The repository.
        url: String,
    },
    /// Git could not list or fetch what the repository has.
    #[error("`{url}` cannot be fetched")]
    Unreachable {
        /// The repository.
        url: String,
        /// What git said.
        source: ExecError,
    },
    /// The tree is not the one that was locked.
    #[error("`{tree}` is not the tree that was locked: its digest is {actual}, not {expected}")]
    Changed {
        /// The folder in the store.
        tree: PathBuf,
        /// As locked.
        expected: Sha256,
        /// As it is.
        actual: Sha256,
    },
    /// Git failed, or did not run.
    #[error(transparent)]
    Git(#[from] ExecError),
    /// The store cannot be read or written.
    #[error("the store's git folder cannot be used")]
    Io(#[from] std::io::Error),
}

impl Diagnose for GitError {
    fn class(&self) -> Class {
        match self {
            Self::Missing => Class::Toolchain,
            Self::Unknown { .. } => Class::Request,
            Self::Unreachable { source: ExecError::Interrupted { .. }, .. } => Class::Interrupted,
            Self::Offline { .. } | Self::Unreachable { .. } => Class::Network,
            Self::Changed { .. } => Class::Integrity,
            Self::Git(source) => source.class(),
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => Some("install git, or give the source as a folder".to_owned()),
            Self::Unknown { .. } => {
                Some("a branch moves: name a tag, or a commit of a branch or tag".to_owned())
            }
            Self::Offline { .. } => {
                Some("run `cargo xtask fetch` for it once with a network".to_owned())
            }
            Self::Unreachable { .. } => Some(
                "check the URL; git asks for no password here, so a private repository needs a \
                 credential helper or an ssh agent"
                    .to_owned(),
            ),
            Self::Changed { tree, .. } => {
                Some(format!("remove `{}`, and it is fetched again", tree.display()))
            }
            Self::Git(source) => source.hint(),
            Self::Io(_) => None,
        }
    }
}
