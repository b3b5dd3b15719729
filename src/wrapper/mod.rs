//! Tool wrappers: what a build sees as nvcc, g++, cmake and ninja.
//!
//! In: a tool's command line, and the [`Config`] beside the wrapper. Out: the real tool's run, with
//! a changed command line, by leave of the action server and on its record. All wrappers are
//! crosswheel's own executable under other names; [`dispatch`] looks at the name it was started
//! by, never at the environment, so that no build script can lose them.

mod cached;
mod client;
mod cmake;
mod config;
mod graph;
mod host;
mod install;
mod lines;
mod module_id;
mod narrow;
mod ninja;
mod nvcc;
mod response;
mod rustc;
mod said;
mod standard;
mod step;

pub(crate) use cached::UNTRACED;
pub use config::{
    CANONICAL_BUILD, CANONICAL_STORE, CANONICAL_TORCH, Config, FILE, Selection, Tools,
};
pub(crate) use install::{BUILD_CC, TRACE};
pub use install::{Installed, Toolkit, install, install_sandbox};
pub use narrow::{Arch, Code, Gencode, InvalidArch, NotCovered, Variant, narrow, shorthand};
pub use standard::Torch;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::environment::Environment;
use crate::error::{Class, Diagnose};
use crate::exec::{FAILED, sandbox, trace};

/// Why a wrapper could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum WrapperError {
    /// `tools.json` is missing or not of this version.
    #[error("`{path}` does not describe the tools of a build")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The real tool cannot be started.
    #[error("`{tool}` cannot be started")]
    Start {
        /// The real tool.
        tool: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The server is not there, or went away before it gave leave.
    #[error("the crosswheel that this build belongs to does not answer on `{socket}`")]
    Server {
        /// Its socket.
        socket: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A response file cannot be read.
    #[error("the response file `{path}` cannot be read")]
    ResponseFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A `-gencode` or `-arch` that nvcc would not take either.
    #[error("`{option}` cannot be narrowed")]
    Gencode {
        /// The option and its value.
        option: String,
        /// What is wrong with it.
        source: InvalidArch,
    },
    /// No code for the target can be made of a file.
    #[error("`{file}`: {source}")]
    NotCovered {
        /// The source.
        file: String,
        /// Which SM, and what was asked for.
        source: NotCovered,
    },
    /// A build calls cmake and requires none.
    #[error("the build environment has no cmake")]
    NoCmake,
    /// A name by which a target was asked for.
    #[error("no target that is compiled is called `{name}`")]
    NoTarget {
        /// The name.
        name: String,
        /// The targets that there are.
        known: Vec<String>,
    },
    /// A file cannot be read or written.
    #[error("the wrappers' folder cannot be written")]
    Io(#[from] io::Error),
}

impl Diagnose for WrapperError {
    fn class(&self) -> Class {
        match self {
            Self::Start { .. } => Class::Toolchain,
            Self::Io(_) | Self::Config { .. } => Class::Io,
            _ => Class::Build,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server { .. } => Some("build through `cargo xtask`, which runs it".to_owned()),
            Self::NotCovered { .. } => Some(
                "have the package build this file for a plain architecture as well, or leave the \
                 file out for this target"
                    .to_owned(),
            ),
            Self::NoCmake => Some(
                "have the recipe bring it, `requires = [\"cmake\"]` in \
                 `patches/<package>/recipe.toml`"
                    .to_owned(),
            ),
            Self::NoTarget { known, .. } => Some(format!("the targets are: {}", known.join(", "))),
            _ => None,
        }
    }
}

/// What an executable's name makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Sandbox,
    Trace,
    Nvcc,
    Ninja,
    Rustc,
    Cmake,
    Host(host::Language),
    Step(step::Tool),
}

impl Role {
    fn of(name: &str) -> Option<Self> {
        let tool = name.rsplit('-').next()?;
        if let Some(tool) = step::Tool::ALL.into_iter().find(|tool| tool.name() == name) {
            return Some(Self::Step(tool));
        }
        match (name, tool) {
            ("sandbox", _) => Some(Self::Sandbox),
            ("trace", _) => Some(Self::Trace),
            ("nvcc", _) => Some(Self::Nvcc),
            ("rustc", _) => Some(Self::Rustc),
            ("ninja", _) => Some(Self::Ninja),
            ("cmake", _) => Some(Self::Cmake),
            (_, "cc" | "gcc") => Some(Self::Host(host::Language::C)),
            (_, "c++" | "g++") => Some(Self::Host(host::Language::Cxx)),
            _ => None,
        }
    }
}

/// Does the work of a wrapper where this executable was started under a wrapper's name; `None`
/// where it was not, and is the command line. To be called before anything else.
pub fn dispatch() -> Option<ExitCode> {
    let executable = std::env::current_exe().ok()?;
    let role = Role::of(executable.file_name()?.to_str()?)?;
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match role {
        Role::Sandbox => return Some(sandbox::main(&executable, &args)),
        Role::Trace => return Some(trace::main(&args)),
        _ => {}
    }
    let config = find_config(&executable)?;
    let nested = executable.parent().is_some_and(|folder| folder.ends_with(install::NESTED));
    let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let result = load(&config).and_then(|config| {
        let folder = executable.parent().unwrap_or(Path::new("/"));
        let environment = Environment::from_process();
        let result = match role {
            Role::Ninja => ninja::run(&config, args, &environment),
            Role::Cmake => cmake::run(&config, &install::project_file(folder), args),
            Role::Rustc => rustc::run(&config, folder, args, &environment),
            Role::Nvcc => {
                nvcc::run(&config, &install::nested_cxx(folder, &config), args, &environment)
            }
            Role::Host(language) => host::run(&config, language, args, nested, &environment),
            Role::Step(tool) => step::run(&config, tool, &args, &environment),
            Role::Sandbox | Role::Trace => Ok(FAILED),
        };
        result.inspect_err(|error| client::refuse(&config, &name, error))
    });
    Some(ExitCode::from(result.unwrap_or_else(|error| {
        complain(&name, &error);
        FAILED
    })))
}

/// `tools.json` beside the wrapper, or up to two folders above it.
fn find_config(executable: &Path) -> Option<PathBuf> {
    executable.ancestors().skip(1).take(3).map(|folder| folder.join(FILE)).find(|f| f.is_file())
}

fn load(path: &Path) -> Result<Config, WrapperError> {
    let bytes = fs_err::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|source| WrapperError::Config { path: path.to_owned(), source })
}

/// As a compiler would: the build tool shows it, and the build fails.
fn complain(name: &str, error: &WrapperError) {
    eprintln!("crosswheel {name}: error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // Messages that already hold their source's are not said twice.
        if !error.to_string().contains(&cause.to_string()) {
            eprintln!("  caused by: {cause}");
        }
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_roles() {
        use host::Language::{C, Cxx};
        for (name, role) in [
            ("nvcc", Some(Role::Nvcc)),
            ("ninja", Some(Role::Ninja)),
            ("rustc", Some(Role::Rustc)),
            ("cmake", Some(Role::Cmake)),
            ("sandbox", Some(Role::Sandbox)),
            ("trace", Some(Role::Trace)),
            ("cudafe++", Some(Role::Step(step::Tool::Cudafe))),
            ("ptxas", Some(Role::Step(step::Tool::Ptxas))),
            ("cc", Some(Role::Host(C))),
            ("aarch64-linux-gnu-gcc", Some(Role::Host(C))),
            ("c++", Some(Role::Host(Cxx))),
            ("aarch64-linux-gnu-g++", Some(Role::Host(Cxx))),
            ("xtask", None),
            ("integration-0123456789abcdef", None),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
