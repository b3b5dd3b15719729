//! The C++ standard that torch's headers need.
//!
//! Every few releases torch's headers ask for a newer standard, and packages name the one that was
//! right when they were written. A compile that sees those headers gets no older one than they ask
//! for: a newer one compiles nearly everything that an older one does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// The torch SDK, as compiles see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Torch {
    /// The folder that holds the package `torch`.
    pub root: PathBuf,
    /// The oldest C++ standard that its headers take, as the year's last two digits.
    pub cxx_standard: u16,
}

/// What g++ 14 and nvcc 13 take where they are not told.
const DEFAULT: u16 = 17;

/// `-std=c++17` and its like, anywhere in an argument: `-Xcompiler=-O3,-std=gnu++1z` has one.
static OPTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?P<before>-std=(?:c|gnu)\+\+)(?P<standard>[0-9][0-9a-z])").expect("constant")
});

/// The value alone, which nvcc takes from the argument after `-std`.
static VALUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<before>c\+\+)(?P<standard>[0-9][0-9a-z])$").expect("constant")
});

/// The year of a standard, by its final or working name (gcc manual, "Options Controlling C
/// Dialect").
fn year(name: &str) -> u16 {
    match name {
        "98" | "03" => 3,
        "0x" => 11,
        "1y" => 14,
        "1z" => 17,
        "2a" => 20,
        "2b" => 23,
        "2c" => 26,
        number => number.parse().unwrap_or(u16::MAX),
    }
}

impl Torch {
    /// Raises the standard of a C++ or CUDA compile that sees torch's headers, and says what it
    /// was raised from.
    pub(super) fn raise_standard(&self, args: &mut Vec<OsString>) -> Option<String> {
        if !args.iter().any(|arg| self.is_named_in(arg)) {
            return None;
        }
        let mut told = false;
        let mut raised = None;
        let mut is_value = false;
        for arg in args.iter_mut() {
            let pattern: &Regex = if is_value { &VALUE } else { &OPTION };
            is_value = *arg == "-std" || *arg == "--std";
            let Some(text) = arg.to_str() else { continue };
            let Some(found) = pattern.captures(text) else { continue };
            told = true;
            if year(&found["standard"]) >= self.cxx_standard {
                continue;
            }
            raised = Some(found[0].to_owned());
            let newer = format!("${{before}}{}", self.cxx_standard);
            *arg = pattern.replace_all(text, newer).into_owned().into();
        }
        if !told && DEFAULT < self.cxx_standard {
            args.push(format!("-std=c++{}", self.cxx_standard).into());
            raised = Some(format!("the compiler's default, c++{DEFAULT},"));
        }
        let from = raised?;
        Some(format!("raised `{from}` to C++{}, which torch's headers need", self.cxx_standard))
    }

    fn is_named_in(&self, arg: &OsString) -> bool {
        let root = self.root.to_string_lossy();
        arg.to_str().is_some_and(|text| text.contains(root.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(standard: u16, args: &str) -> (String, bool) {
        let torch = Torch { root: "/sdk".into(), cxx_standard: standard };
        let mut args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        let note = torch.raise_standard(&mut args);
        let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        (words.join(" "), note.is_some())
    }

    #[test]
    fn an_older_standard_is_raised_in_every_spelling() {
        for (given, got) in [
            ("-I/sdk/inc -std=c++17 -c a.cpp", "-I/sdk/inc -std=c++20 -c a.cpp"),
            ("-I/sdk/inc -std=gnu++1z -c a.cpp", "-I/sdk/inc -std=gnu++20 -c a.cpp"),
            ("-I/sdk/inc --std=c++14 a.cu", "-I/sdk/inc --std=c++20 a.cu"),
            ("-I/sdk/inc --std c++14 a.cu", "-I/sdk/inc --std c++20 a.cu"),
            ("-I/sdk/inc -Xcompiler -O3,-std=c++11", "-I/sdk/inc -Xcompiler -O3,-std=c++20"),
            ("-isystem /sdk/inc -c a.cpp", "-isystem /sdk/inc -c a.cpp -std=c++20"),
        ] {
            assert_eq!(raised(20, given), (got.to_owned(), true));
        }
    }

    #[test]
    fn what_is_new_enough_or_sees_no_torch_is_left_alone() {
        for given in [
            "-I/sdk/inc -std=c++20 -c a.cpp",
            "-I/sdk/inc -std=c++2b -c a.cpp",
            "-I/other -std=c++11 -c a.cpp",
        ] {
            assert_eq!(raised(20, given), (given.to_owned(), false));
        }
        assert_eq!(raised(17, "-I/sdk/inc -c a.cpp"), ("-I/sdk/inc -c a.cpp".to_owned(), false));
    }
}
