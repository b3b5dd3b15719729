//! What is handed over of a build: its wheel, or of a crate or a plain CMake project the shared
//! library in it.

use crate::artifact::Sha256;
use crate::manifest::WheelEntry;
use crate::package::{PackageError, Packaged, WheelArchive};
use crate::request::Request;

/// A file that a build hands over.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// How a manifest names it.
    pub entry: WheelEntry,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl HandedOver {
    /// What was asked for.
    pub fn of(request: &Request, packaged: &Packaged) -> Result<Self, PackageError> {
        match request {
            Request::Crate { .. } | Request::Cmake(_) => Self::library(packaged),
            _ => {
                let path = &packaged.path;
                let bytes = fs_err::read(path)
                    .map_err(|source| PackageError::Read { path: path.clone(), source })?;
                Ok(Self::new(packaged.name.to_string(), bytes))
            }
        }
    }

    fn library(packaged: &Packaged) -> Result<Self, PackageError> {
        let archive = WheelArchive::open(&packaged.path)?;
        let libraries: Vec<_> =
            archive.members().iter().filter(|member| member.path.ends_with(".so")).collect();
        let [library] = libraries[..] else {
            let names = libraries.iter().map(|library| library.path.clone()).collect();
            return Err(PackageError::Libraries { names });
        };
        let file = library.path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self::new(file, archive.read(library)?))
    }

    fn new(file: String, bytes: Vec<u8>) -> Self {
        let (size, sha256) = (bytes.len() as u64, Sha256::of(&bytes));
        Self { entry: WheelEntry { file, size, sha256 }, bytes }
    }
}
