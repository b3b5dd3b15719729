//! What a person needs to cross-compile by hand: variables for a shell.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::{Toolchain, ToolchainError};
use crate::environment::Environment;

/// The linker's flag for executables: GCC's own libstdc++ needs a newer glibc than the sysroot's,
/// and the linker would miss its symbols there.
pub(super) const ALLOW_UNDEFINED: &str = "-Wl,--allow-shlib-undefined";

impl Toolchain {
    /// Folders of executables, for the front of `PATH`.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let folders = [self.cxx.parent(), self.ninja.parent()];
        let folders = folders.into_iter().flatten().map(Path::to_owned);
        folders.chain([self.cuda.join("bin")]).collect()
    }

    /// The variables that compilers, Make, CMake, nvcc and cargo's `cc` look at, but for `PATH`.
    pub fn variables(&self) -> IndexMap<String, String> {
        let path = |path: &Path| path.display().to_string();
        let tool = |name: &str| path(&self.binutils.join(name));
        let sysroot = format!("--sysroot={}", self.sysroot.display());
        let include = self.target_python.include.iter().map(|i| path(i)).collect::<Vec<_>>();
        let architectures = self.target.sm.iter().map(|sm| sm.0.to_string()).collect::<Vec<_>>();
        let capabilities = self.target.sm.iter().map(|sm| sm.capability()).collect::<Vec<_>>();
        let compiler = format!("-ccbin={} -Xcompiler={sysroot}", self.cxx.display());
        let [libraries, stubs] = ["lib64", "lib64/stubs"].map(|folder| self.cuda.join(folder));
        let (libraries, stubs) = (libraries.display(), stubs.display());
        let link_flags = format!("{sysroot} -L{libraries} -L{stubs} {ALLOW_UNDEFINED}");
        [
            ("CC", path(&self.cc)),
            ("CXX", path(&self.cxx)),
            ("AR", tool("ar")),
            ("AS", tool("as")),
            ("LD", tool("ld")),
            ("NM", tool("nm")),
            ("OBJCOPY", tool("objcopy")),
            ("RANLIB", tool("ranlib")),
            ("READELF", tool("readelf")),
            ("STRIP", tool("strip")),
            ("CPPFLAGS", sysroot.clone()),
            ("CFLAGS", sysroot.clone()),
            ("CXXFLAGS", sysroot.clone()),
            ("LDFLAGS", link_flags),
            ("CUDA_HOME", path(&self.cuda)),
            ("CUDA_PATH", path(&self.cuda)),
            ("CUDACXX", path(&self.cuda.join("bin/nvcc"))),
            ("CUDAHOSTCXX", path(&self.cxx)),
            ("CUDAARCHS", architectures.join(";")),
            ("NVCC_PREPEND_FLAGS", compiler),
            ("TORCH_CUDA_ARCH_LIST", capabilities.join(";")),
            // gcc takes these as `-isystem`: Python.h is found with no flag.
            ("C_INCLUDE_PATH", include.join(":")),
            ("CPLUS_INCLUDE_PATH", include.join(":")),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
    }

    /// Runs a command with these variables and its terminal, and returns its exit code (128 + n
    /// where signal n ended it).
    pub fn run(
        &self,
        command: &[OsString],
        environment: &Environment,
    ) -> Result<u8, ToolchainError> {
        let Some((program, args)) = command.split_first() else {
            return Ok(0);
        };
        let mut path = self.search_path();
        path.extend(environment.get("PATH").iter().flat_map(std::env::split_paths));
        let path = std::env::join_paths(path).map_err(std::io::Error::other)?;
        let failed = |source| ToolchainError::Tool { tool: program.into(), source };
        // A bare name is looked for in the toolchain first: in this process's PATH it may be another.
        let program = which::which_in(program, Some(&path), environment.current_dir())
            .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::NotFound, error)))?;
        let mut expression = duct::cmd(program, args).unchecked().env("PATH", path);
        for (name, value) in self.variables() {
            expression = expression.env(name, value);
        }
        let status = expression.run().map_err(failed)?.status;
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
        Ok(u8::try_from(code).unwrap_or(1))
    }

    /// Lines for a POSIX shell's `eval`.
    pub fn shell(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.variables() {
            lines += &format!("export {name}={}\n", quote(&value));
        }
        let folders: Vec<_> = self.search_path().iter().map(|p| p.display().to_string()).collect();
        lines += &format!("export PATH={}:\"$PATH\"\n", quote(&folders.join(":")));
        lines
    }
}

/// A word of a POSIX shell: in single quotes, unless it is plain.
fn quote(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=+:,@%".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_survive_a_shell() {
        for word in ["/plain/path", "--sysroot=/a -L/b", "it's", "", "$HOME `x` \"y\"", "a;b"] {
            let printed = duct::cmd!("sh", "-c", format!("printf %s {}", quote(word)));
            assert_eq!(printed.read().unwrap(), word);
        }
    }
}
