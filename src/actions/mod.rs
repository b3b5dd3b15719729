//! Actions: one compiler call each, admitted, measured and recorded.
//!
//! In: what the tool wrappers of one build ask and tell, over a Unix socket. Out: at most as many
//! compilers at once as there are jobs and as fit into memory, the list of [`Action`]s, and events. Nothing here starts
//! a process.

mod busy;
pub mod costs;
mod failure;
mod gate;
mod keeper;
mod machine;
mod memory;
mod planned;
pub mod protocol;
mod schedule;
mod server;
pub(crate) mod socket;
pub(crate) mod tokens;

pub use costs::{Cost, CostBook, Expected, Foretold};
pub use failure::{Cause, Failure};
pub use keeper::Store as CacheStore;
pub use planned::{PlanRecord, Planned};
pub(crate) use schedule::window;
pub use server::{Finished, Server, ServerOptions};

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::Saved;
use crate::error::{Class, Diagnose};

/// What kind of work an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// nvcc made an object, or device code.
    CompileCuda,
    /// A host compiler made an object or assembler text.
    Compile,
    /// rustc compiled a crate, and linked it where it is more than a library for others.
    CompileRust,
    /// A compiler driver linked.
    Link,
    /// A compiler preprocessed only.
    Preprocess,
}

impl Kind {
    /// As records have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CompileCuda => "compile-cuda",
            Self::Compile => "compile",
            Self::CompileRust => "compile-rust",
            Self::Link => "link",
            Self::Preprocess => "preprocess",
        }
    }
}

/// A time as records have it.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How [`Action::peak_memory`] is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryMethod {
    /// Of earlier versions: the largest sum of the proportional set sizes (`Pss` of
    /// `/proc/<pid>/smaps_rollup`, proc(5)) of the action's processes that sampling saw; at least the
    /// largest resident set of one of them, which the kernel keeps exactly.
    PssSampling,
    /// Likewise, of what these have in memory that no file holds (`RssAnon` and `RssShmem` of
    /// `/proc/<pid>/status`).
    AnonymousSampling,
}

/// One tool call, as it was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What it did.
    pub kind: Kind,
    /// The output's file name, or the source's where there is no output.
    pub label: String,
    /// The first source, as the command names it, with canonical folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The output, as the command names it, with canonical folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The real tool and the arguments that it got, with canonical folders.
    pub command: Vec<String>,
    /// The folder it ran in, canonical.
    pub cwd: String,
    /// Wall time in milliseconds, waiting for leave not included.
    pub wall_ms: u64,
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory of its process tree, in bytes.
    pub peak_memory: u64,
    /// How that was measured.
    pub memory_method: MemoryMethod,
    /// Exit code; 128 + n where signal n ended it.
    pub exit: u8,
    /// Where the cache had its results: what it cost when it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Saved>,
    /// What a wrapper changed that a reader should know, such as dropped flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The SASS that it made, such as `sm_110`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sms: Vec<String>,
}

impl Action {
    /// Reads a log that a [`Server`] wrote, over several runs perhaps. A last line that a killed
    /// run left unfinished is passed over.
    pub fn read_log(path: &Path) -> Result<Vec<Self>, ActionsError> {
        let mut actions = Vec::new();
        let mut lines = BufReader::new(fs_err::File::open(path)?).lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            match serde_json::from_str(&line?) {
                Ok(action) => actions.push(action),
                Err(_) if lines.peek().is_none() => {}
                Err(source) => {
                    let (path, line) = (path.to_owned(), index + 1);
                    return Err(ActionsError::MalformedLog { path, line, source });
                }
            }
        }
        Ok(actions)
    }
}

/// Why actions cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    /// The socket cannot be made.
    #[error("no socket can be made in `{folder}`")]
    Socket {
        /// The folder.
        folder: std::path::PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A log that something else wrote.
    #[error("`{path}` holds no action in line {line}")]
    MalformedLog {
        /// The log.
        path: std::path::PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A log or the cost book cannot be read or written.
    #[error("the record of actions cannot be read or written")]
    Io(#[from] io::Error),
}

impl Diagnose for ActionsError {
    fn class(&self) -> Class {
        Class::Io
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MalformedLog { path, .. } => {
                Some(format!("remove `{}` and build again", path.display()))
            }
            _ => None,
        }
    }
}
