//! `bench`: what crosswheel costs, and what it saves.

mod bare;
mod cache;
mod cuda_file;
mod emulated;
mod memory;
mod narrowing;
mod overhead;
mod peers;
mod pip;
mod rebuild;
mod stale;

use std::time::{Duration, Instant};

use clap::Subcommand;
use crosswheel::actions::milliseconds;
use crosswheel::toolchain::Toolchain;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::common::{Headers, Machine, Session};

/// The Python that is built for, which decides nothing here.
const PYTHON: &str = "3.11";

/// Measures what crosswheel costs and saves.
#[derive(Debug, clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Overhead(overhead::Overhead),
    Cache(cache::Cache),
    Emulated(emulated::Emulated),
    Memory(memory::Memory),
    Narrowing(narrowing::Narrowing),
    Pip(Box<pip::Pip>),
    Stale(stale::Stale),
    Rebuild(Box<rebuild::Rebuild>),
}

impl Bench {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.what {
            What::Overhead(overhead) => overhead.run(),
            What::Cache(cache) => cache.run(),
            What::Emulated(emulated) => emulated.run(),
            What::Memory(memory) => memory.run(),
            What::Narrowing(narrowing) => narrowing.run(),
            What::Pip(pip) => pip.run(),
            What::Stale(stale) => stale.run(),
            What::Rebuild(rebuild) => rebuild.run(),
        }
    }
}

/// Wall and processor time, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    wall_ms: u64,
    cpu_ms: u64,
}

impl Times {
    /// Of some work, with all processes that end meanwhile.
    fn of(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let (begun, before) = (Instant::now(), cpu_ms()?);
        work()?;
        Ok(Self { wall_ms: milliseconds(begun.elapsed()), cpu_ms: cpu_ms()? - before })
    }

    /// The medians of both.
    fn median(all: &[Self]) -> Self {
        Self {
            wall_ms: median(all.iter().map(|times| times.wall_ms).collect()),
            cpu_ms: median(all.iter().map(|times| times.cpu_ms).collect()),
        }
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// How many times as much one is.
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

/// The compilers for the default target.
fn toolchain(session: &Session) -> anyhow::Result<Toolchain> {
    toolchain_for(session, None)
}

/// The compilers for a target, or for the default one.
fn toolchain_for(session: &Session, target: Option<&str>) -> anyhow::Result<Toolchain> {
    let (target, python) = (target.map(str::to_owned), Some(PYTHON.to_owned()));
    let machine = Machine { target, python, headers: Headers::default() };
    Ok(machine.toolchain(&session.context)?)
}

/// User and system time of all processes that have ended below this one, in milliseconds.
fn cpu_ms() -> anyhow::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |time: TimeVal| {
        u64::try_from(time.tv_sec() * 1000 + time.tv_usec() / 1000).unwrap_or_default()
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

/// The middle one, or the lower of two.
fn median<T: Ord + Copy>(values: Vec<T>) -> T {
    median_by(values, |value| *value)
}

/// The one whose key is the middle one.
fn median_by<T, K: Ord>(mut values: Vec<T>, key: impl FnMut(&T) -> K) -> T {
    values.sort_by_key(key);
    let middle = (values.len() - 1) / 2;
    values.swap_remove(middle)
}
