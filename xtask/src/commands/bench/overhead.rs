//! `bench overhead`: what crosswheel itself costs.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use crosswheel::exec::{Command, Interrupt};
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::bare::Bare;
use super::median;

/// Builds many files with a fake compiler, with and without crosswheel, and prints what one action
/// costs more.
#[derive(Debug, Args)]
pub struct Overhead {
    /// How many files are compiled.
    #[arg(long, default_value_t = 500)]
    actions: usize,
    /// How many builds of each kind are made, in turn; their medians are compared.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How many compilers run at once.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// The ninja to use, instead of the toolchain's.
    #[arg(long)]
    ninja: Option<PathBuf>,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// The fake compiler: makes an empty output, as fast as a process can.
const FAKE_COMPILER: &str = "#!/bin/sh\n\
    while [ $# -gt 0 ]; do case $1 in -o) out=$2; shift;; esac; shift; done\n\
    : > \"$out\"\n";

impl Overhead {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        let ninja = match &self.ninja {
            Some(ninja) => ninja.clone(),
            None => Session::open(&self.session)?.ninja()?,
        };
        let measured = self.measure(&ninja)?;
        match self.format {
            Format::Json => print_json(&measured.output())?,
            Format::Text => println!("{measured}"),
        }
        Ok(crate::exit_codes::SUCCESS)
    }
}

/// Medians of whole builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    actions: usize,
    jobs: usize,
    without: Duration,
    with: Duration,
}

/// The same in whole numbers; `docs/schemas/bench.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Output {
    actions: usize,
    jobs: usize,
    without_us: u64,
    with_us: u64,
    overhead_us: i64,
}

impl Measured {
    fn output(&self) -> Output {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Output {
            actions: self.actions,
            jobs: self.jobs,
            without_us: us(self.without),
            with_us: us(self.with),
            overhead_us: (self.per_action_ms() * 1000.0).round() as i64,
        }
    }

    /// What crosswheel adds to the wall time of an action, in milliseconds.
    fn per_action_ms(&self) -> f64 {
        // With several jobs an action's cost is shared out: it is counted back.
        let added = self.with.as_secs_f64() - self.without.as_secs_f64();
        added * 1000.0 * self.jobs as f64 / self.actions as f64
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} actions, {} at once", self.actions, self.jobs)?;
        writeln!(f, "without crosswheel  {:8.3} s", self.without.as_secs_f64())?;
        writeln!(f, "with crosswheel     {:8.3} s", self.with.as_secs_f64())?;
        write!(f, "overhead            {:8.2} ms per action", self.per_action_ms())
    }
}

impl Overhead {
    fn measure(&self, ninja: &Path) -> anyhow::Result<Measured> {
        anyhow::ensure!(self.runs > 0 && self.actions > 0, "there is nothing to measure");
        let folder = tempfile::tempdir()?;
        let compiler = folder.path().join("fake-cc");
        fs_err::write(&compiler, FAKE_COMPILER)?;
        fs_err::set_permissions(&compiler, std::fs::Permissions::from_mode(0o755))?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for run in 0..self.runs {
            // In turn, so that what else the machine does falls on both.
            let plain = folder.path().join(format!("without-{run}"));
            without.push(self.build(&plain, ninja, &compiler)?);
            let wrapped = folder.path().join(format!("with-{run}"));
            with.push(self.build_wrapped(&wrapped, ninja, &compiler)?);
        }
        let (actions, jobs) = (self.actions, self.jobs);
        Ok(Measured { actions, jobs, without: median(without), with: median(with) })
    }

    /// One build in a new folder, with this ninja and compiler.
    fn build(&self, folder: &Path, ninja: &Path, compiler: &Path) -> anyhow::Result<Duration> {
        fs_err::create_dir_all(folder)?;
        let mut rules = format!("rule cc\n  command = {} -c $in -o $out\n", compiler.display());
        for n in 0..self.actions {
            fs_err::write(folder.join(format!("source_{n}.c")), "")?;
            writeln!(rules, "build object_{n}.o: cc source_{n}.c")?;
        }
        fs_err::write(folder.join("build.ninja"), rules)?;
        let finished = Command::new(ninja, folder)
            .arg(format!("-j{}", self.jobs))
            .variable("PATH", "/usr/bin:/bin")
            .check(&Interrupt::new())
            .map_err(crosswheel::Error::from)?;
        Ok(finished.wall)
    }

    /// The same through crosswheel's wrappers, by leave of a server.
    fn build_wrapped(
        &self,
        folder: &Path,
        ninja: &Path,
        compiler: &Path,
    ) -> anyhow::Result<Duration> {
        let costs = &folder.join("costs.json");
        let bare = Bare { ninja, compiler, jobs: self.jobs, costs };
        let (wall, actions) =
            bare.run(folder, |wrapped| self.build(folder, &wrapped.ninja, &wrapped.compiler))?;
        let recorded = actions.len();
        anyhow::ensure!(recorded == self.actions, "{recorded} actions were recorded");
        Ok(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_taken_and_jobs_count() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(5)]), ms(5));
        let measured = Measured { actions: 100, jobs: 2, without: ms(1000), with: ms(1200) };
        assert!((measured.per_action_ms() - 4.0).abs() < 1e-9);
    }
}
