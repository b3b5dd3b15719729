//! `torch/version.py`, read as data: the target's torch is never run.

use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Class, Diagnose};

/// What a torch says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFile {
    /// `__version__`, such as `2.14.0+cu130`.
    pub version: String,
    /// The CUDA version, such as `13.0`; `None` for a torch without CUDA.
    pub cuda: Option<String>,
}

/// A `version.py` that does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("`torch/version.py` has no `{0}`")]
pub struct VersionError(&'static str);

impl Diagnose for VersionError {
    fn class(&self) -> Class {
        Class::Torch
    }
}

/// `name = 'value'` or `name: Optional[str] = None` at the start of a line.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^(__version__|cuda)\s*(?::[^=\n]+)?=\s*(?:'([^']*)'|"([^"]*)"|(None))"#)
        .expect("a constant pattern")
});

impl VersionFile {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let (mut version, mut cuda) = (None, None);
        for found in ASSIGNMENT.captures_iter(text) {
            let value = found.get(2).or(found.get(3)).map(|value| value.as_str().to_owned());
            match &found[1] {
                "cuda" => cuda = Some(value),
                _ => version = value,
            }
        }
        Ok(Self {
            version: version.ok_or(VersionError("__version__"))?,
            cuda: cuda.ok_or(VersionError("cuda"))?,
        })
    }

    /// The version without its local part: `2.14.0`.
    pub fn release(&self) -> &str {
        self.version.split('+').next().unwrap_or(&self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_annotated_and_plain_assignments() {
        let annotated = "__version__ = '2.14.0+cu130'\ndebug = False\ncuda: Optional[str] = '13.0'\ngit_version = 'cuda = 1'\n";
        let version = VersionFile::parse(annotated).unwrap();
        assert_eq!(version.version, "2.14.0+cu130");
        assert_eq!(version.release(), "2.14.0");
        assert_eq!(version.cuda.as_deref(), Some("13.0"));
        let plain = "__version__ = \"2.9.0a0+145a3a7\"\ncuda = \"13.0\"\n";
        assert_eq!(VersionFile::parse(plain).unwrap().cuda.as_deref(), Some("13.0"));
    }

    #[test]
    fn tells_no_cuda_from_nothing_said() {
        let cpu = VersionFile::parse("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n");
        assert_eq!(cpu.unwrap().cuda, None);
        let silent = VersionFile::parse("__version__ = '2.9.0'\n");
        assert_eq!(silent.unwrap_err().to_string(), "`torch/version.py` has no `cuda`");
    }
}
