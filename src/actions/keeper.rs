//! The server's side of the object cache: it alone writes entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::artifact::Sha256;
use crate::cache::{Kept, Objects};
use crate::report::{Event, Reporter};

/// Where entries are, and where a build leaves what is to become one.
#[derive(Debug, Clone)]
pub struct Store {
    /// The entries.
    pub objects: Objects,
    /// The folder of results that a build left.
    pub incoming: PathBuf,
}

/// Keeps results, and says once what prevents it.
pub(super) struct Keeper {
    store: Option<Store>,
    reporter: Arc<dyn Reporter>,
    warned: AtomicBool,
}

impl Keeper {
    pub(super) fn new(store: Option<Store>, reporter: Arc<dyn Reporter>) -> Self {
        Self { store, reporter, warned: AtomicBool::new(false) }
    }

    /// Moves a result in.
    pub(super) fn keep(&self, kept: Kept) {
        let Some(Store { objects, incoming }) = &self.store else { return };
        // A name, and not a way out of the folder.
        let Some(name) = Path::new(&kept.file).file_name() else { return };
        if let Err(error) = objects.insert(&kept.key, kept.inputs, &incoming.join(name)) {
            self.warn(format!("nothing is kept in the object cache: {error}"));
        }
    }

    pub(super) fn used(&self, result: &Sha256) {
        if let Some(store) = &self.store {
            store.objects.touch(result);
        }
    }

    /// Drops a result that a wrapper found damaged, if it is.
    pub(super) fn drop_damaged(&self, result: &Sha256) {
        let Some(store) = &self.store else { return };
        if store.objects.drop_damaged(result).unwrap_or(false) {
            let note = format!("the result {} in the object cache was damaged", result.short());
            self.reporter.report(Event::Warning(format!("{note}: it is made again")));
        }
    }

    pub(super) fn warn(&self, text: String) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            self.reporter.report(Event::Warning(text));
        }
    }
}
