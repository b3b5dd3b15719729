//! The server's side of the object cache: it alone writes entries.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Action;
use super::protocol::StepDone;
use crate::artifact::Sha256;
use crate::cache::shared::{Shared, Traffic};
use crate::cache::{Kept, Layers, Objects, Uses};
use crate::report::{Event, Reporter};
use crate::sync::lock;

/// Where entries are, and where a build leaves what is to become one.
#[derive(Debug, Clone)]
pub struct Store {
    /// The entries.
    pub objects: Objects,
    /// The folder of results that a build left.
    pub incoming: PathBuf,
    /// The server with entries of other machines.
    pub shared: Option<Arc<Shared>>,
}

/// Keeps results, and says once what prevents it.
pub(super) struct Keeper {
    store: Option<Store>,
    reporter: Arc<dyn Reporter>,
    warned: AtomicBool,
    traffic: Arc<Mutex<Traffic>>,
    layers: Mutex<Layers>,
}

impl Keeper {
    pub(super) fn new(store: Option<Store>, reporter: Arc<dyn Reporter>) -> Self {
        Self {
            store,
            reporter,
            warned: AtomicBool::new(false),
            traffic: Arc::default(),
            layers: Mutex::default(),
        }
    }

    /// Moves a result in.
    pub(super) fn keep(&self, kept: Kept) {
        let Some(Store { objects, incoming, shared }) = &self.store else { return };
        // A name, and not a way out of the folder.
        let Some(name) = Path::new(&kept.file).file_name() else { return };
        match objects.insert(&kept.key, kept.inputs, &incoming.join(name)) {
            Ok(variant) => {
                if let Some(shared) = shared {
                    shared.send(kept.key, variant, &self.traffic);
                }
            }
            Err(error) => self.warn(format!("nothing is kept in the object cache: {error}")),
        }
    }

    fn shared(&self) -> Option<&Shared> {
        self.store.as_ref()?.shared.as_deref()
    }

    /// Brings what others know of an action.
    pub(super) fn look(&self, key: &Sha256) {
        if let Some(shared) = self.shared() {
            shared.look(key, &self.traffic);
        }
    }

    /// Brings a result that others have.
    pub(super) fn bring(&self, result: &Sha256) {
        if let Some(shared) = self.shared() {
            shared.bring(result, &self.traffic);
        }
    }

    /// Takes part of an action.
    pub(super) fn step(&self, step: StepDone) {
        let saved = step.hit.map(|(_, saved)| saved.cpu_ms);
        lock(&self.layers).add(&step.tool, Uses::of(saved));
        if let Some((result, _)) = step.hit {
            self.used(&result);
        }
        if let Some(kept) = step.kept {
            self.keep(kept);
        }
    }

    /// Gives others what was kept, and says what was had of the cache, and of others.
    pub(super) fn finish(&self, actions: &[Action]) -> (Layers, Option<Traffic>) {
        let Some(store) = &self.store else { return Default::default() };
        let mut layers = std::mem::take(&mut *lock(&self.layers));
        for action in actions.iter().filter(|action| action.exit == 0) {
            let saved = action.restored.map(|saved| saved.cpu_ms);
            layers.add(action.kind.name(), Uses::of(saved));
        }
        if let Err(error) = store.objects.count(&layers) {
            self.warn(format!("the object cache cannot be counted: {error}"));
        }
        let shared = store.shared.as_ref().map(|shared| {
            shared.flush();
            *lock(&self.traffic)
        });
        (layers, shared)
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
