//! Components as locked: `toolchains/components.lock`, written by `cargo xtask toolchain lock`.

use serde::{Deserialize, Serialize};

use super::spec::ComponentKey;
use crate::artifact::{Artifact, Input, PartialWheel, Sha256};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ComponentsLock {
    /// Sorted by key.
    pub component: Vec<LockedComponent>,
}

/// The files of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LockedComponent {
    /// What it is.
    #[serde(flatten)]
    pub key: ComponentKey,
    /// The digest of its symbol index, from which its stubs are made where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Sha256>,
    /// Sorted by registry, name and file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifact: Vec<Artifact>,
    /// Wheels of which only some members are fetched, sorted likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<PartialWheel>,
    /// Files whose libraries are in the symbol index, sorted likewise. Builds never fetch them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexed: Vec<Indexed>,
}

/// A wheel or package of which only the symbols of some libraries are kept, in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Indexed {
    /// Globs of the libraries, or of the headers that declare them.
    pub members: Vec<String>,
    /// The file.
    pub artifact: Artifact,
}

impl LockedComponent {
    /// Everything that it is unpacked from, in the order of unpacking.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        let whole = self.artifact.iter().cloned().map(Input::Whole);
        whole.chain(self.partial.iter().cloned().map(Input::Partial))
    }

    /// The version of the artifact that it is named for: the largest one.
    pub fn version(&self) -> &str {
        let partial = self.partial.iter().map(|p| (p.size, &p.wheel.version));
        let whole = self.artifact.iter().map(|a| (a.size, &a.version));
        whole.chain(partial).max_by_key(|(size, _)| *size).map_or("", |(_, version)| version)
    }
}
