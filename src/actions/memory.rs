//! Peak memory of process trees, sampled.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::exec::tree::ProcessTree;
use crate::sync::lock;

/// The time between two looks at what is free.
const INTERVAL: Duration = Duration::from_millis(200);
/// The time between two samples, at least.
const SAMPLING: Duration = Duration::from_millis(500);
/// On a machine with thousands of processes a sample takes long: sampling slows down so far that it
/// costs at most one part in this many of one processor.
const THRIFT: u32 = 100;

/// What runs below registered processes takes, in bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage(Arc<Mutex<BTreeMap<i32, Taken>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    now: u64,
    peak: u64,
}

impl Usage {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Taken>> {
        // A thread that panicked leaves whole entries behind.
        lock(&self.0)
    }

    /// Takes something for a sample.
    #[cfg(test)]
    pub(super) fn set(&self, pid: i32, now: u64) {
        self.lock().insert(pid, Taken { now, peak: now });
    }

    /// At the last sample.
    pub(super) fn now(&self, pid: i32) -> u64 {
        self.lock().get(&pid).map_or(0, |taken| taken.now)
    }
}

/// Samples the trees below registered processes on a thread of its own.
#[derive(Debug)]
pub(super) struct Sampler {
    usage: Usage,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// `watch` is called all the time, more often than samples may be taken.
    pub(super) fn start(usage: Usage, watch: impl Fn() + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        let shared = usage.clone();
        let thread = thread::spawn(move || {
            let mut due = Instant::now();
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if Instant::now() >= due {
                    let begun = Instant::now();
                    sample(&shared);
                    due = begun + SAMPLING.max(begun.elapsed() * THRIFT);
                }
                watch();
            }
        });
        Self { usage, stop: Some(stop), thread: Some(thread) }
    }

    /// Begins to watch what runs below a process.
    pub(super) fn watch(&self, pid: i32) {
        self.usage.lock().insert(pid, Taken::default());
    }

    /// Ends it, and returns the peak in bytes; 0 for what was too short to be seen.
    pub(super) fn take(&self, pid: i32) -> u64 {
        self.usage.lock().remove(&pid).unwrap_or_default().peak
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell but its end.
            let _ = thread.join();
        }
    }
}

fn sample(usage: &Usage) {
    let roots: Vec<i32> = usage.lock().keys().copied().collect();
    if roots.is_empty() {
        return;
    }
    let tree = ProcessTree::snapshot();
    for root in roots {
        let sum: u64 = tree.descendants(root).into_iter().map(anonymous).sum();
        if let Some(taken) = usage.lock().get_mut(&root) {
            *taken = Taken { now: sum, peak: sum.max(taken.peak) };
        }
    }
}

/// What a process has in memory that no file holds, in bytes; 0 for one that has ended. The kernel
/// counts that along: it walks no page tables for it.
fn anonymous(pid: i32) -> u64 {
    fs_err::read_to_string(format!("/proc/{pid}/status"))
        .map(|status| parse_anonymous(&status))
        .unwrap_or_default()
}

/// The lines that tell it, which are in kB (proc_pid_status(5)).
fn parse_anonymous(status: &str) -> u64 {
    let kilobytes = |line: &str| {
        let rest = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    status.lines().filter_map(kilobytes).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_holds_is_read_in_bytes() {
        let status = "Name:\tcc1plus\nVmRSS:\t    1776 kB\nRssAnon:\t     363 kB\n\
                      RssFile:\t    1412 kB\nRssShmem:\t       1 kB\n";
        assert_eq!(parse_anonymous(status), 364 * 1024);
        assert_eq!(parse_anonymous(""), 0);
    }

    #[test]
    fn a_child_is_measured_and_its_parent_is_not() {
        let child = duct::cmd!("sleep", "1000").unchecked().start().unwrap();
        let this = i32::try_from(std::process::id()).unwrap();
        let usage = Usage::default();
        usage.lock().insert(this, Taken::default());
        sample(&usage);
        let Taken { now, peak } = usage.lock()[&this];
        assert_eq!((now, peak), (usage.now(this), now));
        child.kill().unwrap();
        assert!(peak > 0);
        // What is seen of the child is far less than this test's own memory.
        assert!(peak < anonymous(this).max(64 << 20));
    }
}
