//! Where a wheel runs: `toolchains/<name>.toml`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Class, Diagnose};

/// A target as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// The file's stem, such as `thor`.
    #[serde(default)]
    pub name: String,
    /// One line for `toolchain list`.
    pub description: String,
    /// The processor, as in wheel tags and `uname -m`.
    pub arch: Arch,
    /// CUDA's major and minor version, such as `13.0`.
    pub cuda: String,
    /// The GPUs' architectures: every kernel gets SASS for each.
    pub sm: Vec<Sm>,
    /// The Pythons that a build is for unless `--python` says otherwise: the first whose headers
    /// there are.
    pub python: Vec<String>,
    /// The torch that a build is for unless `--torch` says otherwise.
    pub torch: String,
    /// The newest versions that a wheel may need.
    pub floors: Floors,
}

/// The newest symbol versions that the target's libraries provide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Floors {
    /// glibc, as in `GLIBC_2.39`.
    pub glibc: String,
    /// libstdc++, as in `GLIBCXX_3.4.33`.
    pub glibcxx: String,
    /// The C++ ABI library, as in `CXXABI_1.3.15`.
    pub cxxabi: String,
}

/// A processor that components are made for or run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit x86.
    X86_64,
}

impl Arch {
    /// As in wheel tags and `uname -m`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        }
    }

    /// Debian's name of it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Aarch64 => "arm64",
            Self::X86_64 => "amd64",
        }
    }

    /// GNU's triple, which is also Debian's multiarch folder.
    pub fn gnu_triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux-gnu",
            Self::X86_64 => "x86_64-linux-gnu",
        }
    }

    /// Rust's triple.
    pub fn rust_triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// NVIDIA's folder under `targets/` in a toolkit.
    pub fn cuda_target(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux",
            Self::X86_64 => "x86_64-linux",
        }
    }

    /// ELF's `e_machine` (EM_AARCH64, EM_X86_64).
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::Aarch64 => 183,
            Self::X86_64 => 62,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A plain GPU architecture, such as `sm_110`: major version 11, minor version 0.
///
/// Written with or without the `sm_`, and as a capability (`11.0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sm(pub u16);

impl Sm {
    /// The compute capability's major version.
    pub fn major(self) -> u16 {
        self.0 / 10
    }

    /// The compute capability's minor version.
    pub fn minor(self) -> u16 {
        self.0 % 10
    }

    /// As `TORCH_CUDA_ARCH_LIST` writes it: `11.0`.
    pub fn capability(self) -> String {
        format!("{}.{}", self.major(), self.minor())
    }
}

impl fmt::Display for Sm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

/// The architectures that nvcc 13 compiles for (CUDA 13 nvcc documentation, "GPU Feature List";
/// `nvcc --list-gpu-code`).
pub const CUDA_13_SMS: [Sm; 12] = [
    Sm(75),
    Sm(80),
    Sm(86),
    Sm(87),
    Sm(88),
    Sm(89),
    Sm(90),
    Sm(100),
    Sm(103),
    Sm(110),
    Sm(120),
    Sm(121),
];

/// Text that names no GPU architecture.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a GPU architecture: `110`, `sm_110` or `11.0` is expected")]
pub struct InvalidSm(String);

impl FromStr for Sm {
    type Err = InvalidSm;

    fn from_str(text: &str) -> Result<Self, InvalidSm> {
        let invalid = || InvalidSm(text.to_owned());
        let digits = text.strip_prefix("sm_").unwrap_or(text);
        let number = match digits.split_once('.') {
            Some((major, minor)) if minor.len() == 1 => format!("{major}{minor}"),
            Some(_) => return Err(invalid()),
            None => digits.to_owned(),
        };
        if !(2..=3).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        number.parse().map(Self).map_err(|_| invalid())
    }
}

impl Serialize for Sm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a target cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No file of that name.
    #[error("there is no target `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// An architecture that no compiler of the toolchain knows.
    #[error("CUDA 13 has no architecture `{0}`")]
    UnknownSm(Sm),
    /// A file that is not a target.
    #[error("`{path}` does not describe a target")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The folder or a file cannot be read.
    #[error("the targets cannot be read")]
    Io(#[from] std::io::Error),
}

impl Diagnose for TargetError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::UnknownSm(_) => Class::Request,
            Self::Malformed { .. } => Class::Usage,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!("the targets are: {}", known.join(", "))),
            Self::UnknownSm(_) => {
                let known: Vec<_> = CUDA_13_SMS.iter().map(ToString::to_string).collect();
                Some(format!("the architectures are: {}", known.join(", ")))
            }
            _ => None,
        }
    }
}

impl Target {
    /// The same machine with other GPUs.
    pub fn with_sms(self, sms: &[Sm]) -> Result<Self, TargetError> {
        if let Some(unknown) = sms.iter().find(|sm| !CUDA_13_SMS.contains(sm)) {
            return Err(TargetError::UnknownSm(*unknown));
        }
        let mut sm = sms.to_vec();
        sm.sort();
        sm.dedup();
        Ok(Self { sm, ..self })
    }

    /// Reads one target of the folder `toolchains/targets`.
    pub fn load(folder: &Path, name: &str) -> Result<Self, TargetError> {
        let path = folder.join(format!("{name}.toml"));
        if name.contains('/') || !path.is_file() {
            let known = Self::names(folder)?;
            return Err(TargetError::Unknown { name: name.to_owned(), known });
        }
        let text = fs_err::read_to_string(&path)?;
        let target: Self = toml::from_str(&text)
            .map_err(|source| TargetError::Malformed { path, source: Box::new(source) })?;
        Ok(Self { name: name.to_owned(), ..target })
    }

    /// The names of all targets of the folder, sorted.
    pub fn names(folder: &Path) -> Result<Vec<String>, TargetError> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                names.extend(path.file_stem().and_then(|s| s.to_str()).map(str::to_owned));
            }
        }
        names.sort();
        Ok(names)
    }
}
