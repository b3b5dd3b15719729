//! A manifest as `verify` reads it: the parts from which a build is repeated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::VerifyError;
use crate::actions::Action;
use crate::artifact::{Artifact, Sha256};
use crate::exec::Isolation;
use crate::lock::Source;
use crate::manifest::{Resolution, SCHEMA_VERSION, WheelEntry};
use crate::recipe::Recipe;
use crate::series::Patch;
use crate::target::Target;
use crate::toolchain::ComponentRef;

/// What a manifest's file name ends in.
const SUFFIX: &str = ".manifest.json";

/// The parts of a manifest that decide a wheel's bytes, and what is told of its first build.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    schema_version: u32,
    /// The version of the crosswheel that built.
    pub crosswheel: String,
    /// Digest of all inputs.
    pub inputs: Sha256,
    /// The wheel.
    pub wheel: WheelEntry,
    /// The package's source.
    pub source: Source,
    /// What its recipe said.
    pub recipe: Recipe,
    /// Its local patches.
    #[serde(default)]
    pub patches: Vec<Patch>,
    /// Where the wheel runs.
    pub target: Target,
    /// The Python that it is for.
    pub python: RecordedPython,
    /// The torch that it is for.
    pub torch: RecordedTorch,
    /// What it was built with.
    pub components: Vec<ComponentRef>,
    /// What the request was resolved to.
    pub resolution: Resolution,
    /// The files of the components.
    pub toolchain: Vec<RecordedFile>,
    /// The wheels of the build environment.
    pub build_requirements: Vec<Artifact>,
    /// The environment variables of the build's processes.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How the first build was kept apart.
    pub isolation: Isolation,
    /// Its compiler calls.
    pub actions: Vec<Action>,
}

/// Of the target's Python what decides.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedPython {
    /// Major and minor version.
    pub version: String,
}

/// Of the target's torch what is compared.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedTorch {
    /// `torch.__version__`.
    pub version: String,
    /// Digest of the SDK.
    pub digest: Sha256,
}

/// A file of a component.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordedFile {
    /// The registry's name.
    pub registry: String,
    /// The project or binary package.
    pub name: String,
    /// The file's name on an index; the path below the repository's root for apt.
    pub file: String,
    /// The whole file's digest.
    pub sha256: Sha256,
    /// Of its members, where only some were taken.
    pub members_sha256: Option<Sha256>,
}

impl RecordedFile {
    /// The last component of [`RecordedFile::file`].
    pub fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// The digest of what was used of it.
    pub fn used(&self) -> Sha256 {
        self.members_sha256.unwrap_or(self.sha256)
    }
}

/// A manifest, and the wheel that it is of.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The manifest.
    pub manifest: PathBuf,
    /// What it says.
    pub record: Record,
    /// The wheel, where it lies beside the manifest.
    pub wheel: Option<PathBuf>,
}

impl Subject {
    /// Reads a manifest, or the one beside a wheel, and holds the wheel beside it to it.
    pub fn read(path: &Path) -> Result<Self, VerifyError> {
        let is_wheel = path.extension().is_some_and(|e| e == "whl" || e == "so");
        let manifest = match is_wheel {
            true => path.with_extension(&SUFFIX[1..]),
            false => path.to_owned(),
        };
        let text = match fs_err::read(&manifest) {
            Ok(text) => text,
            Err(_) if is_wheel && path.is_file() => {
                return Err(VerifyError::NoManifest { wheel: path.to_owned(), manifest });
            }
            Err(error) => return Err(error.into()),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|source| VerifyError::Malformed { path: manifest.clone(), source })?;
        if record.schema_version != SCHEMA_VERSION {
            let (path, found) = (manifest, record.schema_version);
            return Err(VerifyError::Schema { path, found });
        }
        let beside = match is_wheel {
            true => path.to_owned(),
            // Only the name counts: a manifest may not point elsewhere.
            false => manifest
                .with_file_name(Path::new(&record.wheel.file).file_name().unwrap_or_default()),
        };
        let wheel = Some(beside).filter(|wheel| wheel.is_file());
        if let Some(wheel) = &wheel {
            let (actual, _) = Sha256::of_reader(fs_err::File::open(wheel)?)?;
            let expected = record.wheel.sha256;
            if actual != expected {
                return Err(VerifyError::WheelChanged { wheel: wheel.clone(), expected, actual });
            }
        }
        Ok(Self { manifest, record, wheel })
    }
}
