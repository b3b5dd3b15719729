//! The command line of crosswheel: parses, dispatches, and prints errors. One file a verb, under
//! `commands`.

#[macro_use]
mod output;

mod commands;
mod exit_codes;
mod products;
mod screen;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A build's tools are this executable under other names: they must answer in milliseconds.
    if let Some(code) = crosswheel::wrapper::dispatch() {
        return code;
    }
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            let known = error.downcast_ref::<crosswheel::Error>();
            if let Some(hint) = known.and_then(crosswheel::Error::hint) {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(known.map_or(exit_codes::INTERNAL, |e| exit_codes::of(e.class())))
        }
    }
}
