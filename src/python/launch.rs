//! How this module has processes run: the caller decides where, under which limits and in which
//! sandbox.

use std::ffi::OsString;
use std::path::PathBuf;

use indexmap::IndexMap;

/// A process to run: nothing of this process's environment reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The executable, as the process calls it: a sandbox may have other paths.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub variables: IndexMap<String, OsString>,
    /// Its working folder, on this machine.
    pub dir: PathBuf,
    /// Where all of its output is appended, on this machine.
    pub log: PathBuf,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; 128 + n where signal n ended it.
    pub code: u8,
    /// The last lines of its output.
    pub tail: Vec<String>,
}

/// Runs a process to its end, whatever its exit code is.
pub type Launch<'a> = &'a (dyn Fn(&Invocation) -> crate::Result<Outcome> + Sync);

/// The last lines of a failed tool, each on a line of its own below an error's message.
pub(crate) fn tail_block(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  | {line}")).collect()
}
