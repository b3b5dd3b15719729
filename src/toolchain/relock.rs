//! Locks components: from package names and version specifiers to exact files.
//!
//! In: `components.toml`, what is locked already, and the registries. Out: a new
//! `components.lock`, and how it differs. Only `cargo xtask toolchain lock` does this; a build
//! takes what is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr as _;

use pep440_rs::VersionSpecifiers;

use super::error::ToolchainError;
use super::lock::{ComponentsLock, LockedComponent};
use super::sources::read;
use super::spec::{AptSource, ComponentKey, ComponentSpec, Components, WheelSource};
use crate::Result;
use crate::artifact::{Artifact, PartialWheel, Sha256};
use crate::error::{Class, Diagnose};
use crate::net::Download;
use crate::registry::Registries;
use crate::registry::apt_index::PackageIndex;
use crate::report::{Event, Reporter, Step};
use crate::store::{Store, StoreError};
use crate::target::Arch;
use crate::unpack::members;

/// What the lock's file begins with.
const HEADER: &str = "\
# What toolchains are made of, to the byte. `cargo xtask toolchain lock` writes this file from
# components.toml and what the registries have; do not edit it.

";

/// Why components cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum RelockError {
    /// A wheel's version requirement that is none.
    #[error("`{version}` of the wheel `{project}` is not a version specifier")]
    Specifier {
        /// The project.
        project: String,
        /// What `components.toml` says.
        version: String,
        /// Why it is none.
        source: pep440_rs::VersionSpecifiersParseError,
    },
    /// A name that no component has.
    #[error("there is no component `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The lock cannot be written as TOML.
    #[error("the lock cannot be written")]
    Render(#[from] toml::ser::Error),
}

impl Diagnose for RelockError {
    fn class(&self) -> Class {
        match self {
            Self::Specifier { .. } | Self::Unknown { .. } => Class::Usage,
            Self::Render(_) => Class::Toolchain,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!("there are: {}", known.join(", "))),
            _ => None,
        }
    }
}

/// What locking needs.
#[derive(Clone, Copy)]
pub struct Relock<'a> {
    /// Where packages can be had.
    pub registries: &'a Registries,
    /// Where large wheels are put for a moment.
    pub store: &'a Store,
    /// Who hears of it.
    pub reporter: &'a dyn Reporter,
}

/// A new lock.
#[derive(Debug, Clone)]
pub struct Relocked {
    /// The lock.
    pub lock: ComponentsLock,
    /// Components that were left as they are, since a registry of theirs is not configured: its
    /// name by component.
    pub skipped: BTreeMap<ComponentKey, String>,
}

/// One file that another lock has in place of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The component.
    pub component: ComponentKey,
    /// The package or project.
    pub name: String,
    /// The versions before; none where it is new.
    pub before: Vec<String>,
    /// The versions after; none where it is gone. Those before, where only the file changed.
    pub after: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.component)?;
        let (before, after) = (self.before.join(", "), self.after.join(", "));
        match (self.before.is_empty(), self.after.is_empty()) {
            (true, _) => write!(f, "+ {} {after}", self.name),
            (_, true) => write!(f, "- {} {before}", self.name),
            _ if before == after => write!(f, "  {} {after} (another file)", self.name),
            _ => write!(f, "  {} {before} → {after}", self.name),
        }
    }
}

impl Relock<'_> {
    /// Locks the components of these names, or all of them; the others stay as they are locked.
    ///
    /// Taken are the newest package of each apt suite and the newest wheel that fits its
    /// specifier. The result depends on what the registries have, and on nothing else.
    pub fn relock(
        &self,
        spec: &Components,
        previous: &ComponentsLock,
        names: &[String],
    ) -> Result<Relocked> {
        let known: BTreeSet<_> = spec.component.iter().map(|c| c.key.name.clone()).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(*name)) {
            let known = known.into_iter().collect();
            return Err(RelockError::Unknown { name: name.clone(), known }.into());
        }
        let mut indexes = Indexes { context: *self, known: BTreeMap::new() };
        let mut component = Vec::new();
        let mut skipped = BTreeMap::new();
        for spec in &spec.component {
            let locked = previous.component.iter().find(|locked| locked.key == spec.key);
            if !names.is_empty() && !names.contains(&spec.key.name) {
                component.extend(locked.cloned());
                continue;
            }
            if let Some(registry) = self.unconfigured(spec) {
                skipped.insert(spec.key.clone(), registry);
                component.extend(locked.cloned());
                continue;
            }
            let _step = Step::start(self.reporter, "locking", spec.key.to_string());
            component.push(self.lock_component(spec, locked, &mut indexes)?);
        }
        component.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Relocked { lock: ComponentsLock { component }, skipped })
    }

    /// The first registry of a component that no configuration describes.
    fn unconfigured(&self, spec: &ComponentSpec) -> Option<String> {
        let registries = spec.apt.iter().map(|source| &source.registry);
        registries.into_iter().find(|name| !self.registries.is_configured(name)).cloned()
    }

    fn lock_component(
        &self,
        spec: &ComponentSpec,
        previous: Option<&LockedComponent>,
        indexes: &mut Indexes<'_>,
    ) -> Result<LockedComponent> {
        let mut artifact = Vec::new();
        let mut partial = Vec::new();
        for source in &spec.apt {
            let index = indexes.get(source)?;
            let packages = index.closure(&source.packages, source.depends, &source.exclude)?;
            artifact.extend(packages.into_iter().map(|package| package.artifact(&source.registry)));
        }
        for source in &spec.wheel {
            let wheel = self.lock_wheel(source)?;
            if source.members.is_empty() {
                artifact.push(wheel);
            } else {
                partial.push(self.lock_partial(source, wheel, previous)?);
            }
        }
        let by_name = |a: &Artifact, b: &Artifact| {
            (&a.registry, &a.name, &a.file).cmp(&(&b.registry, &b.name, &b.file))
        };
        artifact.sort_by(by_name);
        artifact.dedup();
        partial.sort_by(|a: &PartialWheel, b| by_name(&a.wheel, &b.wheel));
        Ok(LockedComponent { key: spec.key.clone(), artifact, partial })
    }

    fn lock_wheel(&self, source: &WheelSource) -> Result<Artifact> {
        let wanted = VersionSpecifiers::from_str(&source.version).map_err(|error| {
            let (project, version) = (source.project.clone(), source.version.clone());
            RelockError::Specifier { project, version, source: error }
        })?;
        let pypi = self.registries.pypi()?;
        let project = pypi.project(&source.project)?;
        let choice = project.newest_wheel(&wanted, source.arch)?;
        if let Some(warning) = &choice.warning {
            self.reporter.report(Event::Warning(warning.clone()));
        }
        Ok(pypi.artifact(&project, &choice)?)
    }

    /// Locks members of a wheel, out of the whole of it: builds fetch ranges, which can only be
    /// verified against a digest that was made from verified bytes.
    fn lock_partial(
        &self,
        source: &WheelSource,
        wheel: Artifact,
        previous: Option<&LockedComponent>,
    ) -> Result<PartialWheel> {
        let same =
            |partial: &&PartialWheel| partial.wheel == wheel && partial.members == source.members;
        if let Some(known) = previous.and_then(|locked| locked.partial.iter().find(same)) {
            return Ok(known.clone());
        }
        let _step = Step::start(self.reporter, "reading", wheel.file.clone());
        let folder = tempfile::tempdir_in(self.store.root()).map_err(StoreError::Io)?;
        let path = folder.path().join(&wheel.file);
        let url = self.registries.url_of(&wheel)?;
        let download =
            Download { url: &url, destination: &path, size: wheel.size, sha256: wheel.sha256 };
        self.registries.http().download(&download, &mut |_| ())?;
        let file = fs_err::File::open(&path).map_err(StoreError::Io)?;
        let archive = members::repack(file, &path, &source.members, Vec::new())?;
        let (size, sha256) = (archive.len() as u64, Sha256::of(&archive));
        Ok(PartialWheel { members: source.members.clone(), size, sha256, wheel })
    }
}

/// Package indexes that were read, since several components share one.
struct Indexes<'a> {
    context: Relock<'a>,
    known: BTreeMap<(String, String, Arch), PackageIndex>,
}

impl Indexes<'_> {
    fn get(&mut self, source: &AptSource) -> Result<&PackageIndex> {
        let key = (source.registry.clone(), source.suite.clone(), source.arch);
        if !self.known.contains_key(&key) {
            let Relock { registries, reporter, .. } = self.context;
            let subject = format!("{} {} {}", source.registry, source.suite, source.arch.debian());
            let _step = Step::start(reporter, "reading the index of", subject);
            let repository = registries.apt(&source.registry)?;
            let index = repository.packages(
                registries.http(),
                registries.environment(),
                &source.suite,
                source.arch,
            )?;
            self.known.insert(key.clone(), index);
        }
        Ok(&self.known[&key])
    }
}

/// Reads `components.toml` and, where it is there, `components.lock` of a folder.
pub fn load(folder: &Path) -> Result<(Components, ComponentsLock), ToolchainError> {
    let spec = read(&folder.join("components.toml"))?;
    let lock = folder.join("components.lock");
    let lock = if lock.is_file() { read(&lock)? } else { ComponentsLock::default() };
    Ok((spec, lock))
}

/// The text of the lock's file.
pub fn render(lock: &ComponentsLock) -> Result<String, RelockError> {
    Ok(format!("{HEADER}{}", toml::to_string_pretty(lock)?))
}

/// How a lock differs from another, in the order of components and names.
pub fn changes(before: &ComponentsLock, after: &ComponentsLock) -> Vec<Change> {
    let keys: BTreeSet<_> =
        before.component.iter().chain(&after.component).map(|locked| &locked.key).collect();
    let mut changes = Vec::new();
    for key in keys {
        let (old, new) = (files(before, key), files(after, key));
        let names: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        for name in names {
            let of = |files: &Files| files.get(name).cloned().unwrap_or_default();
            let (old, new) = (of(&old), of(&new));
            if old != new {
                let versions = |files: BTreeSet<(String, Sha256)>| -> Vec<String> {
                    let versions: BTreeSet<_> = files.into_iter().map(|(v, _)| v).collect();
                    versions.into_iter().collect()
                };
                let component = key.clone();
                let name = name.to_owned();
                let (before, after) = (versions(old), versions(new));
                changes.push(Change { component, name, before, after });
            }
        }
    }
    changes
}

/// Package to its versions and digests.
type Files<'a> = BTreeMap<&'a str, BTreeSet<(String, Sha256)>>;

fn files<'a>(lock: &'a ComponentsLock, key: &ComponentKey) -> Files<'a> {
    let mut files = Files::new();
    for locked in lock.component.iter().filter(|locked| locked.key == *key) {
        let whole = locked.artifact.iter().map(|artifact| (artifact, artifact.sha256));
        let partial = locked.partial.iter().map(|partial| (&partial.wheel, partial.sha256));
        for (artifact, sha256) in whole.chain(partial) {
            let entry = files.entry(artifact.name.as_str()).or_default();
            entry.insert((artifact.version.clone(), sha256));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str)]) -> ComponentsLock {
        let artifact = |(name, version): &(&str, &str)| Artifact {
            registry: crate::registry::DEBIAN.to_owned(),
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            file: format!("pool/{name}_{version}.deb"),
            size: 1,
            sha256: Sha256::of(format!("{name}{version}")),
        };
        let key = ComponentKey {
            name: "gcc".to_owned(),
            build: Some(Arch::X86_64),
            target: None,
            cuda: None,
            python: None,
        };
        let artifact = packages.iter().map(artifact).collect();
        ComponentsLock { component: vec![LockedComponent { key, artifact, partial: Vec::new() }] }
    }

    #[test]
    fn changes_name_what_came_went_and_moved() {
        let before = lock(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = lock(&[("b", "2"), ("c", "1"), ("d", "1")]);
        let shown: Vec<_> = changes(&before, &after).iter().map(Change::to_string).collect();
        assert_eq!(
            shown,
            ["gcc on x86_64: - a 1", "gcc on x86_64:   b 1 → 2", "gcc on x86_64: + d 1"]
        );
        assert_eq!(changes(&after, &after), []);
    }

    #[test]
    fn a_rendered_lock_reads_back() {
        let lock = lock(&[("a", "1"), ("b", "1:2~3")]);
        let text = render(&lock).unwrap();
        assert!(text.starts_with("# What toolchains are made of"));
        assert_eq!(toml::from_str::<ComponentsLock>(&text).unwrap(), lock);
    }
}
