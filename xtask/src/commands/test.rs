//! `cargo xtask test`: the repository's tests, as CI runs them.

use std::ffi::OsString;
use std::path::PathBuf;

use crosswheel::environment::Environment;
use crosswheel::exec::run_inheriting;

use super::common::project_root;
use crate::exit_codes;

/// Which tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build whole packages too, which takes an hour on two cores
    #[arg(long)]
    full: bool,
    /// Only tests whose names contain this
    filter: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<u8> {
    let cargo = Environment::from_process().path("CARGO").unwrap_or_else(|| PathBuf::from("cargo"));
    let manifest = project_root().join("Cargo.toml");
    // The integration tests come last, so that their summary is the last line.
    for which in [&["--workspace", "--lib", "--bins"][..], &["--workspace", "--test=integration"]] {
        let mut words: Vec<OsString> = vec!["test".into(), "--manifest-path".into()];
        words.push(manifest.clone().into());
        words.extend(which.iter().map(Into::into));
        words.extend(args.full.then(|| "--features=shared-cache".into()));
        words.push("--".into());
        words.extend(args.full.then(|| "--include-ignored".into()));
        words.extend(args.filter.iter().map(Into::into));
        let status = run_inheriting(&cargo, &words).map_err(crosswheel::Error::from)?;
        if !status.success() {
            anyhow::bail!("tests failed");
        }
    }
    Ok(exit_codes::SUCCESS)
}
