//! What file names of distributions say.

use std::str::FromStr as _;

use pep440_rs::Version;

use crate::target::Arch;

/// A project's normalised name (PEP 503): runs of `-`, `_` and `.` are one `-`, in lower case.
pub fn normalize(name: &str) -> String {
    let mut normalized = String::with_capacity(name.len());
    for c in name.trim().chars() {
        if matches!(c, '-' | '_' | '.') {
            if !normalized.ends_with('-') {
                normalized.push('-');
            }
        } else {
            normalized.extend(c.to_lowercase());
        }
    }
    normalized
}

/// The parts of a wheel's file name (the binary distribution format's "File name convention").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution's name, normalised.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Tags of interpreters, such as `cp311` or `py3`.
    pub python: Vec<String>,
    /// Tags of ABIs, such as `abi3` or `none`.
    pub abi: Vec<String>,
    /// Tags of platforms, such as `manylinux_2_28_aarch64` or `any`.
    pub platform: Vec<String>,
}

impl WheelName {
    /// Reads a file name; nothing where it is not a wheel's.
    pub fn parse(file: &str) -> Option<Self> {
        let parts: Vec<_> = file.strip_suffix(".whl")?.split('-').collect();
        let (name, version, python, abi, platform) = match parts[..] {
            [name, version, python, abi, platform] | [name, version, _, python, abi, platform] => {
                (name, version, python, abi, platform)
            }
            _ => return None,
        };
        let tags = |set: &str| set.split('.').map(str::to_owned).collect();
        Some(Self {
            name: normalize(name),
            version: Version::from_str(version).ok()?,
            python: tags(python),
            abi: tags(abi),
            platform: tags(platform),
        })
    }

    /// The oldest glibc (major, minor) that a manylinux wheel for this processor asks for; `(0, 0)`
    /// for one that is for any platform; nothing where it does not run there.
    pub fn glibc(&self, arch: Arch) -> Option<(u32, u32)> {
        self.platform.iter().filter_map(|tag| glibc(tag, arch)).min()
    }

    /// Whether any Python 3 can use it: it is run, or read as data, and not imported.
    pub fn for_any_python(&self) -> bool {
        self.python.iter().any(|tag| tag == "py3") && self.abi.iter().any(|tag| tag == "none")
    }
}

/// The glibc of a platform tag (PEP 600, and the older names that it maps).
fn glibc(tag: &str, arch: Arch) -> Option<(u32, u32)> {
    if tag == "any" {
        return Some((0, 0));
    }
    let policy = tag.strip_suffix(arch.name())?.strip_suffix('_')?;
    match policy {
        "manylinux1" => Some((2, 5)),
        "manylinux2010" => Some((2, 12)),
        "manylinux2014" => Some((2, 17)),
        _ => {
            let (major, minor) = policy.strip_prefix("manylinux_")?.split_once('_')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        }
    }
}

/// The version of a source distribution's file name, where it is one of this project.
///
/// Older names hold hyphens (`flash-attn-2.8.tar.gz`), so the project says where the name ends.
pub fn sdist_version(project: &str, file: &str) -> Option<Version> {
    let stem = [".tar.gz", ".zip", ".tar.bz2"].iter().find_map(|ext| file.strip_suffix(ext))?;
    stem.match_indices('-')
        .filter(|(at, _)| normalize(&stem[..*at]) == project)
        .find_map(|(at, _)| Version::from_str(&stem[at + 1..]).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        assert_eq!(normalize("Flash_Attn"), "flash-attn");
        assert_eq!(normalize("a-_.b"), "a-b");
    }

    #[test]
    fn wheels() {
        let wheel = WheelName::parse(
            "ninja-1.13.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        );
        let wheel = wheel.unwrap();
        assert_eq!(wheel.version.to_string(), "1.13.0");
        assert_eq!(wheel.glibc(Arch::Aarch64), Some((2, 17)));
        assert_eq!(wheel.glibc(Arch::X86_64), None);
        assert!(wheel.for_any_python());
        let built = WheelName::parse("Foo_Bar-1-1build-cp311-cp311-linux_x86_64.whl").unwrap();
        assert_eq!((built.name.as_str(), built.glibc(Arch::X86_64)), ("foo-bar", None));
        assert_eq!(WheelName::parse("foo-1.0.whl"), None);
        assert_eq!(WheelName::parse("foo-nope-py3-none-any.whl"), None);
    }

    #[test]
    fn sdists() {
        let version = |project, file| sdist_version(project, file).map(|v| v.to_string());
        assert_eq!(version("flash-attn", "flash_attn-2.8.3.tar.gz").as_deref(), Some("2.8.3"));
        assert_eq!(
            version("flash-attn", "flash-attn-2.8.3.post1.zip").as_deref(),
            Some("2.8.3.post1")
        );
        assert_eq!(version("flash", "flash-attn-2.8.3.tar.gz"), None);
        assert_eq!(version("flash-attn", "flash_attn-2.8.3.exe"), None);
    }
}
