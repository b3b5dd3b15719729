//! Values that threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for a value. Threads that panic leave whole values behind: nothing here is changed in parts.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
