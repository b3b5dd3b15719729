//! Makes executables run with the store's own C library.
//!
//! A dynamic executable names its interpreter by an absolute path, and finds libraries by the
//! machine's configuration. Given the interpreter and a `DT_RPATH` of the `runtime` component, it
//! runs the same on every machine, whatever its C library. `DT_RPATH` and not `DT_RUNPATH`,
//! because it also holds for what the libraries themselves need and what a program loads later
//! (ld.so(8)). It holds for no library that has a `DT_RUNPATH` of its own, which is taken away:
//! else what that library needs would be the machine's, or missing.

use std::ffi::OsString;
use std::io::Read;
use std::iter;
use std::path::{Path, PathBuf};
use std::thread;

use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
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
        self.libraries().join(name)
    }

    /// Changes every dynamic executable below `root`, a component that will end up in
    /// `destination`, and every library that has a run path of its own.
    ///
    /// Files are handed to patchelf many at a time, to as many processes as there are cores.
    pub fn apply(&self, root: &Path, destination: &Path) -> Result<(), ToolchainError> {
        let Found { executables, libraries } = self.find(root)?;
        if !libraries.is_empty() {
            let args =
                ["--remove-rpath".into()].into_iter().chain(libraries.into_iter().map(Into::into));
            run_tool(&self.patchelf, args.collect())?;
        }
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
        let own = ["usr/lib", "lib"].map(|folder| Path::new(folder).join(self.build.gnu_triple()));
        let own = own.iter().filter(|folder| root.join(folder).is_dir());
        let folders = iter::once(self.libraries()).chain(own.map(|own| destination.join(own)));
        folders.map(|folder| folder.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
    }

    /// The runtime's libraries.
    fn libraries(&self) -> PathBuf {
        self.runtime.join("usr/lib").join(self.build.gnu_triple())
    }

    /// What is to be changed of the files for the build platform's machine.
    fn find(&self, root: &Path) -> Result<Found, ToolchainError> {
        let mut found = Found::default();
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry.map_err(std::io::Error::from)?;
            if !entry.file_type().is_file() {
                continue;
            }
            match self.linking(entry.path())? {
                Some(Linking { has_interpreter: true, .. }) => {
                    found.executables.push(entry.into_path());
                }
                Some(Linking { has_run_path: true, .. }) => found.libraries.push(entry.into_path()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// How a file is linked, where it is an ELF file for the build platform's machine.
    fn linking(&self, path: &Path) -> Result<Option<Linking>, ToolchainError> {
        let mut file = fs_err::File::open(path)?;
        let mut ident = [0; 20];
        if file.read(&mut ident)? < ident.len()
            || ident[..4] != elf::ELFMAG
            || ident[4] != elf::ELFCLASS64.0
        {
            return Ok(None);
        }
        // e_machine follows e_ident and e_type (gABI, ELF header).
        if u16::from_le_bytes([ident[18], ident[19]]) != self.build.elf_machine() {
            return Ok(None);
        }
        let invalid = |source| ToolchainError::Elf { path: path.to_owned(), source };
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(invalid)?;
        let endian = elf.endian();
        let headers = elf.elf_header().program_headers(endian, &cache).map_err(invalid)?;
        let mut linking = Linking::default();
        for header in headers {
            linking.has_interpreter |= header.p_type(endian) == elf::PT_INTERP;
            let entries = header.dynamic(endian, &cache).map_err(invalid)?.unwrap_or_default();
            linking.has_run_path |=
                entries.iter().any(|entry| entry.tag(endian) == elf::DT_RUNPATH);
        }
        Ok(Some(linking))
    }
}

/// The files of a component that are to be changed.
#[derive(Default)]
struct Found {
    /// Those with an interpreter.
    executables: Vec<PathBuf>,
    /// Those without, but with a `DT_RUNPATH`.
    libraries: Vec<PathBuf>,
}

#[derive(Default)]
struct Linking {
    has_interpreter: bool,
    has_run_path: bool,
}

/// Runs one of the toolchain's own tools on the files of a component.
pub(super) fn run_tool(tool: &Path, args: Vec<OsString>) -> Result<(), ToolchainError> {
    let failed = |source| ToolchainError::Tool { tool: tool.to_owned(), source };
    let output = duct::cmd(tool, args)
        .full_env(iter::empty::<(OsString, OsString)>())
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
