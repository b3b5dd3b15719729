//! Resolve: from what was asked for to what is built, for which target, Python and torch.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::context::Context;
use crate::package::ArchiveTime;
use crate::pins::{CratePin, PinRule};
use crate::request::Request;
use crate::target::{Sm, Target};
use crate::torch::source::TorchSource;

/// What a user may choose; what is absent comes from the target or the machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The target's name.
    pub target: Option<String>,
    /// The target's Python, such as `3.11`.
    pub python: Option<String>,
    /// The GPUs' architectures, instead of the target's own.
    pub arch: Vec<Sm>,
    /// A version, a wheel or a folder.
    pub torch: Option<String>,
    /// Headers of Pythons that no component has, by version.
    pub python_headers: BTreeMap<String, PathBuf>,
    /// Whether the whole torch wheel is fetched and linked against.
    pub full_torch: bool,
    /// What becomes of version requirements, over what the recipe says.
    pub pins: Vec<PinRule>,
    /// What becomes of requirements on crates, over what the recipe says.
    pub crates: BTreeMap<String, CratePin>,
    /// The wheel's local version.
    pub local_version: Option<String>,
    /// The targets of a CMake project that are built; all, where there are none.
    pub only: Vec<String>,
    /// How many compilers may run at once.
    pub jobs: Option<NonZeroUsize>,
    /// Bytes of memory that compilers may take together; all that is free by default.
    pub memory: Option<u64>,
    /// When compilers shall have ended: what would end later does not start.
    pub until: Option<Instant>,
    /// How long a build script may print nothing while no compiler runs.
    pub max_silence: MaxSilence,
    /// Whether files are compiled that do not need one that failed.
    pub keep_going: bool,
}

/// How long a build script may print nothing while no compiler runs; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxSilence(pub Option<Duration>);

impl Default for MaxSilence {
    /// Half an hour. Scripts that generate sources without a word take minutes; compilers do not
    /// count.
    fn default() -> Self {
        Self(Some(Duration::from_secs(30 * 60)))
    }
}

/// Text that is no [`MaxSilence`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time such as `90s`, `30m` or `2h` is expected, or `never`")]
pub struct InvalidTime;

impl FromStr for MaxSilence {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if text == "never" {
            return Ok(Self(None));
        }
        let units = [("s", 1), ("m", 60), ("h", 3600)];
        let parsed = units.into_iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_secs(number.checked_mul(seconds)?))
        });
        parsed.filter(|limit| !limit.is_zero()).map(|limit| Self(Some(limit))).ok_or(InvalidTime)
    }
}

/// What is built.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What was asked for.
    pub request: Request,
    /// Where the wheel runs.
    pub target: Target,
    /// What tells this target's products from others': its name, the GPUs' architectures where they
    /// are not its own, and whether not all is built, such as `thor.sm90.partial`.
    pub variant: String,
    /// The Python that it is for.
    pub python: String,
    /// A folder or archive with that Python's headers, where they are not a component's.
    pub headers: Option<PathBuf>,
    /// The torch that it is for.
    pub torch: TorchSource,
    /// Whether the whole torch wheel is fetched and linked against.
    pub full_torch: bool,
    /// What becomes of version requirements, over what the recipe says.
    pub pins: Vec<PinRule>,
    /// What becomes of requirements on crates, over what the recipe says.
    pub crates: BTreeMap<String, CratePin>,
    /// The wheel's local version; by default it names CUDA, torch and target.
    pub local_version: Option<String>,
    /// The targets of a CMake project that are built; all, where there are none.
    pub only: Vec<String>,
    /// How many compilers may run at once.
    pub jobs: NonZeroUsize,
    /// Bytes of memory that they may take together, where it is not all that is free.
    pub memory: Option<u64>,
    /// When compilers shall have ended.
    pub until: Option<Instant>,
    /// How long a build script may print nothing while no compiler runs; `None` for ever.
    pub max_silence: Option<Duration>,
    /// Whether files are compiled that do not need one that failed.
    pub keep_going: bool,
    /// The time of everything that is written.
    pub time: ArchiveTime,
}

/// Takes the user's choices, then `crosswheel.toml`'s, then the target's.
pub fn resolve(context: &Context, request: Request, options: &Options) -> Result<Resolved> {
    let target = target(context, options)?;
    let variant = variant(context, &target, &options.only)?;
    let (python, headers) = python(context, &target, options)?;
    let torch = options.torch.as_deref().unwrap_or(&target.torch);
    let torch = context.torch_source(torch)?;
    let time = ArchiveTime::from_source_date_epoch(context.environment.text("SOURCE_DATE_EPOCH"))?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(Resolved {
        request,
        target,
        variant,
        python,
        headers,
        torch,
        full_torch: options.full_torch,
        pins: options.pins.clone(),
        crates: options.crates.clone(),
        local_version: options.local_version.clone(),
        only: options.only.clone(),
        jobs: options.jobs.unwrap_or(cores),
        memory: options.memory,
        until: options.until,
        max_silence: options.max_silence.0,
        keep_going: options.keep_going,
        time,
    })
}

/// The target asked for.
pub fn target(context: &Context, options: &Options) -> Result<Target> {
    let name = options.target.as_deref().unwrap_or(DEFAULT_TARGET);
    let target = Target::load(&context.project.targets(), name)?;
    match options.arch.is_empty() {
        true => Ok(target),
        false => Ok(target.with_sms(&options.arch)?),
    }
}

fn variant(context: &Context, target: &Target, only: &[String]) -> Result<String> {
    let own = Target::load(&context.project.targets(), &target.name)?;
    let mut parts: Vec<String> = match own.sm == target.sm {
        true => Vec::new(),
        false => target.sm.iter().map(|sm| format!(".sm{}", sm.0)).collect(),
    };
    // Not to be taken for the whole.
    parts.extend((!only.is_empty()).then(|| ".partial".to_owned()));
    Ok(format!("{}{}", target.name, parts.concat()))
}

/// The Python asked for, or the first of the target's that has headers; and a folder or archive
/// with them, where they are not a component's.
pub fn python(
    context: &Context,
    target: &Target,
    options: &Options,
) -> Result<(String, Option<PathBuf>)> {
    let given = |python: &str| {
        let configured = context.config.python_headers.get(python);
        let configured = configured.map(|path| context.project.root().join(path));
        options.python_headers.get(python).cloned().or(configured)
    };
    let sources = context.sources()?;
    let has = |python: &&String| given(python).is_some() || sources.has_headers(target, python);
    let python = match &options.python {
        Some(python) => python,
        None => target.python.iter().find(has).or(target.python.first()).map_or("", |p| p),
    };
    Ok((python.to_owned(), given(python)))
}

/// The target where none is named.
pub const DEFAULT_TARGET: &str = "thor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let seconds = |text: &str| text.parse().map(|MaxSilence(limit)| limit.map(|l| l.as_secs()));
        assert_eq!(seconds("90s"), Ok(Some(90)));
        assert_eq!(seconds("30m"), Ok(MaxSilence::default().0.map(|l| l.as_secs())));
        assert_eq!(seconds("2h"), Ok(Some(7200)));
        assert_eq!(seconds("never"), Ok(None));
        for text in
            ["", "5", "0s", "-1m", "1d", "m", "99999999999999999999h", "9999999999999999999h"]
        {
            assert_eq!(seconds(text), Err(InvalidTime), "{text}");
        }
    }
}
