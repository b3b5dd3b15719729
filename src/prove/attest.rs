//! The manifest beside a wheel: what it tells of the wheel's target, and where a proof is kept.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Proof, ProveError};
use crate::Result;
use crate::artifact::Sha256;
use crate::manifest::write_together;

/// The manifest of a wheel, as a document that other versions of crosswheel may have written.
#[derive(Debug)]
pub struct ManifestFile {
    path: PathBuf,
    document: Value,
}

/// What a manifest tells of where its wheel runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The target's name.
    pub target: Option<String>,
    /// The Python that the wheel was built for, such as `3.11`.
    pub python: Option<String>,
    /// The torch that it was built for: a version of the index, or a path.
    pub torch: Option<String>,
}

/// A statement about a wheel that was made after it was built. It holds no times: the same proof
/// is the same statement.
#[derive(Serialize)]
struct Attestation<'a> {
    kind: &'static str,
    crosswheel: &'static str,
    #[serde(flatten)]
    proof: &'a Proof,
}

/// The kind of attestation that a proof is.
const IMPORT: &str = "import";

impl ManifestFile {
    /// The manifest beside a wheel, where there is one and it is of this very wheel.
    pub fn beside(wheel: &Path, sha256: Sha256) -> Result<Option<Self>> {
        let path = wheel.with_extension("manifest.json");
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ProveError::Io(error).into()),
        };
        let document: Value = serde_json::from_slice(&text)
            .map_err(|source| ProveError::Manifest { path: path.clone(), source })?;
        let of_wheel = document["wheel"]["sha256"] == sha256.to_string();
        Ok(of_wheel.then_some(Self { path, document }))
    }

    /// What it tells.
    pub fn facts(&self) -> Recorded {
        let text = |pointer: &str| Some(self.document.pointer(pointer)?.as_str()?.to_owned());
        Recorded {
            target: text("/target/name"),
            python: text("/python/version"),
            torch: text("/torch/wheel/version").or_else(|| text("/torch/path")),
        }
    }

    /// Adds a proof to it, in the place of an earlier one with the same Python and torch.
    pub fn attest(mut self, proof: &Proof) -> Result<()> {
        let attestation =
            Attestation { kind: IMPORT, crosswheel: env!("CARGO_PKG_VERSION"), proof };
        let malformed = |source| ProveError::Manifest { path: self.path.clone(), source };
        let attestation = serde_json::to_value(&attestation).map_err(malformed)?;
        let mut all = match self.document.get_mut("attestations").map(Value::take) {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let key = |one: &Value| ["kind", "target", "python", "torch"].map(|k| one[k].clone());
        all.retain(|other| key(other) != key(&attestation));
        all.push(attestation);
        self.document["attestations"] = Value::Array(all);
        let text = serde_json::to_string_pretty(&self.document).map_err(malformed)? + "\n";
        write_together(&[(&self.path, text.as_bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(folder: &Path, manifest: &Value) -> Option<ManifestFile> {
        let wheel = folder.join("a-1+b-py3-none-any.whl");
        let path = folder.join("a-1+b-py3-none-any.manifest.json");
        fs_err::write(path, manifest.to_string()).unwrap();
        ManifestFile::beside(&wheel, Sha256::of("wheel")).unwrap()
    }

    #[test]
    fn only_the_manifest_of_this_very_wheel_counts() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = |content: &str| {
            serde_json::json!({
                "wheel": { "sha256": Sha256::of(content) },
                "target": { "name": "thor" },
                "python": { "version": "3.11" },
                "torch": { "version": "2.14.0+cu130", "wheel": { "version": "2.14.0" } },
            })
        };
        assert!(beside(folder.path(), &manifest("another")).is_none());
        let facts = beside(folder.path(), &manifest("wheel")).unwrap().facts();
        let expected = [&facts.target, &facts.python, &facts.torch].map(|f| f.clone().unwrap());
        assert_eq!(expected, ["thor", "3.11", "2.14.0"]);
    }
}
