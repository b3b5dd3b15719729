//! `cargo xtask torch`: torches out of containers and from devices.

use std::path::PathBuf;

use clap::Subcommand;
use crosswheel::resolve::{self, Options};
use crosswheel::torch::import::{self, Imported};

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// What to do with torches.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints the Python script that writes an archive of a torch: `… | ssh HOST python3 - >
    /// torch.tar.gz`
    Script,
    /// Takes in an archive that the script wrote, or a copied `site-packages/torch`, for `--torch`
    Import(Import),
    /// Lists the torches that were imported
    List(List),
}

#[derive(Debug, clap::Args)]
struct Import {
    /// The archive, or the folder
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// What `--torch` will take; the torch's version by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The machine that it is for: see `cargo xtask toolchain list`
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// text, or one JSON array on stdout: of torches
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.verb {
        Verb::Script => print!("{}", import::SCRIPT),
        Verb::Import(args) => {
            let session = Session::open(&args.output.session)?;
            let context = &session.context;
            let options = Options { target: args.target.clone(), ..Options::default() };
            let target = resolve::target(context, &options)?;
            let source = context.environment.current_dir().join(&args.source);
            let imported = import::import(context, &source, args.name.as_deref(), &target)?;
            session.screen.clear();
            print(&args.output, &[imported])?;
        }
        Verb::List(args) => {
            let session = Session::open(&args.output.session)?;
            let all = import::list(&session.context.store);
            print(&args.output, &all.map_err(crosswheel::Error::from)?)?;
        }
    }
    Ok(exit_codes::SUCCESS)
}

fn print(output: &Output, torches: &[Imported]) -> anyhow::Result<()> {
    if output.format == Format::Json {
        return print_json(&torches);
    }
    for Imported { name, version, cuda, arch, companions, .. } in torches {
        let beside: String =
            companions.iter().map(|(name, version)| format!(", {name} {version}")).collect();
        println!("{name}: torch {version}, CUDA {cuda}, {arch}{beside}");
    }
    Ok(())
}
