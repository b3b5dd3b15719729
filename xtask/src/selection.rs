//! What is to be built: requests, and the machines that they are built for.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;
use crosswheel::cache::Limit;
use crosswheel::pins::{self, CratePin, PinRule};
use crosswheel::report::Event;
use crosswheel::request::Request;
use crosswheel::resolve::{DEFAULT_TARGET, Options};
use crosswheel::target::Sm;

use crate::commands::{Headers, Session};

/// Packages by name, place or list.
#[derive(Debug, Default, clap::Args)]
pub struct Requests {
    /// `NAME`, `NAME==VERSION`, `git+URL@COMMIT`, a folder, or an sdist; without any, those of
    /// `crosswheel.toml`
    #[arg(value_name = "REQUEST")]
    requests: Vec<String>,
    /// A requirements file whose lines are requests
    #[arg(long = "requirement", short = 'r', value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Requests {
    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.files.is_empty()
    }

    /// All of them: those of the command line, then those of files; of `crosswheel.toml` where
    /// there are none.
    fn read(&self, session: &Session) -> anyhow::Result<Vec<Request>> {
        let context = &session.context;
        let given = !self.requests.is_empty() || !self.files.is_empty();
        let (texts, folder) = match given {
            true => (&self.requests, context.environment.current_dir()),
            false => (&context.config.packages, context.project.root()),
        };
        let mut requests = Vec::new();
        for text in texts {
            let request = Request::parse(text, folder).map_err(crosswheel::Error::from)?;
            if matches!(request, Request::Index { .. }) && folder.join(text).is_dir() {
                let note = format!("`{text}` is the index's; the folder here is `./{text}`");
                context.reporter.report(Event::Note(note));
            }
            requests.push(request);
        }
        for file in &self.files {
            let file = context.environment.current_dir().join(file);
            requests.extend(Request::read_file(&file).map_err(crosswheel::Error::from)?);
        }
        anyhow::ensure!(
            !requests.is_empty(),
            "there is nothing to build: name a package, or list some in `crosswheel.toml`"
        );
        Ok(requests)
    }
}

/// Targets, Pythons and torches; each request is built for their product.
#[derive(Debug, clap::Args)]
pub struct Selection {
    /// A machine that is built for: see `cargo xtask toolchain list`; may be repeated
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// A Python of the target, such as 3.13; may be repeated
    #[arg(long = "python", value_name = "X.Y")]
    pythons: Vec<String>,
    #[command(flatten)]
    headers: Headers,
    /// A torch of the target: a version, a wheel, or an unpacked `site-packages/torch`; may be
    /// repeated
    #[arg(long = "torch", value_name = "VERSION|WHEEL|DIR")]
    torches: Vec<String>,
    /// A GPU architecture, such as `sm_110`, instead of the target's own; may be repeated
    #[arg(long, value_name = "SM")]
    arch: Vec<Sm>,
    /// What a version requirement becomes, over what recipe and target say: `NAME=target`,
    /// `compatible`, `drop`, or a specifier; may be repeated
    #[arg(long = "pin", value_name = "NAME=SPEC", value_parser = PinRule::parse)]
    pins: Vec<PinRule>,
    /// What a requirement on a crate becomes, as `Cargo.toml` would have it, or features that it
    /// gets: `pyo3=0.29`, `openssl-sys[vendored]`; may be repeated
    #[arg(long = "pin-crate", value_name = "NAME[FEATURE]=REQ", value_parser = pins::parse_crate)]
    crates: Vec<(String, CratePin)>,
    /// Fetch the whole torch wheel and link against its libraries
    #[arg(long)]
    full_torch: bool,
    /// Of a CMake project build only this target of those that are compiled; may be repeated. The
    /// wheel's name says `partial`, and its contract is not checked
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// The wheel's local version, instead of one that names CUDA, torch and target
    #[arg(long, value_name = "LOCAL")]
    local_version: Option<String>,
    /// How many compilers run at once; as many as there are cores by default
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How much memory compilers may take together, such as 8G; all that is free by default
    #[arg(long, value_name = "SIZE")]
    memory: Option<Limit>,
}

impl Selection {
    /// Every request for every target, Python and torch; what is not said, `crosswheel.toml` or
    /// the target says.
    pub fn builds(
        &self,
        session: &Session,
        requests: &Requests,
    ) -> anyhow::Result<Vec<(Request, Options)>> {
        Ok(self.of(session, requests.read(session)?))
    }

    /// The one build of what can be measured only by itself, such as a `package`.
    pub fn single(
        &self,
        session: &Session,
        requests: &Requests,
        what: &str,
    ) -> anyhow::Result<(Request, Options)> {
        let mut builds = self.builds(session, requests)?;
        let single = builds.pop().filter(|_| builds.is_empty());
        single.with_context(|| format!("one {what} for one target can be measured at a time"))
    }

    /// [`Selection::builds`] of requests that were read.
    pub fn of(&self, session: &Session, requests: Vec<Request>) -> Vec<(Request, Options)> {
        let configured = &session.context.config.targets;
        let targets = match (self.targets.is_empty(), configured.is_empty()) {
            (false, _) => self.targets.clone(),
            (true, false) => configured.clone(),
            (true, true) => vec![DEFAULT_TARGET.to_owned()],
        };
        let mut builds = Vec::new();
        for target in &targets {
            for python in each(&self.pythons) {
                for torch in each(&self.torches) {
                    let options = Options {
                        target: Some(target.clone()),
                        python: python.cloned(),
                        python_headers: self.headers.by_version(&session.context),
                        arch: self.arch.clone(),
                        torch: torch.cloned(),
                        pins: self.pins.clone(),
                        crates: self.crates.iter().cloned().collect(),
                        full_torch: self.full_torch,
                        local_version: self.local_version.clone(),
                        only: self.only.clone(),
                        jobs: self.jobs,
                        memory: self.memory.map(|limit| limit.0),
                        ..Options::default()
                    };
                    builds.extend(requests.iter().map(|r| (r.clone(), options.clone())));
                }
            }
        }
        builds
    }
}

/// The values given, or once the absence of one.
fn each(values: &[String]) -> Vec<Option<&String>> {
    match values {
        [] => vec![None],
        values => values.iter().map(Some).collect(),
    }
}
