//! `cargo xtask completions`: the command line for a shell's completion.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::exit_codes;

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    generate(args.shell, &mut super::Cli::command(), "xtask", &mut script);
    print!("{}", String::from_utf8(script)?);
    Ok(exit_codes::SUCCESS)
}
