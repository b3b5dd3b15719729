//! The Python side of the SDK: crosswheel's own small `torch` package, and what it is told.
//!
//! `shim/torch/` is laid over the target's `version.py`, `utils/cpp_extension.py` and so on. It
//! runs on any CPython from 3.9, imports nothing but the standard library, and answers what it
//! knows from two files: one in the SDK, and one for each build, which the variable
//! [`crate::python::answers::VARIABLE`] names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lock::listing_digest;
use crate::artifact::Sha256;
use crate::target::Arch;

/// Where [`Facts`] lie, below the SDK's root.
pub const FACTS_PATH: &str = "torch/_crosswheel_sdk.json";

macro_rules! shim {
    ($($path:literal)*) => {
        [$(($path, include_str!(concat!("shim/", $path)))),*]
    };
}

/// Every file of the package, by its path below the SDK's root.
pub const FILES: [(&str, &str); 17] = shim![
    "torch/_C.py"
    "torch/__config__.py"
    "torch/__init__.py"
    "torch/_crosswheel.py"
    "torch/_utils_internal.py"
    "torch/backends/__init__.py"
    "torch/backends/cuda.py"
    "torch/backends/cudnn.py"
    "torch/backends/mps.py"
    "torch/backends/openmp.py"
    "torch/cuda/__init__.py"
    "torch/cuda/nccl.py"
    "torch/distributed.py"
    "torch/mps.py"
    "torch/utils/__init__.py"
    "torch/utils/_filelock.py"
    "torch/xpu.py"
];

/// The digest of the package, which is part of every SDK's digest.
pub fn digest() -> Sha256 {
    let files: Vec<_> =
        FILES.iter().map(|(path, text)| ((*path).to_owned(), Sha256::of(text))).collect();
    listing_digest(files.iter().map(|(path, sha256)| (path, sha256)))
}

/// What the SDK's torch is, as its wheel says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// `torch.__version__`, such as `2.14.0+cu130`.
    pub version: String,
    /// `torch.version.cuda`, such as `13.0`.
    pub cuda: String,
    /// The processor of its libraries.
    pub arch: Arch,
    /// Whether libc10 uses libstdc++'s C++11 ABI.
    pub cxx11_abi: bool,
    /// Whether libtorch_cpu needs an OpenMP runtime.
    pub openmp: bool,
    /// Whether libtorch_cuda needs cuDNN.
    pub cudnn: bool,
    /// Compiler type, standard library and ABI of torch's pybind11, such as `_gcc`,
    /// `_libstdcpp`, `_cxxabi1018`: only where torch is older than 2.9, whose cpp_extension asks.
    pub pybind11: Option<[String; 3]>,
    /// `Requires-Dist` of what the SDK's Python files import: a build environment needs it.
    pub build_requirements: Vec<String>,
    /// The versions of torchvision and torchaudio that were installed beside it, where it was
    /// looked for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub companions: BTreeMap<String, String>,
}
