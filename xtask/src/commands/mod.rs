//! The verbs, and what they share.

use clap::{Parser, Subcommand};

/// Cross-builds aarch64 CUDA 13 wheels on x86_64 Linux.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Runs the verb and returns the exit code.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {}
}
