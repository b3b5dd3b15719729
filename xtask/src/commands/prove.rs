//! `cargo xtask prove`: whether wheels import on their target, found by importing them there.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};
use crosswheel::prove::answer::{Module, Status};
use crosswheel::prove::wheel::Kind;
use crosswheel::prove::{Options, Proof, prove};
use crosswheel::resolve::MaxSilence;
use indicatif::HumanBytes;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// What is proven.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wheels, whoever built them
    #[arg(required = true, value_name = "WHEEL")]
    wheels: Vec<PathBuf>,
    /// The machine that is emulated; by default the one that the wheel was built for
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The Python to import with, such as 3.13; by default the one that the wheel was built for
    #[arg(long, value_name = "X.Y")]
    python: Option<String>,
    /// The torch to import with, whether the wheel requires one or not; by default the one that it
    /// was built for, or the target's
    #[arg(long, value_name = "VERSION|WHEEL")]
    torch: Option<String>,
    /// Install this too: what the wheel does not require, or a wheel that the index does not have;
    /// may be repeated
    #[arg(long, value_name = "REQUIREMENT|WHEEL")]
    with: Vec<String>,
    /// Import extension modules and libraries alone, with nothing of what the wheels require but torch
    #[arg(long)]
    extensions: bool,
    /// Resolve what the wheels require anew, instead of taking what an earlier proof took
    #[arg(long)]
    upgrade: bool,
    /// Stop an import that for so long printed nothing: such as 90s, 2h or never [default: 30m]
    #[arg(long, value_name = "TIME", default_value = "30m", hide_default_value = true)]
    max_silence: MaxSilence,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let options = Options {
        target: args.target.clone(),
        python: args.python.clone(),
        torch: args.torch.clone(),
        with: args.with.clone(),
        extensions: args.extensions,
        upgrade: args.upgrade,
        max_silence: args.max_silence,
    };
    let mut proofs = Vec::new();
    for wheel in &args.wheels {
        let proof = prove(&session.context, wheel, &options)?;
        session.screen.clear();
        if args.format == Format::Text {
            print(&proof);
        }
        proofs.push(proof);
    }
    if args.format == Format::Json {
        print_json(&proofs)?;
    }
    let received = session.context.registries.http().bytes_received();
    if received > 0 && !session.screen.is_quiet() {
        eprintln!("downloaded {}", HumanBytes(received));
    }
    let passed = proofs.iter().all(|proof| proof.passed);
    Ok(if passed { exit_codes::SUCCESS } else { exit_codes::AUDIT })
}

fn print(proof: &Proof) {
    println!("{}", proof.wheel);
    let torch = proof.torch.as_ref().map(|torch| {
        let without = if torch.cuda.is_empty() { " (without CUDA)" } else { "" };
        format!(", torch {}{without}", torch.version)
    });
    println!(
        "  on {} (emulated {}), Python {}{}, no GPU",
        proof.target,
        proof.processor,
        proof.python,
        torch.unwrap_or_default()
    );
    print_modules(&proof.modules);
    if !proof.operators.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["operator", "kernels"]);
        for operator in &proof.operators {
            table.add_row([operator.name.clone(), operator.kernels.join(" ")]);
        }
        println!("{table}");
    }
    proof.modules.iter().for_each(print_fault);
    let count = |status| proof.modules.iter().filter(|module| module.status == status).count();
    let failed = proof.modules.iter().filter(|module| !module.passes()).count();
    match (failed, count(Status::Noted)) {
        (0, 0) => println!("  imports\n"),
        (0, noted) => println!("  imports, but for {noted} optional modules\n"),
        _ => println!("  does not import\n"),
    }
}

/// One line for each module but those of Python code that imported, which are counted.
fn print_modules(modules: &[Module]) {
    let quiet = |m: &&Module| m.kind == Kind::Python && m.status == Status::Imported;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["module", "kind", "import", "functions"]);
    for module in modules.iter().filter(|module| !quiet(module)) {
        table.add_row([
            module.name.clone(),
            kind(module.kind).to_owned(),
            status(module.status).to_owned(),
            module.functions.join(" "),
        ]);
    }
    println!("{table}");
    let others = modules.iter().filter(quiet).count();
    if others > 0 {
        println!("  and {others} modules of Python code");
    }
}

fn print_fault(module: &Module) {
    let Some(fault) = &module.error else { return };
    let label = if module.passes() { "note" } else { "failure" };
    println!("  {label}: {}: {}", module.name, fault.message.replace('\n', "\n    "));
    if let Some(demangled) = &fault.demangled {
        println!("    symbol: {demangled}");
    }
    if let Some(library) = &fault.library {
        println!("    library: {library}");
    }
    if let Some(hint) = &fault.hint {
        println!("    hint: {hint}");
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Package => "package",
        Kind::Extension => "extension",
        Kind::Library => "library",
        Kind::Python => "Python",
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Imported => "yes",
        Status::ImportedApart => "by itself",
        Status::NeedsGpu => "needs a GPU",
        Status::Noted => "no (optional)",
        Status::Failed => "no",
        Status::NotTried => "not tried",
    }
}
