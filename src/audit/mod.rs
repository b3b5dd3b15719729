//! What a built file needs and holds, and whether the target has it.
//!
//! In: a wheel or a shared object, whoever made it. Out: a [`Report`] with the facts of each ELF
//! file and a set of [`Violation`]s. Two steps: [`inspect()`] reads the file once,
//! [`Inspection::check`] judges what was read against a target, as often as wanted. Nothing here
//! runs a tool, prints, or trusts a byte of what it reads.

pub mod abi3;
mod cache;
pub mod check;
pub mod closure;
pub mod compare;
pub mod coverage;
pub mod elf;
pub mod fatbin;
pub mod floors;
mod inspect;
pub mod libraries;
pub mod report;
mod requires;
mod runpath;
pub mod sarif;
mod stage;
pub mod tags;
pub mod torches;
pub mod traces;
mod wheel;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use cache::inspect_once;
pub use inspect::{inspect, inspect_for};
pub use report::{Code, FileFacts, Inspection, Report, Violation};
pub use stage::{Rejected, check, providers};

use crate::error::{Class, Diagnose};
use crate::package::PackageError;
use crate::symbols::LibraryError;
use crate::target::{Arch, Target};

/// What a package's recipe asks of its wheel, beyond what every wheel must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Policy {
    /// Whether the sources have `.cu` files, so that a wheel without device code is a failure.
    pub expect_device_code: bool,
    /// Globs, each of which some member must match.
    pub contract: Vec<String>,
    /// Violations that may pass.
    pub waivers: Vec<Waiver>,
    /// Whether the wheel is one's own, in which a private key is a secret; in others' it is most
    /// likely one of the keys by which cryptographic libraries test themselves.
    #[serde(skip)]
    pub own: bool,
}

/// A violation that may pass, with the reason that the report then shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Waiver {
    /// The name of a [`Code`], such as `other-gpus-only`.
    pub code: String,
    /// A glob over the members that it is for.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Why a file cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither a wheel nor an ELF file.
    #[error("`{0}` is neither a wheel nor an ELF file")]
    Unknown(PathBuf),
    /// A bare ELF file that cannot be judged.
    #[error("`{path}` cannot be judged")]
    Elf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: elf::ElfError,
    },
    /// A wheel that cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A library of a torch cannot be read.
    #[error("`{path}` cannot be read as a library of the target's torch")]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        source: LibraryError,
    },
    /// There is no symbol index to resolve against.
    #[error("no symbols of the system of {0} are locked")]
    NoSystem(Arch),
    /// A glob of the policy that is malformed.
    #[error("the policy has a malformed glob: {0}")]
    Glob(String),
}

impl Diagnose for AuditError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Io,
            Self::Unknown(_) | Self::Elf { .. } => Class::Archive,
            Self::Package(error) => error.class(),
            Self::Library { .. } => Class::Torch,
            Self::NoSystem(_) => Class::Toolchain,
            Self::Glob(_) => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => Some("give `.whl` or `.so` files".to_owned()),
            Self::Package(error) => error.hint(),
            Self::NoSystem(_) => Some("lock them: `cargo xtask toolchain lock system`".to_owned()),
            _ => None,
        }
    }
}

/// Audits a wheel or a shared object. Without a target, only its inner consistency is judged.
pub fn audit(path: &Path, target: Option<&Target>, policy: &Policy) -> Result<Report, AuditError> {
    inspect(path)?.check(target, policy)
}
