//! What tool wrappers and the server say to each other: JSON objects, one a line.
//!
//! A connection is one wrapper's life. An action's is `start` → `go` → `finish`, or `restored` →
//! `go`; ninja's is `plan` and then silence. The end of the connection is the end of the other side: the server takes back
//! the leave of a wrapper that died, and a wrapper whose server died kills its tool.

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Kind, Planned};
use crate::artifact::Sha256;
use crate::cache::{Kept, Saved};

/// What a wrapper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// ninja is about to run these.
    Plan {
        /// In ninja's order.
        actions: Vec<Planned>,
    },
    /// A tool wants to start.
    Start(Start),
    /// The tool ended.
    Finish(Finish),
    /// A tool need not start: the cache has what it would make.
    Restored(Restored),
    /// A result in the cache is not what it was; the tool will start.
    Damaged {
        /// Its digest once.
        result: Sha256,
    },
    /// The cache of this machine has nothing of an action: others may.
    Look {
        /// The action's key.
        key: Sha256,
    },
    /// The cache knows of a result, and has it not: others may.
    Bring {
        /// Its digest.
        result: Sha256,
    },
    /// A tool that nvcc calls has done its work, or need not do it.
    Step(StepDone),
    /// A wrapper cannot do what it is asked to; it says nothing else.
    Refuse(Refuse),
}

/// What the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The tool may start; a wrapper that refuses to start it may end.
    Go,
}

/// The fields of an [`Action`](super::Action) that are known before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Start {
    /// What it does.
    pub kind: Kind,
    /// What it makes.
    pub label: String,
    /// The first source.
    pub source: Option<String>,
    /// The output.
    pub output: Option<String>,
    /// The real tool and its arguments.
    pub command: Vec<String>,
    /// The folder it runs in.
    pub cwd: String,
    /// What the wrapper changed.
    pub notes: Vec<String>,
    /// The SASS that it makes.
    pub sms: Vec<String>,
    /// Whether the source is of a library whose templates take most memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heavy: bool,
    /// Whether it was killed before, and must run while nothing else does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// What is known when it has run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finish {
    /// Exit code; 128 + n where signal n ended it.
    pub exit: u8,
    /// Wall time, in milliseconds.
    pub wall_ms: u64,
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of any one of its processes, in bytes.
    pub max_rss: u64,
    /// What a tool that failed said of it: the first lines that tell of an error, or else the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
    /// What the cache is to keep of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Why the cache keeps nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkept: Option<String>,
    /// Whether it was killed for want of memory, and will start again alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl Finish {
    /// What the cache saves whoever takes the results.
    pub(crate) fn saved(&self) -> Saved {
        Saved { wall_ms: self.wall_ms, cpu_ms: self.cpu_ms, peak_memory: self.max_rss }
    }
}

/// An action that the cache made needless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// The action.
    pub start: Start,
    /// Digest of its result in the cache.
    pub result: Sha256,
    /// What it cost when it ran.
    pub saved: Saved,
    /// Wall time of looking and restoring, in milliseconds.
    pub wall_ms: u64,
}

/// A part of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepDone {
    /// The tool's name.
    pub tool: String,
    /// What the cache had, and what it cost when it was made.
    pub hit: Option<(Sha256, Saved)>,
    /// What the cache is to keep.
    pub kept: Option<Kept>,
}

/// Why a wrapper did not start its tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refuse {
    /// The tool, by the name it was called by.
    pub tool: String,
    /// Why.
    pub reason: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// Writes one message.
pub fn send(mut stream: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one message; `None` at the end of the stream.
pub fn receive<T: DeserializeOwned>(stream: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(serde_json::from_str(&line)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_each() {
        let messages = [
            Request::Plan {
                actions: vec![Planned { output: "a\nb.o".to_owned(), kind: Kind::Compile }],
            },
            Request::Finish(Finish {
                exit: 0,
                wall_ms: 1,
                cpu_ms: 2,
                max_rss: 3,
                said: Vec::new(),
                kept: None,
                unkept: None,
                again: false,
            }),
        ];
        let mut stream = Vec::new();
        for message in &messages {
            send(&mut stream, message).unwrap();
        }
        assert_eq!(stream.iter().filter(|byte| **byte == b'\n').count(), 2);
        let mut reader = &stream[..];
        for message in messages {
            assert_eq!(receive(&mut reader).unwrap(), Some(message));
        }
        assert_eq!(receive::<Request>(&mut reader).unwrap(), None);
    }
}
