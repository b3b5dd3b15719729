//! Whether processes are still there.

use std::thread;
use std::time::{Duration, Instant};

use crosswheel::exec::tree::ProcessTree;

/// How long a condition may take to come true before a test fails. Generous: it is never waited
/// for where all is well.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until something is there.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not after {DEADLINE:?}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A process by what tells it from a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// In clock ticks after the machine started (proc_pid_stat(5)).
    started: String,
    /// For messages.
    command: String,
}

impl Process {
    fn find(pid: i32) -> Option<Self> {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        if matches!(fields[0], "Z" | "X") {
            return None;
        }
        // The 22nd field; these begin with the third.
        let started = fields[19].to_owned();
        let command = fs_err::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Some(Self { pid, started, command: command.replace('\0', " ") })
    }

    /// Everything that runs.
    pub fn all() -> Vec<Self> {
        let entries = fs_err::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(Self::find).collect()
    }

    /// Whether this is in its command line.
    pub fn is_called(&self, text: &str) -> bool {
        self.command.contains(text)
    }

    /// Everything that runs below a process.
    pub fn below(pid: u32) -> Vec<Self> {
        let all = ProcessTree::snapshot().descendants(i32::try_from(pid).unwrap());
        all.into_iter().filter_map(Self::find).collect()
    }

    /// Whether it has not ended.
    pub fn lives(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }
}
