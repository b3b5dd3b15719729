//! `cargo xtask fetch`: everything that a later build without a network needs.

use crosswheel::pipeline;
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
    for (request, options) in args.selection.builds(&session, &args.requests)? {
        let before = received();
        let locked = pipeline::prefetch(&session.context, request, &options)?.locked;
        session.screen.clear();
        let source = locked.source.label();
        if args.format == Format::Text {
            println!("{source} is in the store");
        }
        ready.push(Ready {
            request: locked.resolved.request.to_string(),
            source,
            target: locked.resolved.variant,
            python: locked.resolved.python,
            downloaded: received() - before,
        });
    }
    if args.format == Format::Json {
        print_json(&ready)?;
    }
    eprintln!("downloaded {}", HumanBytes(received()));
    Ok(exit_codes::SUCCESS)
}
