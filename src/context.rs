//! What every stage needs beside its input: the store, the registries, and whom to tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::Result;
use crate::artifact::{Input, Sha256};
use crate::cache::shared::Shared;
use crate::cache::{self, CacheError};
use crate::environment::Environment;
use crate::error::Diagnose as _;
use crate::exec::{Interrupt, Isolation};
use crate::net::{Http, Settings};
use crate::project::{Config, Project};
use crate::registry::Registries;
use crate::report::{Event, Reporter};
use crate::store::{Components, Fetcher, Store};
use crate::target::Arch;
use crate::toolchain::cuda::CudaLibraries;
use crate::toolchain::provision::Provisioner;
use crate::toolchain::sources::Sources;
use crate::torch::{self, source::TorchSource};

/// One run of crosswheel.
pub struct Context {
    /// The process's environment.
    pub environment: Environment,
    /// The repository's own data.
    pub project: Project,
    /// `crosswheel.toml`.
    pub config: Config,
    /// Downloads, components and builds.
    pub store: Store,
    /// The store's unpacked components.
    pub components: Components,
    /// Where files can be had.
    pub registries: Registries,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Raised when the user wants to stop.
    pub interrupt: Interrupt,
    /// Whether nothing may be downloaded.
    pub offline: bool,
    /// What is done with the object cache.
    pub cache: cache::Settings,
    /// The executable that stands in for the compilers under their names.
    pub executable: PathBuf,
    /// Where the compilers run.
    pub build: Arch,
    sources: OnceLock<Sources>,
    isolation: OnceLock<Isolation>,
    shared: OnceLock<Option<Arc<Shared>>>,
}

/// What the caller of [`Context::new`] decides.
pub struct Setup {
    /// The process's environment.
    pub environment: Environment,
    /// The repository's root.
    pub root: PathBuf,
    /// The store's folder, where it is not the environment's choice.
    pub store: Option<PathBuf>,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Raised when the user wants to stop.
    pub interrupt: Interrupt,
    /// Whether nothing may be downloaded.
    pub offline: bool,
    /// The executable that stands in for the compilers under their names.
    pub executable: PathBuf,
}

impl Context {
    /// Opens the store and reads the project's configuration; asks no network.
    pub fn new(setup: Setup) -> Result<Self> {
        let Setup { environment, root, store, reporter, interrupt, offline, executable } = setup;
        let project = Project::at(root);
        let config = project.config()?;
        let store = match store {
            Some(folder) => environment.current_dir().join(folder),
            None => Store::default_root(&environment)?,
        };
        let store = Store::open(store)?;
        let components = Components::new(store.root());
        let settings = Settings::discover(&environment, Path::new("/"))?;
        let cache = cache::Settings::discover(&environment, &config.cache)?;
        let http = Http::new(Settings { interrupt: interrupt.clone(), ..settings })?;
        let mut registries =
            Registries::new(http, &environment).with_tables(config.registries.clone());
        let sources = OnceLock::new();
        // A lock that does not fit its description is an error of those who need it, not of those
        // who mend it.
        if let Ok(loaded) = Sources::load(&project.toolchains()) {
            if let Some(package) = loaded.pip_package() {
                registries = registries.with_pip(&store, package.clone());
            }
            sources.get_or_init(|| loaded);
        }
        Ok(Self {
            environment,
            project,
            config,
            store,
            components,
            sources,
            registries,
            reporter,
            interrupt,
            offline,
            cache,
            executable,
            build: Arch::X86_64,
            isolation: OnceLock::new(),
            shared: OnceLock::new(),
        })
    }

    /// Toolchain components, as written and locked.
    pub fn sources(&self) -> Result<&Sources> {
        if let Some(sources) = self.sources.get() {
            return Ok(sources);
        }
        let sources = Sources::load(&self.project.toolchains())?;
        Ok(self.sources.get_or_init(|| sources))
    }

    /// The CUDA libraries that packages may link to, as written.
    pub fn cuda_libraries(&self) -> Result<CudaLibraries> {
        Ok(CudaLibraries::load(&self.project.toolchains())?)
    }

    /// The torch that a text names: one that was imported, a folder, a wheel or a version.
    pub fn torch_source(&self, text: &str) -> Result<TorchSource> {
        let here = self.environment.current_dir();
        match torch::import::find(&self.store, text).filter(|_| !here.join(text).is_dir()) {
            Some(imported) => Ok(TorchSource::Folder(imported)),
            None => Ok(TorchSource::parse(text, here)?),
        }
    }

    /// How files get into the store.
    pub fn fetcher(&self) -> Fetcher<'_> {
        Fetcher {
            registries: &self.registries,
            reporter: self.reporter.as_ref(),
            offline: self.offline,
        }
    }

    /// The object cache.
    pub fn objects(&self) -> cache::Objects {
        cache::Objects::new(self.store.root().join(cache::FOLDER))
    }

    /// The object cache's server, where one is set. A crosswheel that cannot speak to it says so, and
    /// builds without.
    pub fn shared_cache(&self) -> Result<Option<Arc<Shared>>> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared.clone());
        }
        let Some(remote) = self.cache.remote.as_ref().filter(|_| !self.offline) else {
            return Ok(None);
        };
        let reporter = Arc::clone(&self.reporter);
        let shared = match Shared::open(remote, self.registries.http(), self.objects(), reporter) {
            Ok(shared) => Some(Arc::new(shared)),
            Err(error @ CacheError::NotBuilt) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                let text = format!("the shared cache `{remote}` is not used: {error}{hint}");
                self.reporter.report(Event::Warning(text));
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(self.shared.get_or_init(|| shared).clone())
    }

    /// The record of what actions cost.
    pub fn costs(&self) -> PathBuf {
        self.store.root().join("costs.json")
    }

    /// How a build's processes can be kept apart here; found out once.
    ///
    /// `CROSSWHEEL_SANDBOX=off` has them run without namespaces.
    pub fn isolation(&self, supervisor: &Path, scratch: &Path) -> Result<&Isolation> {
        if let Some(isolation) = self.isolation.get() {
            return Ok(isolation);
        }
        let isolation = match self.environment.text("CROSSWHEEL_SANDBOX") {
            Some("off") => Isolation::None { reason: "`CROSSWHEEL_SANDBOX` is `off`".to_owned() },
            _ => Isolation::detect(supervisor, scratch, &self.interrupt)?,
        };
        Ok(self.isolation.get_or_init(|| isolation))
    }

    /// Gets inputs into the store.
    pub fn fetch(&self, inputs: &[Input]) -> Result<BTreeMap<Sha256, PathBuf>> {
        self.interrupt.check()?;
        self.store.fetch_inputs(self.fetcher(), inputs)
    }

    /// Runs `work` with what makes toolchains.
    pub fn with_provisioner<T>(
        &self,
        work: impl FnOnce(&Provisioner<'_>) -> Result<T>,
    ) -> Result<T> {
        work(&Provisioner {
            sources: self.sources()?,
            components: &self.components,
            build: self.build,
            fetch: &|inputs| self.fetch(inputs),
            reporter: self.reporter.as_ref(),
        })
    }
}
