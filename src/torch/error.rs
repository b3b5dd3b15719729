//! Why a torch cannot become an SDK.

use std::path::PathBuf;

use zip::result::ZipError;

use super::source::CPU_ONLY_HINT;
use super::version::VersionError;
use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::symbols::LibraryError;

/// Why a torch cannot become an SDK.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// It has no CUDA.
    #[error("torch {version} is CPU-only: its `version.py` has `cuda = None`")]
    CpuOnly {
        /// `torch.__version__`.
        version: String,
    },
    /// Its CUDA is of another major version than the target's.
    #[error("torch {version} is for CUDA {cuda}, and the target `{target}` has CUDA {expected}")]
    OtherCuda {
        /// `torch.__version__`.
        version: String,
        /// `torch.version.cuda`.
        cuda: String,
        /// The target's name.
        target: String,
        /// The target's CUDA.
        expected: String,
    },
    /// A library that is no library, or for another processor.
    #[error("torch's library `{file}` cannot be used")]
    Library {
        /// Its file name.
        file: String,
        /// Why.
        source: LibraryError,
    },
    /// A stub exceeds what ELF can hold.
    #[error("no stub of `{file}` can be written")]
    Stub {
        /// The library's file name.
        file: String,
        /// Why.
        source: object::write::Error,
    },
    /// What was extracted is not what is locked.
    #[error("the files taken from the torch wheel have sha256 {found}, and {expected} is locked")]
    Extract {
        /// As locked.
        expected: Sha256,
        /// As extracted.
        found: Sha256,
    },
    /// A folder without a torch.
    #[error("`{path}` holds no torch: there is no `version.py`")]
    NotTorch {
        /// The folder.
        path: PathBuf,
    },
    /// A name that no folder can have.
    #[error("`{0}` cannot be the name of a torch")]
    Name(String),
    /// A torch without something that an SDK needs.
    #[error("this torch has no `{0}`")]
    Incomplete(&'static str),
    /// Its `version.py` does not say what it is.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// An installed SDK whose description is damaged.
    #[error("`{path}` does not describe a torch SDK")]
    Facts {
        /// The description.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The wheel is not a readable archive.
    #[error("the torch wheel cannot be read")]
    Zip(#[from] ZipError),
    /// A file cannot be read or written.
    #[error("the torch SDK cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for TorchError {
    fn class(&self) -> Class {
        match self {
            Self::CpuOnly { .. }
            | Self::OtherCuda { .. }
            | Self::Library { .. }
            | Self::Stub { .. }
            | Self::NotTorch { .. }
            | Self::Incomplete(_)
            | Self::Version(_) => Class::Torch,
            Self::Extract { .. } | Self::Facts { .. } => Class::Integrity,
            Self::Name(_) => Class::Usage,
            Self::Zip(_) => Class::Archive,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::CpuOnly { .. } => CPU_ONLY_HINT.to_owned(),
            Self::OtherCuda { expected, .. } => format!(
                "give a torch for CUDA {expected} with `--torch`: a version, a wheel, or the folder `site-packages/torch` copied out of a container of the target"
            ),
            Self::Library { source: LibraryError::Machine { .. }, .. } => {
                "give the target's torch: its processor's, not this machine's".to_owned()
            }
            Self::Extract { .. } => {
                "the index serves another wheel than the locked one; `--full-torch` fetches and verifies all of it".to_owned()
            }
            Self::NotTorch { .. } => {
                "name the folder `torch` of a `site-packages`, or a wheel file".to_owned()
            }
            Self::Name(_) => "a name is one word without `/`".to_owned(),
            _ => return None,
        })
    }
}
