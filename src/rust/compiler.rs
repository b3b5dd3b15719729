//! Which Rust compiles: the machine's own where it can, else the component.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RustTools;
use crate::context::Context;
use crate::exec::{Command, capture};
use crate::target::Arch;

/// A Rust, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compiler {
    /// The component `rust`.
    Component,
    /// The machine's own, which has a standard library for the target.
    Machine {
        /// As `rustc -V` prints it.
        rustc: String,
        /// As `cargo -V` prints it.
        cargo: String,
        /// Where it lies, which is no part of the record.
        #[serde(skip)]
        root: PathBuf,
    },
}

impl Compiler {
    /// The machine's own where it has both standard libraries, and else the component.
    pub fn choose(context: &Context, target: Arch) -> Self {
        Self::of_machine(context, target).unwrap_or(Self::Component)
    }

    fn of_machine(context: &Context, target: Arch) -> Option<Self> {
        let read = |program: &Path, args: &[&str]| {
            let command = Command::new(program, context.project.root());
            let command = command.args(args.iter().copied());
            let said = command.variables(context.environment.all()).read(&context.interrupt);
            Some(said.ok()?.trim().to_owned())
        };
        let rustc = capture::find(&context.environment, "rustc")?;
        let root = PathBuf::from(read(&rustc, &["--print", "sysroot"])?);
        let has_std = |arch: Arch| has_std(&root, arch);
        if !has_std(target) || !has_std(context.build) {
            return None;
        }
        // Not rustup's proxies, which obey a source's choice of a toolchain.
        let tools = RustTools { root: root.clone(), version: String::new() };
        let rustc = read(&tools.rustc(), &["-V"])?;
        let cargo = read(&tools.cargo(), &["-V"])?;
        Some(Self::Machine { rustc, cargo, root })
    }

    /// Its tools, where it is the machine's.
    pub(crate) fn tools(&self) -> Option<RustTools> {
        match self {
            Self::Component => None,
            Self::Machine { rustc, root, .. } => {
                Some(RustTools { root: root.clone(), version: rustc.clone() })
            }
        }
    }
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Component => f.write_str("the component `rust`"),
            Self::Machine { rustc, cargo, .. } => write!(f, "{rustc}, {cargo}"),
        }
    }
}

fn has_std(root: &Path, arch: Arch) -> bool {
    let folder = root.join("lib/rustlib").join(arch.rust_triple()).join("lib");
    let Ok(mut entries) = fs_err::read_dir(folder) else { return false };
    entries.any(|entry| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}
