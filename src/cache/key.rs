//! What names an action before it is known which files it reads.

use std::ffi::OsStr;
use std::path::Path;

use sha2::Digest as _;

use crate::artifact::Sha256;
use crate::environment::Environment;

/// To be raised when entries of older versions must not be found.
const FORMAT: &str = "crosswheel objects 1";

/// Variables that no compiler looks at, and that change from run to run: how many jobs there are,
/// and where they are shared out.
const NEUTRAL: [&str; 10] = [
    "CARGO_BUILD_JOBS",
    "CARGO_MAKEFLAGS",
    "CMAKE_BUILD_PARALLEL_LEVEL",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MAX_JOBS",
    "MFLAGS",
    "OLDPWD",
    "SHLVL",
    "_",
];

/// An action's tool, arguments, folder and environment, as one digest.
pub(crate) struct KeyBuilder(sha2::Sha256);

impl KeyBuilder {
    /// `wrapper` stands for all that the tool wrappers do to a tool, beside its arguments.
    pub(crate) fn new(wrapper: &[u8]) -> Self {
        let mut key = Self(sha2::Sha256::new());
        key.add(FORMAT);
        key.0.update((wrapper.len() as u64).to_le_bytes());
        key.0.update(wrapper);
        key
    }

    fn add(&mut self, part: impl AsRef<OsStr>) {
        // The length before it: no two lists of parts look alike.
        let bytes = part.as_ref().as_encoded_bytes();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn tool(mut self, tool: &Path, args: &[impl AsRef<OsStr>]) -> Self {
        self.add(tool);
        self.0.update((args.len() as u64).to_le_bytes());
        for arg in args {
            self.add(arg);
        }
        self
    }

    /// The folder and the variables that the tool sees.
    pub(crate) fn environment(mut self, environment: &Environment, hidden: &[&str]) -> Self {
        self.add(environment.current_dir());
        for (name, value) in environment.variables() {
            if !NEUTRAL.iter().chain(hidden).any(|other| name == *other) {
                self.add(name);
                self.add(value);
            }
        }
        self
    }

    pub(crate) fn finish(self) -> Sha256 {
        Sha256::from_digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(args: &[&str], variables: &[(&str, &str)], folder: &str) -> Sha256 {
        let environment = Environment::new(variables.iter().copied(), Path::new(folder));
        let key = KeyBuilder::new(b"wrapper").tool(Path::new("/t/g++"), args);
        key.environment(&environment, &["HIDDEN"]).finish()
    }

    #[test]
    fn whatever_a_tool_sees_makes_another_key() {
        let all = [
            key(&["-c", "a.c"], &[], "/b"),
            key(&["-ca.c"], &[], "/b"),
            key(&["a.c", "-c"], &[], "/b"),
            key(&["-c", "a.c"], &[("CPATH", "x")], "/b"),
            key(&["-c", "a.c"], &[("CPATH", "y")], "/b"),
            key(&["-c", "a.c"], &[], "/c"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn what_no_tool_sees_makes_none() {
        let plain = key(&["-c"], &[("PATH", "/bin")], "/b");
        let variables = [("PATH", "/bin"), ("MAX_JOBS", "7"), ("HIDDEN", "x"), ("_", "/bin/sh")];
        assert_eq!(key(&["-c"], &variables, "/b"), plain);
    }
}
