//! A wheel's file name and tags.
//!
//! Source: the binary distribution format of the Python packaging specifications (PEP 427, with
//! PEP 625's normalised names) and the platform compatibility tags (PEP 425).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Compatibility tags, each a set that the file name joins with dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WheelTags {
    /// Such as `cp311`, or `py2` and `py3`.
    pub python: BTreeSet<String>,
    /// Such as `cp311`, `abi3` or `none`.
    pub abi: BTreeSet<String>,
    /// Such as `manylinux_2_28_aarch64`, `linux_aarch64` or `any`.
    pub platform: BTreeSet<String>,
}

impl WheelTags {
    /// Tags of one value each.
    pub fn new(python: &str, abi: &str, platform: &str) -> Self {
        let one = |tag: &str| BTreeSet::from([tag.to_owned()]);
        Self { python: one(python), abi: one(abi), platform: one(platform) }
    }

    /// Every combination, as the `Tag` lines of the `WHEEL` file name them.
    pub fn expanded(&self) -> Vec<String> {
        let mut tags = Vec::new();
        for python in &self.python {
            for abi in &self.abi {
                tags.extend(self.platform.iter().map(|p| format!("{python}-{abi}-{p}")));
            }
        }
        tags
    }

    /// Whether the wheel installs on any machine.
    pub fn is_any_platform(&self) -> bool {
        self.platform.contains("any")
    }
}

impl fmt::Display for WheelTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |tags: &BTreeSet<String>| tags.iter().map(String::as_str).collect::<Vec<_>>().join(".");
        write!(f, "{}-{}-{}", joined(&self.python), joined(&self.abi), joined(&self.platform))
    }
}

/// Text that is not a wheel's file name.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a wheel's file name: `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl` is expected"
)]
pub struct InvalidWheelName(String);

/// A wheel's file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelName {
    /// The distribution, as the file name writes it.
    pub name: String,
    /// The version, as the file name writes it.
    pub version: String,
    /// The build number, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The compatibility tags.
    pub tags: WheelTags,
}

impl FromStr for WheelName {
    type Err = InvalidWheelName;

    fn from_str(text: &str) -> Result<Self, InvalidWheelName> {
        let invalid = || InvalidWheelName(text.to_owned());
        let parts: Vec<&str> = text.strip_suffix(".whl").ok_or_else(invalid)?.split('-').collect();
        let (name, version, build, tags) = match parts[..] {
            [name, version, ref tags @ ..] if tags.len() == 3 => (name, version, None, tags),
            [name, version, build, ref tags @ ..] if tags.len() == 3 => {
                (name, version, Some(build.to_owned()), tags)
            }
            _ => return Err(invalid()),
        };
        let digit_first = |b: &str| b.starts_with(|c: char| c.is_ascii_digit());
        let well_formed = |p: &&str| {
            !p.is_empty() && !p.contains(['/', '\\']) && !p.chars().any(char::is_whitespace)
        };
        let no_empty_tag = tags.iter().all(|set| set.split('.').all(|tag| !tag.is_empty()));
        if !no_empty_tag
            || !parts.iter().all(well_formed)
            || build.as_deref().is_some_and(|b| !digit_first(b))
        {
            return Err(invalid());
        }
        let set = |tags: &str| tags.split('.').map(str::to_owned).collect();
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            build,
            tags: WheelTags { python: set(tags[0]), abi: set(tags[1]), platform: set(tags[2]) },
        })
    }
}

impl fmt::Display for WheelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.version)?;
        if let Some(build) = &self.build {
            write!(f, "-{build}")?;
        }
        write!(f, "-{}.whl", self.tags)
    }
}

/// A project's name as file and folder names write it: runs of `-`, `_` and `.` become one `_`,
/// in lower case.
pub fn escape_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if escaped.ends_with('_') => {}
            '-' | '_' | '.' => escaped.push('_'),
            c => escaped.extend(c.to_lowercase()),
        }
    }
    escaped
}

/// A version as file and folder names write it: a `-` would end the field.
pub fn escape_version(version: &str) -> String {
    version.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_survive_a_round_trip() {
        for text in [
            "causal_conv1d-1.7.0+cu130.torch2.14.thor-cp311-cp311-manylinux_2_34_aarch64.whl",
            "torchvision-0.29.0-1-cp312-cp312-manylinux_2_28_aarch64.whl",
            "x-1-py2.py3-none-any.whl",
        ] {
            assert_eq!(text.parse::<WheelName>().expect("a wheel's name").to_string(), text);
        }
    }

    #[test]
    fn names_that_are_not_wheels_are_refused() {
        for text in [
            "x.whl",
            "x-1-py3-none.whl",
            "x-1-py3-none-any.zip",
            "x-1-b1-py3-none-any.whl",
            "x--py3-none-any.whl",
            "x-1-.-none-any.whl",
            "x-1-py3-none-any..linux_aarch64.whl",
            "a/x-1-py3-none-any.whl",
            "x-1-2-3-py3-none-any.whl",
        ] {
            assert!(text.parse::<WheelName>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_escaped_as_the_specification_says() {
        assert_eq!(escape_name("Friendly-._.Bard"), "friendly_bard");
        assert_eq!(escape_name("causal-conv1d"), "causal_conv1d");
    }

    #[test]
    fn tag_sets_expand_to_every_combination() {
        let name: WheelName = "x-1-py2.py3-none-any.whl".parse().expect("a wheel's name");
        assert_eq!(name.tags.expanded(), ["py2-none-any", "py3-none-any"]);
    }
}
