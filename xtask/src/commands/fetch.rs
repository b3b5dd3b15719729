//! `cargo xtask fetch`: everything that a later build without a network needs.

use std::path::{Path, PathBuf};

use crosswheel::bundle;
use crosswheel::fetch::Fetched;
use crosswheel::pipeline;
use crosswheel::verify::{self, Options, Subject};
use indicatif::HumanBytes;
use serde::Serialize;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;
use crate::selection::{Requests, Selection};

/// What will be built, and for which machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    requests: Requests,
    #[command(flatten)]
    selection: Selection,
    /// Get what `verify` needs for this manifest, or wheel with a manifest beside it; may be
    /// repeated
    #[arg(long = "manifest", value_name = "MANIFEST|WHEEL")]
    manifests: Vec<PathBuf>,
    /// Write all of it into one file, for machines without a network
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// text, or one JSON array on stdout: what is in the store
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// What a build needs is there; `docs/schemas/fetch.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Ready {
    request: String,
    source: String,
    target: String,
    python: String,
    downloaded: u64,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let received = || session.context.registries.http().bytes_received();
    let mut ready = Vec::new();
    let mut all = Vec::new();
    let mut done = |fetched: Fetched, before: u64| {
        session.screen.clear();
        let locked = &fetched.locked;
        let source = locked.source.label();
        if args.format == Format::Text {
            println!("{source} is in the store");
        }
        ready.push(Ready {
            request: locked.resolved.request.to_string(),
            source,
            target: locked.resolved.variant.clone(),
            python: locked.resolved.python.clone(),
            downloaded: received() - before,
        });
        all.push(fetched);
    };
    let here = session.context.environment.current_dir();
    for manifest in &args.manifests {
        let before = received();
        done(of_manifest(&session, &here.join(manifest))?, before);
    }
    // What crosswheel.toml names is wanted where nothing else is.
    if args.manifests.is_empty() || !args.requests.is_empty() {
        for (request, options) in args.selection.builds(&session, &args.requests)? {
            let before = received();
            done(pipeline::prefetch(&session.context, request, &options)?, before);
        }
    }
    if let Some(path) = &args.bundle {
        let bundled = bundle::write(&session.context, &all, &here.join(path))?;
        session.screen.clear();
        let (files, size) = (bundled.files, HumanBytes(bundled.size));
        eprintln!("`{}` holds {files} files, {size}: sha256 {}", path.display(), bundled.sha256);
    }
    if args.format == Format::Json {
        print_json(&ready)?;
    }
    eprintln!("downloaded {}", HumanBytes(received()));
    Ok(exit_codes::SUCCESS)
}

fn of_manifest(session: &Session, path: &Path) -> crosswheel::Result<Fetched> {
    verify::prefetch(&session.context, &Subject::read(path)?, &Options::default())
}
