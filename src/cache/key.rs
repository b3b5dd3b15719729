//! What names an action before it is known which files it reads.

use std::ffi::OsStr;
use std::path::Path;

use sha2::Digest as _;

use super::Renamer;
use crate::artifact::Sha256;
use crate::environment::Environment;

/// To be raised when entries of older versions must not be found.
const FORMAT: &str = "crosswheel objects 2";

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

/// How names of variables begin that tell cargo, rustc and what crates are built with of the target;
/// no other compiler looks at them.
const OF_CRATES: [&str; 6] = ["BINDGEN_", "CARGO", "MATURIN_", "PKG_CONFIG_", "PYO3_", "RUST"];
/// How those end that the crate `cc` and its like look for: `CC_aarch64_unknown_linux_gnu`.
const OF_TRIPLES: &str = "_unknown_linux_gnu";

/// Whether a variable is for the build of crates alone.
pub(crate) fn is_of_crates(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    OF_CRATES.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with(OF_TRIPLES)
}

/// An action's tool, arguments, folder and environment, as one digest.
pub(crate) struct KeyBuilder<'a> {
    digest: sha2::Sha256,
    renamer: &'a Renamer,
}

impl<'a> KeyBuilder<'a> {
    /// `kind` tells keys apart that would be the same otherwise; the renamer is that to common
    /// names.
    pub(crate) fn new(kind: &str, renamer: &'a Renamer) -> Self {
        let mut key = Self { digest: sha2::Sha256::new(), renamer };
        key.add(FORMAT);
        key.add(kind);
        key
    }

    fn add(&mut self, part: impl AsRef<OsStr>) {
        self.bytes(part.as_ref().as_encoded_bytes().to_vec());
    }

    fn bytes(&mut self, mut bytes: Vec<u8>) {
        self.renamer.rename(&mut bytes);
        // The length before it: no two lists of parts look alike.
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    /// Any further part.
    pub(crate) fn part(mut self, bytes: Vec<u8>) -> Self {
        self.bytes(bytes);
        self
    }

    pub(crate) fn tool(mut self, tool: &Path, args: &[impl AsRef<OsStr>]) -> Self {
        self.add(tool);
        self.digest.update((args.len() as u64).to_le_bytes());
        for arg in args {
            self.add(arg);
        }
        self
    }

    /// The folder and the variables that the tool sees, but for those that it does not look at.
    pub(crate) fn environment(
        mut self,
        environment: &Environment,
        is_hidden: impl Fn(&OsStr) -> bool,
    ) -> Self {
        self.add(environment.current_dir());
        for (name, value) in environment.variables() {
            if !NEUTRAL.iter().any(|other| name == *other) && !is_hidden(name) {
                self.add(name);
                self.add(value);
            }
        }
        self
    }

    pub(crate) fn finish(self) -> Sha256 {
        Sha256::from_digest(self.digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Aliases;
    use super::*;

    fn key(args: &[&str], variables: &[(&str, &str)], folder: &str) -> Sha256 {
        let environment = Environment::new(variables.iter().copied(), Path::new(folder));
        let renamer = Aliases::default().to_common();
        let key = KeyBuilder::new("test", &renamer).tool(Path::new("/t/g++"), args);
        key.environment(&environment, |name| name == "HIDDEN").finish()
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

    #[test]
    fn variables_of_crates_are_known() {
        let all = [
            "CARGO_PKG_NAME",
            "RUSTC",
            "PYO3_CROSS",
            "CC_x86_64_unknown_linux_gnu",
            "CPATH",
            "CC",
            "NVCC_APPEND_FLAGS",
        ];
        let of_crates = all.map(|name| is_of_crates(OsStr::new(name)));
        assert_eq!(of_crates, [true, true, true, true, false, false, false]);
    }
}
