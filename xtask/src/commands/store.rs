//! `cargo xtask store`: where the store is, how large, whether it is intact; and making room.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Subcommand;
use crosswheel::context::Context;
use crosswheel::plan::import_costs;
use crosswheel::store::{Installed, disk_use};
use crosswheel::torch::lock::TorchLock;
use serde::Serialize;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// What to do with the store.
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
    /// Prints the store's folder.
    Path,
    /// Prints the size of each component and area, and of all, in bytes.
    Size,
    /// Takes over what compilers took elsewhere, so that this machine plans by it.
    ImportCosts {
        /// Manifests, or the `costs.json` of other stores.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
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

/// Something in the store, or that was in it.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    /// Bytes.
    size: u64,
}

/// What a verb prints; `docs/schemas/store.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Output {
    Path(PathBuf),
    Size { entries: Vec<Entry>, total: u64 },
    Unchanged(Vec<String>),
    Removed(Vec<Entry>),
    Imported(usize),
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let context = &session.context;
    let output = match &args.verb {
        Verb::Path => Output::Path(context.store.root().to_owned()),
        Verb::Size => size(context)?,
        Verb::ImportCosts { files } => Output::Imported(import_costs(context, files)?),
        Verb::Verify => Output::Unchanged(verify(context, args.format)?),
        Verb::Gc { component, builds, downloads } => {
            let mut removed = remove_components(context, component.as_deref())?;
            removed.extend(remove_areas(context, *builds, *downloads)?);
            Output::Removed(removed)
        }
    };
    match args.format {
        Format::Json => print_json(&output)?,
        Format::Text => print_text(&output),
    }
    Ok(exit_codes::SUCCESS)
}

fn print_text(output: &Output) {
    let print = |entries: &[Entry]| {
        entries.iter().for_each(|entry| println!("{}\t{}", entry.size, entry.name));
    };
    match output {
        Output::Path(path) => println!("{}", path.display()),
        Output::Size { entries, total } => {
            print(entries);
            println!("{total}\ttotal");
        }
        Output::Removed(entries) => print(entries),
        Output::Imported(figures) => println!("{figures} figures"),
        // They are named as they are read, which takes a while.
        Output::Unchanged(_) => {}
    }
}

impl From<Installed> for Entry {
    fn from(component: Installed) -> Self {
        Self { name: component.key, size: component.size }
    }
}

fn size(context: &Context) -> crosswheel::Result<Output> {
    let mut entries: Vec<_> = context.components.list()?.into_iter().map(Entry::from).collect();
    for (name, folder) in context.store.areas() {
        entries.push(Entry { name: name.to_owned(), size: disk_use(&folder).unwrap_or(0) });
    }
    let total = entries.iter().map(|entry| entry.size).sum();
    Ok(Output::Size { entries, total })
}

fn verify(context: &Context, format: Format) -> crosswheel::Result<Vec<String>> {
    let mut unchanged = Vec::new();
    for component in context.components.list()? {
        context.components.verify_full(&component)?;
        if format == Format::Text {
            println!("{}\tunchanged", component.key);
        }
        unchanged.push(component.key);
    }
    Ok(unchanged)
}

/// Those of a name, or all that the locks do not name.
fn remove_components(context: &Context, name: Option<&str>) -> crosswheel::Result<Vec<Entry>> {
    let components = &context.components;
    let unwanted: BTreeSet<String> = match name {
        Some(name) => components.named(name)?.into_iter().map(|c| c.key).collect(),
        None => {
            let mut wanted = context.sources()?.keys(components);
            wanted.extend(TorchLock::load(&context.project.toolchains())?.keys());
            let all = components.list()?.into_iter().map(|component| component.key);
            all.filter(|key| !wanted.contains(key)).collect()
        }
    };
    let removed = components.remove(|component| unwanted.contains(&component.key))?;
    Ok(removed.into_iter().map(Entry::from).collect())
}

fn remove_areas(
    context: &Context,
    builds: bool,
    downloads: bool,
) -> crosswheel::Result<Vec<Entry>> {
    let _alone = context.components.alone()?;
    let mut removed = Vec::new();
    for (name, folder) in context.store.areas() {
        let remove = if name == "builds" { builds } else { downloads };
        if remove {
            removed.push(Entry { name: name.to_owned(), size: disk_use(&folder).unwrap_or(0) });
            context.store.remove_area(&folder)?;
        }
    }
    Ok(removed)
}
