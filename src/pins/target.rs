//! What the target has: its torch, and what goes with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::PackageName;

use super::PinError;
use super::policy::{TORCH, admits, release_pair};
use crate::package::metadata;
use crate::torch::sdk::TorchSdk;

/// The packages that a target fixes together: pins on them are looked for in every source.
pub const FAMILY: [&str; 3] = [TORCH, "torchvision", "torchaudio"];

/// The target's torch, as package managers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTorch {
    /// The version of the distribution. An index's torch 2.14.0 says `2.14.0+cu130` of itself when
    /// it is imported, which is not what a package manager compares.
    pub version: Version,
    /// Its CUDA, such as `13.0`.
    pub cuda: String,
    /// The versions of torchvision and torchaudio beside it, where they are known.
    pub companions: BTreeMap<String, Version>,
}

/// What is known of a package on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Its version.
    Version(Version),
    /// The minor release that goes with the torch.
    Minor(Version),
}

impl fmt::Display for TargetTorch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the target's torch {}", self.version)
    }
}

impl TargetTorch {
    /// Of the version that a torch says of itself where nothing else tells one.
    pub fn new(version: &str, cuda: &str) -> Result<Self, PinError> {
        let version = parse(version)?;
        Ok(Self { version, cuda: cuda.to_owned(), companions: BTreeMap::new() })
    }

    /// Of an installed SDK.
    pub fn of_sdk(sdk: &TorchSdk) -> Result<Self, PinError> {
        let version = distribution_version(&sdk.python_path)?;
        let version = version.as_deref().unwrap_or(&sdk.facts.version);
        let companions = sdk.facts.companions.iter();
        Ok(Self {
            companions: companions
                .map(|(name, version)| Ok((name.clone(), parse(version)?)))
                .collect::<Result<_, PinError>>()?,
            ..Self::new(version, &sdk.facts.cuda)?
        })
    }

    /// Its CUDA's major version.
    pub(super) fn cuda_major(&self) -> Option<u32> {
        self.cuda.split('.').next()?.parse().ok()
    }

    /// What is known of a package on the target.
    pub(super) fn knows(&self, name: &PackageName) -> Option<Known> {
        let name = name.as_ref();
        if name == TORCH {
            return Some(Known::Version(self.version.clone()));
        }
        if let Some(version) = self.companions.get(name) {
            return Some(Known::Version(version.clone()));
        }
        companion(name, &self.version).map(Known::Minor)
    }
}

/// The minor release of a companion that is built for a torch, as their compatibility tables have
/// it: torchvision counts from 0.15 for torch 2.0 on, and torchaudio had torch's number up to 2.11,
/// with which it came to its stable ABI.
fn companion(name: &str, torch: &Version) -> Option<Version> {
    let (2, minor) = release_pair(torch) else { return None };
    let release = match name {
        "torchvision" => [0, minor + 15, 0],
        "torchaudio" => [2, minor.min(11), 0],
        _ => return None,
    };
    // Where the torch is a pre-release, its builder's companions are.
    Some(torch.clone().without_local().with_release(release))
}

impl Known {
    /// Its version, or the first of its minor release.
    pub(super) fn version(&self) -> &Version {
        match self {
            Self::Version(version) | Self::Minor(version) => version,
        }
    }

    /// Whether a specifier surely excludes what the target has.
    pub(super) fn refuses(&self, specifiers: &VersionSpecifiers) -> bool {
        match self {
            Self::Version(version) => !admits(specifiers, version),
            Self::Minor(first) => {
                let (major, minor) = release_pair(first);
                let last = Version::new([major, minor, u64::from(u32::MAX)]);
                !admits(specifiers, first) && (first.any_prerelease() || !admits(specifiers, &last))
            }
        }
    }

    /// In a sentence's end: `the target has torch 2.14.0`.
    pub(super) fn says(&self, name: &PackageName) -> String {
        match self {
            Self::Version(version) => format!("the target has {name} {version}"),
            Self::Minor(version) => {
                let (major, minor) = release_pair(version);
                format!("{name} {major}.{minor} goes with the target's torch")
            }
        }
    }
}

fn parse(version: &str) -> Result<Version, PinError> {
    let invalid = |source| PinError::Version { version: version.to_owned(), source };
    version.parse().map_err(invalid)
}

/// The version in `torch-….dist-info/METADATA` of a `site-packages`, where it is there.
pub(super) fn distribution_version(site: &Path) -> Result<Option<String>, PinError> {
    for entry in fs_err::read_dir(site)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("torch-") && name.ends_with(".dist-info") {
            let text = match fs_err::read(path.join("METADATA")) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text?,
            };
            return Ok(metadata::value(&text, "Version").map(str::to_owned));
        }
    }
    Ok(None)
}
