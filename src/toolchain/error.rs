//! What can go wrong between a target and its toolchain.

use std::io;
use std::path::PathBuf;

use crate::error::{Class, Diagnose};
use crate::symbols::SymbolsError;
use crate::target::Arch;

/// Why there is no toolchain.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// `components.toml` or `components.lock` is not one.
    #[error("`{path}` does not describe components")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No component serves.
    #[error("no component is {wanted}")]
    NoComponent {
        /// What was looked for, such as `cuda for aarch64 …`.
        wanted: String,
        /// What there is of the name.
        known: Vec<String>,
    },
    /// No headers of the Python asked for.
    #[error("there are no headers of Python {python} for {target}")]
    NoPythonHeaders {
        /// Such as `3.12`.
        python: String,
        /// The processor.
        target: Arch,
        /// The versions there are.
        known: Vec<String>,
    },
    /// A component that is described but not locked.
    #[error("{component} is not locked")]
    NotLocked {
        /// Such as `gcc for aarch64 on x86_64`.
        component: String,
        /// Its name alone.
        name: String,
        /// The apt repositories that it comes from.
        registries: Vec<String>,
    },
    /// Python headers that were given do not serve.
    #[error("`{path}` cannot be used as headers of Python {python}: {flaw}")]
    Headers {
        /// The folder or archive.
        path: PathBuf,
        /// The version that they were given for.
        python: String,
        /// Why.
        flaw: HeadersFlaw,
    },
    /// A tool that completes a component failed on its files.
    #[error("`{tool}` failed while a component was installed")]
    Tool {
        /// patchelf, or the component's Python.
        tool: PathBuf,
        /// Why, with its last lines.
        source: io::Error,
    },
    /// A file that says it is ELF and is not.
    #[error("`{path}` is not a valid ELF file")]
    Elf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: object::Error,
    },
    /// The symbol index of a component cannot be used.
    #[error("`{path}` cannot be used")]
    Symbols {
        /// The index.
        path: PathBuf,
        /// Why.
        source: SymbolsError,
    },
    /// A stub cannot be written.
    #[error("no stub of `{file}` can be made")]
    Stub {
        /// The library.
        file: String,
        /// Why.
        source: object::write::Error,
    },
    /// No CUDA library of this name has headers to fetch for the target.
    #[error("there is no CUDA library `{library}` for CUDA {cuda} on {target}")]
    NoLibrary {
        /// As asked for.
        library: String,
        /// The CUDA release.
        cuda: String,
        /// The processor.
        target: Arch,
        /// The libraries that there are.
        known: Vec<String>,
    },
    /// A link of a layout whose path is not one of a file in the component.
    #[error("the link `{link}` of {component} is not a path inside it")]
    Link {
        /// The link.
        link: String,
        /// Such as `cuda`.
        component: String,
    },
    /// Reading or writing failed.
    #[error("the toolchain cannot be read or written")]
    Io(#[from] io::Error),
}

/// Why given Python headers do not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersFlaw {
    /// No `Python.h`.
    #[error("there is no `Python.h` in it")]
    NoPythonH,
    /// Several, and no telling which.
    #[error("there is more than one `Python.h` in it")]
    Several,
    /// No `pyconfig.h` beside `Python.h`.
    #[error("there is no `pyconfig.h` beside its `Python.h`")]
    NoPyconfig,
    /// A `pyconfig.h` that includes another that is not there, as Debian's does.
    #[error("its `pyconfig.h` includes `{0}`, which is not in it")]
    Multiarch(String),
    /// Another version.
    #[error("its `patchlevel.h` is of Python {0}")]
    Version(String),
    /// No version.
    #[error("its `patchlevel.h` names no version")]
    NoVersion,
}

impl Diagnose for ToolchainError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::Headers { .. } | Self::Link { .. } => Class::Usage,
            Self::NoPythonHeaders { .. } => Class::Request,
            Self::NoLibrary { .. } => Class::Usage,
            Self::Symbols { source, .. } => source.class(),
            Self::Io(_) => Class::Io,
            _ => Class::Toolchain,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoComponent { known, .. } if !known.is_empty() => {
                Some(format!("there are: {}", known.join("; ")))
            }
            Self::NoLibrary { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::Symbols { source, .. } => source.hint(),
            Self::NoPythonHeaders { python, known, .. } => Some(format!(
                "`--python-headers {python}=PATH` takes them from a folder or an archive with `Python.h`; without one there are {}",
                known.join(", ")
            )),
            Self::NotLocked { name, registries, .. } => {
                let other = registries.iter().find(|name| !name.starts_with("debian"));
                let lock = format!("`cargo xtask toolchain lock {name}`");
                Some(match (other, name.as_str()) {
                    (None, _) => format!("{lock} locks what `components.toml` describes"),
                    (Some(registry), "python-headers") => format!(
                        "name the apt repository as `[registries.{registry}]` in `crosswheel.toml`, \
                         then {lock}; or give the headers with `--python-headers X.Y=PATH`"
                    ),
                    (Some(registry), _) => format!(
                        "name the apt repository as `[registries.{registry}]` in `crosswheel.toml`, then {lock}"
                    ),
                })
            }
            Self::Headers { flaw: HeadersFlaw::Multiarch(_), .. } => Some(
                "give the folder above it, such as `/usr/include`, copied from the target".into(),
            ),
            _ => None,
        }
    }
}
