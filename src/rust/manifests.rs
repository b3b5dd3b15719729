//! Which of a source tree's `Cargo.toml`s its backend builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use walkdir::WalkDir;

/// `[tool]` of `pyproject.toml`, as far as it names manifests.
#[derive(Debug, Default, Deserialize)]
struct PyProject {
    #[serde(default)]
    tool: Tool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tool {
    #[serde(default)]
    maturin: Maturin,
    #[serde(default)]
    setuptools_rust: SetuptoolsRust,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Maturin {
    manifest_path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SetuptoolsRust {
    #[serde(default)]
    ext_modules: Vec<Crate>,
    #[serde(default)]
    bins: Vec<Crate>,
}

#[derive(Debug, Deserialize)]
struct Crate {
    #[serde(default = "at_the_root")]
    path: PathBuf,
}

const MANIFEST: &str = "Cargo.toml";

fn at_the_root() -> PathBuf {
    MANIFEST.into()
}

/// The manifests that `pyproject.toml` names; else the one at the root; else, since a `setup.py` may
/// name any, all that have none above them.
pub(super) fn find(tree: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let text = fs_err::read_to_string(tree.join("pyproject.toml")).unwrap_or_default();
    let Tool { maturin, setuptools_rust } =
        toml::from_str::<PyProject>(&text).unwrap_or_default().tool;
    let SetuptoolsRust { ext_modules, bins } = setuptools_rust;
    let named = maturin.manifest_path.into_iter();
    let named = named.chain(ext_modules.into_iter().chain(bins).map(|krate| krate.path));
    let named: BTreeSet<_> = named.map(|path| tree.join(path)).filter(|p| p.is_file()).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let root = tree.join(MANIFEST);
    match root.is_file() {
        true => Ok(BTreeSet::from([root])),
        false => topmost(tree),
    }
}

/// The name of the crate of a manifest, where it is of one.
pub(super) fn package(manifest: &Path) -> std::io::Result<Option<String>> {
    let manifest = fs_err::read_to_string(manifest)?.parse::<toml::Table>().unwrap_or_default();
    let name = manifest.get("package").and_then(|package| package.get("name"));
    Ok(name.and_then(|name| name.as_str()).map(str::to_owned))
}

fn topmost(tree: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut entries = WalkDir::new(tree).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            continue;
        }
        let manifest = entry.path().join(MANIFEST);
        if manifest.is_file() {
            entries.skip_current_dir();
            // A crate of a registry that the source brings along is none of its own.
            if !entry.path().join(".cargo-checksum.json").exists() {
                found.insert(manifest);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = tree.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let relative = |path: &PathBuf| path.strip_prefix(tree.path()).unwrap().to_owned();
        let found = find(tree.path()).unwrap();
        found.iter().map(|path| relative(path).display().to_string()).collect()
    }

    #[test]
    fn the_manifest_is_the_one_that_the_backend_builds() {
        let [root, binding, core] =
            ["Cargo.toml", "bindings/python/Cargo.toml", "core/Cargo.toml"].map(|f| (f, ""));
        let maturin = "[tool.maturin]\nmanifest-path = \"bindings/python/Cargo.toml\"";
        let named = ("pyproject.toml", maturin);
        assert_eq!(found(&[root, binding, named]), ["bindings/python/Cargo.toml"]);
        let setuptools = "[[tool.setuptools-rust.ext-modules]]\ntarget = \"a\"\n\
                          [[tool.setuptools-rust.bins]]\npath = \"core/Cargo.toml\"";
        let named = ("pyproject.toml", setuptools);
        assert_eq!(found(&[root, core, named]), ["Cargo.toml", "core/Cargo.toml"]);
        assert_eq!(found(&[root, binding]), ["Cargo.toml"]);
        let vendored = [("vendor/libc/Cargo.toml", ""), ("vendor/libc/.cargo-checksum.json", "")];
        let inner = ("core/fuzz/Cargo.toml", "");
        assert_eq!(
            found(&[binding, core, inner, vendored[0], vendored[1]]),
            ["bindings/python/Cargo.toml", "core/Cargo.toml"]
        );
        assert!(found(&[("setup.py", "")]).is_empty());
    }
}
