//! Which of a release's wheels the build Python installs.

use crate::target::Arch;

/// The Python that a wheel is to be installed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// CPython's major version.
    pub major: u16,
    /// CPython's minor version.
    pub minor: u16,
    /// The processor.
    pub arch: Arch,
    /// The newest glibc that a wheel may ask for, as major and minor version.
    pub glibc: (u16, u16),
}

/// How well a wheel fits; the greater is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fitness {
    /// 2 for this Python's own ABI, 1 for the stable ABI, 0 for none.
    abi: u8,
    /// The Python minor version that it is for at least.
    python: u16,
    /// The glibc that it asks for; (0, 0) for none.
    platform: (u16, u16),
}

impl Platform {
    /// How well a wheel of this file name fits, or None where it cannot be installed.
    ///
    /// File names and tags are those of the binary distribution format (PEP 427) and of the
    /// platform compatibility tags (PEP 425, PEP 600).
    pub fn fitness(&self, file_name: &str) -> Option<Fitness> {
        let stem = file_name.strip_suffix(".whl")?;
        let mut parts = stem.rsplitn(4, '-');
        let (platforms, abis, pythons) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next()?;
        let platform = platforms.split('.').filter_map(|tag| self.platform(tag)).max()?;
        pythons
            .split('.')
            .flat_map(|python| abis.split('.').map(move |abi| (python, abi)))
            .filter_map(|(python, abi)| self.interpreter(python, abi))
            .map(|(abi, python)| Fitness { abi, python, platform })
            .max()
    }

    /// The glibc that a platform tag asks for; (0, 0) for `any`.
    fn platform(&self, tag: &str) -> Option<(u16, u16)> {
        if tag == "any" {
            return Some((0, 0));
        }
        let version = tag.strip_suffix(self.arch.name())?.strip_suffix('_')?;
        let glibc = match version {
            // PEP 600: the older names of three glibc versions; and a platform that names none.
            "manylinux1" => (2, 5),
            "manylinux2010" => (2, 12),
            "manylinux2014" => (2, 17),
            "linux" => (1, 0),
            _ => {
                let (major, minor) = version.strip_prefix("manylinux_")?.split_once('_')?;
                (major.parse().ok()?, minor.parse().ok()?)
            }
        };
        (glibc <= self.glibc).then_some(glibc)
    }

    /// The rank of an ABI, and the Python minor version that a pair of tags names.
    fn interpreter(&self, python: &str, abi: &str) -> Option<(u8, u16)> {
        let digits = python.strip_prefix("cp").or_else(|| python.strip_prefix("py"))?;
        let (major, minor) = digits.split_at_checked(1)?;
        let minor = if minor.is_empty() { 0 } else { minor.parse::<u16>().ok()? };
        if major.parse() != Ok(self.major) || minor > self.minor {
            return None;
        }
        let own = format!("cp{}{}", self.major, self.minor);
        match abi {
            "none" if python.starts_with("py") || python == own => Some((0, minor)),
            "abi3" if python.starts_with("cp") => Some((1, minor)),
            _ => (python == own && abi == own).then_some((2, minor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: Platform = Platform { major: 3, minor: 13, arch: Arch::X86_64, glibc: (2, 28) };

    fn fits(tags: &str) -> bool {
        BUILD.fitness(&format!("a-1-{tags}.whl")).is_some()
    }

    #[test]
    fn wheels_that_can_be_installed() {
        for tags in [
            "py3-none-any",
            "py2.py3-none-any",
            "cp313-cp313-manylinux_2_27_x86_64.manylinux_2_28_x86_64",
            "cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64",
            "cp39-abi3-manylinux1_x86_64",
            "py3-none-manylinux2010_x86_64.musllinux_1_1_x86_64",
            "cp313-none-any",
            "py310-none-any",
            "cp313-cp313-linux_x86_64",
            "1-py3-none-any",
        ] {
            assert!(fits(tags), "{tags}");
        }
    }

    #[test]
    fn wheels_that_cannot() {
        for tags in [
            "cp313-cp313t-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp314-abi3-manylinux_2_28_x86_64",
            "cp312-none-any",
            "py314-none-any",
            "py2-none-any",
            "pp310-pypy310_pp73-manylinux_2_28_x86_64",
            "cp313-cp313-manylinux_2_28_aarch64",
            "cp313-cp313-manylinux_2_34_x86_64",
            "cp313-cp313-musllinux_1_2_x86_64",
            "cp313-cp313-win_amd64",
            "cp3-abi3",
        ] {
            assert!(!fits(tags), "{tags}");
        }
        assert_eq!(BUILD.fitness("a-1.tar.gz"), None);
        assert_eq!(BUILD.fitness("py3-none-any.whl"), None);
    }

    #[test]
    fn the_newest_and_closest_wins() {
        let mut wheels = [
            "c-1-py3-none-any.whl",
            "c-1-cp39-abi3-manylinux_2_28_x86_64.whl",
            "c-1-cp311-abi3-manylinux_2_28_x86_64.whl",
            "c-1-cp313-cp313-manylinux_2_17_x86_64.whl",
            "c-1-cp313-cp313-manylinux_2_28_x86_64.whl",
        ];
        let sorted = wheels;
        wheels.reverse();
        wheels.sort_by_key(|wheel| BUILD.fitness(wheel));
        assert_eq!(wheels, sorted);
    }
}
