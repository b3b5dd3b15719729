//! Components as locked: `toolchains/components.lock`, written by `cargo xtask toolchain lock`.

use serde::{Deserialize, Serialize};

use super::spec::ComponentKey;
use crate::artifact::Artifact;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ComponentsLock {
    /// Sorted by key.
    pub component: Vec<LockedComponent>,
}

/// The files of one component, in the order in which they are unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LockedComponent {
    /// What it is.
    #[serde(flatten)]
    pub key: ComponentKey,
    /// Sorted by registry, name and file.
    pub artifact: Vec<Artifact>,
}
