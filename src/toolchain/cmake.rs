//! A CMake toolchain file (cmake-toolchains(7)): how a project is configured for the target.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Toolchain;
use super::env::ALLOW_UNDEFINED;

/// What a toolchain file says of one build, beside the toolchain.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Folders, beside those of the toolchain, in which libraries and headers of the target are.
    pub roots: Vec<PathBuf>,
    /// Entries of CMake's cache; those of the command line win over them.
    pub cache: BTreeMap<String, String>,
}

impl Toolchain {
    /// A toolchain file for `cmake -DCMAKE_TOOLCHAIN_FILE=…`.
    pub fn cmake(&self, project: &Project) -> String {
        let path = |path: &Path| path.display().to_string();
        let list = |paths: &[PathBuf]| paths.iter().map(|p| path(p)).collect::<Vec<_>>().join(";");
        let tool = |name: &str| path(&self.binutils.join(name));
        let architectures = self.target.sm.iter().map(|sm| format!("{}-real", sm.0));
        let mut roots = vec![self.sysroot.clone(), self.cuda.clone()];
        roots.extend(project.roots.iter().cloned());
        let settings = [
            ("CMAKE_SYSTEM_NAME", "Linux".to_owned()),
            ("CMAKE_SYSTEM_PROCESSOR", self.target.arch.name().to_owned()),
            ("CMAKE_SYSROOT", path(&self.sysroot)),
            ("CMAKE_C_COMPILER", path(&self.cc)),
            ("CMAKE_CXX_COMPILER", path(&self.cxx)),
            ("CMAKE_AR", tool("ar")),
            ("CMAKE_LINKER", tool("ld")),
            ("CMAKE_NM", tool("nm")),
            ("CMAKE_OBJCOPY", tool("objcopy")),
            ("CMAKE_RANLIB", tool("ranlib")),
            ("CMAKE_STRIP", tool("strip")),
            ("CMAKE_CUDA_COMPILER", path(&self.cuda.join("bin/nvcc"))),
            ("CMAKE_CUDA_HOST_COMPILER", path(&self.cxx)),
            ("CMAKE_CUDA_ARCHITECTURES", architectures.collect::<Vec<_>>().join(";")),
            ("CMAKE_CUDA_FLAGS_INIT", format!("-Xcompiler=--sysroot={}", self.sysroot.display())),
            ("CMAKE_EXE_LINKER_FLAGS_INIT", ALLOW_UNDEFINED.to_owned()),
            ("CUDAToolkit_ROOT", path(&self.cuda)),
            // Programs are the build machine's; the rest is the target's.
            ("CMAKE_FIND_ROOT_PATH", list(&roots)),
            ("CMAKE_FIND_ROOT_PATH_MODE_PROGRAM", "NEVER".to_owned()),
            ("CMAKE_FIND_ROOT_PATH_MODE_LIBRARY", "ONLY".to_owned()),
            ("CMAKE_FIND_ROOT_PATH_MODE_INCLUDE", "ONLY".to_owned()),
            ("CMAKE_FIND_ROOT_PATH_MODE_PACKAGE", "BOTH".to_owned()),
            // What is not installed but copied would hold the folders that it was linked against.
            ("CMAKE_BUILD_WITH_INSTALL_RPATH", "ON".to_owned()),
        ];
        let mut text = String::new();
        for (name, value) in settings {
            let _ = writeln!(text, "set({name} {})", quoted(&value));
        }
        let include = list(&self.target_python.include);
        let mut cache = BTreeMap::from([
            // Trial compiles take it from there alone.
            ("CMAKE_MAKE_PROGRAM", path(&self.ninja)),
            // FindPython's two generations, and what came before.
            ("Python_INCLUDE_DIR", include.clone()),
            ("Python3_INCLUDE_DIR", include.clone()),
            ("PYTHON_INCLUDE_DIR", include),
        ]);
        cache.extend(project.cache.iter().map(|(name, value)| (name.as_str(), value.clone())));
        for (name, value) in cache {
            let _ = writeln!(text, "set({name} {} CACHE STRING \"\")", quoted(&value));
        }
        text
    }
}

/// A bracket argument (cmake-language(7)), in which nothing is special but its own end.
fn quoted(value: &str) -> String {
    let mut equals = "==".to_owned();
    while value.contains(&format!("]{equals}]")) {
        equals.push('=');
    }
    format!("[{equals}[{value}]{equals}]")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn any_value_is_one_argument() {
        assert_eq!(quoted("a;${b} \"c\""), "[==[a;${b} \"c\"]==]");
        assert_eq!(quoted("]==]"), "[===[]==]]===]");
    }
}
