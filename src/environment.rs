//! The process environment, read once at the start and handed down.
//!
//! Nothing else in the library looks at environment variables or the working folder, so a test
//! can give a build any environment without touching its own process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A snapshot of environment variables and the working folder.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    current_dir: PathBuf,
}

impl Environment {
    /// Reads the environment of this process.
    #[allow(clippy::disallowed_methods, reason = "this is the one module that reads it")]
    pub fn from_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        }
    }

    /// An environment with just these variables, as tests use it.
    pub fn new<K, V>(variables: impl IntoIterator<Item = (K, V)>, current_dir: &Path) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Self {
            variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            current_dir: current_dir.to_owned(),
        }
    }

    /// A variable, where it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|v| !v.is_empty())
    }

    /// A variable as text, where it is set, not empty and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }

    /// A variable as a path, made absolute against the working folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|v| self.current_dir.join(v))
    }

    /// All of it, for a program that is the user's own.
    pub fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The user's home folder, where `HOME` is set.
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// All variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The folder that relative paths of the command line are relative to.
    pub fn current_dir(&self) -> &Path {
        &self.current_dir
    }
}
