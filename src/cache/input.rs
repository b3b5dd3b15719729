//! A path that an action depends on, and what was there.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::Renamer;
use super::scope::Scope;
use crate::artifact::Sha256;

/// A path, and what an action found there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Absolute, as the action named it.
    pub path: PathBuf,
    /// What was there.
    pub state: State,
}

impl Input {
    /// Renames components.
    pub(crate) fn rename(&mut self, renamer: &Renamer) {
        let real = match &mut self.state {
            State::Folder { real } | State::File { real, .. } => real.as_mut(),
            State::Fixed { real } => Some(real),
            State::Absent | State::Special => None,
        };
        for path in real.into_iter().chain([&mut self.path]) {
            *path = renamer.path(path);
        }
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// Nothing.
    Absent,
    /// A folder.
    Folder {
        /// The folder that links lead to, where it has another name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        real: Option<PathBuf>,
    },
    /// A file.
    File {
        /// Its content.
        sha256: Sha256,
        /// The file that links lead to, where it has another name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        real: Option<PathBuf>,
    },
    /// Something in a component, which never changes, to which links lead.
    Fixed {
        /// Its name.
        real: PathBuf,
    },
    /// A device or the like.
    Special,
}

/// A path as it is now, before its content is read.
pub(super) struct Seen {
    /// Of something that is not there, the highest folder above it that is not there either.
    pub path: Option<PathBuf>,
    pub print: Print,
    real: Option<PathBuf>,
}

pub(super) enum Print {
    Absent,
    Folder,
    Fixed,
    Special,
    File(Fingerprint),
}

/// What changes with a file's content. Times have the grain of the kernel's clock: content that
/// changed a moment ago is remembered too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    identity: (u64, u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    fresh: Option<Sha256>,
}

/// Changes this close to a look may have the same time as changes after it: kernels tick at least
/// a hundred times a second.
const GRAIN: Duration = Duration::from_millis(50);

/// What compilers replace by a time. gcc takes `SOURCE_DATE_EPOCH` for all but `__TIMESTAMP__`,
/// which is the file's.
static TIMESTAMP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("__TIMESTAMP__").expect("constant"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("__(?:DATE|TIME|TIMESTAMP)__").expect("constant"));

/// Larger files are no sources.
const LARGEST_SOURCE: u64 = 16 << 20;

impl Seen {
    /// Looks at a path.
    pub(super) fn at(path: &Path, scope: &Scope) -> io::Result<Self> {
        let metadata = match path.metadata() {
            Err(error) if is_absence(&error) => {
                let absent = path
                    .ancestors()
                    .take_while(|path| path.metadata().is_err_and(|error| is_absence(&error)));
                let highest = absent.last().map(Path::to_owned);
                return Ok(Self { path: highest, print: Print::Absent, real: None });
            }
            metadata => metadata?,
        };
        let real = path.canonicalize()?;
        let real = (real != path).then_some(real);
        let print = if real.as_ref().is_some_and(|real| scope.is_fixed(real)) {
            Print::Fixed
        } else if metadata.is_dir() {
            Print::Folder
        } else if metadata.is_file() {
            Print::File(Fingerprint::of(path, &metadata)?)
        } else {
            Print::Special
        };
        Ok(Self { path: None, print, real })
    }

    /// Reads what it was, which must not have changed since.
    ///
    /// # Errors
    /// [`io::ErrorKind::Other`] with a reason where the content cannot stand for what was read.
    pub(super) fn settle(self, path: &Path, scope: &Scope) -> io::Result<Input> {
        let Self { path: highest, print, real } = self;
        let state = match print {
            Print::Absent => State::Absent,
            Print::Folder => State::Folder { real },
            Print::Special => State::Special,
            Print::Fixed => State::Fixed { real: real.unwrap_or_else(|| path.to_owned()) },
            Print::File(print) => {
                let sha256 = print.settle(path, scope)?;
                State::File { sha256, real }
            }
        };
        Ok(Input { path: highest.unwrap_or_else(|| path.to_owned()), state })
    }
}

impl Fingerprint {
    fn of(path: &Path, metadata: &std::fs::Metadata) -> io::Result<Self> {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let fresh = if is_fresh(changed) { Some(digest(path)?) } else { None };
        Ok(Self {
            identity: (metadata.dev(), metadata.ino(), metadata.size()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed,
            fresh,
        })
    }

    fn settle(self, path: &Path, scope: &Scope) -> io::Result<Sha256> {
        let changed = || io::Error::other(format!("`{}` changed meanwhile", path.display()));
        let size = self.identity.2;
        let content = if size <= LARGEST_SOURCE { Some(fs_err::read(path)?) } else { None };
        let sha256 = content.as_ref().map_or_else(|| digest(path), |c| Ok(Sha256::of(c)))?;
        let now = path.metadata()?;
        let same = self.identity == (now.dev(), now.ino(), now.size())
            && self.modified == (now.mtime(), now.mtime_nsec())
            && self.changed == (now.ctime(), now.ctime_nsec())
            && self.fresh.is_none_or(|fresh| fresh == sha256);
        if !same {
            return Err(changed());
        }
        let times = if scope.has_fixed_time { &TIMESTAMP } else { &TIME };
        if content.is_some_and(|content| times.is_match(&content) && !is_binary(&content)) {
            let what = format!("`{}` names the time of the compile", path.display());
            return Err(io::Error::other(what));
        }
        Ok(sha256)
    }
}

/// Compilers themselves hold the words.
fn is_binary(content: &[u8]) -> bool {
    content.iter().take(1024).any(|byte| *byte == 0)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_fresh((seconds, nanoseconds): (i64, i64)) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds))
    else {
        return false;
    };
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    // A time to come is of a clock that was put back: nothing can be said by it.
    SystemTime::now().duration_since(changed).map_or(true, |age| age < GRAIN)
}

fn digest(path: &Path) -> io::Result<Sha256> {
    let mut file = fs_err::File::open(path)?;
    Ok(Sha256::of_reader(file.by_ref())?.0)
}
