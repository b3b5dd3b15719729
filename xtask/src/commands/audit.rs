//! `cargo xtask audit`: what wheels and shared objects need and hold, and whether a target has it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use crosswheel::audit::check::machine_name;
use crosswheel::audit::closure::{Closure, Finding, Imports, Providers};
use crosswheel::audit::compare::Comparison;
use crosswheel::audit::coverage::DeviceCode;
use crosswheel::audit::fatbin::Kind;
use crosswheel::audit::floors::Needs;
use crosswheel::audit::report::TorchAbi;
use crosswheel::audit::torches::Torch;
use crosswheel::audit::{Inspection, Policy, Report, inspect, inspect_once, libraries, sarif};
use crosswheel::context::Context;
use crosswheel::target::{Arch, Target};
use crosswheel::torch::source::TorchSource;
use serde::Serialize;

use super::common::{Session, SessionArgs, print_json};
use crate::{comparison, exit_codes};

/// Files from this size on are remembered in the store: smaller ones are read as quickly.
const REMEMBERED: u64 = 4 << 20;
/// The Python of a wheel for any, where no target says which it has.
const PYTHON: &str = "3.12";
/// The CUDA release whose libraries are there where neither target nor torch says which.
const CUDA: &str = "13.0";

/// What to audit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wheels and shared objects, whoever made them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Judge them for this target; without it, only what they say of themselves is judged.
    #[arg(long)]
    target: Option<String>,

    /// Say whether they can be imported with this torch: a version, a wheel, or a folder. Where a
    /// target is given, it is the target's unless this says otherwise
    #[arg(long, value_name = "VERSION|WHEEL|DIR")]
    torch: Option<String>,

    /// Compare each with this wheel, such as the one of an index, instead of judging it: a Markdown
    /// table of their machine code, and the members that only one of them has
    #[arg(long, value_name = "WHEEL")]
    compare: Option<PathBuf>,

    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    session: SessionArgs,
}

/// How to print what was found.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON array, an element each file, as `docs/schemas/audit.schema.json` describes.
    Json,
    /// One SARIF 2.1.0 document, for code hosts and editors.
    Sarif,
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
    let session = Session::open(&args.session)?;
    let context = &session.context;
    let targets = context.project.targets();
    let target = args.target.as_deref().map(|name| Target::load(&targets, name));
    let target = target.transpose().map_err(crosswheel::Error::from)?;
    let torch = args.torch.as_deref().or(target.as_ref().map(|target| target.torch.as_str()));
    let torch = torch.map(|text| context.torch_source(text));
    let torch = torch.transpose()?;
    if let Some(other) = &args.compare {
        return compare(args, context, other, target.as_ref());
    }
    let audit = Audit { context, target, torch, targets };
    let mut audited = Vec::new();
    for file in &args.files {
        let one = audit.file(file)?;
        session.screen.clear();
        if matches!(args.format, Format::Text) {
            print_text(&one);
        }
        audited.push(one);
    }
    match args.format {
        Format::Text => {}
        Format::Json => print_json(&audited)?,
        Format::Sarif => print_json(&sarif::document(audited.iter().map(|a| &a.report)))?,
    }
    let passed = audited.iter().all(|a| a.report.passed());
    Ok(if passed { exit_codes::SUCCESS } else { exit_codes::AUDIT })
}

/// Compares each file with another.
fn compare(
    args: &Args,
    context: &Context,
    other: &Path,
    target: Option<&Target>,
) -> anyhow::Result<u8> {
    let store = &context.store;
    let other = inspect_once(store, other).map_err(crosswheel::Error::from)?;
    let mut compared = Vec::new();
    for file in &args.files {
        let one = inspect_once(store, file).map_err(crosswheel::Error::from)?;
        compared.push(Comparison::of(&one, &other, target));
    }
    match args.format {
        Format::Text => compared.iter().for_each(comparison::print),
        Format::Json => print_json(&compared)?,
        Format::Sarif => anyhow::bail!("a comparison has no SARIF form"),
    }
    Ok(exit_codes::SUCCESS)
}

/// What files are judged by.
struct Audit<'a> {
    context: &'a Context,
    target: Option<Target>,
    torch: Option<TorchSource>,
    targets: PathBuf,
}

impl Audit<'_> {
    fn file(&self, file: &Path) -> crosswheel::Result<Audited> {
        let large = fs_err::metadata(file).is_ok_and(|facts| facts.len() >= REMEMBERED);
        let inspection = match large {
            true => inspect_once(&self.context.store, file)?,
            false => inspect(file)?,
        };
        let policy = Policy::default();
        let own = inspection.clone().check(None, &policy)?.violations;
        let mut fits_targets = Vec::new();
        for name in Target::names(&self.targets)? {
            let known = Target::load(&self.targets, &name)?;
            // A fault that the file has anywhere says nothing about this target.
            let found = inspection.clone().check(Some(&known), &policy)?.violations;
            if found.iter().all(|violation| own.contains(violation)) {
                fits_targets.push(name);
            }
        }
        let providers = self.providers(&inspection)?;
        let report = inspection.check_with(self.target.as_ref(), &policy, providers.as_ref())?;
        Ok(Audited { report, fits_targets })
    }

    /// What there is to resolve symbols against, with the torch asked for; nothing where none is,
    /// or where there is nothing to resolve.
    fn providers(&self, inspection: &Inspection) -> crosswheel::Result<Option<Providers>> {
        let Some(source) = &self.torch else { return Ok(None) };
        let machines = inspection.files.iter().filter(|file| file.elf.bits == 64);
        let own = machines.map(|file| file.elf.machine).next();
        let own = [Arch::Aarch64, Arch::X86_64].into_iter().find(|a| Some(a.elf_machine()) == own);
        let Some(arch) = self.target.as_ref().map(|target| target.arch).or(own) else {
            return Ok(None);
        };
        let python = self.target.as_ref().and_then(|target| target.python.first());
        let python = python.map_or(PYTHON, String::as_str);
        let tagged = inspection.tagged_python().unwrap_or_else(|| python.to_owned());
        let torch = Torch::find(self.context, source, arch, &tagged)?;
        let sources = self.context.sources()?;
        let providers = match &self.target {
            Some(target) => libraries::of_target(sources, target)?,
            None => libraries::of_machine(sources, arch, CUDA, None)?,
        };
        Ok(Some(torch.add_to(providers.for_python(python))))
    }
}

fn print_text(audited: &Audited) {
    let Audited { report, fits_targets } = audited;
    let inspection = &report.inspection;
    print_whole(inspection, fits_targets);
    print_files(inspection);
    if let Some(closure) = &report.closure {
        print_closure(closure);
    }
    for line in &report.coverage {
        println!(
            "  {} in {}: {} SASS, {} PTX only, {} for other GPUs only, {} nothing",
            line.sm, line.file, line.sass, line.ptx_only, line.other_gpus_only, line.missing
        );
    }
    for note in &report.notes {
        println!("  note: {}: {}: {}", note.code.name(), note.file, note.message);
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
    table.set_header(["file", "machine", "torch", "needs", "SASS", "PTX"]);
    for file in &inspection.files {
        table.add_row([
            file.path.clone(),
            machine_name(file.elf.machine, file.elf.bits),
            torch_abi(file.torch_abi).to_owned(),
            floors(&file.floors),
            architectures(&file.device_code, Kind::Sass),
            architectures(&file.device_code, Kind::Ptx),
        ]);
    }
    println!("{table}");
}

fn print_closure(closure: &Closure) {
    let torch = closure.torch.as_deref().unwrap_or("-");
    let answer = match closure.imports {
        Imports::Yes => "yes",
        Imports::No => "no",
        Imports::CannotSay => "cannot say",
    };
    let found: usize = closure.provided.values().sum();
    println!(
        "  imports with torch {torch}: {answer} ({found} of {} symbols found)",
        closure.symbols
    );
    for open in closure.open.iter().filter(|open| open.finding == Finding::Unknown) {
        println!(
            "  not known: {}: {} may be in {}: {}",
            open.file,
            if open.count == 1 { "1 symbol".to_owned() } else { format!("{} symbols", open.count) },
            open.libraries.join(", "),
            open.listed()
        );
    }
}

/// `stable` for a file that uses torch's stable interface only.
fn torch_abi(abi: TorchAbi) -> &'static str {
    match abi {
        TorchAbi::None => "-",
        TorchAbi::Stable => "stable",
        TorchAbi::Full => "C++",
    }
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
