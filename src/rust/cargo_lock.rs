//! `Cargo.lock` (the Cargo Book, "Cargo.toml vs Cargo.lock"; versions 2 to 4).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::RustError;
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

/// A crate of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LockedCrate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) sha256: Sha256,
}

impl LockedCrate {
    /// The name of its archive.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }
}

/// What lock files name, taken together.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The crates, each once.
    pub(super) crates: BTreeSet<LockedCrate>,
    /// The registry that they come from, as cargo writes it.
    registry: Option<String>,
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
        let krate = format!("{name} {version}");
        let path = || -> PathBuf { path.to_owned() };
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            return Err(RustError::NoRegistry { krate, source_url: source, path: path() });
        }
        let known = self.registry.get_or_insert_with(|| source.clone());
        if *known != source {
            return Err(RustError::SecondRegistry { krate, source_url: source, path: path() });
        }
        let sha256 = checksum.ok_or_else(|| RustError::NoChecksum { krate, path: path() })?;
        self.crates.insert(LockedCrate { name, version, sha256 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Diagnose as _;

    fn named(text: &str) -> Result<Vec<LockedCrate>, RustError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Cargo.lock");
        fs_err::write(&path, text).unwrap();
        let mut named = Named::default();
        named.read(&path, Path::new("rust/Cargo.lock"))?;
        Ok(named.crates.into_iter().collect())
    }

    /// A file of the source itself and one crate.
    fn file(source: &str, more: &str) -> String {
        format!(
            "version = 4\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\n\
             name = \"libc\"\nversion = \"0.2.1\"\nsource = \"{source}\"\n{more}"
        )
    }

    #[test]
    fn the_crates_of_a_registry_are_named_by_their_checksums() {
        let sha256 = Sha256::of("a");
        let text = file("registry+https://example.com/index", &format!("checksum = \"{sha256}\""));
        let named = named(&text).unwrap();
        let expected = LockedCrate { name: "libc".into(), version: "0.2.1".into(), sha256 };
        assert_eq!(named, [expected]);
        assert_eq!(named[0].file_name(), "libc-0.2.1.crate");
    }

    #[test]
    fn what_cannot_be_locked_by_a_checksum_is_refused_by_name() {
        let git = named(&file("git+https://example.com/libc#0123456", "")).unwrap_err();
        assert_eq!(
            git.to_string(),
            "`libc 0.2.1` of `rust/Cargo.lock` comes from `git+https://example.com/libc#0123456`, \
             which is no registry of crates"
        );
        let bare = named(&file("registry+https://example.com/index", "")).unwrap_err();
        assert!(matches!(bare, RustError::NoChecksum { .. }), "{bare}");
        assert!(bare.hint().unwrap().contains("cargo generate-lockfile"));
        let malformed = named("[[package]]\nname = 1\n").unwrap_err();
        assert!(malformed.to_string().starts_with("`rust/Cargo.lock`"), "{malformed}");
    }
}
