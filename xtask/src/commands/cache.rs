//! `cargo xtask cache`: how much the object cache holds, whether it is intact; and making room.

use clap::Subcommand;
use crosswheel::cache::{CacheError, Layers, Limit, Removed, Stats, Uses};
use indicatif::HumanBytes;
use serde::Serialize;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// What to do with the object cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints how many results there are, and what they take.
    Stats,
    /// Removes the results that were not used for longest.
    Gc {
        /// How much may stay, such as 5G [default: CROSSWHEEL_CACHE_SIZE, or 20G]
        #[arg(long, value_name = "SIZE")]
        limit: Option<Limit>,
    },
    /// Reads every result, and removes those that are damaged.
    Verify,
}

/// What a verb prints; `docs/schemas/cache.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Output {
    Stats {
        #[serde(flatten)]
        stats: Stats,
        limit: u64,
        layers: Layers,
    },
    Removed(Removed),
    Verified(Removed),
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let (objects, settings) = (session.context.objects(), session.context.cache.clone());
    let fail = |error| crosswheel::Error::from(CacheError::Io(error));
    let output = match &args.verb {
        Verb::Stats => Output::Stats {
            stats: objects.measure(),
            limit: settings.limit.0,
            layers: objects.layers(),
        },
        Verb::Gc { limit } => {
            let limit = limit.unwrap_or(settings.limit);
            Output::Removed(objects.gc(limit.0).map_err(fail)?)
        }
        Verb::Verify => Output::Verified(objects.verify().map_err(fail)?),
    };
    match args.format {
        Format::Json => print_json(&output)?,
        Format::Text => print_text(&output),
    }
    Ok(exit_codes::SUCCESS)
}

fn print_text(output: &Output) {
    match output {
        Output::Stats { stats, limit, layers } => {
            println!(
                "{} results of {} actions, {} of at most {}",
                stats.results,
                stats.actions,
                HumanBytes(stats.size),
                HumanBytes(*limit)
            );
            for (layer, Uses { hits, runs, saved_ms }) in &layers.0 {
                let seconds = *saved_ms as f64 / 1000.0;
                println!("{layer:13} {hits:5} of {:5} were there: {seconds:.1} CPU s", hits + runs);
            }
        }
        Output::Removed(removed) => {
            println!("removed {} results, {}", removed.results, HumanBytes(removed.size));
        }
        Output::Verified(removed) => {
            println!("removed {} damaged results, {}", removed.results, HumanBytes(removed.size));
        }
    }
}
