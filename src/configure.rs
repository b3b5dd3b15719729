//! Configure: from a patched source tree to a place where its backend can run: tool wrappers, an
//! action server, a sandbox and a Python environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use walkdir::WalkDir;

use crate::Result;
use crate::actions::{CacheStore, CostBook, Finished, Server, ServerOptions};
use crate::blame::BuildError;
use crate::cache::{Caching, Scope};
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::exec::{Command, Sandbox, Silence, View};
use crate::lock::{Locked, LockedTree};
use crate::patch::Patched;
use crate::pins::Pin;
use crate::python::answers::TorchAnswers;
use crate::python::backend::{Backend, BackendError};
use crate::python::environment::{BuildEnvironment, Parts, Tools};
use crate::python::launch::{Invocation, Outcome};
use crate::python::programs;
use crate::python::pyproject::BuildSystem;
use crate::python::shim::ToolProject;
use crate::recipe::Recipe;
use crate::request::Request;
use crate::resolve::Resolved;
use crate::toolchain::{Toolchain, cmake};
use crate::torch::sdk::TorchSdk;
use crate::{rust, wrapper};

/// A build that is ready to run.
pub struct Configured {
    /// What is built.
    pub locked: Locked,
    /// What is built with.
    pub toolchain: Toolchain,
    /// The target's torch.
    pub torch: TorchSdk,
    /// Where it is built.
    pub folder: BuildFolder,
    /// How the package is built.
    pub system: BuildSystem,
    /// The pins that were changed.
    pub pins: Vec<Pin>,
    /// Where its backend runs.
    pub bench: Workbench,
}

/// Why there is no place to build in.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The toolchain's Python is not one.
    #[error("`{0}` does not tell its version: a name such as `python3.13` is expected")]
    NotPython(PathBuf),
    /// The build folder cannot be written.
    #[error("the build folder cannot be written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for ConfigureError {
    fn class(&self) -> Class {
        match self {
            Self::NotPython(_) => Class::Toolchain,
            Self::Io(_) => Class::Io,
        }
    }
}

/// The folder of one build, in the store. What is in it lets an interrupted build go on.
#[derive(Debug, Clone)]
pub struct BuildFolder {
    root: PathBuf,
    /// Whether the object cache serves this build.
    cached: bool,
}

impl BuildFolder {
    /// A build folder at this path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), cached: true }
    }

    /// The same, where every action shall run.
    pub fn without_cache(self) -> Self {
        Self { cached: false, ..self }
    }

    /// All of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The copy of the source.
    pub fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    /// The copies of the trees that the recipe names, each under its name.
    pub fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    /// The toolchain file for CMake.
    pub fn toolchain_file(&self) -> PathBuf {
        self.root.join("toolchain.cmake")
    }

    /// Where scikit-build-core has CMake build: a folder of its own choice would go with it.
    pub fn cmake(&self) -> PathBuf {
        self.root.join("cmake")
    }

    /// The Python environment.
    pub fn environment(&self) -> PathBuf {
        self.root.join("environment")
    }

    /// The tool wrappers.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// The crates that stand for their registry.
    pub fn crates(&self) -> PathBuf {
        self.root.join("crates")
    }

    /// The crates of git repositories.
    pub fn git_crates(&self) -> PathBuf {
        self.root.join("git")
    }

    /// cargo's configuration.
    pub fn cargo_home(&self) -> PathBuf {
        self.root.join("cargo")
    }

    /// What cargo compiles.
    pub fn cargo_target(&self) -> PathBuf {
        self.root.join("cargo-target")
    }

    /// What the backend makes.
    pub fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    /// All output of the backend and its tools.
    pub fn log(&self) -> PathBuf {
        self.root.join("build.log")
    }

    /// The record of actions, one JSON object a line.
    pub fn actions(&self) -> PathBuf {
        self.root.join("actions.jsonl")
    }

    /// All actions that build tools said that they would run.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// What the object cache is to keep.
    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Where the action server listens.
    fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }
}

/// Makes the place.
pub fn configure(context: &Context, patched: Patched) -> Result<Configured> {
    let Patched { fetched, folder, system, pins } = patched;
    let resolved = &fetched.locked.resolved;
    let (toolchain, torch) = (fetched.toolchain, fetched.torch);
    if let Some(rust) = &fetched.locked.rust {
        rust::prepare(context, &folder, &rust.crates, &fetched.crates)?;
    }
    let package = fetched.locked.costs_name();
    let asked = Asked {
        package: &package,
        resolved,
        recipe: &fetched.locked.recipe,
        trees: &fetched.locked.trees,
        wheels: &fetched.wheels,
    };
    forget_left_out(&folder, asked).map_err(ConfigureError::Io)?;
    let bench = Workbench::create(context, asked, &toolchain, &torch, &folder)?;
    Ok(Configured { locked: fetched.locked, toolchain, torch, folder, system, pins, bench })
}

/// What is asked of a place to build in.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the record of costs calls the package.
    pub package: &'a str,
    /// What is built.
    pub resolved: &'a Resolved,
    /// What its recipe says.
    pub recipe: &'a Recipe,
    /// The trees that the recipe names, where they are in the build folder.
    pub trees: &'a [LockedTree],
    /// The locked wheels of the build environment.
    pub wheels: &'a [PathBuf],
}

/// Where a backend's hooks run.
pub struct Workbench {
    folder: BuildFolder,
    environment: BuildEnvironment,
    settings: BTreeMap<String, String>,
    sandbox: Sandbox,
    server: Server,
    jobs: NonZeroUsize,
    /// How long a hook may do nothing.
    max_silence: Option<Duration>,
}

impl Workbench {
    /// Places the wrappers, starts the server, and makes the Python environment.
    pub fn create(
        context: &Context,
        asked: Asked<'_>,
        toolchain: &Toolchain,
        torch: &TorchSdk,
        folder: &BuildFolder,
    ) -> Result<Self> {
        let Asked { package, resolved, recipe, trees, wheels } = asked;
        fs_err::create_dir_all(folder.root()).map_err(ConfigureError::Io)?;
        let tools = folder.tools();
        let supervisor = wrapper::install_sandbox(&tools, &context.executable)?;
        let isolation = context.isolation(&supervisor, folder.root())?;
        let mut sandbox = Sandbox::new(&supervisor, isolation.clone(), folder.root())
            .torch(&torch.python_path)
            .store(context.store.root());
        let rust = match &toolchain.rust {
            Some(tools) => Some((tools, rust::Drivers::find(context)?)),
            None => None,
        };
        if let Some((tools, drivers)) = &rust {
            // The machine's own, which the sandbox may hide otherwise.
            sandbox = sandbox.readable(&tools.root);
            for folder in drivers.installations(context) {
                sandbox = sandbox.readable(&folder);
            }
        }
        let view = sandbox.view();
        let mut config = wrapper::Config::new(
            &toolchain.renamed(|path| view.inside(path)),
            &view.inside(folder.root()),
            &view.inside(context.store.root()),
            wrapper::Torch {
                root: view.inside(&torch.python_path),
                cxx_standard: torch.cxx_standard(),
            },
            resolved.jobs.get(),
        );
        config.socket = Some(view.inside(&folder.socket()));
        config.keep_going = resolved.keep_going;
        config.tools.cmake = cmake_of(wheels, &view.inside(&folder.environment()), toolchain)?;
        config.targets =
            wrapper::Selection { only: resolved.only.clone(), without: recipe.leave_out.clone() };
        config.entries.clone_from(&recipe.cmake);
        let cache = (context.cache.enabled && folder.cached)
            .then(|| -> Result<CacheStore> {
                let (objects, incoming) = (context.objects(), folder.incoming());
                Ok(CacheStore { objects, incoming, shared: context.shared_cache()? })
            })
            .transpose()?;
        config.cache = cache
            .as_ref()
            .map(|cache| caching(cache, view, folder, context.store.root(), (toolchain, torch)));
        let toolkit = wrapper::Toolkit { root: &toolchain.cuda, include: &toolchain.cuda_include };
        let installed = wrapper::install(&tools, &context.executable, &config, toolkit)?;
        let rust = match &rust {
            Some((tools, drivers)) => {
                rust::install(context, tools, drivers, &installed, toolchain, view)?;
                rust::variables(folder, &installed, toolchain, view)
            }
            None => IndexMap::new(),
        };
        let server = Server::start(ServerOptions {
            socket: folder.socket(),
            log: folder.actions(),
            jobs: resolved.jobs.get(),
            memory: resolved.memory,
            until: resolved.until,
            running: Some(context.store.root().join("running")),
            reporter: Arc::clone(&context.reporter),
            costs: CostBook::load(&context.costs()).foretold(&recipe.costs),
            package: package.to_owned(),
            cache,
        })?;
        let tools =
            Tools { folder: installed.folder, cuda: installed.cuda, arch: resolved.target.arch };
        let wrapped = wrapped(toolchain, &tools, view);
        let trees = Trees { locked: trees, folder: view.inside(&folder.trees()) };
        let project = cmake::Project {
            // Links lead from the build folder into the store, and CMake follows some of them.
            roots: [folder.root(), &torch.python_path, context.store.root()]
                .map(|root| view.inside(root))
                .into(),
            cache: trees.cache(recipe),
        };
        let toolchain_file = folder.toolchain_file();
        let written = write_changed(&toolchain_file, &wrapped.cmake(&project));
        if written.map_err(ConfigureError::Io)? {
            forget_caches(folder).map_err(ConfigureError::Io)?;
        }
        let answers =
            TorchAnswers { root: torch.python_path.clone(), version: torch.facts.version.clone() };
        let parts = Parts {
            view,
            toolchain,
            tools: &tools,
            torch: &answers,
            wheels,
            environments: Some(&context.store.root().join("environments")),
            provided: &provided_projects(toolchain),
            jobs: resolved.jobs,
            source_date_epoch: resolved.time.seconds(),
        };
        let launch = |invocation: &Invocation| run(context, &sandbox, invocation);
        let mut environment = BuildEnvironment::create(&folder.environment(), parts, &launch)?;
        environment.set(rust);
        if let Request::Crate { package: Some(package), .. } = &resolved.request {
            environment.set([(rust::CRATE.to_owned(), package.into())]);
        }
        let file = view.inside(&toolchain_file).into_os_string();
        environment.set([
            ("CMAKE_TOOLCHAIN_FILE".to_owned(), file),
            ("SKBUILD_BUILD_DIR".to_owned(), view.inside(&folder.cmake()).into_os_string()),
        ]);
        environment.set(trees.variables());
        let own = recipe.environment.iter().map(|(name, value)| (name.clone(), value.into()));
        environment.set(own);
        let (jobs, max_silence) = (resolved.jobs, resolved.max_silence);
        let (folder, settings) = (folder.clone(), recipe.config_settings.clone());
        Ok(Self { folder, environment, settings, sandbox, server, jobs, max_silence })
    }

    /// Runs hooks of the backend.
    pub fn with_backend<T>(
        &self,
        context: &Context,
        system: &BuildSystem,
        act: impl FnOnce(Backend<'_>) -> Result<T, BackendError>,
    ) -> Result<T> {
        let busy = self.server.is_busy();
        let silence = self.max_silence.map(|limit| Silence { limit, busy });
        let done = act(Backend {
            environment: &self.environment,
            system,
            source: &self.folder.source(),
            settings: &self.settings,
            log: &self.folder.log(),
            launch: &|invocation| {
                let command = self.sandbox.command(&invocation.program, &invocation.dir)?;
                let command = command.silence(silence.clone()).stop(Some(self.server.over()));
                finish(context, command, invocation)
            },
        });
        done.map_err(|error| match self.server.over().is_raised() {
            true => BuildError::TimeUp { left: self.server.left() }.into(),
            false => BuildError::new(error, &self.server.failures(), self.jobs).into(),
        })
    }

    /// The variables of the build's processes.
    pub fn variables(&self) -> &IndexMap<String, OsString> {
        self.environment.variables()
    }

    /// How the build's processes are kept apart.
    pub fn isolation(&self) -> &crate::exec::Isolation {
        self.sandbox.isolation()
    }

    /// Ends the server, and returns the actions of this run.
    pub fn finish(self) -> Finished {
        self.server.finish()
    }
}

/// Removes what an earlier build installed into setuptools' folders, where other targets are built
/// now: whatever lies there gets into the wheel. What was compiled stays.
fn forget_left_out(folder: &BuildFolder, asked: Asked<'_>) -> std::io::Result<()> {
    let selected = format!("{:?} {:?}", asked.resolved.only, asked.recipe.leave_out);
    let record = folder.root().join("targets");
    let before = fs_err::read_to_string(&record).ok();
    let build = folder.source().join("build");
    if before.is_some_and(|before| before != selected) && build.is_dir() {
        for entry in fs_err::read_dir(build)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("lib") {
                fs_err::remove_dir_all(entry.path())?;
            }
        }
    }
    fs_err::create_dir_all(folder.root())?;
    write_changed(&record, &selected).map(|_| ())
}

/// The cmake among the wheels of a build environment, as the build calls it: the project's wheels
/// have the program itself among the package's files.
fn cmake_of(
    wheels: &[PathBuf],
    environment: &Path,
    toolchain: &Toolchain,
) -> Result<Option<PathBuf>> {
    let is_cmake = |wheel: &PathBuf| {
        wheel.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cmake-"))
    };
    if !wheels.iter().any(is_cmake) {
        return Ok(None);
    }
    let (major, minor) = python_version(toolchain)?;
    let site = format!("lib/python{major}.{minor}/site-packages");
    Ok(Some(environment.join(site).join("cmake/data/bin/cmake")))
}

/// The toolchain as a build sees it: with the wrappers in the place of its tools.
fn wrapped(toolchain: &Toolchain, tools: &Tools, view: &View) -> Toolchain {
    let inside = |tool: &str| view.inside(&tools.folder.join(tool));
    Toolchain {
        cc: inside(&tools.name("gcc")),
        cxx: inside(&tools.name("g++")),
        cuda: view.inside(&tools.cuda),
        ninja: inside("ninja"),
        ..toolchain.renamed(|path| view.inside(path))
    }
}

/// The trees that a recipe names, as the build is told of them.
struct Trees<'a> {
    locked: &'a [LockedTree],
    /// As the build calls it.
    folder: PathBuf,
}

impl Trees<'_> {
    /// The entries of CMake's cache: the recipe's, and where the sources are that no variable
    /// tells of. What the package would fetch while it is configured, and nobody named, is an error.
    fn cache(&self, recipe: &Recipe) -> BTreeMap<String, String> {
        let mut cache = BTreeMap::from([
            ("FETCHCONTENT_FULLY_DISCONNECTED".into(), "ON".into()),
            // Older projects would be told of it by a warning.
            ("CMAKE_POLICY_DEFAULT_CMP0170".into(), "NEW".into()),
        ]);
        for tree in self.locked.iter().filter(|tree| tree.wanted.variable.is_none()) {
            let name = format!("FETCHCONTENT_SOURCE_DIR_{}", tree.wanted.name.to_uppercase());
            cache.insert(name, self.folder.join(tree.folder()).display().to_string());
        }
        // Projects that this one configures in turn have them of the toolchain file alone.
        cache.extend(recipe.cmake.clone());
        cache
    }

    /// The environment variables.
    fn variables(&self) -> impl Iterator<Item = (String, OsString)> {
        self.locked.iter().filter_map(|tree| {
            let variable = tree.wanted.variable.clone()?;
            Some((variable, self.folder.join(tree.folder()).into_os_string()))
        })
    }
}

/// Writes a file, unless it holds that text already: its time says when it changed. Returns whether
/// it did.
fn write_changed(path: &Path, text: &str) -> std::io::Result<bool> {
    if fs_err::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    fs_err::write(path, text).map(|()| true)
}

/// Removes CMake's caches, which would win over a toolchain file that says something else now. What
/// was compiled stays, and is compiled again where its command changes.
fn forget_caches(folder: &BuildFolder) -> std::io::Result<()> {
    let trees = [folder.cmake(), folder.source()].into_iter().filter(|tree| tree.is_dir());
    for entry in trees.flat_map(WalkDir::new) {
        let entry = entry?;
        if entry.file_name() == "CMakeCache.txt" && entry.file_type().is_file() {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the tool wrappers know of the cache.
fn caching(
    cache: &CacheStore,
    view: &View,
    folder: &BuildFolder,
    store: &Path,
    (toolchain, torch): (&Toolchain, &TorchSdk),
) -> Caching {
    // Relocated executables name the store by its path here.
    let components = store.join("components");
    let tools = view.inside(&folder.tools());
    let fixed =
        vec![view.inside(&components), components, view.inside(&torch.python_path), tools.clone()];
    Caching {
        objects: view.inside(cache.objects.root()),
        incoming: view.inside(&cache.incoming),
        tracer: tools.join(wrapper::TRACE),
        compilers: toolchain.device_compilers,
        aliases: toolchain.aliases.clone(),
        // Its component's name tells its content; where the store is does not matter.
        torch: torch.python_path.strip_prefix(store).unwrap_or(&torch.python_path).to_owned(),
        scope: Scope { build: view.inside(folder.root()), fixed, ..Scope::default() },
        shared: cache.shared.is_some(),
    }
}

fn run(context: &Context, sandbox: &Sandbox, invocation: &Invocation) -> Result<Outcome> {
    let command = sandbox.command(&invocation.program, &invocation.dir)?;
    finish(context, command, invocation)
}

/// Runs processes outside of any sandbox: crosswheel's own helpers.
pub fn launcher(context: &Context) -> impl Fn(&Invocation) -> Result<Outcome> + Sync + '_ {
    |invocation| finish(context, Command::new(&invocation.program, &invocation.dir), invocation)
}

fn finish(context: &Context, command: Command, invocation: &Invocation) -> Result<Outcome> {
    let finished = command
        .args(&invocation.args)
        .variables(&invocation.variables)
        .log(&invocation.log)
        .run(&context.interrupt)?;
    Ok(Outcome { code: finished.code(), tail: finished.tail })
}

/// The version of the Python that runs build scripts.
pub fn python_version(toolchain: &Toolchain) -> Result<(u16, u16)> {
    let executable = programs::resolve(&toolchain.python).map_err(ConfigureError::Io)?;
    let version = programs::python_version(&executable);
    Ok(version.ok_or(ConfigureError::NotPython(executable))?)
}

/// The projects that build scripts ask for and that crosswheel's own tools stand in for.
pub fn provided_projects(toolchain: &Toolchain) -> Vec<(ToolProject, String)> {
    let ninja = toolchain.components.iter().find(|component| component.name == "ninja");
    ninja.map(|component| (ToolProject::Ninja, component.version.clone())).into_iter().collect()
}
