//! The supervising process: crosswheel started under the name `sandbox`.
//!
//! With namespaces there are two of them. The outer one enters new namespaces and starts the inner
//! one, which is the first process of the new process namespace: only it can mount that
//! namespace's `/proc`. The inner one builds the root, gives up its power over it, and runs the
//! command. Either ends with the one above it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, getegid, geteuid, pivot_root};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Isolation, Namespaces, Spec};
use crate::exec::tree::kill_descendants;
use crate::exec::{Difference, FAILED, exit_code, start_inheriting};

/// How every message of this process begins.
pub(super) const PREFIX: &str = "crosswheel sandbox: ";

/// The first argument by which the inner process knows itself; two identifiers follow, the user's
/// and the group's outside.
const INNER: &str = "inner";

/// Folders of the machine that tools need: shells, the C library, certificates. `nix` and `gnu`
/// are where NixOS and Guix keep them.
const SYSTEM: [&str; 12] = [
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "etc",
    "nix",
    "gnu",
    "opt",
    "run/current-system",
];

/// Whether a path is in a folder of the machine's that every sandbox has.
pub(crate) fn shows(path: &Path) -> bool {
    let path = path.strip_prefix("/").unwrap_or(path);
    SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// Devices that every Unix program may expect.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What went wrong, and while doing what.
type Failure = (&'static str, io::Error);

/// Names the step in which an error happened.
trait During<T> {
    fn during(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| (step, error.into()))
    }
}

/// Runs the role: `sandbox SPEC PROGRAM ARGUMENT…`.
pub(crate) fn main(executable: &Path, args: &[OsString]) -> ExitCode {
    let result = match args {
        [inner, uid, gid, rest @ ..] if inner == INNER => run_inner(uid, gid, rest),
        rest => run_outer(executable, rest),
    };
    result.map_or_else(
        |(step, error)| {
            eprintln!("{PREFIX}{step}: {error}");
            ExitCode::from(FAILED)
        },
        ExitCode::from,
    )
}

fn parse(args: &[OsString]) -> Result<(Spec, &Path, &[OsString]), Failure> {
    let [spec, program, args @ ..] = args else {
        return Err(("reading arguments", io::Error::other("a spec and a command are expected")));
    };
    let spec = serde_json::from_slice(spec.as_bytes()).during("reading arguments")?;
    Ok((spec, Path::new(program), args))
}

fn run_outer(executable: &Path, args: &[OsString]) -> Result<u8, Failure> {
    let (spec, program, rest) = parse(args)?;
    let tie = Tie { signal: Signal::SIGTERM, parent: Some(spec.parent) };
    let Isolation::Namespaces(namespaces) = spec.isolation else {
        chdir(&spec.dir).during("entering the folder")?;
        return supervise(program, rest, tie, CloneFlags::empty());
    };
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(namespace_flags(namespaces)).during("making namespaces")?;
    if namespaces.user {
        map_user((0, uid), (0, gid)).during("mapping the user")?;
    }
    let mut inner = vec![INNER.into(), uid.to_string().into(), gid.to_string().into()];
    inner.extend_from_slice(args);
    let mut of_children = CloneFlags::empty();
    of_children.set(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC, namespaces.processes);
    supervise(executable, &inner, tie, of_children)
}

fn run_inner(uid: &OsStr, gid: &OsStr, args: &[OsString]) -> Result<u8, Failure> {
    let (spec, program, rest) = parse(args)?;
    let Isolation::Namespaces(namespaces) = spec.isolation else {
        return Err(("reading arguments", io::Error::other("no namespaces were asked for")));
    };
    if namespaces.fixed_path {
        make_root(&spec, namespaces)?;
    }
    if namespaces.user {
        // The command runs under the user's own number again: as root, tar would try to keep
        // owners. It also loses the power to mount.
        let number = |text: &OsStr| text.to_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        unshare(CloneFlags::CLONE_NEWUSER).during("leaving the root user")?;
        map_user((number(uid), 0), (number(gid), 0)).during("mapping the user back")?;
    }
    chdir(&spec.dir).during("entering the folder")?;
    // The first process of a namespace is not ended by SIGTERM, and sees no parent.
    supervise(program, rest, Tie { signal: Signal::SIGKILL, parent: None }, CloneFlags::empty())
}

fn namespace_flags(namespaces: Namespaces) -> CloneFlags {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWUSER, namespaces.user);
    flags.set(CloneFlags::CLONE_NEWNET, namespaces.network);
    flags
}

/// Maps one user and one group of the new namespace, each (inside, outside); user_namespaces(7)
/// wants `setgroups` given up first.
fn map_user(user: (u32, u32), group: (u32, u32)) -> io::Result<()> {
    fs_err::write("/proc/self/setgroups", "deny")?;
    fs_err::write("/proc/self/uid_map", format!("{} {} 1", user.0, user.1))?;
    fs_err::write("/proc/self/gid_map", format!("{} {} 1", group.0, group.1))
}

/// How a process ends with its parent.
struct Tie {
    /// What the kernel sends when the parent dies.
    signal: Signal,
    /// The parent, where it can be seen: it may have died before the kernel was asked.
    parent: Option<u32>,
}

impl Tie {
    fn fasten(&self) -> io::Result<()> {
        prctl::set_pdeathsig(self.signal)?;
        match self.parent {
            Some(parent) if std::os::unix::process::parent_id() != parent => {
                Err(io::Error::other("the parent is gone"))
            }
            _ => Ok(()),
        }
    }
}

/// Runs a command, hands on its exit code, and leaves no process behind: not at its end, not on a
/// signal, not when the parent dies. Namespaces that only children enter (pid_namespaces(7)) are
/// made last: after them, a process can start no more threads.
fn supervise(
    program: &Path,
    args: &[OsString],
    tie: Tie,
    of_children: CloneFlags,
) -> Result<u8, Failure> {
    prctl::set_child_subreaper(true).during("adopting orphans")?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).during("handling signals")?;
    let this = std::process::id();
    thread::spawn(move || {
        for _ in signals.forever() {
            kill_descendants(this);
        }
    });
    unshare(of_children).during("making a process namespace")?;
    // Only now: it must find the handler. Changing namespaces would have cleared it.
    tie.fasten().during("tying itself to its parent")?;
    let handle =
        start_inheriting(program, args, &Difference::default()).during("starting the command")?;
    let status = handle.wait().during("waiting for the command")?.status;
    kill_descendants(this);
    Ok(exit_code(status))
}

/// Makes a root folder of its own out of nothing but what the spec and [`SYSTEM`] name.
fn make_root(spec: &Spec, namespaces: Namespaces) -> Result<(), Failure> {
    // Here and not in the outer process, which needs the machine's `/proc` to find its descendants:
    // a change of root is seen by all that share the mounts.
    unshare(CloneFlags::CLONE_NEWNS).during("making a mount namespace")?;
    // Nothing that is mounted here may reach the machine.
    let private = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NONE, "/", NONE, private, NONE).during("cutting off mounts")?;
    // As bubblewrap does: a tmpfs on /tmp, which is everywhere, becomes the root; the machine's
    // root, with the real /tmp, stands below it until everything is bound.
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), quiet, Some("mode=755"))
        .during("mounting a root")?;
    fs_err::create_dir_all("/tmp/old").during("making the root")?;
    fs_err::create_dir_all("/tmp/new").during("making the root")?;
    bind(Path::new("/tmp/new"), Path::new("/tmp/new"), true).during("making the root")?;
    pivot_root("/tmp", "/tmp/old").during("changing the root")?;
    chdir("/").during("changing the root")?;
    let (old, new) = (Path::new("/old"), Path::new("/new"));
    bind_system(old, new).during("binding system folders")?;
    make_devices(old, new).during("making devices")?;
    mount_proc(old, new, namespaces).during("mounting /proc")?;
    for item in &spec.mounts {
        let (from, to) = (below(old, &item.from), below(new, &item.to));
        make_mount_point(&from, &to).during("making a mount point")?;
        bind(&from, &to, item.writable).during("binding a folder of the build")?;
    }
    umount2("/old", MntFlags::MNT_DETACH).during("leaving the machine's root")?;
    // pivot_root(2): with "." twice the old root lies over the new one, and is then taken away.
    chdir("/new").during("entering the root")?;
    pivot_root(".", ".").during("entering the root")?;
    umount2(".", MntFlags::MNT_DETACH).during("entering the root")?;
    chdir("/").during("entering the root")
}

const NONE: Option<&str> = None;

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Bind mounts with everything below; read-only takes a second call (mount(2)), which must repeat
/// the flags that the user may not take away.
fn bind(from: &Path, to: &Path, writable: bool) -> io::Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    if writable {
        return Ok(());
    }
    let present = statvfs(to)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (have, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(keep, present.contains(have));
    }
    Ok(mount(NONE, to, NONE, flags, NONE)?)
}

fn make_mount_point(from: &Path, to: &Path) -> io::Result<()> {
    if fs_err::metadata(from)?.is_dir() {
        return fs_err::create_dir_all(to);
    }
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    if !to.exists() {
        fs_err::write(to, "")?;
    }
    Ok(())
}

fn bind_system(old: &Path, new: &Path) -> io::Result<()> {
    for name in SYSTEM {
        let (from, to) = (old.join(name), new.join(name));
        let Ok(metadata) = fs_err::symlink_metadata(&from) else { continue };
        if let Some(parent) = to.parent() {
            fs_err::create_dir_all(parent)?;
        }
        if metadata.is_symlink() {
            // `/bin` is a link to `usr/bin` on most machines.
            symlink(fs_err::read_link(&from)?, &to)?;
        } else if metadata.is_dir() {
            fs_err::create_dir_all(&to)?;
            bind(&from, &to, false)?;
        }
    }
    Ok(())
}

fn make_devices(old: &Path, new: &Path) -> io::Result<()> {
    let dev = new.join("dev");
    fs_err::create_dir_all(dev.join("shm"))?;
    for name in DEVICES {
        let (from, to) = (old.join("dev").join(name), dev.join(name));
        if from.exists() {
            make_mount_point(&from, &to)?;
            bind(&from, &to, true)?;
        }
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}

fn mount_proc(old: &Path, new: &Path, namespaces: Namespaces) -> io::Result<()> {
    let proc = new.join("proc");
    fs_err::create_dir_all(&proc)?;
    if !namespaces.processes {
        return bind(&old.join("proc"), &proc, true);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), &proc, Some("proc"), flags, NONE)?)
}
