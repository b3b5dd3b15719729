//! Rust: what compiles a package's crates, which crates those are, and what cargo sees of both.
//!
//! In: a source tree with `Cargo.toml`s. Out, while locking: every crate of a registry by sha256, every
//! git repository by commit and digest and, where the tree has no `Cargo.lock`, the one that cargo made
//! for it. Out, while building: a folder of
//! crates that stands for the registry, and the variables by which cargo, rustc and what crates'
//! build scripts run compile for the target. Crates are looked up and downloaded by the machine's
//! own cargo, as its configuration says; a build runs without a network.

mod cargo;
mod cargo_lock;
mod compiler;
mod crates;
pub(crate) mod dependencies;
mod error;
mod git_source;
pub(crate) mod hints;
mod home;
mod manifests;
mod registries;
mod repositories;
mod standalone;
mod tools;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use compiler::Compiler;
pub use crates::{Asked, fetch, lock};
pub use error::RustError;
pub use home::prepare;
pub use repositories::CrateRepository;
pub use tools::{Drivers, install};
pub use variables::variables;

use crate::Result;
use crate::artifact::Artifact;
use crate::context::Context;
use crate::request::Request;

/// The registry of crates, as locks name it.
pub const CRATES: &str = "crates";

/// The variable that tells the backend of plain crates which member of a workspace is built.
pub const CRATE: &str = "CROSSWHEEL_CRATE";

/// Build requirements that run cargo.
const DRIVERS: [&str; 2] = ["maturin", "setuptools-rust"];

/// Whether a build with these requirements compiles crates.
pub fn is_driven(request: &Request, requirements: &[Artifact]) -> bool {
    let is_driver = |artifact: &Artifact| {
        let name = artifact.name.replace(['_', '.'], "-").to_lowercase();
        DRIVERS.contains(&name.as_str())
    };
    matches!(request, Request::Crate { .. }) || requirements.iter().any(is_driver)
}

/// The crate in a folder, as a request; of a member of a workspace, the workspace has to be there.
pub fn request(context: &Context, path: &Path, package: Option<&str>) -> Result<Request> {
    let folder = context.environment.current_dir().join(path);
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(RustError::NoCrate { path: path.to_owned() }.into());
    }
    let folder = fs_err::canonicalize(folder).map_err(RustError::Io)?;
    let manifest = folder.join("Cargo.toml");
    let workspace = cargo::Cargo::new(context)?.workspace(&manifest, &folder)?;
    let package = package.map(str::to_owned);
    let package = match workspace == manifest {
        true => package,
        false => package.or(manifests::package(&manifest).map_err(RustError::Io)?),
    };
    let folder = workspace.parent().unwrap_or(&folder).to_owned();
    Ok(Request::Crate { folder, package })
}

/// The crates of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Crates {
    /// `Cargo.lock` files that the source lacks or has otherwise, as cargo made them, by their paths
    /// in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cargo_locks: BTreeMap<String, String>,
    /// All that its `Cargo.lock`s name of registries, sorted.
    #[serde(default, rename = "crate")]
    pub crates: Vec<Artifact>,
    /// The commits of git repositories that their `Cargo.lock`s name, sorted.
    #[serde(default, rename = "repository", skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<CrateRepository>,
}

impl Crates {
    /// Whether what is locked of repositories is what the configuration says now.
    pub(crate) fn is_current(&self, context: &Context) -> bool {
        self.repositories.iter().all(|repository| repository.is_current(context))
    }
}

/// What a package's Rust is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RustInputs {
    /// What compiles.
    pub compiler: Compiler,
    /// What is compiled beside the source itself.
    pub crates: Crates,
}

/// A Rust toolchain on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RustTools {
    /// The folder with `bin/cargo`, `bin/rustc` and `lib/rustlib`.
    pub root: PathBuf,
    /// The version of rustc, as `rustc -V` prints it or as its package has it.
    pub version: String,
}

impl RustTools {
    /// cargo.
    pub fn cargo(&self) -> PathBuf {
        self.root.join("bin/cargo")
    }

    /// rustc.
    pub fn rustc(&self) -> PathBuf {
        self.root.join("bin/rustc")
    }
}
