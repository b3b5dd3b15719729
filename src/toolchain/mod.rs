//! Toolchain components: as written (`toolchains/components.toml`, and `toolchains/cuda.toml` for
//! CUDA's libraries), locked (`toolchains/components.lock`), and provisioned into the store.
//!
//! In: a [`Target`], a Python version, the build platform. Out: a [`Toolchain`], whose every path
//! lies in the store and is read-only. Nothing here knows about packages or builds.

pub mod cmake;
pub mod cuda;
pub mod env;
pub mod error;
mod headers;
mod install;
pub mod lock;
pub mod provision;
pub mod relocate;
pub mod relock;
pub mod sources;
pub mod spec;
mod stubs;
mod wheels;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::ToolchainError;
pub use provision::{Fetch, Provisioner, Request};
pub use sources::{Source, Sources};

use crate::artifact::Sha256;
use crate::cache::Aliases;
use crate::rust::RustTools;
use crate::target::{Arch, Target};

/// A provisioned toolchain: paths of real executables and folders in the store.
#[derive(Debug, Clone, Serialize)]
pub struct Toolchain {
    /// What it builds for.
    pub target: Target,
    /// Where its compilers run.
    pub build: Arch,
    /// The C compiler driver.
    pub cc: PathBuf,
    /// The C++ compiler driver, which is also nvcc's host compiler.
    pub cxx: PathBuf,
    /// The folder with the binutils, under their names without a triple (`ar`, `ld`, `strip` …).
    pub binutils: PathBuf,
    /// The target's C library, headers and libstdc++, for `--sysroot`.
    pub sysroot: PathBuf,
    /// The CUDA toolkit: `bin/nvcc`, `nvvm`, `include`, `lib64`, `targets`.
    pub cuda: PathBuf,
    /// Folders with headers of CUDA libraries that the toolkit has not, in the order of the
    /// libraries' names.
    pub cuda_include: Vec<PathBuf>,
    /// The Python that runs build scripts.
    pub python: PathBuf,
    /// The Python that the wheel is for, as data.
    pub target_python: TargetPython,
    /// ninja 1.13 or newer.
    pub ninja: PathBuf,
    /// uv, which resolves and unpacks build requirements.
    pub uv: PathBuf,
    /// Rust with both standard libraries, for packages with crates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustTools>,
    /// What all this is made of, in the order of their names.
    pub components: Vec<ComponentRef>,
    /// Digest of the packages that have cudafe++, cicc and ptxas.
    #[serde(skip)]
    pub device_compilers: Sha256,
    /// What the object cache calls the components' folders.
    #[serde(skip)]
    pub aliases: Aliases,
}

impl Toolchain {
    /// The same toolchain with other paths: as a sandbox shows it.
    pub fn renamed(&self, rename: impl Fn(&Path) -> PathBuf) -> Self {
        let mut renamed = self.clone();
        let paths = [
            &mut renamed.cc,
            &mut renamed.cxx,
            &mut renamed.binutils,
            &mut renamed.sysroot,
            &mut renamed.cuda,
            &mut renamed.python,
            &mut renamed.ninja,
            &mut renamed.uv,
        ];
        let lists = renamed.target_python.include.iter_mut().chain(&mut renamed.cuda_include);
        let rust = renamed.rust.iter_mut().map(|rust| &mut rust.root);
        for path in paths.into_iter().chain(lists).chain(rust) {
            *path = rename(path);
        }
        renamed
    }
}

/// The Python that a wheel is for: never run, only described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetPython {
    /// Major and minor version, such as `3.11`.
    pub version: String,
    /// Folders with `Python.h` and `pyconfig.h` for the target, in search order.
    pub include: Vec<PathBuf>,
    /// Where the headers came from: a component's name, or the folder or archive given.
    pub source: String,
}

/// One component of a toolchain, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRef {
    /// Such as `gcc`.
    pub name: String,
    /// The main package's version.
    pub version: String,
    /// Digest of the component's inputs and layout, by which the store keeps it.
    pub digest: Sha256,
}
