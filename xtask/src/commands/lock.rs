//! `cargo xtask lock`: the packages of `crosswheel.toml`, but for those in the repository, by name, size and sha256.

use crosswheel::lock::{PackageLocks, relock};
use crosswheel::request::Request;
use crosswheel::resolve::resolve;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;
use crate::selection::{Requests, Selection};

/// Which build environment is asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// text, or one JSON array on stdout: what was locked
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let root = session.context.project.root();
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut locks = Vec::new();
    for (request, options) in args.selection.builds(&session, &Requests::default())? {
        // What is in the repository is locked by its commit, and has another path on another machine.
        if matches!(&request, Request::Folder(path) if path.starts_with(&root)) {
            continue;
        }
        let lock = relock(&session.context, &resolve(&session.context, request, &options)?)?;
        session.screen.clear();
        if args.format == Format::Text {
            println!(
                "{}: {}, {} build requirements",
                lock.request,
                lock.source.label(),
                lock.requirement.len()
            );
        }
        if !locks.contains(&lock) {
            locks.push(lock);
        }
    }
    PackageLocks::save(&session.context, &locks).map_err(crosswheel::Error::from)?;
    if args.format == Format::Json {
        print_json(&locks)?;
    }
    Ok(exit_codes::SUCCESS)
}
