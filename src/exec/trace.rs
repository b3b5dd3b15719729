//! Runs a process and tells of every file that it and its descendants look at, by the kernel's own
//! account: no guess about what a compiler reads can be as complete.
//!
//! crosswheel starts itself under the name `trace`. That process asks to be traced (ptrace(2)),
//! asks the kernel to stop it and all below it at the calls that take a path (seccomp(2)), and
//! becomes the program. Calls that take none run at full speed. Neither takes any right, but a
//! container may forbid either: then the program runs all the same, and [`Traced::whole`] is false.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IoSliceMut, PipeReader};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::Difference;

/// What a process is about to do with a file. Paths are absolute, and otherwise as it wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// To learn whether it is there, and what it is.
    Look(PathBuf),
    /// To read, or to run it.
    Read(PathBuf),
    /// To make it anew, whatever it was.
    Write(PathBuf),
    /// To change it, so that what it was matters.
    Update(PathBuf),
    /// To remove it.
    Remove(PathBuf),
    /// To list a folder.
    List(PathBuf),
    /// To talk to another process, through a socket in a folder perhaps.
    Connect(Option<PathBuf>),
    /// To do something of which no file tells.
    Escape(&'static str),
}

impl Access {
    /// The file.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Look(path)
            | Self::Read(path)
            | Self::Write(path)
            | Self::Update(path)
            | Self::Remove(path)
            | Self::List(path) => Some(path),
            Self::Connect(_) | Self::Escape(_) => None,
        }
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Traced {
    /// Its exit code; 128 + n where signal n ended it.
    pub exit: u8,
    /// Whether every access was told.
    pub whole: bool,
}

/// The first path argument of a call, and what is done with it.
enum Call {
    Open { folder: Option<usize>, path: usize, flags: Flags },
    Look { folder: Option<usize>, path: usize },
    Run { folder: Option<usize>, path: usize },
    Make { folder: Option<usize>, path: usize },
    Remove { folder: Option<usize>, path: usize },
    Move { from: (Option<usize>, usize), to: (Option<usize>, usize) },
    Link { from: (Option<usize>, usize), to: (Option<usize>, usize) },
    Truncate { path: usize },
    List { folder: usize },
    Connect { address: usize, size: usize },
    Escape(&'static str),
}

impl Call {
    /// Which arguments are paths.
    fn paths(&self) -> impl Iterator<Item = usize> {
        let (first, second) = match *self {
            Self::Open { path, .. }
            | Self::Look { path, .. }
            | Self::Run { path, .. }
            | Self::Make { path, .. }
            | Self::Remove { path, .. }
            | Self::Truncate { path } => (Some(path), None),
            Self::Move { from, to } | Self::Link { from, to } => (Some(from.1), Some(to.1)),
            Self::List { .. } | Self::Connect { .. } | Self::Escape(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// Where the flags of an `open` are.
enum Flags {
    Argument(usize),
    /// `struct open_how` begins with them (openat2(2)).
    Pointed(usize),
    Constant(i32),
}

/// The calls that are watched, by the numbers of this machine.
fn call(number: i64) -> Option<Call> {
    #[cfg(target_arch = "x86_64")]
    if let Some(call) = old_call(number) {
        return Some(call);
    }
    Some(match number {
        libc::SYS_openat => Call::Open { folder: Some(0), path: 1, flags: Flags::Argument(2) },
        libc::SYS_openat2 => Call::Open { folder: Some(0), path: 1, flags: Flags::Pointed(2) },
        libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_faccessat | libc::SYS_faccessat2 => {
            Call::Look { folder: Some(0), path: 1 }
        }
        libc::SYS_execve => Call::Run { folder: None, path: 0 },
        libc::SYS_execveat => Call::Run { folder: Some(0), path: 1 },
        libc::SYS_mkdirat => Call::Make { folder: Some(0), path: 1 },
        libc::SYS_unlinkat => Call::Remove { folder: Some(0), path: 1 },
        libc::SYS_renameat2 | libc::SYS_renameat => {
            Call::Move { from: (Some(0), 1), to: (Some(2), 3) }
        }
        libc::SYS_linkat => Call::Link { from: (Some(0), 1), to: (Some(2), 3) },
        libc::SYS_truncate => Call::Truncate { path: 0 },
        libc::SYS_getdents64 => Call::List { folder: 0 },
        libc::SYS_symlinkat => Call::Escape("it makes symbolic links"),
        libc::SYS_mknodat => Call::Escape("it makes special files"),
        libc::SYS_connect => Call::Connect { address: 1, size: 2 },
        libc::SYS_io_uring_setup => Call::Escape("it reads files behind the kernel's calls"),
        libc::SYS_open_by_handle_at => Call::Escape("it opens files without their names"),
        _ => return None,
    })
}

/// The calls that newer machines no longer have.
#[cfg(target_arch = "x86_64")]
fn old_call(number: i64) -> Option<Call> {
    const CREATE: i32 = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    Some(match number {
        libc::SYS_open => Call::Open { folder: None, path: 0, flags: Flags::Argument(1) },
        libc::SYS_creat => Call::Open { folder: None, path: 0, flags: Flags::Constant(CREATE) },
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access => Call::Look { folder: None, path: 0 },
        libc::SYS_mkdir => Call::Make { folder: None, path: 0 },
        libc::SYS_unlink | libc::SYS_rmdir => Call::Remove { folder: None, path: 0 },
        libc::SYS_rename => Call::Move { from: (None, 0), to: (None, 1) },
        libc::SYS_link => Call::Link { from: (None, 0), to: (None, 1) },
        libc::SYS_getdents => Call::List { folder: 0 },
        libc::SYS_symlink => Call::Escape("it makes symbolic links"),
        libc::SYS_mknod => Call::Escape("it makes special files"),
        _ => return None,
    })
}

/// The highest number that is tried for the filter; the kernel's tables end far below.
const HIGHEST_CALL: i64 = 512;

/// Stops the process at what [`call`] knows.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = std::collections::BTreeMap::new();
    for number in (0..HIGHEST_CALL).filter(|number| call(*number).is_some()) {
        rules.insert(number, conditions(number)?);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), arch)?.try_into()
}

/// Of one call those that matter, any of these; all of them where there is none.
fn conditions(number: i64) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let argument = |at, operator, value: i32| {
        let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value as u64)?;
        SeccompRule::new(vec![condition])
    };
    match number {
        libc::SYS_newfstatat => {
            // Without a path it is fstat(3): of a file that was opened before.
            let has_path = SeccompCmpOp::MaskedEq(libc::AT_EMPTY_PATH as u64);
            Ok(vec![argument(3, has_path, 0)?])
        }
        libc::SYS_faccessat2 => {
            // So realpath(3) asks for folders, as it asks readlink(2): what compilers open by the
            // name that it found is seen then. GCC calls it for each place where a header may be.
            let of_realpath = (libc::F_OK, libc::AT_EACCESS);
            Ok(vec![
                argument(2, SeccompCmpOp::Ne, of_realpath.0)?,
                argument(3, SeccompCmpOp::Ne, of_realpath.1)?,
            ])
        }
        _ => Ok(Vec::new()),
    }
}

/// The role: `trace PROGRAM ARGUMENT…`, which becomes the program.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some((program, args)) = args.split_first() else { return ExitCode::from(super::FAILED) };
    // Where it is not allowed, the program runs untraced: the tracer sees no stop.
    if ptrace::traceme().is_ok() && raise(Signal::SIGSTOP).is_ok() {
        // Likewise: the tracer then sees no call, not even that which starts the program.
        let _ = filter().map(|filter| seccompiler::apply_filter(&filter));
    }
    #[allow(clippy::disallowed_methods, reason = "this module starts processes, with `exec`")]
    let error = std::process::Command::new(program).args(args).exec();
    eprintln!("crosswheel trace: {}: {error}", program.display());
    ExitCode::from(super::FAILED)
}

/// Where the output of a traced process goes.
pub struct Output {
    /// What it prints.
    pub stdout: PipeReader,
    /// What it says of errors.
    pub stderr: PipeReader,
}

/// Starts a program that shares this process's environment, but for a difference. `tracer` is
/// crosswheel under the name `trace`. It waits for the thread that started it to run it.
pub(crate) fn start(
    tracer: &Path,
    program: &Path,
    args: &[OsString],
    difference: &Difference,
) -> io::Result<(Tracee, Output)> {
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    #[allow(clippy::disallowed_methods, reason = "duct waits by itself, which a tracer does too")]
    let mut command = std::process::Command::new(tracer);
    command.arg(program).args(args).stdout(stdout_end).stderr(stderr_end);
    for name in difference.hidden {
        command.env_remove(name);
    }
    for (name, value) in &difference.added {
        command.env(name, value);
    }
    let child = command.spawn()?;
    let main = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
    // The command, which goes here, holds the writing ends.
    Ok((Tracee { main, known: BTreeSet::new(), calls: 0 }, Output { stdout, stderr }))
}

/// A program that is traced, and all below it.
pub(crate) struct Tracee {
    main: Pid,
    /// Processes whose first stop, which is not theirs, was seen.
    known: BTreeSet<Pid>,
    calls: u64,
}

impl Tracee {
    /// Runs it to its end; `tell` hears of each access before it is made.
    pub(crate) fn run(mut self, mut tell: impl FnMut(Access)) -> io::Result<Traced> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => continue,
                status => status?,
            };
            let pid = status.pid();
            let resumed = match status {
                WaitStatus::Exited(pid, code) if pid == self.main => {
                    let exit = u8::try_from(code).unwrap_or(super::FAILED);
                    return Ok(Traced { exit, whole: self.calls > 0 });
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.main => {
                    let exit = u8::try_from(128 + signal as i32).unwrap_or(super::FAILED);
                    return Ok(Traced { exit, whole: self.calls > 0 });
                }
                WaitStatus::Stopped(pid, signal) => self.stopped(pid, signal),
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == Event::PTRACE_EVENT_SECCOMP as i32 {
                        self.calls += 1;
                        observe(pid, &mut tell);
                    }
                    ptrace::cont(pid, None)
                }
                _ => continue,
            };
            match resumed {
                // Killed while it was stopped: its end is told next.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    let pid = pid.map_or(0, Pid::as_raw);
                    return Err(io::Error::other(format!("process {pid} is stuck: {error}")));
                }
            }
        }
    }

    fn stopped(&mut self, pid: Pid, signal: Signal) -> nix::Result<()> {
        let first = self.known.insert(pid);
        if pid == self.main && first {
            ptrace::setoptions(
                pid,
                Options::PTRACE_O_TRACESECCOMP
                    | Options::PTRACE_O_TRACEFORK
                    | Options::PTRACE_O_TRACEVFORK
                    | Options::PTRACE_O_TRACECLONE
                    | Options::PTRACE_O_TRACEEXEC
                    | Options::PTRACE_O_EXITKILL,
            )?;
        }
        // A process that is traced from its start begins with a stop of the kernel's.
        let kernels = first && signal == Signal::SIGSTOP;
        ptrace::cont(pid, (!kernels).then_some(signal))
    }
}

/// A stopped process's call and its arguments.
struct Stopped {
    pid: Pid,
    number: i64,
    args: [u64; 4],
}

#[cfg(target_arch = "x86_64")]
fn registers(pid: Pid) -> nix::Result<Stopped> {
    let regs = ptrace::getregs(pid)?;
    let number = i64::try_from(regs.orig_rax).unwrap_or(-1);
    Ok(Stopped { pid, number, args: [regs.rdi, regs.rsi, regs.rdx, regs.r10] })
}

#[cfg(target_arch = "aarch64")]
fn registers(pid: Pid) -> nix::Result<Stopped> {
    let regs = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid)?.regs;
    let number = i64::try_from(regs[8]).unwrap_or(-1);
    Ok(Stopped { pid, number, args: [regs[0], regs[1], regs[2], regs[3]] })
}

/// Tells what a stopped process is about to do.
fn observe(pid: Pid, tell: &mut impl FnMut(Access)) {
    let unreadable = Access::Escape("its memory cannot be read");
    let Ok(stopped) = registers(pid) else { return tell(unreadable) };
    let Some(call) = call(stopped.number) else { return tell(unreadable) };
    if stopped.tell(&call, tell).is_none() {
        tell(unreadable);
    }
}

impl Stopped {
    /// `None` where it cannot be found out.
    fn tell(&self, call: &Call, tell: &mut impl FnMut(Access)) -> Option<()> {
        if call.paths().any(|at| self.args[at] == 0) {
            // It fails: that is how programs learn whether the kernel knows it.
            return Some(());
        }
        let path = |folder, path| self.path(folder, path);
        match call {
            Call::Open { folder, path: at, flags } => {
                let flags = self.flags(flags)?;
                tell(opened(path(*folder, *at)?, flags));
            }
            Call::Look { folder, path: at } => tell(Access::Look(path(*folder, *at)?)),
            Call::Run { folder, path: at } => tell(Access::Read(path(*folder, *at)?)),
            Call::Make { folder, path: at } => tell(Access::Write(path(*folder, *at)?)),
            Call::Remove { folder, path: at } => tell(Access::Remove(path(*folder, *at)?)),
            Call::Move { from, to } => {
                tell(Access::Update(path(from.0, from.1)?));
                tell(Access::Remove(path(from.0, from.1)?));
                tell(Access::Write(path(to.0, to.1)?));
            }
            Call::Link { from, to } => {
                tell(Access::Read(path(from.0, from.1)?));
                tell(Access::Write(path(to.0, to.1)?));
            }
            Call::Truncate { path: at } => tell(Access::Update(path(None, *at)?)),
            Call::List { folder } => tell(Access::List(self.opened_folder(*folder)?)),
            Call::Connect { address, size } => {
                tell(Access::Connect(self.socket(self.args[*address], self.args[*size])));
            }
            Call::Escape(what) => tell(Access::Escape(what)),
        }
        Some(())
    }

    /// The path in an address of a Unix socket (unix(7)); it may go through an open folder.
    fn socket(&self, address: u64, size: u64) -> Option<PathBuf> {
        const FAMILY: usize = 2;
        let mut bytes = vec![0; usize::try_from(size).ok()?.min(FAMILY + 108)];
        if self.read(address, &mut bytes) != bytes.len() || bytes.len() <= FAMILY {
            return None;
        }
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let path = bytes[FAMILY..].split(|byte| *byte == 0).next()?;
        if family != libc::AF_UNIX || path.is_empty() {
            return None;
        }
        let path = PathBuf::from(OsString::from_vec(path.to_owned()));
        let Ok(below) = path.strip_prefix("/proc/self/fd") else { return Some(path) };
        let mut parts = below.iter();
        let number = parts.next()?.to_str()?;
        let folder = fs_err::read_link(format!("/proc/{}/fd/{number}", self.pid)).ok()?;
        Some(folder.join(parts.as_path()))
    }

    fn path(&self, folder: Option<usize>, path: usize) -> Option<PathBuf> {
        let text = self.text(self.args[path])?;
        if text.is_absolute() {
            return Some(text);
        }
        let root = match folder.map(|at| self.args[at] as i32) {
            None | Some(libc::AT_FDCWD) => {
                fs_err::read_link(format!("/proc/{}/cwd", self.pid)).ok()?
            }
            Some(_) => self.opened_folder(folder?)?,
        };
        Some(if text.as_os_str().is_empty() { root } else { root.join(text) })
    }

    fn opened_folder(&self, at: usize) -> Option<PathBuf> {
        let number = self.args[at] as i32;
        fs_err::read_link(format!("/proc/{}/fd/{number}", self.pid)).ok()
    }

    fn flags(&self, flags: &Flags) -> Option<i32> {
        match flags {
            Flags::Argument(at) => Some(self.args[*at] as i32),
            Flags::Constant(flags) => Some(*flags),
            Flags::Pointed(at) => {
                let mut bytes = [0; 4];
                (self.read(self.args[*at], &mut bytes) == 4).then(|| i32::from_ne_bytes(bytes))
            }
        }
    }

    /// A string of the process that ends with a zero byte.
    fn text(&self, address: u64) -> Option<PathBuf> {
        const PAGE: u64 = 4096;
        let mut text = Vec::new();
        let mut address = address;
        while text.len() < libc::PATH_MAX as usize {
            // A read over the end of a page fails as a whole where the next is not there.
            let mut buffer = vec![0; (PAGE - address % PAGE) as usize];
            let read = self.read(address, &mut buffer);
            let bytes = &buffer[..read];
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&bytes[..end]);
                return Some(OsString::from_vec(text).into());
            }
            if read < buffer.len() {
                return None;
            }
            text.extend_from_slice(bytes);
            address += read as u64;
        }
        None
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let Ok(base) = usize::try_from(address) else { return 0 };
        let remote = RemoteIoVec { base, len: buffer.len() };
        process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &[remote]).unwrap_or(0)
    }
}

/// What `open` does to a file (open(2)).
fn opened(path: PathBuf, flags: i32) -> Access {
    if flags & libc::O_PATH != 0 {
        return Access::Look(path);
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Access::Read(path);
    }
    let anew = flags & libc::O_TRUNC != 0
        || flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        // It has no name.
        Access::Look(path)
    } else if anew {
        Access::Write(path)
    } else {
        Access::Update(path)
    }
}

/// A path as `/a/b`, without what means nothing: `//`, `/./`. What `..` means the file system
/// says.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    if bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.") || bytes.ends_with(b"/") {
        return path.components().collect();
    }
    path.to_owned()
}
