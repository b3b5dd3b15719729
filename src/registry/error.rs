//! What can go wrong with registries.

use std::path::PathBuf;

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::net::NetError;

/// Why a registry cannot give something.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The network failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A page of the index that is neither of its two forms.
    #[error("`{url}` is not a page of a Python package index: {reason}")]
    MalformedPage {
        /// The page.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The index has no such project.
    #[error("the index `{index}` has no project `{project}`")]
    UnknownProject {
        /// The index, without credentials.
        index: String,
        /// The project's normalised name.
        project: String,
    },
    /// The project has no such version.
    #[error("`{project}` has no version `{version}`")]
    UnknownVersion {
        /// The project.
        project: String,
        /// What was asked for: a version or a specifier.
        version: String,
        /// The newest versions, and those nearest to what was asked for; newest first.
        known: Vec<String>,
    },
    /// The version was not released as source.
    #[error("`{project}` {version} has no source distribution")]
    NoSdist {
        /// The project.
        project: String,
        /// The version.
        version: String,
        /// What it was released as.
        files: Vec<String>,
    },
    /// No wheel of the versions that fit runs on the platform.
    #[error("`{project}` {version} has no wheel for {platform}")]
    NoWheel {
        /// The project.
        project: String,
        /// What was asked for: a version or a specifier.
        version: String,
        /// Such as `manylinux aarch64`.
        platform: String,
        /// The newest version's files.
        files: Vec<String>,
    },
    /// Every version that fits was withdrawn.
    #[error("every release of `{project}` that fits `{version}` was yanked: {reason}")]
    Yanked {
        /// The project.
        project: String,
        /// What was asked for.
        version: String,
        /// Why the newest of them was.
        reason: String,
    },
    /// The registry no longer has a file that is locked.
    #[error("`{file}` of `{name}` {version} is no longer at the registry `{registry}`")]
    Gone {
        /// The registry's name.
        registry: String,
        /// The project or package.
        name: String,
        /// Its version.
        version: String,
        /// The file.
        file: String,
    },
    /// The index lists a locked file with another digest.
    #[error("the index lists `{file}` with sha256 `{actual}` where `{expected}` is locked")]
    Replaced {
        /// The file.
        file: String,
        /// From the lock.
        expected: Sha256,
        /// From the index.
        actual: Sha256,
    },
    /// A registry that nothing describes.
    #[error("the registry `{registry}` is not configured")]
    NotConfigured {
        /// Its name.
        registry: String,
    },
    /// Neither configuration nor pip names a Python package index.
    #[error("no Python package index is configured, and there is no pip to ask for its default")]
    NoIndex,
    /// There is no pip on the machine, and pip's package was not what it is known to be.
    #[error("`{path}` does not say which index pip uses by default")]
    NoDefaultIndex {
        /// The package or file.
        path: PathBuf,
    },
    /// pip's package cannot be had.
    #[error("the package that knows pip's default index cannot be had")]
    PipPackage(#[source] Box<crate::Error>),
    /// apt's sources name no Debian mirror.
    #[error("{}", no_mirror(.registry, .found))]
    NoMirror {
        /// `debian` or `debian-security`.
        registry: String,
        /// The suites of the machine's own apt sources.
        found: Vec<String>,
    },
    /// An apt repository's file that cannot be read.
    #[error("`{url}` is not a valid index of an apt repository: {reason}")]
    MalformedIndex {
        /// The file.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An index whose bytes are not those that the signed Release file names.
    #[error("`{url}` has sha256 `{actual}` where the signed Release file says `{expected}`")]
    IndexMismatch {
        /// The file.
        url: String,
        /// From the Release file.
        expected: Sha256,
        /// Of what arrived.
        actual: Sha256,
    },
    /// Signatures cannot be checked here.
    #[error("the signature of `{url}` cannot be checked: {reason}")]
    NoVerifier {
        /// The signed file.
        url: String,
        /// What is missing: gpgv, or a keyring.
        reason: String,
    },
    /// No key of the keyring signed the file.
    #[error("the signature of `{url}` is not valid")]
    BadSignature {
        /// The signed file.
        url: String,
        /// gpgv's last lines.
        said: String,
    },
    /// A package that the suite does not have.
    #[error("`{suite}` has no package `{package}`{}", required_by(.by))]
    UnknownPackage {
        /// The suite.
        suite: String,
        /// The package.
        package: String,
        /// Which package needs it, where it was not asked for by name.
        by: Option<String>,
    },
    /// A local file cannot be read or written.
    #[error("`{path}` cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn required_by(by: &Option<String>) -> String {
    by.as_ref().map_or_else(String::new, |by| format!(", which `{by}` needs"))
}

fn no_mirror(registry: &str, found: &[String]) -> String {
    if found.is_empty() {
        format!("no mirror of the registry `{registry}` is known: this machine has no apt sources")
    } else {
        let found = found.join("`, `");
        format!("the apt sources of this machine are not Debian's: they have the suites `{found}`")
    }
}

impl Diagnose for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Net(error) => error.class(),
            Self::UnknownProject { .. }
            | Self::UnknownVersion { .. }
            | Self::NoSdist { .. }
            | Self::NoWheel { .. }
            | Self::Yanked { .. }
            | Self::UnknownPackage { .. } => Class::Request,
            Self::Replaced { .. } | Self::IndexMismatch { .. } | Self::BadSignature { .. } => {
                Class::Integrity
            }
            Self::NoVerifier { .. } => Class::Toolchain,
            Self::PipPackage(error) => error.class(),
            Self::File { .. } => Class::Io,
            _ => Class::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Net(error) => error.hint(),
            Self::UnknownVersion { known, .. } if !known.is_empty() => {
                Some(format!("there are: {}", known.join(", ")))
            }
            Self::NoSdist { files, .. } => Some(format!(
                "build it from its repository, by `git+URL@REF` or a folder; the release has: {}",
                files.join(", ")
            )),
            Self::NoWheel { files, .. } if !files.is_empty() => {
                Some(format!("there are: {}", files.join(", ")))
            }
            Self::Yanked { .. } => {
                Some("a yanked release is taken only when it is pinned with `==`".to_owned())
            }
            Self::Gone { registry, .. } => Some(if registry == super::PYPI {
                "take another index, or run `cargo xtask toolchain lock` to lock what there is now"
                    .to_owned()
            } else {
                "stable suites replace files at point releases: run `cargo xtask toolchain lock` \
                 to lock what there is now"
                    .to_owned()
            }),
            Self::Replaced { .. } => Some(
                "a file that changed under its name cannot be trusted: ask its owners".to_owned(),
            ),
            Self::NotConfigured { registry } => {
                Some(format!("give `[registries.{registry}]` a `url` in crosswheel.toml"))
            }
            Self::NoIndex | Self::NoDefaultIndex { .. } => {
                Some("set `PIP_INDEX_URL` to the simple index of a Python package index".to_owned())
            }
            Self::PipPackage(error) => error.hint(),
            Self::NoMirror { registry, .. } => {
                let variable = super::discover::mirror_variable(registry);
                Some(format!(
                    "set `{variable}` to the URL or folder of a Debian mirror, the one that holds \
                     `dists` and `pool`"
                ))
            }
            Self::NoVerifier { .. } => Some(
                "locking needs gpgv and the repository's keyring (Debian's packages `gpgv` and \
                 `debian-archive-keyring`); building does not"
                    .to_owned(),
            ),
            Self::BadSignature { said, .. } => Some(said.clone()),
            _ => None,
        }
    }
}
