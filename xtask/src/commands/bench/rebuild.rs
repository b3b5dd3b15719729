//! `bench rebuild`: how long a developer waits for a wheel after changing one file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use crosswheel::actions::milliseconds;
use crosswheel::outputs::Outputs;
use crosswheel::pipeline::{self, Product};
use crosswheel::request::Request;
use crosswheel::resolve::Options;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::{median_by, seconds};
use crate::selection::{Requests, Selection};

/// Builds a checkout after each change of one file, and prints what took time beside compilers.
#[derive(Debug, Args)]
pub struct Rebuild {
    #[command(flatten)]
    requests: Requests,
    /// The file of the checkout that is changed, and given back as it was
    #[arg(long, value_name = "FILE")]
    edit: PathBuf,
    /// How many times it is changed; the median is told
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    selection: Selection,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// The median build; `docs/schemas/bench-rebuild.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Measured {
    file: PathBuf,
    runs: usize,
    ran: usize,
    actions: usize,
    total_ms: u64,
    compilers_ms: u64,
    rest_ms: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, runs, ran, actions, .. } = self;
        let file = file.display();
        writeln!(f, "`{file}` changed {runs} times: {ran} of {actions} actions ran")?;
        writeln!(f, "from change to wheel  {:8.2} s", seconds(self.total_ms))?;
        writeln!(f, "compilers ran for     {:8.2} s", seconds(self.compilers_ms))?;
        write!(f, "the rest took         {:8.2} s", seconds(self.rest_ms))
    }
}

/// A file that is given its content back.
struct Edited {
    path: PathBuf,
    content: Vec<u8>,
}

impl Drop for Edited {
    fn drop(&mut self) {
        let _ = fs_err::write(&self.path, &self.content);
    }
}

impl Rebuild {
    /// Runs the verb and returns the exit code.
    pub fn run(&self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0, "there is nothing to measure");
        let mut session = Session::open(&self.session)?;
        // An edit that an earlier run made too is compiled again.
        session.context.cache.enabled = false;
        let (request, options) = self.selection.single(&session, &self.requests, "checkout")?;
        let Request::Folder(folder) = &request else {
            anyhow::bail!("`{request}` is no checkout: name a folder");
        };
        let path = folder.join(&self.edit);
        let content = fs_err::read(&path)?;
        let edited = Edited { path, content };
        let out = tempfile::tempdir()?;
        let build = || self.build(&session, &request, &options, out.path());
        // What is measured begins where all is compiled.
        build()?;
        let mut all = Vec::new();
        for run in 1..=self.runs {
            let more = vec![b'\n'; run];
            fs_err::write(&edited.path, [&edited.content[..], &more].concat())?;
            all.push(build()?);
        }
        drop(edited);
        session.screen.clear();
        let median = median_by(all, |measured| measured.rest_ms);
        match self.format {
            Format::Json => print_json(&median)?,
            Format::Text => println!("{median}"),
        }
        Ok(crate::exit_codes::SUCCESS)
    }

    fn build(
        &self,
        session: &Session,
        request: &Request,
        options: &Options,
        out: &Path,
    ) -> crosswheel::Result<Measured> {
        let begun = Instant::now();
        let locked = pipeline::prepare(&session.context, request.clone(), options)?;
        let product: Product = pipeline::build(&session.context, locked, out, &Outputs::default())?;
        let total_ms = milliseconds(begun.elapsed());
        Ok(Measured {
            file: self.edit.clone(),
            runs: self.runs,
            ran: product.ran,
            actions: product.actions,
            total_ms,
            compilers_ms: product.busy_ms,
            rest_ms: total_ms.saturating_sub(product.busy_ms),
        })
    }
}
