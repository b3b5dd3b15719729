//! `cargo xtask build-wheels`: the main job.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;
use crosswheel::pipeline::{self, Product};
use crosswheel::request::Request;
use crosswheel::resolve::{DEFAULT_TARGET, Options};

use super::common::{Format, Machine, Session, SessionArgs};
use crate::exit_codes;
use crate::products;

/// What to build, and for which machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `NAME`, `NAME==VERSION`, a folder, or an sdist; without any, those of `crosswheel.toml`
    requests: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Where the wheel and its manifest go
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// text, or one JSON array of products on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// Target, Python and torch: what `build-wheels` and `fetch` have in common.
#[derive(Debug, clap::Args)]
pub struct Selection {
    #[command(flatten)]
    machine: Machine,
    /// The target's torch: a version, a wheel, or an unpacked `site-packages/torch`
    #[arg(long, value_name = "VERSION|WHEEL|DIR")]
    torch: Option<String>,
    /// Fetch the whole torch wheel and link against its libraries
    #[arg(long)]
    full_torch: bool,
    /// The wheel's local version, instead of one that names CUDA, torch and target
    #[arg(long, value_name = "LOCAL")]
    local_version: Option<String>,
    /// How many compilers run at once; as many as there are cores by default
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

impl Selection {
    /// The choices for one target.
    fn options(&self, session: &Session, target: &str) -> Options {
        Options {
            torch: self.torch.clone(),
            full_torch: self.full_torch,
            local_version: self.local_version.clone(),
            jobs: self.jobs,
            ..self.machine.options(&session.context, Some(target))
        }
    }

    /// Every pair of what is asked for and where it runs; what is not said, `crosswheel.toml` says.
    pub fn builds(
        &self,
        session: &Session,
        requests: &[String],
    ) -> anyhow::Result<Vec<(Request, Options)>> {
        let config = &session.context.config;
        let default = vec![DEFAULT_TARGET.to_owned()];
        let targets = match (&self.machine.target, config.targets.is_empty()) {
            (Some(target), _) => &vec![target.clone()],
            (None, false) => &config.targets,
            (None, true) => &default,
        };
        let (requests, folder) = match requests.is_empty() {
            true => (&config.packages[..], session.context.project.root()),
            false => (requests, session.context.environment.current_dir()),
        };
        anyhow::ensure!(
            !requests.is_empty(),
            "there is nothing to build: name a package, or list some in `crosswheel.toml`"
        );
        let mut builds = Vec::new();
        for target in targets {
            for request in requests {
                let request = Request::parse(request, folder).map_err(crosswheel::Error::from)?;
                builds.push((request, self.options(session, target)));
            }
        }
        Ok(builds)
    }
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let out = session.context.environment.current_dir().join(&args.out);
    let mut built: Vec<Product> = Vec::new();
    for (request, options) in args.selection.builds(&session, &args.requests)? {
        let name = request.to_string();
        let product = pipeline::build(&session.context, request, &options, &out)
            .with_context(|| format!("{name} could not be built"));
        if product.is_err() {
            session.screen.clear();
        }
        built.push(product?);
    }
    session.screen.clear();
    match args.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&built)?),
        Format::Text => products::print(&session, &built),
    }
    Ok(exit_codes::SUCCESS)
}
