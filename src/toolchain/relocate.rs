//! Makes executables run with the store's own C library.
//!
//! A dynamic executable names its interpreter by an absolute path, and finds libraries by the
//! machine's configuration. Given the interpreter and a `DT_RPATH` of the `runtime` component, it
//! runs the same on every machine, whatever its C library. `DT_RPATH` and not `DT_RUNPATH`,
//! because it also holds for what the libraries themselves need and what a program loads later
//! (ld.so(8)): so libraries need no change.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, ReadCache, elf};
use walkdir::WalkDir;

use super::error::ToolchainError;
use crate::target::Arch;

/// What executables are made to run with.
#[derive(Debug, Clone)]
pub struct Relocation {
    /// patchelf.
    pub patchelf: PathBuf,
    /// The `runtime` component.
    pub runtime: PathBuf,
    /// Where the executables run.
    pub build: Arch,
}

impl Relocation {
    /// The runtime's program interpreter.
    pub fn interpreter(&self) -> PathBuf {
        let name = match self.build {
            Arch::Aarch64 => "ld-linux-aarch64.so.1",
            Arch::X86_64 => "ld-linux-x86-64.so.2",
        };
        self.libraries(&self.runtime).join(name)
    }

    /// Changes every dynamic executable below `root`, a component that will end up in `destination`.
    ///
    /// Files are handed to patchelf many at a time, to as many processes as there are cores.
    pub fn apply(&self, root: &Path, destination: &Path) -> Result<(), ToolchainError> {
        let executables = self.dynamic_executables(root)?;
        if executables.is_empty() {
            return Ok(());
        }
        let rpath = self.rpath(root, destination);
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let chunks = executables.chunks(executables.len().div_ceil(jobs));
        thread::scope(|scope| {
            let workers: Vec<_> =
                chunks.map(|files| scope.spawn(|| self.patch(files, &rpath))).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    fn patch(&self, files: &[PathBuf], rpath: &str) -> Result<(), ToolchainError> {
        let mut args: Vec<OsString> =
            vec!["--set-interpreter".into(), self.interpreter().into_os_string()];
        args.extend(["--force-rpath".into(), "--set-rpath".into(), rpath.into()]);
        args.extend(files.iter().map(|file| file.clone().into_os_string()));
        run_tool(&self.patchelf, args)
    }

    /// The runtime's libraries, then the component's own.
    fn rpath(&self, root: &Path, destination: &Path) -> String {
        let mut folders = vec![self.libraries(&self.runtime)];
        if self.libraries(root).is_dir() {
            folders.push(self.libraries(destination));
        }
        let folders: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy()).collect();
        folders.join(":")
    }

    fn libraries(&self, root: &Path) -> PathBuf {
        root.join("usr/lib").join(self.build.gnu_triple())
    }

    /// Files with an interpreter, for the build platform's machine.
    fn dynamic_executables(&self, root: &Path) -> Result<Vec<PathBuf>, ToolchainError> {
        let mut found = Vec::new();
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry.map_err(std::io::Error::from)?;
            if entry.file_type().is_file() && self.has_interpreter(entry.path())? {
                found.push(entry.into_path());
            }
        }
        Ok(found)
    }

    fn has_interpreter(&self, path: &Path) -> Result<bool, ToolchainError> {
        let mut file = fs_err::File::open(path)?;
        let mut ident = [0; 20];
        if file.read(&mut ident)? < ident.len()
            || ident[..4] != elf::ELFMAG
            || ident[4] != elf::ELFCLASS64.0
        {
            return Ok(false);
        }
        // e_machine follows e_ident and e_type (gABI, ELF header).
        if u16::from_le_bytes([ident[18], ident[19]]) != self.build.elf_machine() {
            return Ok(false);
        }
        let invalid = |source| ToolchainError::Elf { path: path.to_owned(), source };
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(invalid)?;
        let headers = elf.elf_header().program_headers(elf.endian(), &cache).map_err(invalid)?;
        Ok(headers.iter().any(|header| header.p_type(elf.endian()) == elf::PT_INTERP))
    }
}

/// Runs one of the toolchain's own tools on the files of a component.
pub(super) fn run_tool(tool: &Path, args: Vec<OsString>) -> Result<(), ToolchainError> {
    let failed = |source| ToolchainError::Tool { tool: tool.to_owned(), source };
    let output = duct::cmd(tool, args)
        .full_env(std::iter::empty::<(OsString, OsString)>())
        .stdin_null()
        .stdout_null()
        .stderr_capture()
        .unchecked()
        .run()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(std::io::Error::other(message)))
}
