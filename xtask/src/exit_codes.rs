//! The exit codes of `cargo xtask`, which scripts may rely on.

use crosswheel::Class;

/// Everything that was asked for is done.
pub const SUCCESS: u8 = 0;
/// A defect of crosswheel itself.
pub const INTERNAL: u8 = 1;
/// A wrong argument or configuration file (clap's own code).
pub const USAGE: u8 = 2;
/// A request that names nothing buildable: unknown package, version or target, no sdist.
pub const REQUEST: u8 = 3;
/// The network, an index or a mirror failed or is not configured.
pub const NETWORK: u8 = 4;
/// Bytes are not what the lock says: wrong hash, truncated, tampered.
pub const INTEGRITY: u8 = 5;
/// A source archive that is malformed or hostile.
pub const ARCHIVE: u8 = 6;
/// A tool or component is missing, or the toolchain's lock is out of date.
pub const TOOLCHAIN: u8 = 7;
/// The torch given cannot serve the target.
pub const TORCH: u8 = 8;
/// The package's own build failed.
pub const BUILD: u8 = 9;
/// What was built, or audited, violates the target's floors or the package's contract.
pub const AUDIT: u8 = 10;
/// Reading or writing local files failed.
pub const IO: u8 = 11;
/// The package's own build neither ended nor did anything, and was stopped.
pub const STALLED: u8 = 12;
/// A process of the build was killed, most likely for want of memory.
pub const MEMORY: u8 = 13;
/// No space is left on a disk.
pub const DISK_FULL: u8 = 14;
/// A second build of the same inputs gave another wheel.
pub const IRREPRODUCIBLE: u8 = 15;
/// A local patch does not apply.
pub const PATCH: u8 = 16;
/// The time that `--until` gave is up; the same command goes on from there.
pub const TIME_UP: u8 = 17;
/// Stopped by the user or a signal (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

/// The exit code of an error's class.
pub fn of(class: Class) -> u8 {
    match class {
        Class::Usage => USAGE,
        Class::Request => REQUEST,
        Class::Network => NETWORK,
        Class::Integrity => INTEGRITY,
        Class::Archive => ARCHIVE,
        Class::Toolchain => TOOLCHAIN,
        Class::Torch => TORCH,
        Class::Patch => PATCH,
        Class::Build => BUILD,
        Class::Audit => AUDIT,
        Class::Io => IO,
        Class::Stalled => STALLED,
        Class::Memory => MEMORY,
        Class::DiskFull => DISK_FULL,
        Class::TimeUp => TIME_UP,
        Class::Interrupted => INTERRUPTED,
    }
}
