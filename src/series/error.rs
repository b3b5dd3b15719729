//! What can be wrong with a series.

use std::path::PathBuf;

use super::apply::Outcome;
use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};

/// Why local patches cannot be used, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// `series.toml` is not one.
    #[error("`{path}` does not describe a series of patches")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Patches that nothing says the versions of.
    #[error("`{folder}` holds patches, and no `series.toml` says for which sources")]
    Undescribed {
        /// The folder.
        folder: PathBuf,
    },
    /// Two series that are for one source.
    #[error("`{first}` and `{second}` are both for {source_name}")]
    Twice {
        /// One series' folder.
        first: PathBuf,
        /// The other's.
        second: PathBuf,
        /// What they are both for.
        source_name: String,
    },
    /// Another source than the one of that version that the series was made on.
    #[error(
        "the source of {source_name} has sha256 `{found}`, and the patches in `{folder}` were made on `{recorded}`"
    )]
    Changed {
        /// What is to be patched.
        source_name: String,
        /// The series' folder.
        folder: PathBuf,
        /// In `series.toml`.
        recorded: Sha256,
        /// Of the source.
        found: Sha256,
    },
    /// A patch does not apply.
    #[error("the patch `{}` does not apply to {source_name} {failed}", failed.patch)]
    DoesNotApply {
        /// What is to be patched.
        source_name: String,
        /// What is in the way.
        failed: Box<Outcome>,
    },
    /// A patch was changed or removed while it was used.
    #[error("the patch `{path}` with sha256 `{sha256}` is not there any more")]
    Gone {
        /// Below `patches/`.
        path: String,
        /// What it was locked with.
        sha256: Sha256,
    },
    /// A package without patches.
    #[error("there is no series of patches for `{name}`{}", list(" ", known))]
    NoSeries {
        /// As asked for.
        name: String,
        /// The series that there are.
        known: Vec<String>,
    },
    /// A package with several series.
    #[error("`{name}` has several series{}", list(" ", known))]
    SeveralSeries {
        /// As asked for.
        name: String,
        /// These.
        known: Vec<String>,
    },
    /// A series without such a patch.
    #[error("`{folder}` has no patch `{patch}`")]
    NoPatch {
        /// The series' folder.
        folder: PathBuf,
        /// As asked for.
        patch: String,
        /// The patches that it has.
        known: Vec<String>,
    },
    /// A source that patches cannot be made for.
    #[error("patches are for releases and commits: {reason}")]
    NotPatchable {
        /// Such as `` `./x` is a folder ``.
        reason: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The place of a new tree is taken.
    #[error("`{0}` is there already")]
    Taken(PathBuf),
    /// No tree of `patch start`.
    #[error("`{0}` is not a tree that `patch start` made")]
    NotATree(PathBuf),
    /// No tree is named, and there is not just one.
    #[error("which tree is meant?{}", list(" there are ", known))]
    WhichTree {
        /// Those that there are.
        known: Vec<String>,
    },
    /// Nothing to make a patch from.
    #[error("nothing in `{0}` differs from its series")]
    NothingChanged(PathBuf),
    /// Changes without words.
    #[error("`{0}` has changes, and no message says why")]
    NoMessage(PathBuf),
    /// A merge, which is no patch.
    #[error("`{0}` has a merge in its history, which no patch can hold")]
    Merge(PathBuf),
    /// The series is not what the tree was opened with.
    #[error("the patches in `{folder}` are others than `{tree}` was made with")]
    Diverged {
        /// The series' folder.
        folder: PathBuf,
        /// The tree.
        tree: PathBuf,
    },
    /// What git wrote down does not lead to what is in the tree.
    #[error("the patches of `{tree}` do not lead to what is in it")]
    NotTheTree {
        /// The tree.
        tree: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("patches cannot be read or written")]
    Io(#[from] std::io::Error),
}

fn list(before: &str, known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(":{before}`{}`", known.join("`, `")) }
}

impl Diagnose for SeriesError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::Undescribed { .. } | Self::Twice { .. } => Class::Usage,
            Self::Changed { .. } | Self::Gone { .. } => Class::Integrity,
            Self::DoesNotApply { .. } | Self::Diverged { .. } | Self::NotTheTree { .. } => {
                Class::Patch
            }
            Self::NoSeries { .. } | Self::NotPatchable { .. } => Class::Request,
            Self::Io(_) => Class::Io,
            _ => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { .. } | Self::Io(_) => return None,
            Self::Undescribed { .. } => {
                "`cargo xtask patch start` and `patch commit` write both; or restore it from the repository".to_owned()
            }
            Self::Twice { .. } => "narrow the `when` of one of them".to_owned(),
            Self::Changed { .. } => {
                "look at what changed: `cargo xtask patch refresh NAME --to VERSION` tries the patches on it, and records it".to_owned()
            }
            Self::DoesNotApply { failed, .. } => match &failed.refused {
                Some(super::Refusal::Malformed { .. }) => {
                    "write it with `git format-patch`, or `cargo xtask patch commit`".to_owned()
                }
                _ => "`cargo xtask patch check` tells of every hunk; mend the patch in a tree of `cargo xtask patch start`".to_owned(),
            },
            Self::Gone { .. } => "restore it from the repository, or build anew".to_owned(),
            Self::NoSeries { .. } => {
                "`cargo xtask patch start NAME==VERSION` begins one; `patch list` shows those that there are".to_owned()
            }
            Self::SeveralSeries { name, .. } => format!("name one: `{name}==VERSION`"),
            Self::NoPatch { known, .. } => format!("it has {}", known.join(", ")),
            Self::NotPatchable { instead, .. } => (*instead).to_owned(),
            Self::Taken(_) => {
                "go on in it, remove it, or name another place with `--dir`".to_owned()
            }
            Self::NotATree(_) => {
                "`cargo xtask patch status` lists the trees, `patch start REQUEST` makes one".to_owned()
            }
            Self::WhichTree { .. } => {
                "name its folder, or run this in it; `cargo xtask patch start REQUEST` makes one".to_owned()
            }
            Self::NothingChanged(_) => {
                "edit a file first; files that the tree's `.gitignore` names do not count".to_owned()
            }
            Self::NoMessage(_) => "say with `-m` what the patch is for".to_owned(),
            Self::Merge(_) => "rebase it: `git rebase crosswheel/base`".to_owned(),
            Self::Diverged { .. } => {
                "make a new tree with `patch start`, and bring your changes there, as with `git diff | git apply`".to_owned()
            }
            Self::NotTheTree { .. } => {
                "something in the tree that git does not see decides: look at `git status --ignored`".to_owned()
            }
        })
    }
}
