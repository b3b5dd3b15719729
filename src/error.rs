//! What every error of this library can say about itself.
//!
//! Each module has one `thiserror` enum that implements [`Diagnose`]; [`Error`] carries any of
//! them to the caller, who prints the chain of sources and the hint, and picks the exit code by
//! [`Class`].

use std::fmt;
use std::io::{self, ErrorKind};

/// What kind of trouble an error is; the command line maps each to a documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A wrong argument or configuration file.
    Usage,
    /// A request that names nothing buildable: unknown package, version, target, no sdist.
    Request,
    /// The network, an index or a mirror failed, or is not configured.
    Network,
    /// Bytes are not what the lock says: wrong hash, truncated, tampered.
    Integrity,
    /// A source archive that is malformed or hostile.
    Archive,
    /// A tool or component is missing, or the toolchain's lock is out of date.
    Toolchain,
    /// The torch given cannot serve the target.
    Torch,
    /// A local patch does not apply.
    Patch,
    /// The package's own build failed.
    Build,
    /// The package's own build neither ended nor did anything, and was stopped.
    Stalled,
    /// A process of the build was killed, most likely for want of memory.
    Memory,
    /// What was built violates the target's floors or the package's contract.
    Audit,
    /// Reading or writing local files failed.
    Io,
    /// No space is left on a disk.
    DiskFull,
    /// The time that it was given is up, and it goes on from there.
    TimeUp,
    /// The user, or a signal, stopped it.
    Interrupted,
}

/// An error that knows its class and, where one helps, what to do next.
pub trait Diagnose: std::error::Error {
    /// The kind of trouble.
    fn class(&self) -> Class;

    /// One sentence, no full stop, that says what the user can do.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Any error of this library.
pub struct Error(Box<dyn Diagnose + Send + Sync>);

/// A result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl<E: Diagnose + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Error {
    /// The kind of trouble. A full disk is one wherever it was met.
    pub fn class(&self) -> Class {
        if self.met_full_disk() { Class::DiskFull } else { self.0.class() }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let free = || (self.class() == Class::DiskFull).then(|| FREE_SPACE.to_owned());
        self.0.hint().or_else(free)
    }

    fn met_full_disk(&self) -> bool {
        std::iter::successors(self.0.source(), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

/// What helps against a full disk, whichever file met it.
pub(crate) const FREE_SPACE: &str = "free some space; `CROSSWHEEL_STORE` puts the store, where \
     everything is built, on another disk, and `--out` the wheels";

/// Whether a tool complains of a full disk, in the words of strerror(3).
pub(crate) fn tells_full_disk(line: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|words| line.contains(words))
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a file cannot be written")]
    struct Outer(#[source] io::Error);

    impl Diagnose for Outer {
        fn class(&self) -> Class {
            Class::Io
        }
    }

    #[test]
    fn a_full_disk_is_one_wherever_it_was_met() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        for source in [full(), io::Error::new(full().kind(), full())] {
            let error = Error::from(Outer(source));
            assert_eq!(error.class(), Class::DiskFull);
            assert_eq!(error.hint().as_deref(), Some(FREE_SPACE));
        }
        let other = Error::from(Outer(ErrorKind::PermissionDenied.into()));
        assert_eq!((other.class(), other.hint()), (Class::Io, None));
    }
}
