//! A build's own Python environment: the locked build requirements and nothing else of the
//! machine's, in which Python answers as the target's would.
//!
//! It is a virtual environment (PEP 405), so every Python that is started in it, by whatever
//! script and with whatever options, has the same packages and the same answers, and what a
//! distribution changed in its Python's folders does not show.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Serialize;

use super::answers::{Answers, TorchAnswers};
use super::installed::Installed;
use super::launch::{Invocation, Launch, tail_block};
use super::lock::UV_OPTIONS;
use super::shim::{self, ToolProject};
use super::variables::{self, Facts};
use super::{nvidia_smi, programs};
use crate::error::{Class, Diagnose, tells_full_disk};
use crate::exec::View;
use crate::target::Arch;
use crate::toolchain::Toolchain;

/// The folder of tool wrappers, which the build finds first in its `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// Holds `nvcc`, `ninja` and, under the target's triple, `aarch64-linux-gnu-gcc` and its like.
    pub folder: PathBuf,
    /// The CUDA toolkit as a build sees it, with the wrapper in nvcc's place.
    pub cuda: PathBuf,
    /// Whose triple the compilers' names begin with.
    pub arch: Arch,
}

impl Tools {
    /// The name of a compiler or binutil for the target, such as `aarch64-linux-gnu-g++`.
    pub fn name(&self, tool: &str) -> String {
        format!("{}-{tool}", self.arch.gnu_triple())
    }
}

/// What a build environment is made of. Paths are this machine's.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What the build calls these paths.
    pub view: &'a View,
    /// Compilers, Pythons and uv.
    pub toolchain: &'a Toolchain,
    /// What stands in for the compilers.
    pub tools: &'a Tools,
    /// The target's torch.
    pub torch: &'a TorchAnswers,
    /// The locked wheels, verified, each under its file name of the index.
    pub wheels: &'a [PathBuf],
    /// Where installed wheels are kept for later environments.
    pub environments: Option<&'a Path>,
    /// Projects whose programs are in the tools' folder, with their versions.
    pub provided: &'a [(ToolProject, String)],
    /// How many jobs the build may run at once.
    pub jobs: NonZeroUsize,
    /// The time of everything that is written (reproducible-builds.org), in seconds.
    pub source_date_epoch: u64,
}

/// The folders of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// All of it.
    pub root: PathBuf,
    /// Python, the wheels' programs and the machine's that a build may use.
    pub bin: PathBuf,
    /// The Python packages.
    pub site: PathBuf,
    /// The build's `HOME`, empty at first.
    pub home: PathBuf,
    /// The build's `TMPDIR`, empty at first.
    pub temporary: PathBuf,
    /// Requests to the backend and its results.
    pub exchange: PathBuf,
    /// What the Python shims know of the target.
    pub answers: PathBuf,
}

impl Layout {
    /// Makes the folders that a build may fill, and empties them.
    fn empty_scratch(&self) -> std::io::Result<()> {
        for folder in [&self.home, &self.temporary, &self.exchange] {
            remove(folder)?;
            fs_err::create_dir_all(folder)?;
        }
        Ok(())
    }

    fn new(root: &Path, (major, minor): (u16, u16)) -> Self {
        let site = root.join(format!("lib/python{major}.{minor}/site-packages"));
        Self {
            root: root.to_owned(),
            bin: root.join("bin"),
            home: root.join("home"),
            temporary: root.join("tmp"),
            exchange: root.join("exchange"),
            answers: site.join(shim::PACKAGE).join("answers.json"),
            site,
        }
    }
}

/// Why there is no build environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The executable's name must tell its version.
    #[error("`{0}` is not the Python of a toolchain: a name such as `python3.13` is expected")]
    NotPython(PathBuf),
    /// The torch SDK's folder cannot be a line of a `.pth` file.
    #[error("the torch SDK's folder `{0}` has a line break in its name")]
    TorchFolder(PathBuf),
    /// The wheels do not install.
    #[error("the build requirements could not be installed{}", tail_block(tail))]
    Install {
        /// uv's last lines.
        tail: Vec<String>,
    },
    /// uv did not start, or was stopped.
    #[error("uv did not run")]
    Launch(#[source] crate::Error),
    /// The environment's folder cannot be written.
    #[error("the build environment cannot be written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for EnvironmentError {
    fn class(&self) -> Class {
        match self {
            Self::Install { tail } if tail.iter().any(|line| tells_full_disk(line)) => {
                Class::DiskFull
            }
            Self::NotPython(_) | Self::Install { .. } => Class::Toolchain,
            Self::TorchFolder(_) => Class::Torch,
            Self::Launch(source) => source.class(),
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Launch(source) => source.hint(),
            _ => None,
        }
    }
}

/// A build environment on disk.
#[derive(Debug, Clone)]
pub struct BuildEnvironment {
    layout: Layout,
    inside: Layout,
    view: View,
    python: PathBuf,
    variables: IndexMap<String, OsString>,
}

/// Says, in the environment's folder, what the environment was made of.
const STAMP: &str = "made-of.json";

impl BuildEnvironment {
    /// Makes the environment in a folder. One that is there and is made of the same parts is kept,
    /// files and times, so that what was compiled against it stays valid; another is removed.
    pub fn create(
        root: &Path,
        parts: Parts<'_>,
        launch: Launch<'_>,
    ) -> Result<Self, EnvironmentError> {
        let executable = programs::resolve(&parts.toolchain.python)?;
        let version = programs::python_version(&executable)
            .ok_or_else(|| EnvironmentError::NotPython(executable.clone()))?;
        if parts.torch.root.to_string_lossy().contains('\n') {
            return Err(EnvironmentError::TorchFolder(parts.torch.root.clone()));
        }
        let environment = Self::new(root, parts, version);
        let Self { layout, inside, .. } = &environment;
        let seen = parts.toolchain.renamed(|path| parts.view.inside(path));
        let torch = TorchAnswers {
            root: parts.view.inside(&parts.torch.root),
            version: parts.torch.version.clone(),
        };
        let answers = Answers::new(&seen, parts.tools, torch, parts.jobs);
        let stamp =
            serde_json::to_string_pretty(&(&answers, &seen, parts.wheels, inside, shim::digest()))
                .map_err(std::io::Error::from)?;
        if fs_err::read_to_string(root.join(STAMP)).is_ok_and(|made_of| made_of == stamp) {
            layout.empty_scratch()?;
            return Ok(environment);
        }
        remove(root)?;
        fs_err::create_dir_all(&layout.bin)?;
        fs_err::create_dir_all(&layout.site)?;
        layout.empty_scratch()?;
        link_python(layout, &parts.view.inside(&executable), version)?;
        // With the shims in place uv would take this Python for one of the target's machine.
        environment.install_wheels(parts, launch)?;
        programs::link_system(&layout.bin)?;
        let target = &parts.toolchain.target;
        programs::write_answering(&layout.bin, target.arch, parts.jobs)?;
        nvidia_smi::write(&layout.bin, target)?;
        for (project, version) in parts.provided {
            project.install(&layout.site, version)?;
        }
        shim::install(&layout.site, &answers)?;
        fs_err::write(root.join(STAMP), stamp)?;
        Ok(environment)
    }

    fn new(root: &Path, parts: Parts<'_>, version: (u16, u16)) -> Self {
        let inside = Layout::new(&parts.view.inside(root), version);
        let tools = Tools {
            folder: parts.view.inside(&parts.tools.folder),
            cuda: parts.view.inside(&parts.tools.cuda),
            arch: parts.tools.arch,
        };
        let variables = variables::variables(Facts {
            layout: &inside,
            tools: &tools,
            target: &parts.toolchain.target,
            jobs: parts.jobs,
            source_date_epoch: parts.source_date_epoch,
        });
        Self {
            layout: Layout::new(root, version),
            python: inside.bin.join(python_name(version)),
            view: parts.view.clone(),
            inside,
            variables,
        }
    }

    /// What the build calls paths of this machine.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Installs the locked wheels, by a uv that runs as the build does: the programs that it
    /// writes name their Python.
    fn install_wheels(&self, parts: Parts<'_>, launch: Launch<'_>) -> Result<(), EnvironmentError> {
        if parts.wheels.is_empty() {
            return Ok(());
        }
        let uv = &parts.toolchain.uv;
        let made_of = serde_json::to_vec(&(&self.inside, &self.python, uv, parts.wheels))
            .map_err(std::io::Error::from)?;
        let installed = parts.environments.map(|folder| Installed::new(folder, &made_of));
        if let Some(installed) = &installed
            && installed.copy_to(&self.layout.root)?
        {
            return Ok(());
        }
        let mut args: Vec<OsString> = ["pip", "install", "--offline", "--no-index", "--no-deps"]
            .into_iter()
            // The environment may be written to; the cache may not.
            .chain(["--link-mode", "copy", "--no-cache", "--compile-bytecode"])
            .chain(UV_OPTIONS)
            .map(Into::into)
            .collect();
        args.extend(["--python".into(), self.python.clone().into()]);
        args.extend(parts.wheels.iter().map(|wheel| parts.view.inside(wheel).into()));
        let outcome = launch(&Invocation {
            program: parts.view.inside(&parts.toolchain.uv),
            args,
            variables: IndexMap::from([("HOME".to_owned(), self.inside.home.clone().into())]),
            dir: self.layout.root.clone(),
            log: self.layout.exchange.join("uv-install.log"),
        })
        .map_err(EnvironmentError::Launch)?;
        if outcome.code != 0 {
            return Err(EnvironmentError::Install { tail: outcome.tail });
        }
        if let Some(installed) = &installed {
            installed.keep(&self.layout.root);
        }
        Ok(())
    }

    /// Its folders on this machine.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its Python, as the build calls it.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Every variable of a process that runs in it.
    pub fn variables(&self) -> &IndexMap<String, OsString> {
        &self.variables
    }

    /// Sets variables: those of a recipe, or of the tool wrappers.
    pub fn set(&mut self, variables: impl IntoIterator<Item = (String, OsString)>) {
        self.variables.extend(variables);
    }
}

fn remove(root: &Path) -> std::io::Result<()> {
    match fs_err::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the folder a virtual environment of this Python (PEP 405): its own `venv` would do the
/// same, but Debian packages that apart.
fn link_python(
    layout: &Layout,
    executable: &Path,
    (major, minor): (u16, u16),
) -> std::io::Result<()> {
    let home = executable.parent().unwrap_or(Path::new("/"));
    let config = format!(
        "home = {}\ninclude-system-site-packages = false\nversion = {major}.{minor}\n",
        home.display()
    );
    fs_err::write(layout.root.join("pyvenv.cfg"), config)?;
    let name = python_name((major, minor));
    fs_err::os::unix::fs::symlink(executable, layout.bin.join(&name))?;
    for alias in ["python3", "python"] {
        fs_err::os::unix::fs::symlink(&name, layout.bin.join(alias))?;
    }
    Ok(())
}

fn python_name((major, minor): (u16, u16)) -> String {
    format!("python{major}.{minor}")
}
