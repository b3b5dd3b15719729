//! The command line of crosswheel: parses, dispatches, and prints errors. One file a verb, under
//! `commands`.

mod commands;
mod exit_codes;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
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
