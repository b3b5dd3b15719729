//! One writer for every wheel.
//!
//! In: the wheel that a build backend made, and what it shall be called. Out: [`Packaged`], a
//! wheel whose bytes depend on nothing but its members, its name and `SOURCE_DATE_EPOCH`. Nothing
//! here runs a tool or looks at what is inside the members.

pub mod archive;
mod deflate;
pub mod metadata;
pub mod name;
pub(crate) mod parallel;
pub mod record;
mod stage;
pub mod time;
pub mod version;
mod write;

use std::io;
use std::path::PathBuf;

use pep440_rs::Version;
use serde::Serialize;

pub use archive::{WheelArchive, WheelContents};
pub use name::{WheelName, WheelTags};
pub use stage::package;
pub use time::ArchiveTime;
pub use version::local_version;
pub use write::write_wheel;

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::pins::Pin;

/// What a wheel is called and when its members say they were made.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The whole version, local part included.
    pub version: Version,
    /// What the wheel installs on.
    pub tags: WheelTags,
    /// The time of every member.
    pub time: ArchiveTime,
}

/// A wheel as written.
#[derive(Debug, Clone, Serialize)]
pub struct Packaged {
    /// Where it lies.
    pub path: PathBuf,
    /// Its file name, taken apart.
    pub name: WheelName,
    /// The digest of the file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// How many members it has, `RECORD` included.
    pub members: usize,
    /// The requirements of its `METADATA` that were changed.
    #[serde(skip)]
    pub pins: Vec<Pin>,
}

/// Why a wheel cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The wheel, or a file that goes into it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a zip archive, or a broken one.
    #[error("`{path}` is not a readable zip archive")]
    Zip {
        /// The wheel.
        path: PathBuf,
        /// Why.
        source: zip::result::ZipError,
    },
    /// A member that cannot be read: truncated, or with a wrong CRC.
    #[error("`{member}` of `{path}` cannot be read")]
    Member {
        /// The wheel.
        path: PathBuf,
        /// The member.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// A member that no wheel may have.
    #[error("`{path}` has a member `{member}` that {reason}")]
    UnsafeMember {
        /// The wheel.
        path: PathBuf,
        /// The member.
        member: String,
        /// Such as `is a symbolic link`.
        reason: &'static str,
    },
    /// No `.dist-info` folder, or more than one.
    #[error("`{path}` has {found} `.dist-info` folders; a wheel has one")]
    DistInfo {
        /// The wheel, or the folder that holds its members.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// `METADATA` is missing or lacks a field.
    #[error("`{path}` has no usable `{field}` in its `METADATA`")]
    Metadata {
        /// The wheel.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// `SOURCE_DATE_EPOCH` is not a time that a zip archive can hold.
    #[error("`SOURCE_DATE_EPOCH` is `{0}`, which is no time between 1970 and 2107 in seconds")]
    SourceDateEpoch(String),
    /// A version that is not PEP 440's.
    #[error("`{version}` is not a version")]
    Version {
        /// The text.
        version: String,
        /// Why.
        source: pep440_rs::VersionParseError,
    },
    /// What `build-ext` builds makes none or several of what it hands over.
    #[error("one shared library is wanted, and the project makes {}", count(names))]
    Libraries {
        /// Their names.
        names: Vec<String>,
    },
    /// A wheel whose file name, or whose extension modules, contradict each other.
    #[error("no tags fit the file name and the extension modules of `{0}`")]
    Tags(PathBuf),
    /// The wheel cannot be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The wheel.
        path: PathBuf,
        /// Why, such as a full disk.
        source: io::Error,
    },
}

fn count(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

impl Diagnose for PackageError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } | Self::Write { .. } => Class::Io,
            Self::SourceDateEpoch(_) => Class::Usage,
            Self::Libraries { .. } => Class::Build,
            Self::Zip { .. }
            | Self::Member { .. }
            | Self::UnsafeMember { .. }
            | Self::DistInfo { .. }
            | Self::Metadata { .. }
            | Self::Version { .. }
            | Self::Tags(_) => Class::Archive,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::SourceDateEpoch(_) => Some(
                "set it to whole seconds since 1970, such as a commit's time, or unset it"
                    .to_owned(),
            ),
            Self::Libraries { .. } => Some(
                "`build-wheels` puts all that it makes into a wheel, and `--only` chooses one target"
                    .to_owned(),
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or give another output folder".to_owned())
            }
            Self::Zip { .. } | Self::Member { .. } => {
                Some("the file may be truncated: build or download it again".to_owned())
            }
            _ => None,
        }
    }
}
