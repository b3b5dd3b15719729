//! `Cargo.lock` (the Cargo Book, "Cargo.toml vs Cargo.lock"; versions 2 to 4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::CRATES;
use super::error::RustError;
use super::git_source::GitSource;
use crate::artifact::Sha256;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<Sha256>,
}

/// The end of the name of the one registry that cargo knows by itself.
const CRATES_IO: &str = "/crates.io-index";

/// A crate of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LockedCrate {
    pub(super) name: String,
    pub(super) version: String,
    /// [`CRATES`], or another registry as cargo names it.
    pub(super) registry: String,
    pub(super) sha256: Sha256,
}

impl LockedCrate {
    /// The name of its archive.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

/// What lock files name, taken together, each once.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The crates of registries.
    pub(super) crates: BTreeSet<LockedCrate>,
    /// The names of those of git repositories.
    pub(super) repositories: BTreeMap<GitSource, BTreeSet<String>>,
}

impl Named {
    /// Adds the crates of one file.
    pub(super) fn read(&mut self, path: &Path, shown: &Path) -> Result<(), RustError> {
        let text = fs_err::read_to_string(path)?;
        let file: File = toml::from_str(&text).map_err(|source| RustError::Malformed {
            path: shown.to_owned(),
            source: Box::new(source),
        })?;
        for package in file.package {
            // The source's own.
            let Some(source) = package.source.clone() else { continue };
            self.add(package, source, shown)?;
        }
        Ok(())
    }

    fn add(&mut self, package: Package, source: String, path: &Path) -> Result<(), RustError> {
        let Package { name, version, checksum, .. } = package;
        if let Some(repository) = GitSource::parse(&source) {
            self.repositories.entry(repository).or_default().insert(name);
            return Ok(());
        }
        let krate = format!("{name} {version}");
        let path = || -> PathBuf { path.to_owned() };
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            return Err(RustError::NoRegistry { krate, source_url: source, path: path() });
        }
        let sha256 = checksum.ok_or_else(|| RustError::NoChecksum { krate, path: path() })?;
        let registry = if source.ends_with(CRATES_IO) { CRATES.to_owned() } else { source };
        self.crates.insert(LockedCrate { name, version, registry, sha256 });
        Ok(())
    }
}

/// A lock file in which crates of this repository have the versions that they have elsewhere; cargo
/// looks up anew what those need, and only that.
pub(super) fn with_versions(
    text: &str,
    repository: &GitSource,
    versions: &BTreeMap<String, String>,
) -> Result<String, toml_edit::TomlError> {
    let mut file: toml_edit::DocumentMut = text.parse()?;
    let source = repository.to_string();
    let packages = file.get_mut("package").and_then(toml_edit::Item::as_array_of_tables_mut);
    for package in packages.into_iter().flat_map(|packages| packages.iter_mut()) {
        let is = |key: &str| package.get(key).and_then(toml_edit::Item::as_str);
        let version = is("name").and_then(|name| versions.get(name));
        if let Some(version) = version.filter(|_| is("source") == Some(&source)) {
            package["version"] = toml_edit::value(version);
        }
    }
    Ok(file.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Diagnose as _;

    fn named(text: &str) -> Result<Named, RustError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Cargo.lock");
        fs_err::write(&path, text).unwrap();
        let mut named = Named::default();
        named.read(&path, Path::new("rust/Cargo.lock"))?;
        Ok(named)
    }

    /// A file of the source itself and one crate.
    fn file(source: &str, more: &str) -> String {
        format!(
            "version = 4\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\n\
             name = \"libc\"\nversion = \"0.2.1\"\nsource = \"{source}\"\n{more}"
        )
    }

    #[test]
    fn crates_are_named_by_their_checksums_and_registries() {
        let sha256 = Sha256::of("a");
        let checksum = format!("checksum = \"{sha256}\"");
        for (source, registry) in [
            ("registry+https://example.com/crates.io-index", CRATES),
            ("sparse+https://example.com/own/", "sparse+https://example.com/own/"),
        ] {
            let named = named(&file(source, &checksum)).unwrap();
            let (name, version, registry) = ("libc".into(), "0.2.1".into(), registry.into());
            let expected = LockedCrate { name, version, registry, sha256 };
            assert_eq!(expected.file_name(), "libc-0.2.1.crate");
            assert_eq!(named.crates, BTreeSet::from([expected]));
        }
    }

    #[test]
    fn a_repository_is_named_with_its_crates() {
        let source = "git+https://example.com/libc?rev=01#0123456";
        let text = file(source, "dependencies = [\n \"x\",\n]\n");
        let named = named(&text).unwrap();
        let (repository, names) = named.repositories.first_key_value().unwrap();
        assert_eq!(repository.to_string(), source);
        assert_eq!(*names, BTreeSet::from(["libc".to_owned()]));
        let versions = BTreeMap::from([("libc".to_owned(), "0.3.0".to_owned())]);
        let changed = with_versions(&text, repository, &versions).unwrap();
        assert_eq!(changed, text.replace("0.2.1", "0.3.0"));
    }

    #[test]
    fn what_cannot_be_locked_is_refused_by_name() {
        let other = named(&file("dir+file:///libc", "")).unwrap_err();
        assert_eq!(
            other.to_string(),
            "`libc 0.2.1` of `rust/Cargo.lock` comes from `dir+file:///libc`, which is neither a \
             registry of crates nor a git repository"
        );
        let bare = named(&file("registry+https://example.com/index", "")).unwrap_err();
        assert!(matches!(bare, RustError::NoChecksum { .. }), "{bare}");
        assert!(bare.hint().unwrap().contains("cargo generate-lockfile"));
        let malformed = named("[[package]]\nname = 1\n").unwrap_err();
        assert!(malformed.to_string().starts_with("`rust/Cargo.lock`"), "{malformed}");
    }
}
