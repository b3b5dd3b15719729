//! Why a wheel cannot be proven, one way or the other.

use std::path::PathBuf;

use crate::error::{Class, Diagnose};
use crate::python::lock::LockError;
use crate::python::requirements::RequirementError;

/// What stands in the way of a proof. That a wheel does not import is none of these.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// A file that is not a wheel.
    #[error("`{0}` is not a wheel")]
    NotAWheel(PathBuf),
    /// A target that is not emulated.
    #[error("`{target}` is {arch}: only aarch64 is emulated")]
    Target {
        /// Its name.
        target: String,
        /// Its processor.
        arch: crate::target::Arch,
    },
    /// A wheel for another processor or system.
    #[error("`{wheel}` is for {tags}, and `{target}` is aarch64 Linux")]
    Platform {
        /// Its file name.
        wheel: String,
        /// What it says that it is for, or what its files are.
        tags: String,
        /// The target's name.
        target: String,
    },
    /// A wheel for another Python.
    #[error("`{wheel}` does not install on Python {python}")]
    OtherPython {
        /// Its file name.
        wheel: String,
        /// The Python that it would be imported with.
        python: String,
    },
    /// A Python that is not there.
    #[error("there is no Python {python} for aarch64 to import `{wheel}` with")]
    NoPython {
        /// Its file name.
        wheel: String,
        /// The Python that it needs.
        python: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A torch that cannot be installed.
    #[error("an unpacked torch cannot be installed: `{0}`")]
    TorchFolder(PathBuf),
    /// No set of wheels fits.
    #[error(
        "what the wheel requires cannot be resolved for the target{}",
        crate::python::launch::tail_block(&said(.0))
    )]
    Unresolved(LockError),
    /// A requirement that cannot be installed from the index.
    #[error("the wheel's requirement cannot be installed")]
    Requirement(#[source] RequirementError),
    /// The dependencies do not install.
    #[error(
        "what the wheel requires cannot be installed{}",
        crate::python::launch::tail_block(tail)
    )]
    Install {
        /// uv's last lines.
        tail: Vec<String>,
    },
    /// torch itself does not import, whatever the wheel.
    #[error("torch does not import under emulation: {reason}")]
    Torch {
        /// What it said.
        reason: String,
    },
    /// The emulated Python ended before it began.
    #[error("the emulated Python did not start{}", crate::python::launch::tail_block(tail))]
    NotStarted {
        /// Its last lines.
        tail: Vec<String>,
    },
    /// A line of the answer is not understood.
    #[error("the emulated Python answered with something that is not understood")]
    Answer(#[source] serde_json::Error),
    /// A manifest that is not one.
    #[error("`{path}` is not a manifest")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file cannot be read or written.
    #[error("files of the proof cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for ProveError {
    fn class(&self) -> Class {
        match self {
            Self::NotAWheel(_)
            | Self::Target { .. }
            | Self::Platform { .. }
            | Self::OtherPython { .. }
            | Self::NoPython { .. } => Class::Usage,
            Self::TorchFolder(_) | Self::Torch { .. } => Class::Torch,
            Self::Unresolved(error) => error.class(),
            Self::Requirement(source) => source.class(),
            Self::Install { tail } if tail.iter().any(|l| crate::error::tells_full_disk(l)) => {
                Class::DiskFull
            }
            Self::Install { .. } | Self::NotStarted { .. } | Self::Answer(_) => Class::Toolchain,
            Self::Manifest { .. } => Class::Integrity,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotAWheel(_) => Some(
                "give a `.whl` file, such as `cargo xtask build-wheels` writes into `dist`".into(),
            ),
            Self::Target { .. } => Some(
                "wheels for the machine at hand need no emulator: install and import them".into(),
            ),
            Self::Platform { .. } => {
                Some("`cargo xtask build-wheels` builds it for the target".into())
            }
            Self::OtherPython { python, .. } => {
                Some(format!("build it for Python {python}, or leave `--python` out"))
            }
            Self::NoPython { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::TorchFolder(_) => {
                Some("give a version or a `.whl` file of torch with `--torch`".into())
            }
            Self::Unresolved(_) => Some(
                "`--torch` chooses another torch; what the index does not have for the target must be \
                 built first, and given as wheels with `--with`"
                    .into(),
            ),
            Self::Requirement(source) => source.hint(),
            Self::Torch { .. } => Some("choose another torch with `--torch`".into()),
            Self::Manifest { .. } => Some("remove it, or build the wheel again".into()),
            _ => None,
        }
    }
}

/// What the resolver said; of other errors, their own words.
fn said(error: &LockError) -> Vec<String> {
    match error {
        LockError::Unresolved { tail, .. } => tail.clone(),
        other => vec![other.to_string()],
    }
}
