//! `cargo xtask verify`: builds a wheel again from its manifest, and compares.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use crosswheel::bundle::Unbundled;
use crosswheel::resolve::MaxSilence;
use crosswheel::verify::{self, Difference, Kind, Options, Subject, Verdict};

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// What to verify, and where its inputs lie now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A wheel with its manifest beside it, or the manifest
    #[arg(value_name = "MANIFEST|WHEEL")]
    subject: PathBuf,
    /// Where the source folder or archive lies now, if not where it was built from
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Where the torch wheel or folder lies now, if not where it was taken from
    #[arg(long, value_name = "PATH")]
    torch: Option<PathBuf>,
    /// Where the headers of the target's Python lie now, if not where they were taken from
    #[arg(long, value_name = "PATH")]
    python_headers: Option<PathBuf>,
    /// How many compilers run at once; as many as there are cores by default
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Stop a build script that for so long printed nothing and ran no compiler [default: 30m]
    #[arg(long, value_name = "TIME")]
    max_silence: Option<MaxSilence>,
    /// Keep the second wheel in this folder; where it differs and diffoscope is on the machine,
    /// with its report
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Take the inputs from a bundle that `fetch --bundle` wrote, and nothing from the network
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let (session, unbundled) = Session::with_bundle(&args.session, args.bundle.as_deref())?;
    let here = session.context.environment.current_dir();
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(|path| here.join(path));
    let mut options = Options {
        source: absolute(&args.source),
        torch: absolute(&args.torch),
        python_headers: absolute(&args.python_headers),
        jobs: args.jobs,
        max_silence: args.max_silence,
        keep: absolute(&args.keep),
    };
    let verdict = verify(&session, &here.join(&args.subject), &mut options, &unbundled)
        .with_context(|| format!("`{}` could not be verified", args.subject.display()))?;
    session.screen.clear();
    match args.format {
        Format::Json => print_json(&verdict)?,
        Format::Text => print(&verdict),
    }
    Ok(if verdict.reproduced { exit_codes::SUCCESS } else { exit_codes::IRREPRODUCIBLE })
}

fn verify(
    session: &Session,
    path: &Path,
    options: &mut Options,
    unbundled: &Unbundled,
) -> crosswheel::Result<Verdict> {
    let subject = Subject::read(path)?;
    if options.source.is_none() {
        options.source = unbundled.source(&subject.record.source);
    }
    verify::verify(&session.context, &subject, options)
}

fn print(verdict: &Verdict) {
    let Verdict { first, second, .. } = verdict;
    if verdict.reproduced {
        println!("{} is reproduced bit for bit", first.file);
        println!("  sha256 {}", first.sha256);
    } else {
        println!("{} is not reproduced", first.file);
        println!("  first build:  sha256 {}", first.sha256);
        println!("  second build: sha256 {}", second.sha256);
        if first.file != second.file {
            println!("  the second build gave `{}`", second.file);
        }
    }
    for command in &verdict.commands {
        println!("  {}: another compiler call", command.label);
        println!("    only the first:  {}", command.first.join(" "));
        println!("    only the second: {}", command.second.join(" "));
    }
    verdict.differences.iter().for_each(print_difference);
    for note in &verdict.notes {
        println!("note: {note}");
    }
    if let Some(kept) = &verdict.kept {
        println!("the second wheel is `{}`", kept.display());
    }
    if let Some(report) = &verdict.diffoscope {
        println!("diffoscope's report is `{}`", report.display());
    }
    if !verdict.reproduced && verdict.kept.is_none() {
        eprintln!("hint: `--keep DIR` keeps the second wheel, and diffoscope's report on both");
    }
}

fn print_difference(difference: &Difference) {
    let what = match difference.kind {
        Kind::OnlyFirst => "only the first wheel has it",
        Kind::OnlySecond => "only the second wheel has it",
        Kind::Mode => "its run bit differs",
        Kind::Content => "it differs",
        Kind::Archive => "its members are the same, the archive around them is not",
    };
    println!("  {}: {what}", difference.member);
    for place in &difference.places {
        let part = if place.part.is_empty() { String::new() } else { format!("{}, ", place.part) };
        println!("    {part}offset {}", place.offset);
        println!("      first:  {}", place.first);
        println!("      second: {}", place.second);
    }
    for cause in &difference.causes {
        println!("    likely cause: {} ({})", cause.words(), cause.evidence);
    }
}
