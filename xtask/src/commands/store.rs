//! `cargo xtask store`: where the store is, how large, whether it is intact; and making room.

use std::collections::BTreeSet;

use clap::Subcommand;
use crosswheel::store::{Installed, disk_use};
use crosswheel::torch::lock::TorchLock;

use super::common::{Session, SessionArgs};
use crate::exit_codes;

/// What to do with the store.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints the store's folder.
    Path,
    /// Prints the size of each component and area, and of all, in bytes.
    Size,
    /// Reads every file of every component and names what was changed.
    Verify,
    /// Removes components that the locks no longer name, and what interrupted runs left.
    Gc {
        /// Remove build folders too: the next builds compile everything anew.
        #[arg(long)]
        builds: bool,
        /// Remove downloads too: what is unpacked goes on working offline.
        #[arg(long)]
        downloads: bool,
        /// Remove this one instead (`gcc`, or `gcc-1f0c6b8a9d2e4f37`): the next build unpacks it
        /// anew.
        #[arg(long, value_name = "NAME")]
        component: Option<String>,
    },
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    Ok(dispatch(args, &session)?)
}

fn dispatch(args: &Args, session: &Session) -> crosswheel::Result<u8> {
    let context = &session.context;
    let components = &context.components;
    match &args.verb {
        Verb::Path => println!("{}", context.store.root().display()),
        Verb::Size => {
            let all = components.list()?;
            all.iter().for_each(print_size);
            let mut total: u64 = all.iter().map(|component| component.size).sum();
            for (name, folder) in context.store.areas() {
                let size = disk_use(&folder).unwrap_or(0);
                println!("{size}\t{name}");
                total += size;
            }
            println!("{total}\ttotal");
        }
        Verb::Verify => {
            for component in components.list()? {
                components.verify_full(&component)?;
                println!("{}\tunchanged", component.key);
            }
        }
        Verb::Gc { component, builds, downloads } => {
            let unwanted: BTreeSet<String> = match component {
                Some(name) => components.named(name)?.into_iter().map(|c| c.key).collect(),
                None => {
                    let mut wanted = context.sources()?.keys(components);
                    wanted.extend(TorchLock::load(&context.project.toolchains())?.keys());
                    let all = components.list()?.into_iter().map(|component| component.key);
                    all.filter(|key| !wanted.contains(key)).collect()
                }
            };
            let removed = components.remove(|component| unwanted.contains(&component.key))?;
            removed.iter().for_each(print_size);
            let _alone = components.alone()?;
            for (name, folder) in context.store.areas() {
                let remove = if name == "builds" { *builds } else { *downloads };
                if remove {
                    println!("{}\t{name}", disk_use(&folder).unwrap_or(0));
                    context.store.remove_area(&folder)?;
                }
            }
        }
    }
    Ok(exit_codes::SUCCESS)
}

fn print_size(component: &Installed) {
    println!("{}\t{}", component.size, component.key);
}
