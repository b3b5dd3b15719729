//! `toolchains/torch.lock`: the torch wheels that are known, and what is taken of each.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::sdk::{SDK_COMPONENT, locked_digest};
use crate::artifact::{Artifact, Sha256};
use crate::error::{Class, Diagnose};
use crate::store::Key;
use crate::symbols::{SymbolIndex, SymbolsError};
use crate::target::Arch;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TorchLock {
    /// Sorted by version, processor and Python.
    #[serde(default)]
    pub torch: Vec<LockedTorch>,
    /// Sorted by version and processor.
    #[serde(default)]
    pub symbols: Vec<LockedSymbols>,
}

/// One wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedTorch {
    /// The release, such as `2.14.0`.
    pub version: String,
    /// The processor.
    pub arch: Arch,
    /// The Python tag, such as `cp311`.
    pub python: String,
    /// `torch.version.cuda`, such as `13.0`.
    pub cuda: String,
    /// Digest over the path and digest of every member that is taken without the libraries.
    pub extract: Sha256,
    /// The whole wheel.
    pub artifact: Artifact,
}

/// The symbol index of a version: `toolchains/torch/<version>-<arch>.symbols.xz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedSymbols {
    /// The release.
    pub version: String,
    /// The processor.
    pub arch: Arch,
    /// Digest of the file.
    pub sha256: Sha256,
}

/// Why the lock or an index that it names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TorchLockError {
    /// The file is not a lock.
    #[error("`{path}` is not a lock of torch wheels")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// An index that cannot be read.
    #[error("`{path}` cannot be used")]
    Symbols {
        /// The symbol index.
        path: PathBuf,
        /// Why.
        source: SymbolsError,
    },
    /// A file cannot be read or written.
    #[error("the lock of torch wheels cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for TorchLockError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Toolchain,
            Self::Symbols { source, .. } => source.class(),
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } | Self::Symbols { .. } => Some(
                "restore the file from the repository, or lock anew with `cargo xtask toolchain lock --torch VERSION`"
                    .to_owned(),
            ),
            Self::Io(_) => None,
        }
    }
}

impl TorchLock {
    /// Reads `torch.lock` of the folder `toolchains`; an absent file locks nothing.
    pub fn load(toolchains: &Path) -> Result<Self, TorchLockError> {
        let path = toolchains.join("torch.lock");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs_err::read_to_string(&path)?;
        toml::from_str(&text)
            .map_err(|source| TorchLockError::Malformed { path, source: Box::new(source) })
    }

    /// Writes `torch.lock` of the folder `toolchains`.
    pub fn save(&self, toolchains: &Path) -> Result<(), TorchLockError> {
        let body = toml::to_string(self).expect("a lock is tables of strings and numbers");
        let text = format!("# Written by `cargo xtask toolchain lock --torch VERSION`.\n\n{body}");
        fs_err::write(toolchains.join("torch.lock"), text)?;
        Ok(())
    }

    /// The wheel of this version for a processor and a Python, such as `3.11`.
    pub fn find(&self, version: &str, arch: Arch, python: &str) -> Option<&LockedTorch> {
        let tag = python_tag(python);
        self.torch
            .iter()
            .find(|entry| entry.version == version && entry.arch == arch && entry.python == tag)
    }

    /// The versions that are locked for a processor and a Python.
    pub fn versions(&self, arch: Arch, python: &str) -> impl Iterator<Item = &str> {
        let tag = python_tag(python);
        self.torch
            .iter()
            .filter(move |entry| entry.arch == arch && entry.python == tag)
            .map(|entry| entry.version.as_str())
    }

    /// The digest of a version's symbol index, where there is one.
    pub fn symbols(&self, version: &str, arch: Arch) -> Option<Sha256> {
        self.symbols
            .iter()
            .find(|entry| entry.version == version && entry.arch == arch)
            .map(|entry| entry.sha256)
    }

    /// Reads and verifies the symbol index that serves a locked wheel; `None` where there is none
    /// for its version, processor and Python, so that the whole wheel is needed.
    pub fn load_symbols(
        &self,
        toolchains: &Path,
        torch: &LockedTorch,
    ) -> Result<Option<SymbolIndex>, TorchLockError> {
        let Some(expected) = self.symbols(&torch.version, torch.arch) else { return Ok(None) };
        let path = symbols_path(toolchains, &torch.version, torch.arch);
        let index = SymbolIndex::load(&path, expected)
            .map_err(|source| TorchLockError::Symbols { path, source })?;
        Ok(index.parts.contains(&torch.python).then_some(index))
    }

    /// The store's keys of the SDKs that are made of the locked wheels and symbols.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.torch.iter().filter_map(|torch| {
            let symbols = self.symbols(&torch.version, torch.arch)?;
            let digest = locked_digest(torch, Some(symbols));
            Some(Key::new(SDK_COMPONENT, digest).as_str().to_owned())
        })
    }

    /// Takes an entry in, instead of the one for the same version, processor and Python.
    pub fn insert(&mut self, entry: LockedTorch) {
        let key = |entry: &LockedTorch| (entry.version.clone(), entry.arch, entry.python.clone());
        self.torch.retain(|other| key(other) != key(&entry));
        self.torch.push(entry);
        self.torch.sort_by_key(key);
    }

    /// Takes the digest of an index in, instead of the one for the same version and processor.
    pub fn insert_symbols(&mut self, entry: LockedSymbols) {
        let key = |entry: &LockedSymbols| (entry.version.clone(), entry.arch);
        self.symbols.retain(|other| key(other) != key(&entry));
        self.symbols.push(entry);
        self.symbols.sort_by_key(key);
    }
}

/// Where the symbol index of a version lies in the folder `toolchains`.
pub fn symbols_path(toolchains: &Path, version: &str, arch: Arch) -> PathBuf {
    toolchains.join("torch").join(format!("{version}-{arch}.symbols.xz"))
}

/// `cp311` for `3.11`.
pub fn python_tag(python: &str) -> String {
    format!("cp{}", python.replace('.', ""))
}

/// The digest of files: over one line `<sha256>  <path>` each, sorted by path.
pub fn listing_digest<'a>(files: impl IntoIterator<Item = (&'a String, &'a Sha256)>) -> Sha256 {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort();
    let mut hasher = sha2::Sha256::new();
    for (path, sha256) in files {
        hasher.update(format!("{sha256}  {path}\n"));
    }
    Sha256::finish(hasher)
}
