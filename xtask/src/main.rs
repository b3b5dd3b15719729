//! The command line of crosswheel: parses, dispatches, and prints errors. One file a verb, under
//! `commands`.

#[macro_use]
mod output;

mod commands;
mod comparison;
mod exit_codes;
mod failure;
mod plans;
mod products;
mod screen;
mod selection;
mod timeline;
mod until;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A build's tools are this executable under other names: they must answer in milliseconds.
    if let Some(code) = crosswheel::wrapper::dispatch() {
        return code;
    }
    let cli = commands::Cli::parse();
    let result = commands::run(cli).and_then(|code| Ok(output::check().map(|()| code)?));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(failure::print_error(&error)),
    }
}
