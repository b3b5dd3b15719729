//! What can go wrong in the store.

use std::io;
use std::path::PathBuf;

use crate::artifact::{Artifact, Sha256};
use crate::error::{Class, Diagnose};

/// Why the store cannot give something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither `CROSSWHEEL_STORE` nor a folder for caches nor a home folder is known.
    #[error("there is no folder to keep the store in")]
    NoRoot,
    /// Things are missing and the network may not be used.
    #[error("{} of {wanted} files are not in the store, and this run is offline", missing.len())]
    Offline {
        /// How many files were asked for.
        wanted: usize,
        /// Those that are not there.
        missing: Vec<Artifact>,
    },
    /// A file in the store is not what its name says.
    #[error("`{path}` was changed: it has sha256 `{actual}` where `{expected}` is expected")]
    Changed {
        /// The file.
        path: PathBuf,
        /// From the lock, and the file's name.
        expected: Sha256,
        /// Of what it holds now.
        actual: Sha256,
    },
    /// A lock file cannot be made or taken.
    #[error("the lock `{path}` cannot be taken")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A local file cannot be read or written.
    #[error("the store cannot be read or written")]
    Io(#[from] io::Error),
}

impl Diagnose for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::NoRoot => Class::Usage,
            Self::Offline { .. } => Class::Network,
            Self::Changed { .. } => Class::Integrity,
            Self::Lock { .. } | Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoot => Some("set `CROSSWHEEL_STORE` to a folder".to_owned()),
            Self::Offline { missing, .. } => {
                let names: Vec<_> = missing.iter().map(Artifact::file_name).collect();
                Some(format!(
                    "run `cargo xtask fetch` where there is a network; missing: {}",
                    names.join(", ")
                ))
            }
            Self::Changed { path, .. } => {
                Some(format!("remove `{}`; it is downloaded again", path.display()))
            }
            _ => None,
        }
    }
}
