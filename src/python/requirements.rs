//! Build requirements: asked for as the target, installed for the build platform.

use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{
    MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree, PackageName, Requirement, VersionOrUrl,
};

use super::pep508;
use crate::error::{Class, Diagnose};
use crate::pins;
use crate::target::Arch;

/// A project that a build environment has without installing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// The project's name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Who provides it, for messages: `the torch SDK`, `crosswheel`.
    pub by: &'static str,
}

impl Provided {
    /// A project by its name and version as text.
    pub fn new(name: &str, version: &str, by: &'static str) -> Result<Self, RequirementError> {
        let invalid = |reason: String| RequirementError::Provided {
            name: name.to_owned(),
            version: version.to_owned(),
            reason,
        };
        Ok(Self {
            name: PackageName::from_str(name).map_err(|error| invalid(error.to_string()))?,
            version: Version::from_str(version).map_err(|error| invalid(error.to_string()))?,
            by,
        })
    }
}

/// Why build requirements cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// Not PEP 508.
    #[error("the requirement `{text}` is malformed")]
    Malformed {
        /// As written.
        text: String,
        /// Where and why.
        source: Box<pep508_rs::Pep508Error>,
    },
    /// `name @ https://…`: it has no place in a lock that names registries.
    #[error("the requirement `{text}` names a URL, not a release of the index")]
    Url {
        /// As written.
        text: String,
    },
    /// What the environment provides is of another version.
    #[error("the build requires `{text}`, but {by} is {version}")]
    Unsatisfied {
        /// As written.
        text: String,
        /// Who provides the project.
        by: &'static str,
        /// The version that is provided.
        version: Version,
    },
    /// The build Python's own version, or a provided project's, is no version.
    #[error("`{name}` {version} is not a version: {reason}")]
    Provided {
        /// The project.
        name: String,
        /// Its version.
        version: String,
        /// Why it is none.
        reason: String,
    },
}

impl Diagnose for RequirementError {
    fn class(&self) -> Class {
        match self {
            Self::Provided { .. } => Class::Toolchain,
            _ => Class::Request,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsatisfied { by: TORCH_SDK, .. } => {
                Some("choose the torch that the package asks for with `--torch`".to_owned())
            }
            _ => None,
        }
    }
}

/// Who provides torch, as [`Provided::by`] says it.
pub const TORCH_SDK: &str = "the torch SDK";

/// Build requirements that were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// What must be installed; markers are evaluated and gone.
    pub wanted: Vec<Requirement>,
    /// What the environment provides, as it was asked for.
    pub provided: Vec<Requirement>,
    /// Requirements on torch that the target's does not satisfy, and its version: a build has no
    /// choice.
    pub relaxed: Vec<(String, Version)>,
}

/// Drops requirements that do not apply or that the environment provides.
pub fn sort(
    requirements: &[String],
    provided: &[Provided],
    markers: &MarkerEnvironment,
) -> Result<Sorted, RequirementError> {
    let mut sorted = Sorted::default();
    for text in requirements {
        let malformed = |source| RequirementError::Malformed { text: text.clone(), source };
        let mut requirement = pep508::parse(text).map_err(malformed)?;
        if !requirement.evaluate_markers(markers, &[]) {
            continue;
        }
        requirement.marker = MarkerTree::default();
        match provided.iter().find(|provided| provided.name == requirement.name) {
            Some(found) => {
                if !check(&requirement, found, text)? {
                    sorted.relaxed.push((text.clone(), found.version.clone()));
                }
                sorted.provided.push(requirement);
            }
            None if matches!(requirement.version_or_url, Some(VersionOrUrl::Url(_))) => {
                return Err(RequirementError::Url { text: text.clone() });
            }
            None => sorted.wanted.push(requirement),
        }
    }
    Ok(sorted)
}

/// Whether what is provided satisfies a requirement. Of torch any other version will do, but of
/// another CUDA.
fn check(
    requirement: &Requirement,
    provided: &Provided,
    text: &str,
) -> Result<bool, RequirementError> {
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(wanted)) if !wanted.contains(&provided.version) => {
            let cuda = [text, &format!("=={}", provided.version)].map(pins::cuda_major);
            if provided.by == TORCH_SDK && !matches!(cuda, [Some(a), Some(b)] if a != b) {
                return Ok(false);
            }
            Err(RequirementError::Unsatisfied {
                text: text.to_owned(),
                by: provided.by,
                version: provided.version.clone(),
            })
        }
        _ => Ok(true),
    }
}

/// The environment of markers: the target's machine, and the Python that will run the build,
/// because what `python_version` chooses must run on that.
///
/// `version` is the build Python's, as major and minor version.
pub fn markers(arch: Arch, version: (u16, u16)) -> Result<MarkerEnvironment, RequirementError> {
    let short = format!("{}.{}", version.0, version.1);
    let full = format!("{short}.0");
    MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: arch.name(),
        platform_python_implementation: "CPython",
        platform_release: "6.8.0",
        platform_system: "Linux",
        platform_version: "#1 SMP",
        python_full_version: &full,
        python_version: &short,
        sys_platform: "linux",
    }
    .try_into()
    .map_err(|error: pep440_rs::VersionParseError| RequirementError::Provided {
        name: "python".to_owned(),
        version: full.clone(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(requirements: &[&str]) -> Result<Sorted, RequirementError> {
        let requirements: Vec<_> = requirements.iter().map(|&text| text.to_owned()).collect();
        let provided = [
            Provided::new("torch", "2.14.0+cu130", TORCH_SDK).unwrap(),
            Provided::new("ninja", "1.13.0", "crosswheel").unwrap(),
        ];
        sort(&requirements, &provided, &markers(Arch::Aarch64, (3, 13)).unwrap())
    }

    fn texts(requirements: &[Requirement]) -> Vec<String> {
        requirements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_provided_is_not_installed() {
        let sorted = sorted(&["setuptools", "Torch>=2.11", "ninja", "wheel"]).unwrap();
        assert_eq!(texts(&sorted.wanted), ["setuptools", "wheel"]);
        assert_eq!(texts(&sorted.provided), ["torch>=2.11", "ninja"]);
    }

    #[test]
    fn the_local_part_of_the_version_does_not_matter() {
        assert_eq!(sorted(&["torch == 2.14.0"]).unwrap().provided.len(), 1);
    }

    #[test]
    fn another_torch_is_relaxed_and_one_of_another_cuda_is_an_error() {
        let relaxed = sorted(&["torch == 2.9.1"]).unwrap().relaxed;
        assert_eq!(relaxed, [("torch == 2.9.1".to_owned(), "2.14.0+cu130".parse().unwrap())]);
        let error = sorted(&["torch==2.9.1+cu128"]).unwrap_err();
        let message = "the build requires `torch==2.9.1+cu128`, but the torch SDK is 2.14.0+cu130";
        assert_eq!(error.to_string(), message);
        assert!(error.hint().unwrap().contains("--torch"));
        assert!(sorted(&["ninja<1"]).is_err());
    }

    #[test]
    fn markers_ask_for_the_target_machine_and_the_build_python() {
        let sorted = sorted(&[
            "a; platform_machine == 'aarch64'",
            "b; platform_machine == 'x86_64'",
            "c; python_version < '3.12'",
            "d; python_version >= '3.12' and sys_platform == 'linux'",
        ]);
        assert_eq!(texts(&sorted.unwrap().wanted), ["a", "d"]);
    }

    #[test]
    fn urls_and_nonsense_are_errors() {
        assert!(matches!(
            sorted(&["a @ https://example.com/a.whl"]),
            Err(RequirementError::Url { .. })
        ));
        assert!(matches!(sorted(&["a ="]), Err(RequirementError::Malformed { .. })));
    }
}
