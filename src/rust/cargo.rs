//! The machine's own cargo, with its own configuration: the one client of the crates' registry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{RustError, Trouble};
use crate::Result;
use crate::context::Context;
use crate::exec::{Command, ExecError, capture};
use crate::git;

/// Lines of cargo's that an error shows.
const TAIL_LINES: usize = 12;

/// cargo, ready to run.
pub(super) struct Cargo<'a> {
    context: &'a Context,
    program: PathBuf,
}

impl<'a> Cargo<'a> {
    /// The cargo that runs this process, or else the one in `PATH`.
    pub(super) fn new(context: &'a Context) -> Result<Self, RustError> {
        let environment = &context.environment;
        let running = environment.path("CARGO").filter(|path| path.is_file());
        let program = running.or_else(|| capture::find(environment, "cargo"));
        Ok(Self { context, program: program.ok_or(RustError::NoCargo)? })
    }

    /// Where it keeps what it downloads (the Cargo Book, "Cargo Home").
    pub(super) fn home(&self) -> Option<PathBuf> {
        let environment = &self.context.environment;
        environment.path("CARGO_HOME").or_else(|| Some(environment.home()?.join(".cargo")))
    }

    fn command(&self, args: &[&str], manifest: &Path, tree: &Path) -> Command {
        let manifest: [OsString; 2] = ["--manifest-path".into(), manifest.into()];
        Command::new(&self.program, tree.parent().unwrap_or(tree))
            .args(args.iter().copied())
            .args(manifest)
            .args(self.context.offline.then_some("--offline"))
            .variables(self.context.environment.all())
            .variables(git::mirror_variables(self.context))
            .variable("CARGO_NET_GIT_FETCH_WITH_CLI", "true")
            .variable("CARGO_TERM_COLOR", "never")
            .variable("CARGO_TERM_PROGRESS_WHEN", "never")
    }

    /// Runs it on a manifest of a source tree. It starts outside of that, whose own choice of a
    /// toolchain and whose configuration are not for this machine's cargo.
    pub(super) fn run(
        &self,
        what: &'static str,
        args: &[&str],
        manifest: &Path,
        tree: &Path,
    ) -> Result<()> {
        let finished = self.command(args, manifest, tree).run(&self.context.interrupt)?;
        if finished.status.success() {
            return Ok(());
        }
        let trouble = Trouble::of(&finished.tail);
        let shown = finished.tail.len().saturating_sub(TAIL_LINES);
        // The source, by a path that is gone when it is read.
        let tree = tree.display().to_string();
        let plain = |line: &String| line.replace(&format!("{tree}/"), "").replace(&tree, ".");
        let tail = finished.tail[shown..].iter().map(plain).collect();
        Err(RustError::Cargo { what, trouble, tail }.into())
    }

    /// The manifest of the workspace that a manifest belongs to.
    pub(super) fn workspace(&self, manifest: &Path, tree: &Path) -> Result<PathBuf> {
        let args = ["locate-project", "--workspace", "--message-format", "plain"];
        match self.command(&args, manifest, tree).read(&self.context.interrupt) {
            Ok(path) => Ok(path.trim().into()),
            // What is wrong with it, the next command tells.
            Err(ExecError::Failed { .. }) => Ok(manifest.to_owned()),
            Err(error) => Err(error.into()),
        }
    }
}
