//! A file that a build needs, by what it is and not by where it lies.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A file of a registry, locked: the registry's name, never its address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Artifact {
    /// `pypi`, `debian`, `debian-security`, or an apt repository that the configuration names.
    pub registry: String,
    /// The project (`nvidia-cuda-nvcc`) or the binary package (`g++-14-aarch64-linux-gnu`).
    pub name: String,
    /// Its version, as the registry writes it.
    pub version: String,
    /// The file's name on an index; the path below the repository's root (`pool/main/…`) for apt.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
    /// The whole file's digest.
    pub sha256: Sha256,
}

impl Artifact {
    /// The last component of [`Artifact::file`].
    pub fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

/// Members of a wheel that are fetched without the rest of it.
///
/// What is kept and verified is their canonical archive, as [`crate::unpack::members`] writes it:
/// it has the same bytes whether they came by ranges or out of the whole wheel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PartialWheel {
    /// Globs of the members.
    pub members: Vec<String>,
    /// Size of the canonical archive, in bytes.
    pub size: u64,
    /// Digest of the canonical archive.
    pub sha256: Sha256,
    /// The whole wheel.
    pub wheel: Artifact,
}

/// Something to fetch, by the digest of what ends up in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// A whole file.
    Whole(Artifact),
    /// A few members of a wheel, kept as their canonical archive.
    Partial(PartialWheel),
}

impl Input {
    /// The digest of the file in the store.
    pub fn sha256(&self) -> Sha256 {
        match self {
            Self::Whole(artifact) => artifact.sha256,
            Self::Partial(partial) => partial.sha256,
        }
    }

    /// The artifact that it is, or is part of.
    pub fn artifact(&self) -> &Artifact {
        match self {
            Self::Whole(artifact) => artifact,
            Self::Partial(partial) => &partial.wheel,
        }
    }
}

/// A SHA-256 digest, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest that was worked out elsewhere.
    pub(crate) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest of all that a reader gives, and how many bytes that was.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut size = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self(hasher.finalize().into()), size)),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    size += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest of a hasher that was fed elsewhere.
    pub fn finish(hasher: sha2::Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 hexadecimal digits, for folder names.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a sha256: 64 hexadecimal digits are expected")]
pub struct InvalidSha256(String);

impl FromStr for Sha256 {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let invalid = || InvalidSha256(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
