//! Components as written: `toolchains/components.toml`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::target::Arch;

/// The whole file: a list of `[[component]]` tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Components {
    /// In the order of the file.
    pub component: Vec<ComponentSpec>,
}

/// What a component is called and which machines it is for; a key that is absent fits any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentKey {
    /// Such as `gcc`, `cuda`, `sysroot`, `python-headers`.
    pub name: String,
    /// Where its executables run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Arch>,
    /// What its headers and libraries are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Arch>,
    /// The Python minor version it is for, such as `3.11`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

/// One component: where its packages come from and how they are laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentSpec {
    /// What it is.
    #[serde(flatten)]
    pub key: ComponentKey,
    /// Binary packages of apt repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apt: Vec<AptSource>,
    /// Wheels of the Python index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wheel: Vec<WheelSource>,
    /// How the unpacked files become the component.
    #[serde(default)]
    pub layout: Layout,
    /// The licence that its use agrees to, where it is not a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// Packages of one suite of an apt repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AptSource {
    /// `debian`, `debian-security`, or one that the configuration names.
    pub registry: String,
    /// Such as `trixie`.
    pub suite: String,
    /// Whose packages.
    pub arch: Arch,
    /// The packages wanted.
    pub packages: Vec<String>,
    /// Whether what they depend on is wanted too.
    #[serde(default)]
    pub depends: bool,
    /// Dependencies that are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// One wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WheelSource {
    /// The project's name on the index.
    pub project: String,
    /// A PEP 440 specifier, such as `==13.0.88` or `>=1.13`; the newest that fits is locked.
    pub version: String,
    /// The platform of the wheel.
    pub arch: Arch,
}

/// How unpacked files become a component. Globs match paths below the component's root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layout {
    /// A folder that is taken for the root of every wheel, such as `nvidia/cu13`; what lies
    /// outside it is not unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<String>,
    /// What is not unpacked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// What gets the run bit, which wheels lose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub executable: Vec<String>,
    /// Symbolic links to make: path to (relative) destination.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub link: IndexMap<String, String>,
    /// Whether its dynamic executables get the interpreter and run path of the `runtime`
    /// component, so that they run whatever the machine's own C library is.
    pub relocate: bool,
}
