//! Registries beside the one that cargo knows by itself: manifests call them by names of the
//! machine's own configuration, `Cargo.lock` by their indices.

use std::collections::BTreeMap;
use std::path::Path;

use super::CRATES;
use super::dependencies::registries;
use crate::artifact::Artifact;
use crate::patch::files_of;

/// The index of a registry, as cargo's configuration has it.
pub(super) fn index(registry: &str) -> &str {
    registry.strip_prefix("registry+").unwrap_or(registry)
}

/// What the manifests of a source tree call the registries of its crates, by the names of the crates
/// that they take from there.
pub(super) fn names(tree: &Path, crates: &[Artifact]) -> std::io::Result<BTreeMap<String, String>> {
    let others = crates.iter().filter(|artifact| artifact.registry != CRATES);
    let of: BTreeMap<_, _> = others.map(|a| (a.name.as_str(), a.registry.as_str())).collect();
    let mut names = BTreeMap::new();
    if of.is_empty() {
        return Ok(names);
    }
    for path in files_of(tree)?.iter().filter(|p| p.file_name().is_some_and(|n| n == "Cargo.toml"))
    {
        let text = fs_err::read_to_string(tree.join(path))?;
        // What is no manifest, cargo reads neither.
        for (krate, name) in registries(&text).unwrap_or_default() {
            if let Some(registry) = of.get(krate.as_str()) {
                names.insert(name, (*registry).to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Sha256;

    #[test]
    fn a_registry_is_called_as_the_manifests_call_it() {
        let tree = tempfile::tempdir().unwrap();
        let manifest = "[workspace.dependencies]\na = { version = \"1\", registry = \"own\" }\n\n\
                        [dependencies]\nb = \"1\"\nc = { package = \"d\", registry = \"more\" }\n";
        fs_err::write(tree.path().join("Cargo.toml"), manifest).unwrap();
        let artifact = |registry: &str, name: &str| Artifact {
            registry: registry.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            file: format!("{name}-1.0.0.crate"),
            size: 1,
            sha256: Sha256::of(name),
        };
        let (own, more) = ("registry+https://example.com/own", "sparse+https://example.com/more/");
        let crates = [artifact(own, "a"), artifact(CRATES, "b"), artifact(more, "d")];
        let names = names(tree.path(), &crates).unwrap();
        let found: Vec<_> = names.iter().map(|(name, at)| (name.as_str(), index(at))).collect();
        assert_eq!(found, [("more", more), ("own", "https://example.com/own")]);
    }
}
