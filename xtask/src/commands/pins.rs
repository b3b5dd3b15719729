//! `cargo xtask pins`: what a package pins of what the target fixes, and what becomes of it.

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use crosswheel::pins::{self, CratePin, Pin, PinRule, Shown};
use crosswheel::request::Request;
use crosswheel::resolve::Options;

use super::common::{Format, Machine, Session, SessionArgs, print_json};
use crate::exit_codes;

/// Whose pins, and for which target.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `NAME`, `NAME==VERSION`, `git+URL@COMMIT`, a folder, or an sdist
    #[arg(value_name = "REQUEST")]
    request: String,
    #[command(flatten)]
    machine: Machine,
    /// A torch of the target: a version, a wheel, or an unpacked `site-packages/torch`
    #[arg(long, value_name = "VERSION|WHEEL|DIR")]
    torch: Option<String>,
    /// What a requirement becomes, over what recipe and target say: `NAME=target`, `compatible`,
    /// `drop`, or a specifier; may be repeated
    #[arg(long = "pin", value_name = "NAME=SPEC", value_parser = PinRule::parse)]
    pins: Vec<PinRule>,
    /// What a requirement on a crate becomes, as `Cargo.toml` would have it, or features that it
    /// gets: `pyo3=0.29`, `openssl-sys[vendored]`; may be repeated
    #[arg(long = "pin-crate", value_name = "NAME[FEATURE]=REQ", value_parser = pins::parse_crate)]
    crates: Vec<(String, CratePin)>,
    /// Print what changes as a patch
    #[arg(long, conflicts_with = "format")]
    diff: bool,
    /// text, or one JSON array on stdout: every pin
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let context = &session.context;
    let request = Request::parse(&args.request, context.environment.current_dir())
        .map_err(crosswheel::Error::from)?;
    let options = Options {
        torch: args.torch.clone(),
        pins: args.pins.clone(),
        crates: args.crates.iter().cloned().collect(),
        ..args.machine.options(context)
    };
    let shown = pins::show(context, request, &options)
        .with_context(|| format!("the pins of {} cannot be told", args.request))?;
    session.screen.clear();
    match (args.format, args.diff) {
        (Format::Json, _) => print_json(&shown.plan.pins)?,
        (Format::Text, true) => print!("{}", shown.patch),
        (Format::Text, false) => print(&shown),
    }
    Ok(exit_codes::SUCCESS)
}

fn print(shown: &Shown) {
    let Shown { source, target, torch, plan, .. } = shown;
    if !plan.pins.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["place", "now", "then", "why"]);
        for pin in &plan.pins {
            table.add_row([
                format!("{}:{}", pin.file, pin.line),
                pin.now.clone(),
                then(pin),
                pin.why.clone(),
            ]);
        }
        println!("{table}");
    }
    let (all, changed) = (plan.pins.len(), plan.pins.iter().filter(|pin| pin.changes()).count());
    println!(
        "{source} for {target} with torch {}, CUDA {}: {all} pins, {changed} of them change",
        torch.version, torch.cuda
    );
}

fn then(pin: &Pin) -> String {
    match &pin.then {
        Some(then) if pin.changes() => then.clone(),
        Some(_) => "stays".to_owned(),
        None => "goes".to_owned(),
    }
}
