//! `cargo xtask build-wheels`: the main job.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::thread;

use anyhow::Context as _;
use crosswheel::Class;
use crosswheel::lock::Locked;
use crosswheel::outputs::Outputs;
use crosswheel::pipeline;
use crosswheel::plan::plan;
use crosswheel::request::Request;
use crosswheel::resolve::{MaxSilence, Options};
use crosswheel::sync::lock;

use super::common::{Format, Session, SessionArgs};
use crate::failure::{self, Failure};
use crate::selection::{Requests, Selection};
use crate::until::Until;
use crate::{plans, products};

/// What to build, and for which machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    requests: Requests,
    #[command(flatten)]
    selection: Selection,
    /// Where the wheels and their manifests go
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Take the inputs from a bundle that `fetch --bundle` wrote, and nothing from the network
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Stop a build script that for so long printed nothing and ran no compiler: such as 90s, 2h
    /// or never [default: 30m]
    #[arg(long, value_name = "TIME")]
    max_silence: Option<MaxSilence>,
    /// Start no compiler that would not be done by then, such as `2h` from now or `22:30`, and end
    /// when none runs; the same command goes on from there
    #[arg(long, value_name = "TIME")]
    until: Option<Until>,
    /// Go on with the other files and wheels when one cannot be built
    #[arg(long)]
    keep_going: bool,
    /// Say what would be downloaded and built, and how long it would take; build nothing
    #[arg(long)]
    dry_run: bool,
    /// Write a page for a browser that shows what was done when, and what memory it took
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// text, or one JSON array on stdout: of products, or of plans with `--dry-run`
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let (session, _) = Session::with_bundle(&args.session, args.bundle.as_deref())?;
    session.with_timeline(args.timeline.as_deref(), || build(args, &session))
}

fn build(args: &Args, session: &Session) -> anyhow::Result<u8> {
    let out = session.context.environment.current_dir().join(&args.out);
    let mut builds = args.selection.builds(session, &args.requests)?;
    let until = args.until.map(Until::moment);
    for (_, options) in &mut builds {
        options.max_silence = args.max_silence.unwrap_or_default();
        options.keep_going = args.keep_going;
        options.until = until;
    }
    let mut run = Run { session, keep_going: args.keep_going, failures: Vec::new() };
    let mut outputs = Outputs::default();
    let locked = run.each(builds, |(request, options)| {
        let locked = pipeline::prepare(&session.context, request, &options)?;
        outputs.expect(&locked)?;
        Ok(locked)
    })?;
    if args.dry_run {
        return dry_run(run, locked, &out, args.format);
    }
    let built =
        run.together(locked, |locked| pipeline::build(&session.context, locked, &out, &outputs))?;
    session.screen.clear();
    match args.format {
        Format::Json => products::print_json(&built, &run.failures)?,
        Format::Text => products::print(session, &built, &run.failures),
    }
    Ok(failure::exit_code(&run.failures))
}

fn dry_run(
    mut run: Run<'_>,
    locked: Vec<Locked>,
    out: &Path,
    format: Format,
) -> anyhow::Result<u8> {
    let session = run.session;
    let planned = run.each(locked, |locked| plan(&session.context, &locked, out))?;
    session.screen.clear();
    match format {
        Format::Json => products::print_json(&planned, &run.failures)?,
        Format::Text => plans::print(&planned),
    }
    Ok(failure::exit_code(&run.failures))
}

/// One thing done to several builds.
struct Run<'a> {
    session: &'a Session,
    keep_going: bool,
    failures: Vec<Failure>,
}

impl Run<'_> {
    /// Does it to each. The first failure ends it, unless the others shall go on; an interruption
    /// always does.
    fn each<T: Named, R>(
        &mut self,
        items: Vec<T>,
        mut work: impl FnMut(T) -> crosswheel::Result<R>,
    ) -> anyhow::Result<Vec<R>> {
        let mut done = Vec::new();
        for item in items {
            let name = item.name();
            match work(item) {
                Ok(result) => done.push(result),
                Err(error) => self.take(name, error)?,
            }
        }
        Ok(done)
    }

    /// The same, to as many at a time as compilers may run: while a build script of one works, or its
    /// last compiler, those of others have the rest of the machine. What a failure ends goes on from
    /// there the next time. Results come in the order of the builds.
    fn together<R: Send>(
        &mut self,
        builds: Vec<Locked>,
        work: impl Fn(Locked) -> crosswheel::Result<R> + Sync,
    ) -> anyhow::Result<Vec<R>> {
        let at_once = builds.iter().map(|build| build.resolved.jobs.get()).max().unwrap_or(1);
        let at_once = at_once.min(builds.len());
        let interrupt = &self.session.context.interrupt;
        let waiting: VecDeque<_> = builds.into_iter().enumerate().collect();
        let (waiting, work) = (&Mutex::new(waiting), &work);
        let (sender, results) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..at_once {
                let sender = sender.clone();
                scope.spawn(move || {
                    // In a function of its own, or the list would be locked while one is built.
                    let next = || lock(waiting).pop_front();
                    while let Some((index, build)) = next() {
                        let name = build.name();
                        // The other end hears them all.
                        let _ = sender.send((index, name, work(build)));
                    }
                });
            }
            drop(sender);
            let mut done = BTreeMap::new();
            let mut end = Ok(());
            for (index, name, result) in results {
                let error = match result {
                    Ok(result) => {
                        done.insert(index, result);
                        continue;
                    }
                    // Of what the end itself ends, nothing has to be said.
                    Err(_) if end.is_err() => continue,
                    Err(error) => error,
                };
                // Where time is up, what runs may end.
                let stops = error.class() != Class::TimeUp;
                end = self.take(name, error);
                if end.is_err() {
                    lock(waiting).clear();
                    if stops {
                        interrupt.raise();
                    }
                }
            }
            end.map(|()| done.into_values().collect())
        })
    }

    /// Keeps a failure for the end, or ends the run with it.
    fn take(
        &mut self,
        (request, target): (String, String),
        error: crosswheel::Error,
    ) -> anyhow::Result<()> {
        self.session.screen.clear();
        let class = error.class();
        if class == Class::TimeUp {
            return Err(error).with_context(|| format!("{request} is not finished"));
        }
        if !self.keep_going || class == Class::Interrupted {
            return Err(error).with_context(|| format!("{request} could not be built"));
        }
        let failure = Failure::new(request, target, error);
        failure.print();
        self.failures.push(failure);
        Ok(())
    }
}

/// Something that a failure can be told of.
trait Named {
    /// What was asked for, and the target's name.
    fn name(&self) -> (String, String);
}

impl Named for (Request, Options) {
    fn name(&self) -> (String, String) {
        (self.0.to_string(), self.1.target.clone().unwrap_or_default())
    }
}

impl Named for Locked {
    fn name(&self) -> (String, String) {
        (self.resolved.request.to_string(), self.resolved.variant.clone())
    }
}
