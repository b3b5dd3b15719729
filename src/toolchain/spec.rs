//! Components as written: `toolchains/components.toml`.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::cuda::CudaLibraries;
use super::error::ToolchainError;
use super::sources::read;
use crate::target::Arch;

/// The whole file: a list of `[[component]]` tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Components {
    /// In the order of the file.
    pub component: Vec<ComponentSpec>,
}

impl Components {
    /// Reads `components.toml` of the folder `toolchains`, and `cuda.toml` where it is there.
    pub fn load(folder: &Path) -> Result<Self, ToolchainError> {
        let mut components = read(&folder.join("components.toml"))?;
        CudaLibraries::load(folder)?.extend(&mut components);
        Ok(components)
    }
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
    /// The CUDA release it is for, such as `13.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The Python minor version it is for, such as `3.11`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

impl ComponentKey {
    /// Whether a component of this key is what a toolchain needs under a name.
    pub fn serves(&self, wanted: &Wanted<'_>) -> bool {
        fn fits<T: PartialEq + ?Sized>(key: Option<&T>, wanted: &T) -> bool {
            key.is_none_or(|key| key == wanted)
        }
        self.name == wanted.name
            && fits(self.build.as_ref(), &wanted.build)
            && fits(self.target.as_ref(), &wanted.target)
            && fits(self.cuda.as_deref(), wanted.cuda)
            && fits(self.python.as_deref(), wanted.python)
    }
}

impl fmt::Display for ComponentKey {
    /// Such as `cuda for aarch64, CUDA 13.0, on x86_64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let target = self.target.iter().map(|target| target.to_string());
        let cuda = self.cuda.iter().map(|cuda| format!("CUDA {cuda}"));
        let python = self.python.iter().map(|python| format!("Python {python}"));
        let serves: Vec<_> = target.chain(cuda).chain(python).collect();
        if !serves.is_empty() {
            write!(f, " for {}", serves.join(", "))?;
        }
        self.build.iter().try_for_each(|build| write!(f, " on {build}"))
    }
}

/// What a toolchain needs of a component.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Such as `gcc`.
    pub name: &'a str,
    /// Where its executables will run.
    pub build: Arch,
    /// What its headers and libraries must be for.
    pub target: Arch,
    /// The CUDA release, such as `13.0`.
    pub cuda: &'a str,
    /// The Python minor version, such as `3.11`.
    pub python: &'a str,
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
    /// Wheels of the target's libraries that the component has stubs of: its `members` are those
    /// libraries. They come from `cuda.toml`.
    #[serde(skip)]
    pub stubs: Vec<WheelSource>,
    /// Globs of libraries in its packages. Where there are any, the component is its symbol index
    /// and nothing else: what the libraries of the target's system define, for the audit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub index: Vec<String>,
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
    /// Globs of the members wanted, where a few small ones of a large wheel are: these alone are
    /// fetched, by ranges. Empty means the whole wheel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// How unpacked files become a component.
///
/// Globs match whole paths below the component's root: `*` within one name, `**` across folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layout {
    /// A folder that is taken for the root of every wheel, such as `nvidia/cu13`; what lies
    /// outside it is not unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<String>,
    /// What is unpacked; empty means everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// What is not unpacked, even if included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Symbolic links to make, in place of what is there: path to (relative) destination.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub link: IndexMap<String, String>,
    /// Folders of Python modules to compile with the component's own `usr/bin/python3`, which
    /// would otherwise try to add the compiled ones later.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compile_python: Vec<String>,
    /// Whether its dynamic executables get the interpreter and run path of the `runtime`
    /// component, so that they run whatever the machine's own C library is.
    pub relocate: bool,
}
