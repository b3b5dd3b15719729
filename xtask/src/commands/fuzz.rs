//! `cargo xtask fuzz`: looks for bytes that a reader cannot take.

use std::ffi::OsString;
use std::path::Path;

use crosswheel::exec::run_inheriting;

use super::common::project_root;
use crate::exit_codes;

/// What to fuzz, and for how long.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file of `fuzz/fuzz_targets`, without its ending; all, one after another, by default
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let folder = project_root().join("fuzz");
    let known = targets(&folder)?;
    let wanted: Vec<&String> =
        known.iter().filter(|name| args.target.as_ref().is_none_or(|t| t == *name)).collect();
    anyhow::ensure!(!wanted.is_empty(), "the targets are: {}", known.join(", "));
    for target in wanted {
        fuzz(&folder, target, args.seconds)?;
    }
    Ok(exit_codes::SUCCESS)
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs_err::read_dir(folder.join("fuzz_targets"))? {
        targets.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Runs one target. What it learns goes to its corpus, which is not committed; no sanitizer, since
/// no code here is unsafe.
fn fuzz(folder: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let corpus = folder.join("corpus").join(target);
    fs_err::create_dir_all(&corpus)?;
    let mut words: Vec<OsString> =
        ["rustup", "run", "nightly", "cargo", "fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]
            .map(OsString::from)
            .into();
    words.extend([folder.into(), target.into(), corpus.into()]);
    words.extend([folder.join("seeds").join(target).into(), "--".into()]);
    words.push(format!("-max_total_time={seconds}").into());
    words.extend(["-max_len=8192".into(), "-timeout=10".into()]);
    // Which looks on the PATH.
    let env = Path::new("/usr/bin/env");
    let status = run_inheriting(env, &words).map_err(crosswheel::Error::from)?;
    anyhow::ensure!(status.success(), "`{target}` found an input that should be looked at");
    Ok(())
}
