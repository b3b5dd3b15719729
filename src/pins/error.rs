//! Why pins cannot be changed as asked.

use crate::error::{Class, Diagnose};

/// Why pins cannot be changed as asked. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The target cannot satisfy it, and it must not be relaxed.
    #[error("pins that the target does not satisfy cannot be relaxed{}", lines(refused))]
    Refused {
        /// The place, what stands there, and why.
        refused: Vec<(String, String, String)>,
    },
    /// A rule on a package that is required nowhere.
    #[error("the source requires `{name}` nowhere")]
    Unmatched {
        /// The package.
        name: String,
    },
    /// A rule on a crate that is required nowhere, or only by others.
    #[error("the source's manifests require the crate `{name}` nowhere")]
    UnmatchedCrate {
        /// The crate.
        name: String,
    },
    /// A literal that is not there as often as a recipe says.
    #[error(
        "the pattern for `{name}` matches {} times in `{file}`, and {expected} are expected{}",
        found.len(),
        found.iter().map(|(line, text)| format!("\n  | {file}:{line}: {text}")).collect::<String>()
    )]
    Matches {
        /// The package.
        name: String,
        /// The file.
        file: String,
        /// How often the recipe says.
        expected: usize,
        /// The lines where it is, with their numbers.
        found: Vec<(usize, String)>,
    },
    /// A literal that is not what its pattern's group says.
    #[error("line {line} of `{file}` cannot be changed as the recipe says: {reason}")]
    Literal {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A recipe points into a file that is not there.
    #[error("the recipe has a literal of `{name}` in `{file}`, which the source has not")]
    NoFile {
        /// The package.
        name: String,
        /// The file.
        file: String,
    },
    /// A requirement that shall go and is no item of a list.
    #[error("`{text}` on line {line} of `{file}` is no item of a list, and cannot be dropped")]
    NoItem {
        /// The requirement.
        text: String,
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// A torch, or what goes with it, whose version is none.
    #[error("`{version}` is not a version")]
    Version {
        /// As the torch has it.
        version: String,
        /// Why.
        source: pep440_rs::VersionParseError,
    },
    /// A file cannot be read or written.
    #[error("the source's pins cannot be read or written")]
    Io(#[from] std::io::Error),
}

fn lines(refused: &[(String, String, String)]) -> String {
    refused.iter().map(|(at, text, why)| format!("\n  | {at}: `{text}`: {why}")).collect()
}

impl Diagnose for PinError {
    fn class(&self) -> Class {
        match self {
            Self::Refused { .. } | Self::Version { .. } => Class::Torch,
            Self::Unmatched { .. }
            | Self::UnmatchedCrate { .. }
            | Self::Matches { .. }
            | Self::Literal { .. }
            | Self::NoFile { .. }
            | Self::NoItem { .. } => Class::Usage,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Refused { .. } => "give another torch with `--torch`, or, where you know better, \
                 say what the requirement shall become: `--pin NAME=target`, or a specifier"
                .to_owned(),
            Self::Unmatched { .. } => {
                "see `cargo xtask pins` for what it pins, and mind the name's spelling".to_owned()
            }
            Self::UnmatchedCrate { name } => format!(
                "mind its spelling; one that only other crates require can have one version, such as \
                 `{name}==1.2.3`"
            ),
            Self::Matches { .. } | Self::Literal { .. } | Self::NoFile { .. } => {
                "look at the lines, and change the recipe's pattern, or bind it to the versions that it fits with `[[version]]`".to_owned()
            }
            Self::NoItem { .. } => "give it a specifier instead of `drop`".to_owned(),
            Self::Version { .. } | Self::Io(_) => return None,
        })
    }
}
