//! The target's torch.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::LockError;
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::context::Context;
use crate::registry::file_name::WheelName;
use crate::resolve::Resolved;
use crate::target::Arch;
use crate::torch::lock::{LockedTorch, TorchLock, python_tag};
use crate::torch::sdk;
use crate::torch::source::TorchSource;

/// A torch by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TorchInput {
    /// A wheel of `torch.lock`, of which parts are fetched.
    Locked {
        /// The wheel, and the digest of what is taken of it.
        torch: Box<LockedTorch>,
        /// The digest of the symbol index that stands for its libraries.
        symbols: Sha256,
    },
    /// A wheel of the index that is fetched whole.
    Whole(Artifact),
    /// A wheel on disk.
    Wheel {
        /// Where it lies.
        path: PathBuf,
        /// Its digest.
        sha256: Sha256,
    },
    /// An unpacked torch on disk.
    Folder {
        /// Where it lies.
        path: PathBuf,
        /// The digest of all that is taken from it.
        digest: Sha256,
    },
}

impl TorchInput {
    /// The digest by which the store keeps the SDK made of it.
    pub fn digest(&self) -> Sha256 {
        match self {
            Self::Locked { torch, symbols } => sdk::locked_digest(torch, Some(*symbols)),
            Self::Whole(artifact) => sdk::wheel_digest(artifact.sha256),
            Self::Wheel { sha256, .. } => sdk::wheel_digest(*sha256),
            Self::Folder { digest, .. } => *digest,
        }
    }
}

/// Takes the locked wheel where there is one, and asks the index where there is none.
pub(crate) fn lock(context: &Context, resolved: &Resolved) -> Result<TorchInput> {
    match &resolved.torch {
        TorchSource::Index { version } => lock_release(context, resolved, version),
        TorchSource::Wheel(path) => {
            let file = fs_err::File::open(path).map_err(LockError::Io)?;
            let (sha256, _) = Sha256::of_reader(file).map_err(LockError::Io)?;
            Ok(TorchInput::Wheel { path: path.clone(), sha256 })
        }
        TorchSource::Folder(path) => {
            Ok(TorchInput::Folder { path: path.clone(), digest: sdk::folder_digest(path)? })
        }
    }
}

fn lock_release(context: &Context, resolved: &Resolved, version: &str) -> Result<TorchInput> {
    let (arch, python) = (resolved.target.arch, &resolved.python);
    let lock = TorchLock::load(&context.project.toolchains())?;
    match (lock.find(version, arch, python), lock.symbols(version, arch)) {
        (Some(torch), Some(symbols)) if !resolved.full_torch => {
            Ok(TorchInput::Locked { torch: Box::new(torch.clone()), symbols })
        }
        (Some(torch), _) => Ok(TorchInput::Whole(torch.artifact.clone())),
        (None, _) => Ok(TorchInput::Whole(of_index(context, arch, python, version)?)),
    }
}

/// The wheel of a release that is not locked.
pub(crate) fn of_index(
    context: &Context,
    arch: Arch,
    python: &str,
    version: &str,
) -> Result<Artifact> {
    if context.offline {
        return Err(LockError::Offline { request: format!("torch=={version}") }.into());
    }
    let tag = python_tag(python);
    let pypi = context.registries.pypi()?;
    let project = pypi.project("torch")?;
    let fits = |file: &str| {
        let wheel = WheelName::parse(file).filter(|wheel| wheel.glibc(arch).is_some())?;
        file.contains(&format!("-{tag}-{tag}-")).then_some(wheel.version.to_string())
    };
    let mut known: Vec<String> = project.files.iter().filter_map(|f| fits(&f.name)).collect();
    let found = project.files.iter().find(|f| fits(&f.name).is_some_and(|v| v == version));
    match found.and_then(|file| project.file(&file.name)) {
        Some(choice) => Ok(pypi.artifact(&project, &choice)?),
        None => {
            known.dedup();
            let (version, python) = (version.to_owned(), python.to_owned());
            Err(LockError::NoTorch { version, python, arch, known }.into())
        }
    }
}
