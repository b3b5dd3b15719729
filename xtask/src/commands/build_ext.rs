//! `cargo xtask build-ext`: the shared library of a plain crate or CMake project.

use std::path::PathBuf;

use anyhow::Context as _;
use crosswheel::outputs::Outputs;
use crosswheel::pipeline;
use crosswheel::request::Request;
use crosswheel::rust;

use super::common::{Format, Session, SessionArgs};
use crate::products;
use crate::selection::Selection;

/// Which crate or project, and for which machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of a crate that makes a cdylib, or of its workspace, or of a CMake project
    path: PathBuf,
    /// Of a workspace, the member that is built
    #[arg(long, short, value_name = "NAME")]
    package: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Where the library and its manifest go, in a folder named after the target
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Write a page for a browser that shows what was done when, and what memory it took
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// text, or one JSON array of products on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    session.with_timeline(args.timeline.as_deref(), || build(args, &session))
}

fn build(args: &Args, session: &Session) -> anyhow::Result<u8> {
    let context = &session.context;
    let out = context.environment.current_dir().join(&args.out);
    let request = match Request::of_cmake(&args.path, context.environment.current_dir()) {
        Some(request) => request,
        None => rust::request(context, &args.path, args.package.as_deref())?,
    };
    let mut built = Vec::new();
    for (request, options) in args.selection.of(session, vec![request]) {
        let failed = || format!("{} could not be built", args.path.display());
        let locked = pipeline::prepare(context, request, &options).with_context(failed)?;
        let out = out.join(&locked.resolved.variant);
        // Each target has its folder.
        let product = pipeline::build(context, locked, &out, &Outputs::default());
        built.push(product.with_context(failed)?);
    }
    session.screen.clear();
    match args.format {
        Format::Json => products::print_json(&built, &[])?,
        Format::Text => products::print(session, &built, &[]),
    }
    Ok(0)
}
