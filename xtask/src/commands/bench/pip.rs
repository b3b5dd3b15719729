//! `bench pip`: what a package takes by its own build, and what it takes by crosswheel.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use crosswheel::audit::inspect;
use crosswheel::configure::BuildFolder;
use crosswheel::context::Context;
use crosswheel::exec::{Command, capture};
use crosswheel::fetch::source_tree;
use crosswheel::lock::Locked;
use crosswheel::outputs::Outputs;
use crosswheel::pipeline;
use crosswheel::request::Request;
use crosswheel::resolve::Options;
use crosswheel::target::Sm;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::{Times, median_by, ratio, seconds, toolchain_for};
use crate::selection::{Requests, Selection};

/// Builds a package by `pip wheel --no-build-isolation`, as it is, and by crosswheel without its
/// cache: for the same architectures, and for the target's alone.
#[derive(Debug, Args)]
pub struct Pip {
    #[command(flatten)]
    requests: Requests,
    /// A Python that has pip, torch, ninja, and what else the package's build requires. Variables of
    /// this shell are pip's too, such as `CUDA_HOME`: without one, pip gets crosswheel's toolkit
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    interpreter: String,
    /// How many builds of each kind are made, in turn; their medians are compared
    #[arg(long, default_value_t = 1)]
    runs: usize,
    #[command(flatten)]
    selection: Selection,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// The machine that pip builds for: this one.
const PIPS_TARGET: &str = "x86_64-cuda13";

/// Medians; `docs/schemas/bench-pip.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Output {
    package: String,
    target: String,
    jobs: usize,
    runs: usize,
    builds: Vec<Row>,
}

/// One build.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: &'static str,
    wall_ms: u64,
    cpu_ms: u64,
    /// Of the wheel, in bytes.
    size: u64,
    /// Machine code in the wheel.
    sass: BTreeSet<Sm>,
}

impl Row {
    fn of(name: &'static str, times: Times, wheel: &Path) -> anyhow::Result<Self> {
        let Times { wall_ms, cpu_ms } = times;
        let size = fs_err::metadata(wheel)?.len();
        let inspection = inspect(wheel).map_err(crosswheel::Error::from)?;
        // In one family or alone, it is one architecture.
        let sass: BTreeSet<Sm> = inspection.machine_code().iter().map(|arch| arch.sm).collect();
        Ok(Self { name, wall_ms, cpu_ms, size, sass })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, target, jobs, runs, builds } = self;
        writeln!(f, "{package} for {target}, {jobs} at once, medians of {runs}")?;
        write!(
            f,
            "build             architectures    wall s    CPU s  to crosswheel, CPU       MiB"
        )?;
        let Some(last) = builds.last() else { return Ok(()) };
        for row in builds {
            write!(
                f,
                "\n{:20} {:10} {:9.1} {:8.1} {:19.2} {:9.2}",
                row.name,
                row.sass.len(),
                seconds(row.wall_ms),
                seconds(row.cpu_ms),
                ratio(row.cpu_ms, last.cpu_ms),
                row.size as f64 / f64::from(1 << 20),
            )?;
        }
        Ok(())
    }
}

impl Pip {
    /// Runs the verb and returns the exit code.
    pub fn run(&self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let (request, options) = self.selection.single(&session, &self.requests, "package")?;
        let interpreter = self.interpreter(&session.context)?;
        let cuda = self.toolkit(&session)?;
        let bench = Bench { session: &session, interpreter: &interpreter, cuda: &cuda };
        let locked = bench.prepare(&request, &options)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = options.jobs.map_or(cores, usize::from);
        let mut runs: [Vec<Row>; 3] = Default::default();
        for _ in 0..self.runs {
            let pip = bench.by_pip(&locked, jobs)?;
            let arch: Vec<Sm> = pip.sass.iter().copied().collect();
            anyhow::ensure!(!arch.is_empty(), "pip's wheel has no machine code for a GPU");
            let as_asked = bench.prepare(&request, &Options { arch, ..options.clone() })?;
            let builds = [
                pip,
                bench.by_crosswheel("crosswheel, as many", as_asked)?,
                bench.by_crosswheel("crosswheel", locked.clone())?,
            ];
            runs.iter_mut().zip(builds).for_each(|(runs, build)| runs.push(build));
        }
        session.screen.clear();
        let output = Output {
            package: locked.source.label(),
            target: locked.resolved.target.name.clone(),
            jobs,
            runs: self.runs,
            builds: runs.into_iter().map(|rows| median_by(rows, |row| row.cpu_ms)).collect(),
        };
        match self.format {
            Format::Json => print_json(&output)?,
            Format::Text => println!("{output}"),
        }
        Ok(crate::exit_codes::SUCCESS)
    }

    /// Finds out before anything is fetched that pip could build nothing.
    fn interpreter(&self, context: &Context) -> anyhow::Result<PathBuf> {
        let Context { environment, interrupt, .. } = context;
        let wanted = || format!("`{}` has to be a Python with pip and torch", self.interpreter);
        let found = capture::find(environment, &self.interpreter).with_context(wanted)?;
        Command::new(&found, environment.current_dir())
            .args(["-c", "import pip, torch"])
            .variables(environment.all())
            .check(interrupt)
            .map_err(crosswheel::Error::from)
            .with_context(wanted)?;
        Ok(found)
    }

    /// What tells pip of CUDA, where the shell does not.
    fn toolkit(&self, session: &Session) -> anyhow::Result<Vec<(&'static str, String)>> {
        if session.context.environment.get("CUDA_HOME").is_some() {
            return Ok(Vec::new());
        }
        let toolchain = toolchain_for(session, Some(PIPS_TARGET))?;
        Ok(vec![("CUDA_HOME", toolchain.cuda.display().to_string())])
    }
}

struct Bench<'a> {
    session: &'a Session,
    interpreter: &'a Path,
    /// Variables that tell pip of CUDA.
    cuda: &'a [(&'static str, String)],
}

impl Bench<'_> {
    /// Everything that a build needs, on disk.
    fn prepare(&self, request: &Request, options: &Options) -> anyhow::Result<Locked> {
        let fetched = pipeline::prefetch(&self.session.context, request.clone(), options)?;
        Ok(fetched.locked)
    }

    fn by_pip(&self, locked: &Locked, jobs: usize) -> anyhow::Result<Row> {
        let context = &self.session.context;
        let folder = tempfile::tempdir()?;
        let (tree, out) = (folder.path().join("source"), folder.path().join("out"));
        source_tree(context, &locked.source, &[], &tree)?;
        fs_err::create_dir(&out)?;
        let words = ["-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-cache-dir"];
        let command = Command::new(self.interpreter, &tree)
            .args(words)
            .args(["--wheel-dir".as_ref(), out.as_os_str(), tree.as_os_str()])
            .variables(context.environment.all())
            .variables(self.cuda.iter().cloned())
            .variable("MAX_JOBS", jobs.to_string());
        let times = Times::of(|| {
            let done = command.check(&context.interrupt);
            Ok(done.map(drop).map_err(crosswheel::Error::from)?)
        })?;
        let wheel = fs_err::read_dir(&out)?.flatten().map(|entry| entry.path()).next();
        let wheel = wheel.ok_or_else(|| anyhow::anyhow!("pip made no wheel"))?;
        Row::of("pip", times, &wheel)
    }

    fn by_crosswheel(&self, name: &'static str, locked: Locked) -> anyhow::Result<Row> {
        let folder = tempfile::tempdir_in(self.session.context.store.root())?;
        let build = BuildFolder::new(folder.path().join("build")).without_cache();
        let out = folder.path().join("out");
        fs_err::create_dir(&out)?;
        let mut wheel = None;
        let times = Times::of(|| {
            let context = &self.session.context;
            let built = pipeline::build_in(context, locked, build, &out, &Outputs::default())?;
            wheel = Some(built.wheel);
            Ok(())
        })?;
        Row::of(name, times, &wheel.unwrap_or_default())
    }
}
