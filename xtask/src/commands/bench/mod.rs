//! `bench`: what crosswheel costs, and what it saves.

mod cache;
mod overhead;
mod rebuild;

use clap::Subcommand;

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
    Rebuild(Box<rebuild::Rebuild>),
}

impl Bench {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.what {
            What::Overhead(overhead) => overhead.run(),
            What::Cache(cache) => cache.run(),
            What::Rebuild(rebuild) => rebuild.run(),
        }
    }
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
