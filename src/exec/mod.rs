//! Processes: the one module that starts them.
//!
//! In: a [`Command`] with its whole environment. Out: how it [`Finished`], its output in a log.
//! Nothing is inherited but what the caller says, nothing outlives the command that started it:
//! what builds run goes through a [`sandbox::Sandbox`], whose supervising process takes every
//! descendant with it.

pub mod capture;
pub mod command;
pub mod interrupt;
pub mod sandbox;
mod silence;
pub(crate) mod trace;
pub mod tree;

pub use command::{Command, Finished};
pub use interrupt::Interrupt;
pub use sandbox::{Isolation, Sandbox, View};
pub use silence::Silence;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use crate::error::{Class, Diagnose};

/// The exit code where a process that stands before another failed itself, as env(1) has it.
pub(crate) const FAILED: u8 = 125;

/// Why a process did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The executable is not there, or cannot run here.
    #[error("`{program}` cannot be started")]
    Start {
        /// The executable.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{program}` failed ({}){}", describe(*status), tail_block(tail))]
    Failed {
        /// The executable.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines of output.
        tail: Vec<String>,
        /// Where all of its output is.
        log: Option<PathBuf>,
    },
    /// It hung, and was killed.
    #[error(
        "stopped: for {} nothing was printed and no compiler ran{}{}",
        humantime(*limit),
        waiting(running),
        tail_block(tail)
    )]
    Silent {
        /// How long it may be silent.
        limit: Duration,
        /// The command lines of the processes that it, or they, waited for.
        running: Vec<String>,
        /// Its last lines of output.
        tail: Vec<String>,
        /// Where all of its output is.
        log: Option<PathBuf>,
    },
    /// The user, or a signal, stopped crosswheel.
    #[error("interrupted while `{program}` ran")]
    Interrupted {
        /// The executable.
        program: PathBuf,
    },
    /// Likewise, while no process ran.
    #[error("interrupted")]
    Stopped,
    /// Output is not UTF-8 where it is read as text.
    #[error("`{program}` printed something that is not UTF-8")]
    NotUtf8 {
        /// The executable.
        program: PathBuf,
    },
    /// Signals cannot be handled.
    #[error("signal handlers cannot be installed")]
    Signals(#[source] io::Error),
    /// A file that goes with a process cannot be read or written.
    #[error("a log or a tool's folder cannot be written")]
    Io(#[from] io::Error),
}

impl Diagnose for ExecError {
    fn class(&self) -> Class {
        match self {
            Self::Start { .. } => Class::Toolchain,
            Self::Failed { .. } | Self::NotUtf8 { .. } => Class::Build,
            Self::Silent { .. } => Class::Stalled,
            Self::Interrupted { .. } | Self::Stopped => Class::Interrupted,
            Self::Signals(_) | Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { log: Some(log), .. } | Self::Silent { log: Some(log), .. } => {
                Some(format!("the whole log is in `{}`", log.display()))
            }
            _ => None,
        }
    }
}

/// `exit code 2` or `signal 9`.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// Each on a line of its own.
fn waiting(running: &[String]) -> String {
    running.iter().map(|line| format!("\n  running: {line}")).collect()
}

/// `30 min`, `90 s`.
fn humantime(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{} s", duration.as_secs_f32()),
    }
}

/// The last lines of a failed tool, each on a line of its own below the message.
fn tail_block(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  | {line}")).collect()
}

/// The exit code by which a shell would tell of this status: 128 + n for signal n.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Runs a process that shares this one's environment, folder and standard streams, to its end.
pub fn run_inheriting(program: &Path, args: &[OsString]) -> Result<ExitStatus, ExecError> {
    let fail = |source| ExecError::Start { program: program.to_owned(), source };
    let handle = start_inheriting(program, args, &Difference::default()).map_err(fail)?;
    Ok(handle.wait().map_err(fail)?.status)
}

/// How the environment of a process differs from that of the one that starts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Variables that it must not see.
    pub hidden: &'static [&'static str],
    /// Variables that it alone sees.
    pub added: Vec<(&'static str, OsString)>,
}

impl Difference {
    /// But for these, nothing differs.
    pub(crate) fn without(hidden: &'static [&'static str]) -> Self {
        Self { hidden, added: Vec::new() }
    }

    fn apply(&self, expression: duct::Expression) -> duct::Expression {
        let expression = self.hidden.iter().fold(expression, |e, name| e.env_remove(name));
        self.added.iter().fold(expression, |e, (name, value)| e.env(name, value))
    }
}

/// Starts a process that shares this one's environment but for a difference, its folder and its
/// standard streams, as a tool wrapper does for the tool behind it; the caller waits for it.
pub(crate) fn start_inheriting(
    program: &Path,
    args: &[OsString],
    difference: &Difference,
) -> io::Result<duct::Handle> {
    difference.apply(duct::cmd(program, args).unchecked()).start()
}

/// [`start_inheriting`], but for standard error, which the caller reads.
pub(crate) fn start_heard(
    program: &Path,
    args: &[OsString],
    difference: &Difference,
) -> io::Result<(duct::Handle, io::PipeReader)> {
    let (output, input) = io::pipe()?;
    let expression = duct::cmd(program, args).unchecked().stderr_file(input);
    // The expression holds the pipe's other end, and goes with the end of this statement.
    let handle = difference.apply(expression).start()?;
    Ok((handle, output))
}

/// Runs such a process to its end, and hears both of its streams.
pub(crate) fn run_captured(program: &Path, args: &[OsString]) -> io::Result<Output> {
    duct::cmd(program, args).unchecked().stdout_capture().stderr_capture().run()
}

/// What such a process prints on standard output, whatever its status is; what it prints on
/// standard error is dropped.
pub(crate) fn read_inheriting(program: &Path, args: &[OsString]) -> io::Result<String> {
    let output = duct::cmd(program, args).unchecked().stdout_capture().stderr_null().run()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
