//! The verbs, and what they share.

use clap::{Parser, Subcommand};

mod audit;
mod bench;
mod build_ext;
mod build_wheels;
mod cache;
mod common;
mod completions;
mod fetch;
mod fuzz;
mod lock;
mod patch;
mod pins;
mod prove;
mod store;
mod test;
mod toolchain;
mod toolchain_lock;
mod torch;
mod verify;

pub use common::{Headers, Session, print_json};

/// Cross-builds aarch64 CUDA 13 wheels on x86_64 Linux.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds wheels for a target machine
    BuildWheels(build_wheels::Args),
    /// Builds the shared library of a plain crate or CMake project for a target machine
    BuildExt(build_ext::Args),
    /// Gets everything that a later build without a network needs
    Fetch(fetch::Args),
    /// Builds a wheel again from its manifest, and compares
    Verify(verify::Args),
    /// Shows what a package pins of what the target fixes, and what becomes of it
    Pins(pins::Args),
    /// Locks the packages of crosswheel.toml anew
    Lock(lock::Args),
    /// Opens packages to change them, and keeps the changes as patches
    Patch(patch::Args),
    /// Says what wheels and shared objects need and hold, and whether a target has it
    Audit(audit::Args),
    /// Imports wheels on their emulated target, and says what they hold or lack
    Prove(prove::Args),
    /// Runs this repository's tests
    Test(test::Args),
    /// Looks for input that this repository's readers cannot take
    Fuzz(fuzz::Args),
    /// Shows, measures, checks or cleans the store
    Store(store::Args),
    /// Shows, checks or cleans the object cache
    Cache(cache::Args),
    /// Lists and shows toolchains, and uses one by hand
    Toolchain(toolchain::Args),
    /// Imports the torch of a container or a device
    Torch(torch::Args),
    Bench(bench::Bench),
    /// Prints a script that completes this command line in a shell
    Completions(completions::Args),
}

/// Runs the verb and returns the exit code.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::BuildWheels(args) => build_wheels::run(&args),
        Command::BuildExt(args) => build_ext::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Pins(args) => pins::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Patch(args) => patch::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Toolchain(args) => toolchain::run(&args),
        Command::Torch(args) => torch::run(&args),
        Command::Bench(bench) => bench.run(),
        Command::Completions(args) => completions::run(&args),
    }
}
