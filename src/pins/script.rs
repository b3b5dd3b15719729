//! Build scripts: requirements in the string literals of `setup.py`, and what recipes point to.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr as _;
use std::sync::LazyLock;

use pep440_rs::Version;
use pep508_rs::PackageName;
use regex::Regex;

use super::site::{Form, Place, Site, item_with_separator};

/// A string literal of Python source.
struct Literal {
    /// What stands before the quotes, in lower case.
    prefix: String,
    /// Prefix and quotes included.
    whole: Range<usize>,
    /// What stands between the quotes.
    inner: Range<usize>,
}

/// What a script says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Requirements, whole or put together when the script runs.
    pub(super) sites: Vec<Site>,
    /// Files that it names and that may hold requirements.
    pub(super) files: Vec<String>,
}

/// The beginning of a requirement with a version.
static BEGINS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*([A-Za-z][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\]\s*)?(?:==|~=|!=|>=|<=|>|<)")
        .expect("a constant pattern")
});

/// Looks for literals that are requirements on packages of these names, and for literals out of
/// which one is put together: what is formatted, or ends where a version would begin.
pub(super) fn find(text: &str, names: &BTreeSet<PackageName>) -> Found {
    let mut found = Found::default();
    for literal in literals(text) {
        let inner = &text[literal.inner.clone()];
        if inner.contains(['\n', '\\']) || literal.prefix.contains('b') {
            continue;
        }
        if inner.ends_with(".txt") || inner.ends_with(".in") {
            found.files.push(inner.to_owned());
        }
        let Some(begins) = BEGINS.captures(inner) else { continue };
        let Ok(name) = PackageName::from_str(&begins[1]) else { continue };
        if !names.contains(&name) {
            continue;
        }
        let (owned, span) = (inner.to_owned(), literal.inner.clone());
        let formatted = literal.prefix.contains('f');
        match Site::requirement(owned.clone(), span.clone(), Place::Perhaps, names) {
            Some(site) if !formatted => {
                found.sites.push(match is_item(text, &literal.whole) {
                    true => site.within(item_with_separator(text, literal.whole)),
                    false => site,
                });
            }
            _ if formatted || begins[0].len() == inner.len() => {
                let (form, place) = (Form::Computed, Place::Perhaps);
                found.sites.push(Site { name, text: owned, span, form, place });
            }
            _ => {}
        }
    }
    found
}

/// Whether a literal is an item of a list or tuple, which can be taken out.
fn is_item(text: &str, literal: &Range<usize>) -> bool {
    let before = text[..literal.start].trim_end();
    let behind = text[literal.end..].trim_start();
    before.ends_with(['[', '(', ',']) && behind.starts_with([',', ']'])
}

/// The string literals of Python source, as far as it is: what is no literal is passed over.
fn literals(text: &str) -> Vec<Literal> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'#' => at += text[at..].find('\n').unwrap_or(bytes.len() - at),
            quote @ (b'"' | b'\'') => {
                let (inner, end) = string(text, at, quote);
                let letters = text[..at].bytes().rev().take_while(u8::is_ascii_alphabetic).count();
                let letters = if letters > 2 { 0 } else { letters };
                let prefix = text[at - letters..at].to_ascii_lowercase();
                found.push(Literal { prefix, whole: at - letters..end, inner });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The inside of the string that begins at a quote, and where it ends. One in single quotes ends
/// with its line, closed or not.
fn string(text: &str, at: usize, quote: u8) -> (Range<usize>, usize) {
    let bytes = text.as_bytes();
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let quotes = if triple { 3 } else { 1 };
    let start = at + quotes;
    let mut end = start;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 1,
            b'\n' if !triple => return (start..end, end),
            byte if byte == quote && (!triple || bytes[end..].starts_with(&[quote; 3])) => {
                return (start..end, end + quotes);
            }
            _ => {}
        }
        end += 1;
    }
    (start.min(bytes.len())..bytes.len(), bytes.len())
}

/// `TORCH_TARGET_VERSION=0x020b000000000000`: the release whose stable ABI is compiled against.
static STABLE_TARGET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:-D|\b)TORCH_TARGET_VERSION=0x([0-9a-fA-F]{15,16})(?:[uU]?[lL]{0,2})\b")
        .expect("a constant pattern")
});

/// What a macro's definition says of [`STABLE_TARGET`]: the version as torch's `version.h` packs
/// it, a byte each for major, minor and patch from the top.
pub(super) fn stable_target(definition: &str) -> Option<Version> {
    let number = &STABLE_TARGET.captures(definition)?[1];
    let number = u64::from_str_radix(number, 16).ok()?;
    Some(Version::new([number >> 56, number >> 48 & 0xff]))
}

/// The places of a script or cmake file where the stable ABI's release is chosen.
pub(super) fn stable_targets(text: &str) -> impl Iterator<Item = Site> + '_ {
    STABLE_TARGET.find_iter(text).filter_map(|found| {
        let version = stable_target(found.as_str())?;
        let name = PackageName::from_str(super::policy::TORCH).ok()?;
        let (text, span) = (found.as_str().to_owned(), found.range());
        Some(Site { name, text, span, form: Form::StableTarget(version), place: Place::Build })
    })
}

/// cmake's `find_package(Torch 2.9.1 EXACT …)`.
static FIND_PACKAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\bfind_package\s*\(\s*Torch\s+([0-9]+(?:\.[0-9]+)+)(\s+EXACT\b)?")
        .expect("a constant pattern")
});

/// The versions of torch that a cmake file asks for.
pub(super) fn cmake_versions(text: &str) -> impl Iterator<Item = Site> + '_ {
    FIND_PACKAGE.captures_iter(text).filter_map(|found| {
        let version = found.get(1)?;
        let name = PackageName::from_str(super::policy::TORCH).ok()?;
        let (text, span) = (version.as_str().to_owned(), version.range());
        let form = Form::Version { at_least: found.get(2).is_none() };
        Some(Site { name, text, span, form, place: Place::Build })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_that_are_requirements_are_found() {
        let text = r#"
# "torch==1.0" in a comment
"""
torch==1.0 in a docstring
"""
install_requires = ["torch==2.9.1", 'torchvision >= 0.24; platform_system == "Linux"',
    f"torch=={version}", "torch>=" + lowest, b"torch==3", "numpy==1", r'torch[a]<3']
if x: raise Error("torch==2.9.1 is needed, it's said")
path = "requirements/cuda.txt"
"#;
        let found = find(text, &crate::pins::scan::family());
        let texts: Vec<_> = found
            .sites
            .iter()
            .map(|site| (site.text.as_str(), matches!(site.form, Form::Computed)))
            .collect();
        assert_eq!(
            texts,
            [
                ("torch==2.9.1", false),
                ("torchvision >= 0.24; platform_system == \"Linux\"", false),
                ("torch=={version}", true),
                ("torch>=", true),
                ("torch[a]<3", false),
            ]
        );
        assert_eq!(found.files, ["requirements/cuda.txt"]);
    }

    #[test]
    fn odd_strings_end() {
        for text in ["'", "\"\"\"", "'\\", "x = 'a\nb'", "'''a\\'''", "f'"] {
            literals(text);
        }
    }

    #[test]
    fn the_stable_target_is_read_as_torch_packs_it() {
        for (text, version) in [
            ("-DTORCH_TARGET_VERSION=0x020B000000000000ULL", Some("2.11")),
            ("TORCH_TARGET_VERSION=0x0209000000000000", Some("2.9")),
            ("TORCH_TARGET_VERSION=0x0209", None),
            ("MY_TORCH_TARGET_VERSION=0x020B000000000000", None),
        ] {
            let expected = version.map(|version| version.parse().unwrap());
            assert_eq!(stable_target(text), expected, "{text}");
        }
        let cmake = "find_package(Torch 2.9.1 EXACT REQUIRED)\nfind_package(Torch REQUIRED)";
        assert_eq!(cmake_versions(cmake).map(|site| site.text).collect::<Vec<_>>(), ["2.9.1"]);
    }
}
