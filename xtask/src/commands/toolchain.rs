//! `cargo xtask toolchain`: what toolchains there are, and using one by hand.

use std::ffi::OsString;

use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use crosswheel::context::Context;
use crosswheel::target::Target;
use crosswheel::toolchain::cmake::Project;
use serde_json::json;

use super::common::{Format, Machine, Session, SessionArgs};
use super::toolchain_lock;
use crate::exit_codes;

/// What to do with toolchains.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the targets.
    List {
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Shows what a target's toolchain is made of, and where it is.
    Show {
        #[command(flatten)]
        machine: Machine,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Prints what a person needs to cross-compile by hand.
    Env {
        #[command(flatten)]
        machine: Machine,
        /// For whom.
        #[arg(long, value_enum, default_value_t)]
        format: EnvFormat,
    },
    /// Locks components anew: their exact files, by name, size and sha256.
    Lock(toolchain_lock::Args),
    /// Runs one command with the toolchain's environment.
    Run {
        #[command(flatten)]
        machine: Machine,
        /// The command.
        #[arg(required = true, last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum EnvFormat {
    /// Lines for a shell's `eval`.
    #[default]
    Sh,
    /// One JSON object.
    Json,
    /// A CMake toolchain file.
    Cmake,
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    if let Verb::Lock(args) = &args.verb {
        return toolchain_lock::run(args, &session);
    }
    let code = dispatch(args, &session.context);
    session.screen.clear();
    Ok(code?)
}

fn dispatch(args: &Args, context: &Context) -> crosswheel::Result<u8> {
    match &args.verb {
        Verb::List { format } => list(context, *format)?,
        Verb::Show { machine, format } => show(context, machine, *format)?,
        Verb::Env { machine, format } => {
            let toolchain = machine.toolchain(context)?;
            match format {
                EnvFormat::Sh => print!("{}", toolchain.shell()),
                EnvFormat::Cmake => print!("{}", toolchain.cmake(&Project::default())),
                EnvFormat::Json => {
                    let (variables, path) = (toolchain.variables(), toolchain.search_path());
                    println!("{:#}", json!({ "variables": variables, "path": path }));
                }
            }
        }
        Verb::Run { machine, command } => {
            let _hold = context.components.hold()?;
            let toolchain = machine.toolchain(context)?;
            return Ok(toolchain.run(command, &context.environment)?);
        }
        Verb::Lock(_) => {}
    }
    Ok(exit_codes::SUCCESS)
}

fn list(context: &Context, format: Format) -> crosswheel::Result<()> {
    let folder = context.project.targets();
    let mut targets = Vec::new();
    for name in Target::names(&folder)? {
        targets.push(Target::load(&folder, &name)?);
    }
    match format {
        Format::Json => println!("{:#}", json!(targets)),
        Format::Text => {
            let mut table = table(&["target", "processor", "CUDA", "GPUs", "Python", "torch", ""]);
            for target in targets {
                let gpus: Vec<_> = target.sm.iter().map(ToString::to_string).collect();
                table.add_row([
                    target.name,
                    target.arch.to_string(),
                    target.cuda,
                    gpus.join(" "),
                    target.python.join(" "),
                    target.torch,
                    target.description,
                ]);
            }
            print_table(&table);
        }
    }
    Ok(())
}

fn show(context: &Context, machine: &Machine, format: Format) -> crosswheel::Result<()> {
    let toolchain = machine.toolchain(context)?;
    match format {
        Format::Json => println!("{:#}", json!(toolchain)),
        Format::Text => {
            let mut components = table(&["component", "version", "digest"]);
            for component in &toolchain.components {
                let digest = component.digest.short();
                components.add_row([&component.name, &component.version, &digest]);
            }
            print_table(&components);
            println!();
            let mut paths = table(&["", "path"]);
            let rows = [
                ("C++ compiler", &toolchain.cxx),
                ("sysroot", &toolchain.sysroot),
                ("CUDA", &toolchain.cuda),
                ("build Python", &toolchain.python),
            ];
            for (name, path) in rows {
                paths.add_row([name.to_owned(), path.display().to_string()]);
            }
            for path in &toolchain.target_python.include {
                paths.add_row(["Python headers".to_owned(), path.display().to_string()]);
            }
            print_table(&paths);
        }
    }
    Ok(())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn print_table(table: &Table) {
    for line in table.to_string().lines() {
        println!("{}", line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
}
