//! One run of a tool: a clean environment, a log, an end to silence, and no process left behind.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::silence::{Heard, Silence, waited_for};
use super::tree::{freeze, kill_descendants};
use super::{ExecError, exit_code};

/// How many of the last lines of output are kept for an error message.
const TAIL_LINES: usize = 30;
/// How often a running command looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// How long output may go on arriving after the command itself ended, from a process that it left
/// behind with its standard output.
const DRAIN: Duration = Duration::from_secs(2);

/// A command to run: nothing of this process's environment reaches it.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    log: Option<PathBuf>,
    silence: Option<Silence>,
    stop: Option<Interrupt>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// Its last lines, of standard output and error together.
    pub tail: Vec<String>,
    /// Wall time.
    pub wall: Duration,
}

impl Finished {
    /// The exit code; 128 + n where signal n ended it.
    pub fn code(&self) -> u8 {
        exit_code(self.status)
    }
}

impl Command {
    /// A command with no arguments and an empty environment, in this folder.
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            variables: BTreeMap::new(),
            dir: dir.into(),
            log: None,
            silence: None,
            stop: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Sets environment variables.
    pub fn variables<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.variables.extend(variables.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// Appends all output, of standard output and error together, to a file.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Kills the command when it has hung for too long. Only [`Command::run`] hears its output.
    pub fn silence(mut self, silence: Option<Silence>) -> Self {
        self.silence = silence;
        self
    }

    /// Stops the command when this is raised, as an interruption of the whole run does.
    pub fn stop(mut self, stop: Option<Interrupt>) -> Self {
        self.stop = stop;
        self
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it to its end, whatever its status is.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Finished, ExecError> {
        let log = match &self.log {
            Some(path) => Some(fs_err::OpenOptions::new().create(true).append(true).open(path)?),
            None => None,
        };
        let (output, input) = io::pipe()?;
        let expression = self.expression().stderr_to_stdout().stdout_file(input);
        let begun = Instant::now();
        let handle = expression.start().map_err(|source| self.not_started(source))?;
        // It holds the pipe's other end, without whose closing the output has no end.
        drop(expression);
        let heard = Heard::now();
        let tail = keep_tail(output, log, heard.clone());
        let end = self.wait(&handle, &heard, interrupt)?;
        let wall = begun.elapsed();
        let tail = tail.recv_timeout(DRAIN).unwrap_or_else(|_| Ok(Vec::new()))?;
        match end {
            End::Status(status) => Ok(Finished { status, tail, wall }),
            stopped => Err(self.stopped(stopped, tail)),
        }
    }

    /// Runs it, and fails where it fails.
    pub fn check(&self, interrupt: &Interrupt) -> Result<Finished, ExecError> {
        let finished = self.run(interrupt)?;
        if finished.status.success() {
            return Ok(finished);
        }
        let Finished { status, tail, .. } = finished;
        Err(ExecError::Failed {
            program: self.program.clone(),
            status,
            tail,
            log: self.log.clone(),
        })
    }

    /// Runs it and returns its standard output as text; standard error goes into the error of a
    /// failure only. For short queries.
    pub fn read(&self, interrupt: &Interrupt) -> Result<String, ExecError> {
        let handle = self
            .expression()
            .stdout_capture()
            .stderr_capture()
            .start()
            .map_err(|source| self.not_started(source))?;
        let End::Status(status) = self.wait(&handle, &Heard::now(), interrupt)? else {
            return Err(ExecError::Interrupted { program: self.program.clone() });
        };
        let output = handle.into_output()?;
        if !status.success() {
            let mut tail = Tail::default();
            tail.push(&output.stderr);
            return Err(ExecError::Failed {
                program: self.program.clone(),
                status,
                tail: tail.finish(),
                log: None,
            });
        }
        String::from_utf8(output.stdout)
            .map_err(|_| ExecError::NotUtf8 { program: self.program.clone() })
    }

    fn expression(&self) -> duct::Expression {
        duct::cmd(&self.program, &self.args)
            .full_env(&self.variables)
            .dir(&self.dir)
            .stdin_null()
            .unchecked()
    }

    fn not_started(&self, source: io::Error) -> ExecError {
        ExecError::Start { program: self.program.clone(), source }
    }

    /// Waits, and kills the command with all that is below it when it must stop.
    fn wait(
        &self,
        handle: &duct::Handle,
        heard: &Heard,
        interrupt: &Interrupt,
    ) -> Result<End, ExecError> {
        loop {
            if let Some(output) = handle.wait_timeout(POLL)? {
                // A terminal's signal goes to all of its processes: that one ended first is no
                // failure of its own.
                let interrupted = interrupt.is_raised() && !output.status.success();
                return Ok(if interrupted { End::Interrupted } else { End::Status(output.status) });
            }
            let stopped = self.stop.as_ref().is_some_and(Interrupt::is_raised);
            let end = if stopped || interrupt.is_raised() {
                End::Interrupted
            } else if let Some(silence) = self.silence.as_ref().filter(|s| s.is_over(heard)) {
                End::Silent { limit: silence.limit, running: waited_for(&handle.pids()) }
            } else {
                continue;
            };
            for pid in handle.pids() {
                freeze(pid);
                kill_descendants(pid);
            }
            handle.kill()?;
            return Ok(end);
        }
    }

    fn stopped(&self, end: End, tail: Vec<String>) -> ExecError {
        match end {
            End::Silent { limit, running } => {
                ExecError::Silent { limit, running, tail, log: self.log.clone() }
            }
            End::Status(_) | End::Interrupted => {
                ExecError::Interrupted { program: self.program.clone() }
            }
        }
    }
}

/// What ended a wait.
enum End {
    Status(ExitStatus),
    Interrupted,
    Silent { limit: Duration, running: Vec<String> },
}

/// Copies output into the log on a thread of its own, which sends the last lines at the end.
fn keep_tail(
    mut output: io::PipeReader,
    mut log: Option<fs_err::File>,
    heard: Heard,
) -> Receiver<io::Result<Vec<String>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut tail = Tail::default();
        let mut buffer = vec![0; 32 * 1024];
        let result = loop {
            match output.read(&mut buffer) {
                Ok(0) => break Ok(tail.finish()),
                Ok(n) => {
                    heard.again();
                    tail.push(&buffer[..n]);
                    if let Some(Err(error)) = log.as_mut().map(|log| log.write_all(&buffer[..n])) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // Nobody listens any more when the command was stopped.
        let _ = sender.send(result);
    });
    receiver
}

/// The last lines of a stream of bytes.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.complete_line();
            }
        }
    }

    fn complete_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        // What a carriage return overwrites was never meant to stay.
        let line = line.rsplit('\r').next().unwrap_or_default().to_owned();
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.complete_line();
        }
        self.lines.into()
    }
}

/// Joins a program and its arguments as a shell would need them, for logs.
pub fn display(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let quoted = words.into_iter().map(|word| {
        let word = word.as_ref().to_string_lossy().into_owned();
        shlex::try_quote(&word).map_or_else(|_| word.clone(), |quoted| quoted.into_owned())
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Diagnose as _;

    fn shell(script: &str, dir: &Path) -> Command {
        Command::new("/bin/sh", dir).args(["-c", script])
    }

    #[test]
    fn the_environment_is_what_the_caller_says() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            shell("echo ${HOME-none} $A", dir.path()).variable("A", "b").read(&Interrupt::new());
        assert_eq!(text.unwrap(), "none b\n");
    }

    #[test]
    fn output_is_logged_and_its_end_is_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let command = shell("echo out; echo err >&2; printf last; exit 3", dir.path()).log(&log);
        let error = command.check(&Interrupt::new()).unwrap_err();
        assert_eq!(fs_err::read_to_string(&log).unwrap(), "out\nerr\nlast");
        assert!(
            matches!(&error, ExecError::Failed { tail, .. } if tail == &["out", "err", "last"])
        );
        assert_eq!(error.to_string(), "`/bin/sh` failed (exit code 3)\n  | out\n  | err\n  | last");
        assert_eq!(error.hint().unwrap(), format!("the whole log is in `{}`", log.display()));
    }

    #[test]
    fn a_missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Command::new("/nowhere/tool", dir.path()).run(&Interrupt::new()).unwrap_err();
        assert_eq!(error.to_string(), "`/nowhere/tool` cannot be started");
    }

    fn silence(busy: impl Fn() -> bool + Send + Sync + 'static) -> Option<Silence> {
        Some(Silence { limit: Duration::ZERO, busy: std::sync::Arc::new(busy) })
    }

    #[test]
    fn silence_stops_it_and_what_it_waited_for_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let command = shell("sleep 1000; :", dir.path()).silence(silence(|| false));
        let error = command.run(&Interrupt::new()).unwrap_err();
        let ExecError::Silent { running, .. } = error else { panic!("{error}") };
        // As the shell's own argument, where it did not get further.
        assert!(running[0].contains("sleep 1000"), "{running:?}");
    }

    #[test]
    fn what_is_busy_is_not_silent() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // It ends once it was asked for the second time whether it is silent.
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let busy = move || {
            if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                fs_err::write(&ready, "").unwrap();
            }
            true
        };
        let command = shell("read -r x < ready; exit 3", dir.path()).silence(silence(busy));
        assert_eq!(command.run(&Interrupt::new()).unwrap().code(), 3);
    }

    #[test]
    fn an_interrupt_takes_grandchildren_along() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let interrupt = Interrupt::new();
        let command = shell("sleep 1000 & echo $! > ready; wait", dir.path());
        let (error, pid) = thread::scope(|scope| {
            let run = scope.spawn(|| command.run(&interrupt).unwrap_err());
            let pid = fs_err::read_to_string(&ready).unwrap();
            interrupt.raise();
            (run.join().unwrap(), pid)
        });
        assert!(matches!(error, ExecError::Interrupted { .. }));
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.map_or(true, |stat| stat.contains(") Z ")), "the grandchild lives on");
    }

    #[test]
    fn the_tail_keeps_the_last_lines_only() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        tail.push(b"10%\r100%\nend");
        let lines = tail.finish();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[TAIL_LINES - 3..], ["line 99", "100%", "end"]);
    }
}
