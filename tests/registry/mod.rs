//! Registries, downloads and locking against a server on loopback that fails on demand.

mod downloads;
mod fetching;
mod index;
mod locking;
mod parsers;
mod ranges;

use std::time::Duration;

use crosswheel::Error;
use crosswheel::artifact::Artifact;
use crosswheel::environment::Environment;
use crosswheel::net::{Http, Settings};
use crosswheel::registry::Registries;
use crosswheel::report::Silent;
use crosswheel::store::{Fetcher, Store};
use tempfile::TempDir;

use crate::support::index::{Distribution, Index};

/// A machine whose pip is configured for the server.
struct Machine {
    index: Index,
    registries: Registries,
    store: Store,
    _folder: TempDir,
}

impl Machine {
    /// With a client that tries again at once.
    fn new() -> Self {
        Self::with(patient())
    }

    fn with(settings: Settings) -> Self {
        let index = Index::start();
        let folder = tempfile::tempdir().unwrap();
        let variables =
            [("PIP_INDEX_URL", index.simple()), ("CROSSWHEEL_DEBIAN_MIRROR", index.url("/debian"))];
        let environment = Environment::new(variables, folder.path());
        let http = Http::new(settings).unwrap();
        let registries = Registries::new(http, &environment).with_root(folder.path());
        let store = Store::open(folder.path().join("store")).unwrap();
        Self { index, registries, store, _folder: folder }
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher { registries: &self.registries, reporter: &Silent, offline: false }
    }

    fn fetch(&self, artifact: &Artifact) -> Result<Vec<u8>, Error> {
        let found = self.store.fetch_all(self.fetcher(), std::slice::from_ref(artifact))?;
        Ok(fs_err::read(&found[&artifact.sha256]).unwrap())
    }
}

/// Tries again at once.
fn patient() -> Settings {
    Settings { attempts: 3, backoff: Duration::ZERO, ..Settings::default() }
}

fn client() -> Http {
    Http::new(patient()).unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i % 251) as u8).collect()
}

fn distribution(file: &'static str, length: usize) -> Distribution {
    Distribution { file, content: content(length), yanked: None }
}
