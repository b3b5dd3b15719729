//! What the target would answer to a build script: `answers.json`, which the Python shims read.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use super::environment::Tools;
use crate::toolchain::Toolchain;

/// The environment variable by which the torch SDK finds the file; the other shims find it beside
/// themselves.
pub const VARIABLE: &str = "CROSSWHEEL_TORCH_ANSWERS";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// The target's name.
    pub target: String,
    /// As `uname -m` prints it on the target.
    pub machine: &'static str,
    /// Debian's multiarch folder, as in the names of extension modules.
    pub multiarch: &'static str,
    /// The target's glibc version, such as `2.39`.
    pub glibc: String,
    /// The target's Python.
    pub python: PythonAnswers,
    /// The target's CUDA version, major and minor, such as `13.0`.
    pub cuda: String,
    /// Compute capabilities of the target's GPUs, major and minor, in the target's order.
    pub capabilities: Vec<(u16, u16)>,
    /// The target's torch.
    pub torch: TorchAnswers,
    /// What the build sees as compilers: names that are found in the build's `PATH`.
    pub tools: ToolAnswers,
    /// How many jobs the build may run at once.
    pub jobs: NonZeroUsize,
}

/// The target's Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PythonAnswers {
    /// Major and minor version, such as `3.11`.
    pub version: String,
    /// Folders of its headers, in search order; at least one.
    pub include: Vec<PathBuf>,
}

/// The target's torch, importable on the build platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TorchAnswers {
    /// The folder that holds the package `torch`.
    pub root: PathBuf,
    /// Its version, with the local part, such as `2.14.0+cu130`.
    pub version: String,
}

/// The compilers' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolAnswers {
    /// The C compiler driver.
    pub cc: String,
    /// The C++ compiler driver.
    pub cxx: String,
    /// The archiver.
    pub ar: String,
}

impl Answers {
    /// What a toolchain's target answers.
    pub fn new(
        toolchain: &Toolchain,
        tools: &Tools,
        torch: TorchAnswers,
        jobs: NonZeroUsize,
    ) -> Self {
        let target = &toolchain.target;
        Self {
            target: target.name.clone(),
            machine: target.arch.name(),
            multiarch: target.arch.gnu_triple(),
            glibc: target.floors.glibc.clone(),
            python: PythonAnswers {
                version: toolchain.target_python.version.clone(),
                include: toolchain.target_python.include.clone(),
            },
            cuda: target.cuda.clone(),
            capabilities: target.sm.iter().map(|sm| (sm.major(), sm.minor())).collect(),
            torch,
            tools: ToolAnswers {
                cc: tools.name("gcc"),
                cxx: tools.name("g++"),
                ar: tools.name("ar"),
            },
            jobs,
        }
    }
}
