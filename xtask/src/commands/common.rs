//! What verbs that build or fetch have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosswheel::context::{Context, Setup};
use crosswheel::environment::Environment;
use crosswheel::exec::Interrupt;
use crosswheel::report::Reporter;
use crosswheel::resolve::DEFAULT_TARGET;
use crosswheel::target::Target;
use crosswheel::toolchain::{Request, Toolchain};

use crate::screen::{Mode, Screen};

/// How results are printed on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
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

/// The target and Python of a toolchain.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// The target, a file of `toolchains/targets`
    #[arg(long, default_value = DEFAULT_TARGET)]
    target: String,
    /// The Python's minor version, such as `3.13`, or `3.12=PATH` with a folder or archive that
    /// has its headers
    #[arg(long, value_name = "X.Y[=PATH]")]
    python: Option<String>,
}

impl Choice {
    /// Makes or finds the toolchain, downloading what is missing.
    pub fn toolchain(&self, context: &Context) -> crosswheel::Result<Toolchain> {
        let target = Target::load(&context.project.targets(), &self.target)?;
        let (python, headers) = match self.python.as_deref().map(|p| p.split_once('=').ok_or(p)) {
            None => (target.python.clone(), None),
            Some(Err(version)) => (version.to_owned(), None),
            Some(Ok((version, path))) => {
                (version.to_owned(), Some(context.environment.current_dir().join(path)))
            }
        };
        let request = Request { target: &target, python: &python, headers: headers.as_deref() };
        context.with_provisioner(|provisioner| provisioner.provision(&request))
    }
}

/// The repository's root: `cargo xtask` always runs from a checkout.
pub fn project_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
