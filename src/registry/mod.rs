//! Registries: where a locked artifact can be had.
//!
//! In: the machine's own configuration (pip's, uv's, apt's), and tables of `crosswheel.toml`. Out:
//! the URL of an artifact, and while locking, what a registry has. Locks name registries and never
//! their addresses, so the same lock serves behind any mirror; nothing here writes a file.

pub mod apt;
pub mod apt_index;
pub mod apt_sources;
pub mod deb822;
mod debian_version;
mod discover;
mod error;
pub mod file_name;
mod html;
mod pip_default;
pub mod pypi;
pub mod signature;
pub mod simple;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use apt::AptRepository;
pub use discover::RegistryTable;
pub use error::RegistryError;
pub use pypi::{Choice, Project, Pypi};
pub use simple::File;

use crate::Result;
use crate::artifact::Artifact;
use crate::environment::Environment;
use crate::error::Error;
use crate::net::{Http, NetError};
use crate::store::{Fetcher, Store};
use crate::sync::lock;

/// The registry of Python packages.
pub const PYPI: &str = "pypi";
/// The registry of Debian's packages.
pub const DEBIAN: &str = "debian";
/// The registry of Debian's security updates.
pub const DEBIAN_SECURITY: &str = "debian-security";

/// All registries that this machine can reach; each is looked up when it is first needed.
#[derive(Debug)]
pub struct Registries {
    http: Http,
    environment: Environment,
    root: PathBuf,
    tables: BTreeMap<String, RegistryTable>,
    pip: Option<(Store, Artifact)>,
    pypi: Mutex<Option<Arc<Pypi>>>,
    apt: Mutex<BTreeMap<String, Arc<AptRepository>>>,
}

impl Registries {
    /// The registries of the machine's own configuration.
    pub fn new(http: Http, environment: &Environment) -> Self {
        Self {
            http,
            environment: environment.clone(),
            root: PathBuf::from("/"),
            tables: BTreeMap::new(),
            pip: None,
            pypi: Mutex::default(),
            apt: Mutex::default(),
        }
    }

    /// Adds registries by name, or redirects `pypi`, `debian` and `debian-security`.
    pub fn with_tables(mut self, tables: BTreeMap<String, RegistryTable>) -> Self {
        self.tables = tables;
        self
    }

    /// Names Debian's package of pip (the component `pip`), which knows the default index where
    /// the machine has no pip; it is fetched only then.
    pub fn with_pip(mut self, store: &Store, package: Artifact) -> Self {
        self.pip = Some((store.clone(), package));
        self
    }

    /// Reads `/etc` and `/usr/share/keyrings` below this folder, as tests do.
    pub fn with_root(mut self, root: &Path) -> Self {
        self.root = root.to_owned();
        self
    }

    /// The client that everything is fetched with.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The environment by which registries are found.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The Python package index.
    pub fn pypi(&self) -> Result<Arc<Pypi>> {
        let mut known = lock(&self.pypi);
        if let Some(pypi) = &*known {
            return Ok(Arc::clone(pypi));
        }
        let index = discover::base_url(&self.index()?, &self.environment)?;
        let pypi = Arc::new(Pypi::new(self.http.clone(), index));
        *known = Some(Arc::clone(&pypi));
        Ok(pypi)
    }

    /// The index's location: as configured, else pip's default.
    fn index(&self) -> Result<String> {
        let table = self.tables.get(PYPI).map(|table| table.url.clone());
        let configured =
            table.or_else(|| discover::configured_index(&self.environment, &self.root));
        if let Some(index) = configured {
            return Ok(index);
        }
        if let Some(index) = pip_default::of_installed_pip(&self.environment) {
            return Ok(index);
        }
        let (store, package) = self.pip.as_ref().ok_or(RegistryError::NoIndex)?;
        let fetcher =
            Fetcher { registries: self, reporter: &crate::report::Silent, offline: false };
        let found = store
            .fetch_all(fetcher, std::slice::from_ref(package))
            .map_err(|error| RegistryError::PipPackage(Box::new(error)))?;
        let path = found.get(&package.sha256).ok_or(RegistryError::NoIndex)?;
        pip_default::of_package(path)
    }

    /// Whether a registry has a table or is one that the machine's own configuration tells of.
    pub fn is_configured(&self, name: &str) -> bool {
        matches!(name, PYPI | DEBIAN | DEBIAN_SECURITY) || self.tables.contains_key(name)
    }

    /// An apt repository, by its registry's name.
    pub fn apt(&self, name: &str) -> Result<Arc<AptRepository>> {
        let mut known = lock(&self.apt);
        if let Some(repository) = known.get(name) {
            return Ok(Arc::clone(repository));
        }
        let repository = match (self.tables.get(name), name) {
            (Some(table), _) => table.apt(name, &self.environment, &self.root)?,
            (None, DEBIAN | DEBIAN_SECURITY) => {
                discover::debian(name, &self.http, &self.environment, &self.root)?
            }
            (None, _) => {
                return Err(RegistryError::NotConfigured { registry: name.to_owned() }.into());
            }
        };
        let repository = Arc::new(repository);
        known.insert(name.to_owned(), Arc::clone(&repository));
        Ok(repository)
    }

    /// Where a locked file is. What the registry no longer has is [`RegistryError::Gone`].
    pub fn url_of(&self, artifact: &Artifact) -> Result<String> {
        if artifact.registry == PYPI {
            Ok(self.pypi()?.url_of(artifact)?)
        } else {
            Ok(self.apt(&artifact.registry)?.file_url(&artifact.file)?)
        }
    }

    /// A download's error, said in terms of the artifact: a file that is not there is one that the
    /// registry no longer has.
    pub fn explain(&self, artifact: &Artifact, error: NetError) -> Error {
        match error {
            NetError::NotFound { .. } => RegistryError::Gone {
                registry: artifact.registry.clone(),
                name: artifact.name.clone(),
                version: artifact.version.clone(),
                file: artifact.file_name().to_owned(),
            }
            .into(),
            error => error.into(),
        }
    }
}
