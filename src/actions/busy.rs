//! The time in which something runs.

use std::time::{Duration, Instant};

/// Adds it up.
#[derive(Debug, Default)]
pub(super) struct Busy {
    pub(super) running: usize,
    since: Option<Instant>,
    pub(super) total: Duration,
}

impl Busy {
    pub(super) fn begin(&mut self) {
        self.running += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn end(&mut self) {
        self.running -= 1;
        if self.running == 0 {
            self.total += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        }
    }
}
