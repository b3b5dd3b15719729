//! Why an archive is refused.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Class, Diagnose};

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be opened.
    #[error("`{archive}` cannot be opened")]
    Open {
        /// The archive.
        archive: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is cut short or is not what its name says.
    #[error("`{archive}` is not a valid archive")]
    Malformed {
        /// The archive.
        archive: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One member cannot be decoded.
    #[error("`{member}` in `{archive}` cannot be read")]
    Member {
        /// The archive.
        archive: PathBuf,
        /// The member, as the archive names it.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// One member would do harm.
    #[error("`{member}` in `{archive}` {danger}")]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// The member, as the archive names it.
        member: String,
        /// What is wrong with it.
        danger: Danger,
    },
    /// An archive of a kind that is not read.
    #[error("`{archive}` is none of the kinds of archives that are read")]
    UnknownKind {
        /// The archive.
        archive: PathBuf,
        /// What is read.
        known: &'static str,
    },
    /// A source archive whose files are not all in one folder.
    #[error("`{archive}` holds {found} at its top, where one folder is expected")]
    Top {
        /// The archive.
        archive: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// No member matches what is wanted.
    #[error("nothing in `{archive}` matches `{pattern}`")]
    NoMatch {
        /// The archive.
        archive: PathBuf,
        /// The glob.
        pattern: String,
    },
    /// A glob that is none.
    #[error("a pattern is not a glob")]
    Pattern(#[from] globset::Error),
    /// The unpacked file cannot be written.
    #[error("an unpacked file cannot be written")]
    Write(#[source] io::Error),
}

/// What makes a member of an archive unacceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Danger {
    /// An absolute path, `..`, or a name that no file can have.
    #[error("would be written outside the folder it is unpacked in")]
    Outside,
    /// A name or path that is longer than any file system takes.
    #[error("has a name, or leads to one, that is too long for a file")]
    TooLong,
    /// A link to something that is not in the archive's own folder.
    #[error("is a link that leaves the folder it is unpacked in")]
    LinkOutside,
    /// A path through a link that the archive itself made.
    #[error("would be written through a link")]
    ThroughLink,
    /// Two members with one path.
    #[error("is there twice")]
    Duplicate,
    /// A hard link to nothing that came before it.
    #[error("is a hard link to a file that does not come before it")]
    DanglingHardLink,
    /// A device, a socket, a sparse file and the like.
    #[error("is neither a file, a folder nor a link")]
    Special,
    /// A name that cannot be written down.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// More bytes than [`super::Limits::bytes`].
    #[error("takes the archive over {0} bytes when unpacked")]
    TooLarge(u64),
    /// More entries than [`super::Limits::entries`].
    #[error("takes the archive over {0} entries")]
    TooMany(usize),
}

impl UnpackError {
    pub(super) fn malformed(archive: &Path, source: io::Error) -> Self {
        Self::Malformed { archive: archive.to_owned(), source }
    }
}

impl Diagnose for UnpackError {
    fn class(&self) -> Class {
        match self {
            Self::Open { .. } | Self::Write(_) => Class::Io,
            Self::Pattern(_) => Class::Usage,
            _ => Class::Archive,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKind { known, .. } => Some(format!("give one of {known}")),
            Self::Malformed { .. } | Self::Member { .. } => {
                Some("if the file was downloaded, delete it so that it is fetched again".into())
            }
            _ => None,
        }
    }
}
