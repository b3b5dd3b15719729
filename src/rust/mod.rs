//! Rust: what compiles a package's crates, which crates those are, and what cargo sees of both.
//!
//! In: a source tree with `Cargo.toml`s. Out, while locking: every crate by sha256 and, where the
//! tree has no `Cargo.lock`, the one that cargo made for it. Out, while building: a folder of
//! crates that stands for the registry, and the variables by which cargo, rustc and what crates'
//! build scripts run compile for the target. Crates are looked up and downloaded by the machine's
//! own cargo, as its configuration says; a build runs without a network.

mod cargo;
mod cargo_lock;
mod compiler;
mod crates;
mod error;
pub(crate) mod hints;
mod home;
mod manifests;
mod tools;
mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use compiler::Compiler;
pub use crates::{fetch, lock};
pub use error::RustError;
pub use home::prepare;
pub use tools::install;
pub use variables::variables;

use crate::artifact::Artifact;
use crate::request::Request;

/// The registry of crates, as locks name it.
pub const CRATES: &str = "crates";

/// Build requirements that run cargo.
const DRIVERS: [&str; 2] = ["maturin", "setuptools-rust"];

/// Whether a build with these requirements compiles crates.
pub fn is_driven(request: &Request, requirements: &[Artifact]) -> bool {
    let is_driver = |artifact: &Artifact| {
        let name = artifact.name.replace(['_', '.'], "-").to_lowercase();
        DRIVERS.contains(&name.as_str())
    };
    let is_crate = matches!(request, Request::Library(path) if path.join("Cargo.toml").is_file());
    is_crate || requirements.iter().any(is_driver)
}

/// The crates of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Crates {
    /// `Cargo.lock` files that the source lacks, as cargo made them, by their paths in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cargo_locks: BTreeMap<String, String>,
    /// All that its `Cargo.lock`s name, sorted.
    #[serde(default, rename = "crate")]
    pub crates: Vec<Artifact>,
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
