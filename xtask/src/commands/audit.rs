//! `cargo xtask audit`: what wheels and shared objects need and hold, and whether a target has it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use crosswheel::audit::check::machine_name;
use crosswheel::audit::coverage::DeviceCode;
use crosswheel::audit::fatbin::Kind;
use crosswheel::audit::floors::Needs;
use crosswheel::audit::{Inspection, Policy, Report, inspect};
use crosswheel::target::Target;
use serde::Serialize;

use crate::exit_codes;

/// What to audit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wheels and shared objects, whoever made them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Judge them for this target; without it, only what they say of themselves is judged.
    #[arg(long)]
    target: Option<String>,

    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// The folder that describes the targets.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../toolchains/targets"), hide = true)]
    targets: PathBuf,
}

/// How to print what was found.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON array, an element each file, as `docs/schemas/audit.schema.json` describes.
    Json,
}

/// A report, and the targets that the file would pass for.
#[derive(Serialize)]
struct Audited {
    #[serde(flatten)]
    report: Report,
    fits_targets: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let target = args.target.as_deref().map(|name| Target::load(&args.targets, name));
    let target = target.transpose().map_err(crosswheel::Error::from)?;
    let mut audited = Vec::new();
    for file in &args.files {
        let one = audit_one(file, target.as_ref(), &args.targets)?;
        if matches!(args.format, Format::Text) {
            print_text(&one);
        }
        audited.push(one);
    }
    if matches!(args.format, Format::Json) {
        println!("{}", serde_json::to_string_pretty(&audited)?);
    }
    let passed = audited.iter().all(|a| a.report.passed());
    Ok(if passed { exit_codes::SUCCESS } else { exit_codes::AUDIT })
}

fn audit_one(file: &Path, target: Option<&Target>, targets: &Path) -> crosswheel::Result<Audited> {
    let inspection = inspect(file)?;
    let policy = Policy::default();
    let own = inspection.clone().check(None, &policy)?.violations;
    let mut fits_targets = Vec::new();
    for name in Target::names(targets)? {
        let known = Target::load(targets, &name)?;
        // A fault that the file has anywhere says nothing about this target.
        let found = inspection.clone().check(Some(&known), &policy)?.violations;
        if found.iter().all(|violation| own.contains(violation)) {
            fits_targets.push(name);
        }
    }
    Ok(Audited { report: inspection.check(target, &policy)?, fits_targets })
}

fn print_text(audited: &Audited) {
    let Audited { report, fits_targets } = audited;
    let inspection = &report.inspection;
    print_whole(inspection, fits_targets);
    print_files(inspection);
    for line in &report.coverage {
        println!(
            "  {} in {}: {} SASS, {} PTX only, {} for other GPUs only, {} nothing",
            line.sm, line.file, line.sass, line.ptx_only, line.other_gpus_only, line.missing
        );
    }
    for waived in &report.waived {
        let v = &waived.violation;
        println!("  waived: {}: {}: {} ({})", v.code.name(), v.file, v.message, waived.reason);
    }
    for v in &report.violations {
        println!("  violation: {}: {}: {}", v.code.name(), v.file, v.message);
        if let Some(hint) = &v.hint {
            println!("    hint: {hint}");
        }
    }
    let against = report.target.as_deref().map(|t| format!(" for `{t}`")).unwrap_or_default();
    match report.violations.len() {
        0 => println!("  passed{against}\n"),
        1 => println!("  1 violation{against}\n"),
        n => println!("  {n} violations{against}\n"),
    }
}

fn print_whole(inspection: &Inspection, fits_targets: &[String]) {
    println!("{} ({} bytes)", inspection.path.display(), inspection.size);
    println!("  sha256 {}", inspection.sha256);
    if let Some(wheel) = &inspection.wheel {
        if let Some(name) = &wheel.name {
            println!("  tags {}", name.tags);
        }
        if let Some(platform) = &wheel.fitting_platform {
            println!("  contents deserve {platform}");
        }
    }
    let majors: Vec<String> = inspection.cuda_majors.iter().map(u32::to_string).collect();
    println!("  CUDA {}", or_dash(&majors.join(", ")));
    println!("  needs {}", floors(&inspection.floors));
    println!("  fits {}", or_dash(&fits_targets.join(", ")));
}

fn print_files(inspection: &Inspection) {
    if inspection.files.is_empty() {
        println!("  no ELF files");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["file", "machine", "needs", "SASS", "PTX"]);
    for file in &inspection.files {
        table.add_row([
            file.path.clone(),
            machine_name(file.elf.machine, file.elf.bits),
            floors(&file.floors),
            architectures(&file.device_code, Kind::Sass),
            architectures(&file.device_code, Kind::Ptx),
        ]);
    }
    println!("{table}");
}

/// Such as `sm_90×3 sm_110×4`: in how many object files each architecture is.
fn architectures(code: &[DeviceCode], kind: Kind) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for line in code.iter().filter(|line| line.kind == kind) {
        let arch = line.arch.to_string();
        match counts.last_mut() {
            Some((last, count)) if *last == arch => *count += line.count,
            _ => counts.push((arch, line.count)),
        }
    }
    let words: Vec<String> = counts.into_iter().map(|(a, n)| format!("{a}×{n}")).collect();
    or_dash(&words.join(" "))
}

fn floors(needs: &Needs) -> String {
    let words: Vec<String> =
        needs.iter().map(|(set, version)| format!("{}{version}", set.prefix())).collect();
    or_dash(&words.join(" "))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
