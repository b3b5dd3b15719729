//! What every error of this library can say about itself.
//!
//! Each module has one `thiserror` enum that implements [`Diagnose`]; [`Error`] carries any of
//! them to the caller, who prints the chain of sources and the hint, and picks the exit code by
//! [`Class`].

use std::fmt;

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
    /// The package's own build failed.
    Build,
    /// What was built violates the target's floors or the package's contract.
    Audit,
    /// Reading or writing local files failed.
    Io,
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
    /// The kind of trouble.
    pub fn class(&self) -> Class {
        self.0.class()
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }
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
