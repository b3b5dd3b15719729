//! `bench`: what crosswheel costs, and what it saves.

mod cache;
mod emulated;
mod narrowing;
mod overhead;
mod peers;
mod rebuild;
mod stale;

use clap::Subcommand;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

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
    Narrowing(narrowing::Narrowing),
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
            What::Narrowing(narrowing) => narrowing.run(),
            What::Stale(stale) => stale.run(),
            What::Rebuild(rebuild) => rebuild.run(),
        }
    }
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
