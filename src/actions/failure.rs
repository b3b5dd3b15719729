//! Tools that failed, and why.

use super::Kind;
use super::protocol::Refuse;

/// The exit code of what signal 9 ended, as a shell tells it.
const KILLED: u8 = 128 + 9;

/// A tool that did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The wrapper did not start it.
    Refused(Refuse),
    /// It failed.
    Failed {
        /// What it was to do.
        kind: Kind,
        /// What it was to make.
        label: String,
        /// The first source, with canonical folders.
        source: Option<String>,
        /// Exit code; 128 + n where signal n ended it. `None` where the wrapper itself was killed.
        exit: Option<u8>,
        /// What it said of it.
        said: Vec<String>,
    },
}

/// Why a tool failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It said so itself.
    Said,
    /// Signal 9 ended it, or this program below it. Nobody sends that to a compiler but the
    /// kernel, when memory runs out.
    Killed(Option<String>),
}

impl Failure {
    /// What the tool was to do, where it was started.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Refused(_) => None,
            Self::Failed { kind, .. } => Some(*kind),
        }
    }

    /// Why, as far as its exit code and its own words tell.
    pub fn cause(&self) -> Cause {
        let Self::Failed { exit, said, .. } = self else { return Cause::Said };
        Cause::of(*exit, said)
    }
}

impl Cause {
    /// As far as an exit code and a tool's own words tell.
    pub(crate) fn of(exit: Option<u8>, said: &[String]) -> Self {
        if let Some(program) = said.iter().find_map(|line| killed_below(line)) {
            return Self::Killed(Some(program));
        }
        match exit {
            None | Some(KILLED) => Self::Killed(None),
            Some(_) => Self::Said,
        }
    }
}

/// The program of which a driver says that signal 9 ended it: gcc's and nvcc's words.
fn killed_below(line: &str) -> Option<String> {
    let gcc = line.split_once("Killed signal terminated program ").map(|(_, rest)| rest);
    let nvcc = line.split_once("' died due to signal 9");
    let program = gcc.or_else(|| nvcc?.0.rsplit_once('\'').map(|(_, program)| program))?;
    Some(program.split_whitespace().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(exit: Option<u8>, said: &str) -> Cause {
        let (label, said) = ("a.o".to_owned(), said.lines().map(str::to_owned).collect());
        Failure::Failed { kind: Kind::Compile, label, source: None, exit, said }.cause()
    }

    #[test]
    fn what_was_killed_is_told_from_what_is_wrong() {
        let killed = |program: &str| Cause::Killed(Some(program.to_owned()));
        for (exit, said, expected) in [
            (Some(1), "a.c:1:1: error: expected", Cause::Said),
            (
                Some(1),
                "g++: fatal error: Killed signal terminated program cc1plus",
                killed("cc1plus"),
            ),
            (Some(1), "nvcc error   : 'cicc' died due to signal 9 (Kill signal)", killed("cicc")),
            (Some(9), "nvcc error   : 'ptxas' died due to signal 9 (Kill signal)", killed("ptxas")),
            (
                Some(139),
                "nvcc error   : 'cicc' died due to signal 11 (Invalid memory)",
                Cause::Said,
            ),
            (Some(137), "", Cause::Killed(None)),
            (None, "", Cause::Killed(None)),
            (Some(139), "", Cause::Said),
        ] {
            assert_eq!(cause(exit, said), expected, "{exit:?} {said}");
        }
    }
}
