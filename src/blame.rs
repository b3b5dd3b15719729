//! Why a build failed: from what its backend raised, and from what the compilers said before.
//!
//! In: the backend's error, and the tools that failed. Out: the error that a person can act on.
//! A backend only tells that some command failed; where that command was a compiler's, the
//! compiler's own first lines are the message.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::actions::{Cause, Expected, Failure, Kind};
use crate::error::{Class, Diagnose, FREE_SPACE, tells_full_disk};
use crate::python::backend::{BackendError, Exception};
use crate::rust::hints::hint;
use crate::wrapper::CANONICAL_BUILD;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The package's own scripts, or their backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// None of either: its time was up.
    #[error("time is up{}", remaining(left))]
    TimeUp {
        /// What is left of all that was planned.
        left: Expected,
    },
    /// A compiler.
    #[error("{}", describe(failure))]
    Compiler {
        /// The first one that failed.
        failure: Failure,
        /// How many might run at once.
        jobs: NonZeroUsize,
        /// Where all of the build's output is.
        log: PathBuf,
        /// What the backend made of it.
        source: BackendError,
    },
}

impl BuildError {
    /// Finds the compiler that is to blame, if one is.
    pub(crate) fn new(error: BackendError, failures: &[Failure], jobs: NonZeroUsize) -> Self {
        let fitting = failures.first().filter(|failure| fits(&error, failure));
        match (error, fitting) {
            (BackendError::Raised(raised), Some(failure)) if tells_of_a_command(&raised) => {
                let (failure, log) = (failure.clone(), raised.log.clone());
                // What the build printed last, the compiler printed.
                let source = BackendError::Raised(Box::new(Exception {
                    tail: Vec::new(),
                    message: first_line(&raised.message),
                    ..*raised
                }));
                Self::Compiler { failure, jobs, log, source }
            }
            (error, _) => Self::Backend(error),
        }
    }
}

impl Diagnose for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Backend(error) => error.class(),
            Self::TimeUp { .. } => Class::TimeUp,
            Self::Compiler { failure, .. } => match failure.cause() {
                Cause::Killed(_) => Class::Memory,
                Cause::Said if said(failure).iter().any(|line| tells_full_disk(line)) => {
                    Class::DiskFull
                }
                Cause::Said => Class::Build,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Backend(error) => error.hint(),
            Self::TimeUp { .. } => Some(GO_ON.to_owned()),
            Self::Compiler { failure: Failure::Refused(refuse), .. } if refuse.hint.is_some() => {
                refuse.hint.clone()
            }
            Self::Compiler { failure, log, jobs, .. } => Some(match self.class() {
                Class::Memory => format!(
                    "let fewer compilers run at once: `--jobs` is {jobs} now; the whole log is in `{}`",
                    log.display()
                ),
                Class::DiskFull => FREE_SPACE.to_owned(),
                _ => {
                    let log = format!("the whole log is in `{}`", log.display());
                    let known =
                        (failure.kind() == Some(Kind::CompileRust)).then(|| hint(said(failure)));
                    known.flatten().map_or(log.clone(), |hint| format!("{hint}; {log}"))
                }
            }),
        }
    }
}

const GO_ON: &str = "the same command goes on from here, with a later `--until` or without one";

/// What is left to do, as far as a build tool said it.
fn remaining(left: &Expected) -> String {
    let Expected { actions, known, cpu_ms, peak_memory, .. } = *left;
    if actions == 0 {
        return String::new();
    }
    let hours = cpu_ms as f64 / 3.6e6;
    let gib = peak_memory as f64 / (1u64 << 30) as f64;
    format!(
        ": {actions} compiler calls are left, about {hours:.2} CPU hours and up to {gib:.1} GiB \
         each, by what {known} of them took before and others of their kind"
    )
}

/// Whether an exception tells that a command failed: of setuptools (`CompileError`, `command …
/// failed with exit code 1`), subprocess (`returned non-zero exit status 1`), torch (`Error
/// compiling objects for extension`) and the like. A build script's own complaint is its own
/// fault, whatever trial of a compiler failed before.
fn tells_of_a_command(raised: &Exception) -> bool {
    const KINDS: [&str; 5] =
        ["CompileError", "LinkError", "ExecError", "DistutilsExecError", "CalledProcessError"];
    const WORDS: [&str; 6] =
        ["failed with exit", "exit status", "exit code", "Error compiling", "ninja", "cmake"];
    // maturin prints that its command failed, and exits.
    let exits = raised.kind == "SystemExit" && raised.message == "1";
    let printed = raised.tail.iter().any(|line| line.contains("returned non-zero exit status"));
    KINDS.contains(&raised.kind.as_str())
        || WORDS.iter().any(|w| raised.message.contains(w))
        || exits && printed
}

/// Whether a tool's failure may be what a build ended with. cargo goes on where a crate's build
/// script tried a compiler in vain, and says what it ended with.
fn fits(error: &BackendError, failure: &Failure) -> bool {
    let BackendError::Raised(raised) = error else { return true };
    let says = |words: &str| raised.tail.iter().any(|line| line.contains(words));
    let of_rustc = failure.kind() == Some(Kind::CompileRust);
    match (says("could not compile `"), says("failed to run custom build command")) {
        (true, _) => of_rustc,
        (false, script) => script || !of_rustc,
    }
}

fn first_line(message: &str) -> String {
    message.trim().lines().next().unwrap_or_default().to_owned()
}

fn said(failure: &Failure) -> &[String] {
    match failure {
        Failure::Failed { said, .. } => said,
        Failure::Refused(_) => &[],
    }
}

/// What failed and how, then the tool's own lines.
fn describe(failure: &Failure) -> String {
    let (kind, label, source, exit, said) = match failure {
        Failure::Refused(refuse) => {
            return format!("{} cannot be run: {}", refuse.tool, refuse.reason);
        }
        Failure::Failed { kind, label, source, exit, said } => (kind, label, source, exit, said),
    };
    let name = match (kind, source) {
        (Kind::Link | Kind::CompileRust, _) | (_, None) => label.as_str(),
        (_, Some(source)) => in_tree(source),
    };
    let (does_not, was) = match kind {
        Kind::Link => ("link", "linked"),
        Kind::Preprocess => ("pass the preprocessor", "preprocessed"),
        Kind::Compile | Kind::CompileCuda | Kind::CompileRust => ("compile", "compiled"),
    };
    let mut text = match failure.cause() {
        Cause::Killed(program) => {
            let program = program.map_or("the compiler".to_owned(), |name| format!("`{name}`"));
            format!("{program} was killed while `{name}` was {was}, most likely for want of memory")
        }
        Cause::Said => {
            let exit = exit.map(|exit| format!(" (exit code {exit})")).unwrap_or_default();
            format!("`{name}` does not {does_not}{exit}")
        }
    };
    for line in said {
        let _ = write!(text, "\n  | {line}");
    }
    text
}

/// A path below the source tree without the build folder.
fn in_tree(path: &str) -> &str {
    let below = path.strip_prefix(CANONICAL_BUILD).and_then(|rest| rest.strip_prefix("/source/"));
    below.unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::protocol::Refuse;
    use crate::python::backend::Hook;

    const JOBS: NonZeroUsize = NonZeroUsize::MIN;

    fn raised(kind: &str, message: &str) -> BackendError {
        BackendError::Raised(Box::new(Exception {
            hook: Hook::BuildWheel,
            backend: "b".to_owned(),
            kind: kind.to_owned(),
            message: message.to_owned(),
            script: None,
            tail: vec!["ninja: build stopped".to_owned()],
            log: "/build/build.log".into(),
        }))
    }

    fn failed(exit: u8, said: &[&str]) -> Failure {
        Failure::Failed {
            kind: Kind::CompileCuda,
            label: "k.o".to_owned(),
            source: Some("/crosswheel/build/source/csrc/k.cu".to_owned()),
            exit: Some(exit),
            said: said.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    fn blamed(failure: Failure) -> BuildError {
        let error = raised("RuntimeError", "Error compiling objects for extension\nand so on");
        BuildError::new(error, &[failure, failed(1, &[])], JOBS)
    }

    #[test]
    fn the_first_compiler_is_blamed_in_its_own_words() {
        let error = blamed(failed(2, &["k.cu(1): error: no"]));
        assert_eq!(
            error.to_string(),
            "`csrc/k.cu` does not compile (exit code 2)\n  | k.cu(1): error: no"
        );
        assert_eq!(error.class(), Class::Build);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            source,
            "`build_wheel` of `b` failed: RuntimeError: Error compiling objects for extension"
        );
    }

    #[test]
    fn want_of_memory_and_of_space_are_no_errors_of_the_source() {
        let error =
            blamed(failed(1, &["g++: fatal error: Killed signal terminated program cc1plus"]));
        assert!(
            error.to_string().starts_with("`cc1plus` was killed while `csrc/k.cu` was compiled")
        );
        assert_eq!(error.class(), Class::Memory);
        assert!(error.hint().unwrap().contains("`--jobs` is 1 now"));
        let error =
            blamed(failed(1, &["fatal error: error writing to x.s: No space left on device"]));
        assert_eq!((error.class(), error.hint().as_deref()), (Class::DiskFull, Some(FREE_SPACE)));
    }

    #[test]
    fn a_wrapper_that_refuses_gives_its_own_hint() {
        let refuse = Refuse {
            tool: "nvcc".to_owned(),
            reason: "`k.cu`: nothing".to_owned(),
            hint: Some("leave it out".to_owned()),
        };
        let error = blamed(Failure::Refused(refuse));
        assert_eq!(error.to_string(), "nvcc cannot be run: `k.cu`: nothing");
        assert_eq!((error.class(), error.hint().as_deref()), (Class::Build, Some("leave it out")));
    }

    #[test]
    fn a_scripts_own_complaint_is_no_compilers_fault() {
        let error = raised("RuntimeError", "no moon tonight");
        let error = BuildError::new(error, &[failed(1, &["trial.c:1:1: error: no"])], JOBS);
        assert!(matches!(error, BuildError::Backend(_)), "{error}");
        assert!(error.to_string().ends_with("\n  | ninja: build stopped"));
    }
}
