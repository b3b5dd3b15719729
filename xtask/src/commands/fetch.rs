//! `cargo xtask fetch`: everything that a later build without a network needs.

use crosswheel::pipeline;
use indicatif::HumanBytes;

use super::common::{Session, SessionArgs};
use crate::exit_codes;
use crate::selection::{Requests, Selection};

/// What will be built, and for which machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    requests: Requests,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    for (request, options) in args.selection.builds(&session, &args.requests)? {
        let fetched = pipeline::prefetch(&session.context, request, &options)?;
        session.screen.clear();
        println!("{} is in the store", fetched.locked.source.label());
    }
    let received = session.context.registries.http().bytes_received();
    eprintln!("downloaded {}", HumanBytes(received));
    Ok(exit_codes::SUCCESS)
}
