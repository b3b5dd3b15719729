//! `cargo xtask patch`: local changes of packages, kept as series of patches.

use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{ContentArrangement, Table, presets};
use crosswheel::request::Request;
use crosswheel::series::{
    self, Checked, Heading, Named, Outcome, Place, Refreshed, Series, SeriesError, tree,
};
use serde::Serialize;

use super::common::{Format, Session, SessionArgs, print_json};
use crate::exit_codes;

/// Opens packages to change them, and keeps the changes as patches that builds apply.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Opens a clean, patched source tree with a git history
    Start {
        /// `NAME==VERSION`, an sdist or `git+URL@COMMIT`
        #[arg(value_name = "REQUEST")]
        request: String,
        /// Where, instead of below `work/`
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Makes of what changed in a tree the next patch of its series
    Commit {
        /// What the patch is for, as of a git commit
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
        /// The tree; by default the one that this runs in, or the only one
        #[arg(value_name = "TREE")]
        tree: Option<PathBuf>,
    },
    /// Lists the patches of all packages, or of one
    List {
        /// `NAME` or `NAME==VERSION`
        #[arg(value_name = "PACKAGE")]
        package: Option<String>,
        /// text, or one JSON array on stdout
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Prints a patch
    Show {
        /// `NAME` or `NAME==VERSION`
        #[arg(value_name = "PACKAGE")]
        package: String,
        /// Its number, or its file's name; all of the series by default
        #[arg(value_name = "PATCH")]
        patch: Option<String>,
    },
    /// Tries series on the sources that they were made for, in memory
    Check {
        /// `NAME` or `NAME==VERSION`; all by default
        #[arg(value_name = "PACKAGE")]
        package: Option<String>,
        /// text, or one JSON array on stdout
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Removes a patch from its series, where the others apply without it
    Drop {
        /// `NAME` or `NAME==VERSION`
        #[arg(value_name = "PACKAGE")]
        package: String,
        /// Its number, or its file's name
        #[arg(value_name = "PATCH")]
        patch: String,
    },
    /// Tries a series on another version, hunk by hunk, and keeps it for that one where all fits
    Refresh {
        /// `NAME` or `NAME==VERSION`
        #[arg(value_name = "PACKAGE")]
        package: String,
        /// The other version, or an sdist or `git+URL@COMMIT`
        #[arg(long, value_name = "VERSION")]
        to: String,
        /// text, or one JSON object on stdout
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Says how trees that `start` made stand to their series
    Status {
        /// A tree; by default those below `work/`
        #[arg(value_name = "TREE")]
        tree: Option<PathBuf>,
        /// text, or one JSON array on stdout
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let session = Session::open(&args.session)?;
    let code = match &args.verb {
        Verb::Start { request, dir } => start(&session, request, dir.as_ref())?,
        Verb::Commit { message, tree } => commit(&session, message.as_deref(), tree.as_ref())?,
        Verb::List { package, format } => list(&session, package.as_deref(), *format)?,
        Verb::Show { package, patch } => show(&session, package, patch.as_deref())?,
        Verb::Check { package, format } => check(&session, package.as_deref(), *format)?,
        Verb::Drop { package, patch } => {
            let series = one(&session, package)?;
            let dropped = series::drop(&session.context, &series, patch)?;
            session.screen.clear();
            eprintln!("`{}` is removed", dropped.display());
            exit_codes::SUCCESS
        }
        Verb::Refresh { package, to, format } => refresh(&session, package, to, *format)?,
        Verb::Status { tree, format } => status(&session, tree.as_ref(), *format)?,
    };
    Ok(code)
}

fn start(session: &Session, request: &str, dir: Option<&PathBuf>) -> crosswheel::Result<u8> {
    let context = &session.context;
    let here = context.environment.current_dir();
    let request = Request::parse(request, here)?;
    let started = tree::start(context, &request, dir.map(|dir| here.join(dir)))?;
    session.screen.clear();
    println!("{}", started.tree.display());
    let patches = match started.patches {
        0 => "no patch yet".to_owned(),
        1 => "1 patch applied".to_owned(),
        n => format!("{n} patches applied"),
    };
    eprintln!(
        "{}: {patches}; edit it, build it with `build-wheels`, then `patch commit -m TEXT`",
        started.series
    );
    Ok(exit_codes::SUCCESS)
}

fn commit(
    session: &Session,
    message: Option<&str>,
    tree: Option<&PathBuf>,
) -> crosswheel::Result<u8> {
    let context = &session.context;
    let tree = tree::meant(context, tree.map(PathBuf::as_path))?;
    let committed = tree::commit(context, &tree, message)?;
    session.screen.clear();
    if committed.rewritten {
        eprintln!("the history was rewritten, and so was the series");
    }
    for patch in &committed.patches {
        println!("{}", committed.folder.join(patch).display());
    }
    Ok(exit_codes::SUCCESS)
}

/// The series that a name, or a name and a version, means.
fn several(session: &Session, package: Option<&str>) -> crosswheel::Result<Vec<Series>> {
    let context = &session.context;
    let patches = context.project.patches();
    let Some(text) = package else { return Ok(series::all(&patches)?) };
    let request = Request::parse(text, context.environment.current_dir())?;
    let Request::Index { name, version } = request else {
        let (name, known) = (text.to_owned(), Vec::new());
        return Err(SeriesError::NoSeries { name, known }.into());
    };
    let all = series::of_package(&patches, &name)?;
    let known = all.iter().map(Series::label).collect();
    let of_version = |series: &Series| version.as_ref().is_none_or(|version| series.names(version));
    let found: Vec<_> = all.into_iter().filter(of_version).collect();
    match found.is_empty() {
        true => Err(SeriesError::NoSeries { name: text.to_owned(), known }.into()),
        false => Ok(found),
    }
}

fn one(session: &Session, package: &str) -> crosswheel::Result<Series> {
    let mut found = several(session, Some(package))?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (last, _) => {
            let known = found.iter().chain(&last).map(Series::label).collect();
            Err(SeriesError::SeveralSeries { name: package.to_owned(), known }.into())
        }
    }
}

/// A patch as it is listed; `docs/schemas/patch-list.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Listed {
    package: String,
    series: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    sources: Vec<String>,
    file: PathBuf,
    sha256: crosswheel::artifact::Sha256,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
}

impl Listed {
    fn of(series: &Series, Named { name, text }: Named) -> Self {
        let heading = Heading::read(&text);
        let description = &series.description;
        Self {
            package: series.package.clone(),
            series: series.name.clone(),
            when: description.when.as_ref().map(ToString::to_string),
            sources: description.source.iter().map(|source| source.label()).collect(),
            file: series.folder.join(name),
            sha256: crosswheel::artifact::Sha256::of(&text),
            subject: heading.subject,
            author: heading.author,
        }
    }
}

fn list(session: &Session, package: Option<&str>, format: Format) -> anyhow::Result<u8> {
    let mut listed = Vec::new();
    for series in several(session, package)? {
        let patches = series.patches().map_err(SeriesError::Io).map_err(crosswheel::Error::from)?;
        listed.extend(patches.into_iter().map(|patch| Listed::of(&series, patch)));
    }
    if format == Format::Json {
        print_json(&listed)?;
        return Ok(exit_codes::SUCCESS);
    }
    if listed.is_empty() {
        eprintln!("there are no patches; `cargo xtask patch start REQUEST` begins a series");
        return Ok(exit_codes::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["package", "for", "checked on", "patch", "subject"]);
    for patch in &listed {
        let file = patch.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let when = patch.when.clone().unwrap_or_default();
        let (subject, sources) = (patch.subject.clone(), patch.sources.join(", "));
        table.add_row([&patch.package, &when, &sources, &file, &subject.unwrap_or_default()]);
    }
    println!("{table}");
    Ok(exit_codes::SUCCESS)
}

fn show(session: &Session, package: &str, patch: Option<&str>) -> crosswheel::Result<u8> {
    for Named { text, .. } in one(session, package)?.some(patch)? {
        print!("{}", String::from_utf8_lossy(&text));
    }
    Ok(exit_codes::SUCCESS)
}

fn check(session: &Session, package: Option<&str>, format: Format) -> anyhow::Result<u8> {
    let mut checked = Vec::new();
    for series in several(session, package)? {
        checked.extend(series::check(&session.context, &series)?);
    }
    session.screen.clear();
    match format {
        Format::Json => print_json(&checked)?,
        Format::Text => checked.iter().for_each(print_checked),
    }
    let all = checked.iter().all(|checked| checked.applies);
    Ok(if all { exit_codes::SUCCESS } else { exit_codes::PATCH })
}

fn refresh(session: &Session, package: &str, to: &str, format: Format) -> anyhow::Result<u8> {
    let context = &session.context;
    let series = one(session, package)?;
    let here = context.environment.current_dir();
    let release = Request::parse(&format!("{}=={to}", series.package), here);
    let request = release.or_else(|_| Request::parse(to, here)).map_err(crosswheel::Error::from)?;
    let refreshed = series::refresh(context, &series, &request)?;
    session.screen.clear();
    match format {
        Format::Json => print_json(&refreshed)?,
        Format::Text => print_refreshed(&series, &refreshed),
    }
    Ok(if refreshed.checked.applies { exit_codes::SUCCESS } else { exit_codes::PATCH })
}

fn print_refreshed(series: &Series, refreshed: &Refreshed) {
    print_checked(&refreshed.checked);
    match &refreshed.written {
        Some(folder) => println!("`{}` is for it now", folder.display()),
        None => {
            eprintln!("nothing was written");
            eprintln!(
                "hint: `cargo xtask patch start {}=={}` opens a clean tree; bring the rest over \
                 with `git apply --reject`, and `patch commit` it",
                series.package, refreshed.checked.source
            );
        }
    }
}

fn print_checked(checked: &Checked) {
    let verdict = if checked.applies { "applies" } else { "does not apply" };
    println!("{} {}: the series `{}` {verdict}", checked.package, checked.source, checked.series);
    checked.changes.iter().for_each(print_outcome);
}

fn print_outcome(outcome: &Outcome) {
    let file = outcome.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    if let Some(refusal) = &outcome.refused {
        println!("  {}: {file}: {refusal}", outcome.patch);
        return;
    }
    if outcome.hunks.is_empty() {
        println!("  {}: {file}: applies", outcome.patch);
    }
    for placed in &outcome.hunks {
        let place = match &placed.place {
            Place::Exact => "applies".to_owned(),
            Place::Moved { to } => format!("applies, at line {to} instead"),
            Place::Ambiguous { at } => {
                let at: Vec<_> = at.iter().map(ToString::to_string).collect();
                format!("fits at several lines: {}", at.join(", "))
            }
            Place::Missing { nearest: None } => "fits nowhere".to_owned(),
            Place::Missing { nearest: Some(nearest) } => format!("fits nowhere; {nearest}"),
        };
        let place = place.replace('\n', "\n  ");
        println!(
            "  {}: {file}: hunk {} (line {}) {place}",
            outcome.patch, placed.hunk, placed.line
        );
    }
}

fn status(session: &Session, tree: Option<&PathBuf>, format: Format) -> anyhow::Result<u8> {
    let context = &session.context;
    let trees = match tree {
        Some(tree) => vec![tree::meant(context, Some(tree)).map_err(crosswheel::Error::from)?],
        None => tree::trees(context).map_err(crosswheel::Error::from)?,
    };
    let all: Vec<_> =
        trees.iter().map(|tree| tree::status(context, tree)).collect::<crosswheel::Result<_>>()?;
    if format == Format::Json {
        print_json(&all)?;
        return Ok(exit_codes::SUCCESS);
    }
    if all.is_empty() {
        eprintln!("there are no trees; `cargo xtask patch start REQUEST` makes one");
    }
    for tree::Status {
        tree,
        package,
        series,
        patches,
        changed,
        commits,
        rewritten,
        diverged,
        ..
    } in &all
    {
        println!("{}: {package} {series}, patches in its series: {patches}", tree.display());
        if *diverged {
            println!("  the series is not the one any more that it was made with");
        }
        if *rewritten {
            println!("  its history was rewritten: `patch commit` writes the series anew");
        }
        commits.iter().for_each(|subject| println!("  commit that is in no patch: {subject}"));
        changed.iter().for_each(|file| println!("  changed: {file}"));
        if changed.is_empty() && commits.is_empty() && !diverged && !rewritten {
            println!("  nothing to commit");
        }
    }
    Ok(exit_codes::SUCCESS)
}
