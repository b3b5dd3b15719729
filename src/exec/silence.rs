//! When a command counts as hung: it prints nothing, and nothing else shows that it is at work.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::command::display;
use super::tree::ProcessTree;

use crate::sync::lock;

/// How many processes a message names, and how long their command lines may be.
const NAMED: usize = 3;
const LONGEST: usize = 200;

/// How long a command may be silent, and what counts as work beside its output.
#[derive(Clone)]
pub struct Silence {
    /// The longest time without output and without work.
    pub limit: Duration,
    /// Whether something is known to be at work, such as a compiler.
    pub busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Silence").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// When a command was last heard of; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// It printed something, or is at work.
    pub(super) fn again(&self) {
        *lock(&self.0) = Instant::now();
    }

    fn ago(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}

impl Silence {
    /// Whether a command has been silent for too long.
    pub(super) fn is_over(&self, heard: &Heard) -> bool {
        // A compiler that is at work now was at work since it was last asked for.
        if (self.busy)() {
            heard.again();
            return false;
        }
        heard.ago() > self.limit
    }
}

/// The command lines of the processes below this one that themselves wait for no other.
pub(super) fn waited_for(pids: &[u32]) -> Vec<String> {
    let tree = ProcessTree::snapshot();
    let roots = pids.iter().filter_map(|pid| i32::try_from(*pid).ok());
    let leaves = roots.flat_map(|root| match tree.leaves(root) {
        none if none.is_empty() => vec![root],
        leaves => leaves,
    });
    leaves.filter_map(command_line).take(NAMED).collect()
}

/// As a shell would need it; `None` for a process that has ended, or is the kernel's.
fn command_line(pid: i32) -> Option<String> {
    let bytes = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = display(text.trim_end_matches('\0').split('\0'));
    let cut: String = line.chars().take(LONGEST).collect();
    match (text.is_empty(), cut.len() < line.len()) {
        (true, _) => None,
        (false, true) => Some(format!("{cut}…")),
        (false, false) => Some(cut),
    }
}
