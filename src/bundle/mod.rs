//! Bundles: every input of builds in one file, for machines without a network.
//!
//! A bundle is a plain tar, since what it holds is compressed: `bundle.json`, which lists the rest,
//! then each file under the name of its sha256, sorted. It holds no time and no path of the machine that
//! wrote it, but for what locks say of sources on disk. What is read out of one is held to its
//! name before it has a name in the store, and what is made of it to the locks or the manifest that
//! asked for it: a bundle is trusted no more than a mirror.

mod read;
mod torch;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use read::{Unbundled, read};
pub use write::{Bundled, write};

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::lock::PackageLock;

/// The version of the index's form; raised when a reader could misread it.
const FORMAT: u32 = 1;
/// The index's name.
const INDEX: &str = "bundle.json";
/// The folder of the files.
const FILES: &str = "files";

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    /// Sorted by digest.
    files: Vec<Entry>,
    /// The locks of the packages that it is for.
    packages: Vec<PackageLock>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: Sha256,
    size: u64,
    /// What people call it.
    name: String,
    role: Role,
}

/// What a file of a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    /// A download, kept by its own digest.
    Download,
    /// A source distribution on disk, which is known by the ending of its name.
    Archive,
    /// A zip archive of what is taken of a torch wheel; the digest is the lock's.
    Torch {
        /// Over path and digest of every member.
        extract: Sha256,
    },
    /// A tar archive of a source tree on disk.
    Folder {
        /// As the lock defines it.
        digest: Sha256,
    },
    /// A tar archive of the tree of a git commit.
    Git {
        /// What git clones.
        url: String,
        /// The whole name of the commit.
        commit: String,
        /// As the lock defines it.
        digest: Sha256,
    },
}

/// Why a bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No bundle, or cut short before the first file.
    #[error("`{path}` is not a bundle of this crosswheel: {reason}")]
    Malformed {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file in it is not what its name says.
    #[error(
        "`{file}` in the bundle `{path}` has {} and sha256 `{actual}` where {size} bytes and `{expected}` are expected",
        bytes(*found)
    )]
    Changed {
        /// The bundle.
        path: PathBuf,
        /// What people call the file.
        file: String,
        /// How many bytes it should have.
        size: u64,
        /// How many bytes were there.
        found: u64,
        /// From the index.
        expected: Sha256,
        /// Of what was there.
        actual: Sha256,
    },
    /// A source tree that is not the one of the lock.
    #[error(
        "the source tree in the bundle `{path}` has digest `{actual}` where `{expected}` is expected"
    )]
    Tree {
        /// The bundle.
        path: PathBuf,
        /// From the index.
        expected: Sha256,
        /// Of what was unpacked.
        actual: Sha256,
    },
    /// The bundle cannot be read or written, or the store cannot.
    #[error("the bundle `{path}` cannot be read or written")]
    Io {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

impl Diagnose for BundleError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Archive,
            Self::Changed { .. } | Self::Tree { .. } => Class::Integrity,
            Self::Io { .. } => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } => None,
            _ => Some(
                "copy the bundle anew, or write it again with `cargo xtask fetch --bundle FILE`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
