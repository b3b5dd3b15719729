//! A circuit breaker: who did not answer is not asked again for a while.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long the first failure keeps requests back; each further one in a row doubles it.
const FIRST: Duration = Duration::from_secs(30);
/// The longest time.
const LONGEST: Duration = Duration::from_secs(600);

/// Lets requests through until one fails, and then one from time to time, until one succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the next request may be made.
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Whether a request may be made now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.closed_until {
            Some(until) if now < until => false,
            Some(_) => {
                // One tries; the others wait for what it finds.
                state.closed_until = Some(now + pause(state.failures));
                true
            }
            None => true,
        }
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        (state.failures, state.closed_until) = (0, None);
    }

    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.closed_until = Some(now + pause(state.failures));
        state.failures += 1;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_left_alone_and_tried_again_by_one() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(breaker.allows(start) && breaker.allows(start));
        breaker.failed(start);
        assert!(!breaker.allows(after(29)));
        assert!(breaker.allows(after(30)));
        assert!(!breaker.allows(after(30)), "one tries");
        breaker.failed(after(31));
        assert!(!breaker.allows(after(90)));
        assert!(breaker.allows(after(91)));
        breaker.succeeded();
        assert!(breaker.allows(after(91)) && breaker.allows(after(91)));
        for _ in 0..40 {
            breaker.failed(start);
        }
        assert!(breaker.allows(after(600)));
    }
}
