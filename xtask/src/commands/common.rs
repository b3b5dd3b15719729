//! What verbs that build or fetch have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosswheel::bundle::{self, Unbundled};
use crosswheel::context::{Context, Setup};
use crosswheel::environment::Environment;
use crosswheel::exec::Interrupt;
use crosswheel::report::Reporter;
use crosswheel::resolve::{self, Options};
use crosswheel::toolchain::{Request, Toolchain};

use crate::screen::{Mode, Screen};
use crate::timeline::Place;

/// How results are printed on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints one JSON document on stdout.
pub fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(document)?);
    Ok(())
}

/// Options of every verb that works on the store.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SessionArgs {
    /// The store's folder
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,
    /// The folder that holds `toolchains/`, `patches/` and `crosswheel.toml`
    #[arg(long, value_name = "DIR", hide = true, global = true)]
    project: Option<PathBuf>,
    /// Use only what is in the store
    #[arg(long, global = true)]
    offline: bool,
    /// Show warnings and results only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Show every compiler call
    #[arg(long, short, global = true)]
    verbose: bool,
}

/// A context, and the screen that it reports to.
pub struct Session {
    /// For the library.
    pub context: Context,
    /// For people.
    pub screen: Arc<Screen>,
}

impl Session {
    /// Opens the store and the project that this executable was built from, and brings what is in
    /// a bundle into the store. With a bundle, no network is used.
    pub fn with_bundle(
        args: &SessionArgs,
        bundle: Option<&Path>,
    ) -> anyhow::Result<(Self, Unbundled)> {
        let offline = args.offline || bundle.is_some();
        let session = Self::open(&SessionArgs { offline, ..args.clone() })?;
        let unbundled = match bundle {
            Some(path) => {
                let path = session.context.environment.current_dir().join(path);
                bundle::read(&session.context, &path)?
            }
            None => Unbundled::default(),
        };
        Ok((session, unbundled))
    }

    /// Opens the store and the project that this executable was built from.
    pub fn open(args: &SessionArgs) -> anyhow::Result<Self> {
        let environment = Environment::from_process();
        let screen = Screen::new(Mode::detect(args.quiet, environment.text("TERM")), args.verbose);
        let setup = Setup {
            store: args.store.clone(),
            root: args.project.clone().unwrap_or_else(project_root),
            environment,
            reporter: Arc::clone(&screen) as Arc<dyn Reporter>,
            interrupt: Interrupt::install().map_err(crosswheel::Error::from)?,
            offline: args.offline,
            executable: std::env::current_exe()?,
        };
        Ok(Self { context: Context::new(setup)?, screen })
    }
}

impl Session {
    /// Does the work and writes the timeline that is wanted, also of work that failed.
    pub fn with_timeline<R>(
        &self,
        wanted: Option<&Path>,
        work: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let Some(path) = wanted else { return work() };
        let path = self.context.environment.current_dir().join(path);
        let place = Place::open(&path).map_err(crosswheel::Error::from)?;
        self.screen.keep_timeline();
        let result = work();
        let words: Vec<_> = std::env::args_os().skip(1).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let title = format!("cargo xtask {}", words.join(" "));
        let written =
            self.screen.take_timeline().map_or(Ok(()), |timeline| timeline.write(&title, place));
        // What stopped the work is told, whatever became of the page.
        let result = result?;
        written.map_err(crosswheel::Error::from)?;
        Ok(result)
    }

    /// The toolchain's ninja.
    pub fn ninja(&self) -> crosswheel::Result<PathBuf> {
        let context = &self.context;
        let target = resolve::target(context, &Options::default())?;
        let request = Request {
            target: &target,
            python: "",
            headers: None,
            libraries: &BTreeSet::new(),
            rust: None,
        };
        let ninja = context.with_provisioner(|p| p.component("ninja", &request))?;
        Ok(ninja.path.join("bin/ninja"))
    }
}

/// The machine that is built for.
#[derive(Debug, clap::Args)]
pub struct Machine {
    /// The machine that is built for: see `cargo xtask toolchain list`
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// The target's Python, such as 3.13
    #[arg(long, value_name = "X.Y")]
    pub python: Option<String>,
    #[command(flatten)]
    pub headers: Headers,
}

/// Where headers are that no component has.
#[derive(Debug, Default, clap::Args)]
pub struct Headers {
    /// Headers of a Python that no component has: a folder or archive with `Python.h`
    #[arg(long, value_name = "X.Y=PATH", value_parser = python_headers)]
    python_headers: Vec<(String, PathBuf)>,
}

impl Headers {
    /// By version, with absolute paths.
    pub fn by_version(&self, context: &Context) -> BTreeMap<String, PathBuf> {
        let absolute = |(version, path): &(String, PathBuf)| {
            (version.clone(), context.environment.current_dir().join(path))
        };
        self.python_headers.iter().map(absolute).collect()
    }
}

fn python_headers(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((version, path)) if !version.is_empty() && !path.is_empty() => {
            Ok((version.to_owned(), path.into()))
        }
        _ => Err("`X.Y=PATH` is expected".to_owned()),
    }
}

impl Machine {
    /// What it chooses.
    pub fn options(&self, context: &Context) -> Options {
        Options {
            target: self.target.clone(),
            python: self.python.clone(),
            python_headers: self.headers.by_version(context),
            ..Options::default()
        }
    }

    /// Makes or finds the toolchain, downloading what is missing.
    pub fn toolchain(&self, context: &Context) -> crosswheel::Result<Toolchain> {
        let options = self.options(context);
        let target = resolve::target(context, &options)?;
        let (python, headers) = resolve::python(context, &target, &options)?;
        let headers = headers.as_deref();
        let libraries = &BTreeSet::new();
        let request = Request { target: &target, python: &python, headers, libraries, rust: None };
        context.with_provisioner(|provisioner| provisioner.provision(&request))
    }
}

/// The repository's root: `cargo xtask` always runs from a checkout.
pub fn project_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
