//! The wrappers' side of the action server: ask, run, tell.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::cached::{Looked, Plan};
use super::cmake::is_trial;
use super::said::Said;
use super::{Config, WrapperError};
use crate::actions::protocol::{Finish, Refuse, Reply, Request, Restored, Start, receive, send};
use crate::actions::{Cause, Kind, milliseconds, socket, tokens};
use crate::environment::Environment;
use crate::error::Diagnose as _;
use crate::exec::tree::kill_descendants;
use crate::exec::{Difference, exit_code, start_heard, start_inheriting};

/// A real tool's run, as a wrapper worked it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub tool: &'a Path,
    /// What is run in its place, where it is to find other tools.
    pub front: Option<PathBuf>,
    pub args: Vec<OsString>,
    /// What the server is told; `None` for a query, which runs without leave.
    pub subject: Option<Subject>,
    /// Variables that the tool must not see, or that others do not.
    pub difference: Difference,
    /// Threads that it can use.
    pub threads: usize,
}

/// What an action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub kind: Kind,
    pub source: Option<OsString>,
    pub output: Option<OsString>,
    pub notes: Vec<String>,
    pub sms: Vec<String>,
    /// Its name, where that is not the output's.
    pub name: Option<String>,
}

impl Subject {
    /// The name under which people know it.
    pub(super) fn label(&self) -> String {
        let of_file = || label(self.output.as_deref().or(self.source.as_deref()));
        self.name.clone().unwrap_or_else(of_file)
    }
}

/// The file name of what is made.
pub(super) fn label(path: Option<&OsStr>) -> String {
    let name = path.and_then(|path| Path::new(path).file_name()).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl Call<'_> {
    /// What is run.
    pub(super) fn program(&self) -> &Path {
        self.front.as_deref().unwrap_or(self.tool)
    }

    /// Runs the tool, by the server's leave where there is a server, and returns its exit code.
    pub(super) fn run(
        mut self,
        config: &Config,
        environment: &Environment,
    ) -> Result<u8, WrapperError> {
        let trial = is_trial(environment.current_dir());
        if trial {
            // CMake reads where nvcc is out of what it says.
            self.front = None;
        }
        let subject = self.subject.as_ref().filter(|_| !trial);
        let (Some(subject), Some(path)) = (subject, &config.socket) else {
            return self.start()?.finish();
        };
        let connection = Connection::open(path)?;
        let start = self.describe(config, subject, environment);
        let plan = Plan::of(config, &self, subject, environment);
        let ask = |request: &Request| connection.ask(request);
        match plan.as_ref().map_or(Ok(Looked::Miss), |plan| plan.look(ask))? {
            Looked::Hit { result, saved, begun } => {
                let wall_ms = milliseconds(begun.elapsed());
                let restored = Restored { start, result, saved, wall_ms };
                // That it was heard: it is on record when the build ends.
                connection.ask(&Request::Restored(restored))?;
                return Ok(0);
            }
            Looked::Damaged(result) => connection.tell(&Request::Damaged { result })?,
            Looked::Miss => {}
        }
        let heavy = start.kind == Kind::CompileCuda && is_heavy(subject.source.as_deref());
        let start = Start { heavy, ..start };
        self.take_threads(path);
        connection.ask(&Request::Start(start.clone()))?;
        let finish = self.attempt(plan.as_ref(), &connection)?;
        let exit = finish.exit;
        let killed = exit != 0 && matches!(Cause::of(Some(exit), &finish.said), Cause::Killed(_));
        let finish = Finish { again: killed, ..finish };
        // A server that is gone has stopped the tool, whose status says so.
        if connection.tell(&Request::Finish(finish)).is_err() || !killed {
            return Ok(exit);
        }
        // The first connection stays open: its end would be that of everything below.
        let Ok(second) = Connection::open(path) else { return Ok(exit) };
        second.ask(&Request::Start(Start { alone: true, ..start }))?;
        let finish = self.attempt(plan.as_ref(), &second)?;
        let exit = finish.exit;
        let _ = second.tell(&Request::Finish(finish));
        Ok(exit)
    }

    /// Lets nvcc have as many threads as the server lends: what it makes is the same, so that neither
    /// key nor record tells.
    fn take_threads(&mut self, socket: &Path) {
        let Some(pipe) = tokens::find(socket).filter(|_| self.threads > 1) else { return };
        let threads = self.threads;
        self.args.extend(["--threads".into(), threads.to_string().into(), "--jobserver".into()]);
        let flags = format!(" -j{threads} --jobserver-auth=fifo:{}", pipe.display());
        self.difference.added.push(("MAKEFLAGS", flags.into()));
    }

    fn describe(&self, config: &Config, subject: &Subject, environment: &Environment) -> Start {
        let text = |text: &OsStr| config.canonical(&text.to_string_lossy());
        let command = std::iter::once(self.tool.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(text)
            .collect();
        Start {
            kind: subject.kind,
            label: subject.label(),
            source: subject.source.as_deref().map(text),
            output: subject.output.as_deref().map(text),
            command,
            cwd: text(environment.current_dir().as_os_str()),
            notes: subject.notes.clone(),
            sms: subject.sms.clone(),
            heavy: false,
            alone: false,
        }
    }

    /// Runs the tool, tied to the server.
    fn attempt(
        &self,
        plan: Option<&Plan<'_>>,
        connection: &Connection<'_>,
    ) -> Result<Finish, WrapperError> {
        let begun = Instant::now();
        let ear = connection.stream.try_clone()?;
        if let Some(plan) = plan {
            let (run, tie) = plan.run(self, || die_with(ear))?;
            tie.settle();
            let measured = measure(begun.elapsed(), run.exit);
            return Ok(run.finish(measured));
        }
        let (running, said) = self.start_heard()?;
        let tie = die_with(ear);
        let exit = running.finish()?;
        tie.settle();
        let said = if exit == 0 { Vec::new() } else { said.end().lines };
        Ok(Finish { said, ..measure(begun.elapsed(), exit) })
    }

    fn start(&self) -> Result<Running<'_>, WrapperError> {
        let handle = start_inheriting(self.program(), &self.args, &self.difference)
            .map_err(|source| WrapperError::Start { tool: self.tool.to_owned(), source })?;
        Ok(Running { tool: self.tool, handle })
    }

    /// Starts the tool with an ear on what it says of errors.
    fn start_heard(&self) -> Result<(Running<'_>, Said), WrapperError> {
        let (handle, stderr) = start_heard(self.program(), &self.args, &self.difference)
            .map_err(|source| WrapperError::Start { tool: self.tool.to_owned(), source })?;
        let said = Said::listen(stderr, io::stderr());
        Ok((Running { tool: self.tool, handle }, said))
    }
}

/// What templates take most memory: CUTLASS's, by the includes of a source.
fn is_heavy(source: Option<&OsStr>) -> bool {
    let text = source.and_then(|source| fs_err::read(Path::new(source)).ok()).unwrap_or_default();
    let include = |line: &[u8]| line.trim_ascii_start().starts_with(b"#");
    let names = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        line.contains("cutlass") || line.contains("cute/")
    };
    text.split(|byte| *byte == b'\n').any(|line| include(line) && names(line))
}

/// A connection to the server.
pub(super) struct Connection<'a> {
    path: &'a Path,
    stream: UnixStream,
}

impl<'a> Connection<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, WrapperError> {
        Ok(Self { path, stream: connect(path)? })
    }

    pub(super) fn tell(&self, request: &Request) -> Result<(), WrapperError> {
        send(&self.stream, request).map_err(|source| self.failed(source))
    }

    /// Waits for leave, or for an answer.
    pub(super) fn ask(&self, request: &Request) -> Result<(), WrapperError> {
        self.tell(request)?;
        match receive(&mut BufReader::new(&self.stream)) {
            Ok(Some(Reply::Go)) => Ok(()),
            Ok(None) => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> WrapperError {
        WrapperError::Server { socket: self.path.to_owned(), source }
    }
}

/// Tells the server, where there is one, that a wrapper does not start its tool.
pub(super) fn refuse(config: &Config, tool: &str, error: &WrapperError) {
    let Some(stream) = config.socket.as_deref().and_then(|path| socket::connect(path).ok()) else {
        return;
    };
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !reason.contains(&cause.to_string()) {
            reason.push_str(&format!(": {cause}"));
        }
        source = cause.source();
    }
    let reason = config.canonical(&reason);
    let refuse = Refuse { tool: tool.to_owned(), reason, hint: error.hint() };
    // It is said on standard error too: nothing is lost where nobody listens.
    if send(&stream, &Request::Refuse(refuse)).is_ok() {
        let _ = receive::<Reply>(&mut BufReader::new(&stream));
    }
}

struct Running<'a> {
    tool: &'a Path,
    handle: duct::Handle,
}

impl Running<'_> {
    fn finish(self) -> Result<u8, WrapperError> {
        let output = self.handle.wait();
        let output =
            output.map_err(|source| WrapperError::Start { tool: self.tool.to_owned(), source })?;
        Ok(exit_code(output.status))
    }
}

/// Connects to the server.
pub(super) fn connect(path: &Path) -> Result<UnixStream, WrapperError> {
    socket::connect(path).map_err(|source| WrapperError::Server { socket: path.to_owned(), source })
}

/// Ties what runs below this process to the server.
pub(super) struct Tie(Arc<Mutex<()>>);

/// Kills everything below this process when the server goes away: it was killed, or the build
/// was stopped. What a dead tool leaves behind is adopted first, so that it is below.
pub(super) fn die_with(mut stream: UnixStream) -> Tie {
    // Kernels since 3.4 have it; without it only orphans would be missed.
    let _ = prctl::set_child_subreaper(true);
    let killing = Arc::default();
    let tie = Tie(Arc::clone(&killing));
    thread::spawn(move || {
        // The server says nothing after its leave: whatever ends the read is its end.
        let _ = stream.read(&mut [0]);
        let _killing = killing.lock();
        kill_descendants(std::process::id());
    });
    tie
}

impl Tie {
    /// To be called when the tool has ended, and before this process does: if it was killed, what
    /// is below it is too, first.
    pub(super) fn settle(&self) {
        drop(self.0.lock());
    }
}

pub(super) fn measure(wall: Duration, exit: u8) -> Finish {
    let of = |time: TimeVal| {
        u64::try_from(time.tv_sec() * 1000 + time.tv_usec() / 1000).unwrap_or_default()
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
    let cpu_ms = usage.map_or(0, |usage| of(usage.user_time()) + of(usage.system_time()));
    // The kernel counts in kB (getrusage(2)).
    let max_rss =
        usage.map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or_default() * 1024);
    let wall_ms = milliseconds(wall);
    Finish { exit, wall_ms, cpu_ms, max_rss, ..Finish::default() }
}
