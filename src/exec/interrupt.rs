//! Ctrl-C and its kin, as a flag that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::ExecError;

/// Whether the run has been asked to stop; clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that only [`Interrupt::raise`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that SIGINT, SIGTERM and SIGHUP set. A second signal ends the process at once.
    pub fn install() -> Result<Self, ExecError> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The order matters: the first signal finds the flag unset and only sets it.
            flag::register_conditional_shutdown(signal, 128 + signal, interrupt.0.clone())
                .and_then(|_| flag::register(signal, interrupt.0.clone()))
                .map_err(ExecError::Signals)?;
        }
        Ok(interrupt)
    }

    /// Asks for the stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// An error once the stop was asked for: for long work between processes.
    pub fn check(&self) -> Result<(), ExecError> {
        if self.is_raised() { Err(ExecError::Stopped) } else { Ok(()) }
    }

    /// Whether the stop was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
