//! What a build tells while it runs. The library reports; the command line draws.

use std::path::PathBuf;
use std::time::Duration;

use crate::actions::Kind;

/// Something that happened. Identifiers are unique within one run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A stage or a long step began: a short present participle, such as `unpacking`, and of what.
    StepStarted {
        /// Pairs this with its [`Event::StepFinished`].
        id: u64,
        /// What is being done, such as `unpacking`.
        verb: &'static str,
        /// What it is done to, such as `gcc-14-aarch64`.
        subject: String,
    },
    /// The step ended.
    StepFinished {
        /// As in [`Event::StepStarted`].
        id: u64,
    },
    /// A download began.
    DownloadStarted {
        /// Pairs this with its progress and end.
        id: u64,
        /// The file's name.
        file: String,
        /// Its size, in bytes.
        size: u64,
        /// Bytes that an earlier attempt left on disk.
        resumed: u64,
    },
    /// More of a download arrived.
    DownloadProgress {
        /// As in [`Event::DownloadStarted`].
        id: u64,
        /// Bytes on disk so far.
        received: u64,
    },
    /// A download is complete and verified, or gave up.
    DownloadFinished {
        /// As in [`Event::DownloadStarted`].
        id: u64,
    },
    /// A build tool said which actions it is about to run.
    ActionsPlanned {
        /// Labels of the actions that remain to run, in the build tool's order.
        labels: Vec<String>,
        /// How long they will take together, where earlier builds recorded what they cost.
        remaining: Option<Duration>,
    },
    /// A compiler call began.
    ActionStarted {
        /// Pairs this with its end.
        id: u64,
        /// What it makes, such as `causal_conv1d_fwd.o`.
        label: String,
        /// What it does.
        kind: Kind,
    },
    /// A compiler call ended.
    ActionFinished {
        /// As in [`Event::ActionStarted`].
        id: u64,
        /// Wall time.
        wall: Duration,
        /// Processor time.
        cpu: Duration,
        /// The most memory that it took, in bytes.
        peak_memory: u64,
        /// Whether it succeeded.
        success: bool,
        /// Whether the cache had its results.
        restored: bool,
    },
    /// Something worth a line, once.
    Note(String),
    /// Something that the user should look at, though the build goes on.
    Warning(String),
    /// A log that can be looked at.
    Log(PathBuf),
}

/// Receives events, from any thread.
pub trait Reporter: Send + Sync {
    /// Takes one event; must return quickly.
    fn report(&self, event: Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

/// A fresh identifier for an event pair.
pub fn next_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reports a step's start, and its end when dropped.
pub struct Step<'a> {
    reporter: &'a dyn Reporter,
    id: u64,
}

impl<'a> Step<'a> {
    /// Reports the start.
    pub fn start(
        reporter: &'a dyn Reporter,
        verb: &'static str,
        subject: impl Into<String>,
    ) -> Self {
        let id = next_id();
        reporter.report(Event::StepStarted { id, verb, subject: subject.into() });
        Self { reporter, id }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.reporter.report(Event::StepFinished { id: self.id });
    }
}
