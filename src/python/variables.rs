//! The whole environment of a build: nothing of the user's but what is listed here.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use indexmap::IndexMap;

use super::environment::{Layout, Tools};
use super::{answers, shim};
use crate::target::Target;

/// What the variables tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) layout: &'a Layout,
    pub(super) tools: &'a Tools,
    pub(super) target: &'a Target,
    pub(super) jobs: NonZeroUsize,
    pub(super) source_date_epoch: u64,
}

/// The variables, in the order in which the manifest lists them.
pub(super) fn variables(facts: Facts<'_>) -> IndexMap<String, OsString> {
    let Facts { layout, tools, target, jobs, source_date_epoch } = facts;
    let mut variables = IndexMap::new();
    let mut set = |name: &str, value: OsString| variables.insert(name.to_owned(), value);
    let text = |value: &str| OsString::from(value);
    let path = |path: &Path| path.as_os_str().to_owned();

    // The wrappers come first: a locked wheel may bring a program of the same name.
    let mut search = path(&tools.folder);
    search.push(":");
    search.push(&layout.bin);
    set("PATH", search);
    set("HOME", path(&layout.home));
    set("TMPDIR", path(&layout.temporary));
    set("LANG", text("C.UTF-8"));
    set("LC_ALL", text("C.UTF-8"));
    set("TZ", text("UTC"));
    set("SOURCE_DATE_EPOCH", text(&source_date_epoch.to_string()));

    set("PYTHONHASHSEED", text("0"));
    set("PYTHONNOUSERSITE", text("1"));
    // A package might take bytecode in the source tree for its own files.
    set("PYTHONDONTWRITEBYTECODE", text("1"));
    set("VIRTUAL_ENV", path(&layout.root));
    set("_PYTHON_HOST_PLATFORM", text(&format!("linux-{}", target.arch)));
    set("_PYTHON_SYSCONFIGDATA_NAME", text(&shim::sysconfigdata(target.arch.gnu_triple())));
    set(answers::VARIABLE, path(&layout.answers));

    set("CC", text(&tools.name("gcc")));
    set("CXX", text(&tools.name("g++")));
    set("AR", text(&tools.name("ar")));
    set("RANLIB", text(&tools.name("ranlib")));
    set("STRIP", text(&tools.name("strip")));

    // Torch's CMake files take the toolkit from CUDA_TOOLKIT_ROOT only, CMake from CUDACXX, build
    // scripts from the other two.
    for name in ["CUDA_HOME", "CUDA_PATH", "CUDA_TOOLKIT_ROOT"] {
        set(name, path(&tools.cuda));
    }
    set("CUDACXX", path(&tools.cuda.join("bin/nvcc")));
    set("CUDAHOSTCXX", text(&tools.name("g++")));
    let capabilities: Vec<_> = target.sm.iter().map(|sm| sm.capability()).collect();
    set("TORCH_CUDA_ARCH_LIST", text(&capabilities.join(";")));
    // torchvision and its kin build without CUDA where no GPU is at hand, unless told so.
    set("FORCE_CUDA", text("1"));

    set("CMAKE_GENERATOR", text("Ninja"));
    // CMake 4 refuses what asks for the policies of older ones than this, unless it is told so.
    set("CMAKE_POLICY_VERSION_MINIMUM", text("3.5"));
    for name in ["MAX_JOBS", "CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS"] {
        set(name, text(&jobs.to_string()));
    }
    set("MAKEFLAGS", text(&format!("-j{jobs}")));
    variables
}
