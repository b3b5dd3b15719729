//! Locks components: from package names and version specifiers to exact files.
//!
//! In: `components.toml`, `cuda.toml`, what is locked already, and the registries. Out: a new
//! `components.lock`, the symbol indices that it names, and how it differs. Only `cargo xtask toolchain lock` does this; a build
//! takes what is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use pep440_rs::VersionSpecifiers;
use zip::result::ZipError;

use super::error::ToolchainError;
use super::lock::{ComponentsLock, Indexed, LockedComponent};
use super::sources::read;
use super::spec::{AptSource, ComponentKey, ComponentSpec, Components, WheelSource};
use super::stubs;
use super::wheels::Wheels;
use crate::Result;
use crate::artifact::{Artifact, PartialWheel, Sha256};
use crate::error::{Class, Diagnose};
use crate::registry::Registries;
use crate::registry::apt_index::PackageIndex;
use crate::report::{Event, Reporter, Step};
use crate::store::Store;
use crate::symbols::{LibraryError, Product, SymbolIndex};
use crate::target::Arch;

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
    /// A wheel is not a readable archive.
    #[error("a wheel cannot be read")]
    Zip(#[from] ZipError),
    /// A wheel without the libraries that stubs are made of.
    #[error("`{wheel}` has none of the libraries that are to be indexed")]
    NoLibraries {
        /// The wheel.
        wheel: PathBuf,
    },
    /// A library whose symbols cannot be indexed.
    #[error("`{file}` cannot be indexed")]
    Library {
        /// Its path in the wheel.
        file: String,
        /// Why.
        source: LibraryError,
    },
    /// A component that is not for one machine and has stubs all the same.
    #[error("{component} cannot have stubs: it is for no one processor and CUDA release")]
    NoMachine {
        /// The component.
        component: ComponentKey,
    },
    /// A wheel cannot be read, or not be put aside.
    #[error("wheels cannot be read or written")]
    Io(#[from] std::io::Error),
    /// The lock cannot be written as TOML.
    #[error("the lock cannot be written")]
    Render(#[from] toml::ser::Error),
}

impl Diagnose for RelockError {
    fn class(&self) -> Class {
        match self {
            Self::Specifier { .. } | Self::Unknown { .. } | Self::NoMachine { .. } => Class::Usage,
            Self::Zip(_) | Self::NoLibraries { .. } | Self::Library { .. } => Class::Archive,
            Self::Io(_) => Class::Io,
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
    /// The folder `toolchains`.
    pub folder: &'a Path,
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
    /// Symbol indices that the lock names, by path.
    pub indices: BTreeMap<PathBuf, Vec<u8>>,
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
        let mut sources = Sources {
            indexes: Indexes { context: *self, known: BTreeMap::new() },
            wheels: Wheels::new(self.registries, self.reporter, self.store.root())?,
        };
        let mut indices = BTreeMap::new();
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
            let (locked, index) = self.lock_component(spec, locked, &mut sources)?;
            component.push(locked);
            indices.extend(index);
        }
        component.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Relocked { lock: ComponentsLock { component }, indices, skipped })
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
        sources: &mut Sources<'_>,
    ) -> Result<(LockedComponent, Option<Index>)> {
        if !spec.index.is_empty() {
            return self.lock_system(spec, previous, sources);
        }
        let mut artifact = Vec::new();
        let mut partial = Vec::new();
        for source in &spec.apt {
            let index = sources.indexes.get(source)?;
            let packages = index.closure(&source.packages, source.depends, &source.exclude)?;
            artifact.extend(packages.into_iter().map(|package| package.artifact(&source.registry)));
        }
        for source in &spec.wheel {
            let wheel = self.lock_wheel(source)?;
            if source.members.is_empty() {
                artifact.push(wheel);
                continue;
            }
            let known = previous.and_then(|locked| {
                let same = |p: &&PartialWheel| p.wheel == wheel && p.members == source.members;
                locked.partial.iter().find(same).cloned()
            });
            partial.push(match known {
                Some(known) => known,
                None => sources.wheels.part(wheel, &source.members)?,
            });
        }
        let by_name = |a: &Artifact, b: &Artifact| {
            (&a.registry, &a.name, &a.file).cmp(&(&b.registry, &b.name, &b.file))
        };
        artifact.sort_by(by_name);
        artifact.dedup();
        partial.sort_by(|a: &PartialWheel, b| by_name(&a.wheel, &b.wheel));
        let (key, symbols, indexed) = (spec.key.clone(), None, Vec::new());
        let mut locked = LockedComponent { key, symbols, artifact, partial, indexed };
        let index = match spec.stubs.is_empty() {
            true => None,
            false => Some(self.index(spec, previous, &mut locked, &mut sources.wheels)?),
        };
        Ok((locked, index))
    }

    /// Indexes the libraries that a component has stubs of. Those of wheels that the present index
    /// was made from are taken from there.
    fn index(
        &self,
        spec: &ComponentSpec,
        previous: Option<&LockedComponent>,
        locked: &mut LockedComponent,
        wheels: &mut Wheels<'_>,
    ) -> Result<Index> {
        let no_machine = || RelockError::NoMachine { component: spec.key.clone() };
        let (path, arch, cuda) =
            match (stubs::index_path(self.folder, &spec.key), spec.key.target, &spec.key.cuda) {
                (Some(path), Some(arch), Some(cuda)) => (path, arch, cuda),
                _ => return Err(no_machine().into()),
            };
        // An index that is not the locked one is made anew.
        let present = previous.and_then(|locked| stubs::load(&path, locked.symbols?).ok());
        let known: &[Indexed] = match (&present, previous) {
            (Some(_), Some(previous)) => &previous.indexed,
            _ => &[],
        };
        let mut index = present.unwrap_or_else(|| SymbolIndex::new(Product::Cuda, cuda, arch));
        for source in &spec.stubs {
            let wheel = self.lock_wheel(source)?;
            let indexed = Indexed { members: source.members.clone(), artifact: wheel };
            if !known.contains(&indexed) {
                let wheel = &indexed.artifact;
                index.insert(&wheel.name, wheels.libraries(wheel, &indexed.members, arch)?);
            }
            locked.indexed.push(indexed);
        }
        Ok((path, finish(index, locked)))
    }

    /// Indexes the libraries of packages of the target's system, and of the driver what the
    /// headers in wheels declare.
    fn lock_system(
        &self,
        spec: &ComponentSpec,
        previous: Option<&LockedComponent>,
        sources: &mut Sources<'_>,
    ) -> Result<(LockedComponent, Option<Index>)> {
        let no_machine = || RelockError::NoMachine { component: spec.key.clone() };
        let path = stubs::index_path(self.folder, &spec.key).ok_or_else(no_machine)?;
        let arch = spec.key.target.ok_or_else(no_machine)?;
        let mut indexed = Vec::new();
        for source in &spec.apt {
            let index = sources.indexes.get(source)?;
            let packages = index.closure(&source.packages, source.depends, &source.exclude)?;
            indexed.extend(packages.into_iter().map(|package| {
                let (members, artifact) = (spec.index.clone(), package.artifact(&source.registry));
                Indexed { members, artifact }
            }));
        }
        for source in &spec.wheel {
            let (members, artifact) = (source.members.clone(), self.lock_wheel(source)?);
            indexed.push(Indexed { members, artifact });
        }
        let present = previous.and_then(|locked| stubs::load(&path, locked.symbols?).ok());
        let known = match (&present, previous) {
            (Some(_), Some(previous)) => &previous.indexed[..],
            _ => &[],
        };
        let mut index = present.unwrap_or_else(|| SymbolIndex::new(Product::System, SYSTEM, arch));
        for new in indexed.iter().filter(|indexed| !known.contains(indexed)) {
            let libraries = sources.wheels.system(&new.artifact, &new.members, arch)?;
            index.insert(&new.artifact.name, libraries);
        }
        let (artifact, partial) = (Vec::new(), Vec::new());
        let key = spec.key.clone();
        let mut locked = LockedComponent { key, symbols: None, artifact, partial, indexed };
        let packed = finish(index, &mut locked);
        Ok((locked, Some((path, packed))))
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
}

/// What an index of the target's system calls its version: it is one set of packages, whatever
/// the target, and symbol versions tell what each of them has.
const SYSTEM: &str = "1";

/// Packs an index that has the libraries of what is indexed, and of nothing else.
fn finish(mut index: SymbolIndex, locked: &mut LockedComponent) -> Vec<u8> {
    locked.indexed.sort_by(|a, b| a.artifact.cmp(&b.artifact));
    let wanted: BTreeSet<_> = locked.indexed.iter().map(|i| i.artifact.name.clone()).collect();
    let gone: Vec<_> = index.parts.difference(&wanted).cloned().collect();
    gone.iter().for_each(|part| index.remove(part));
    let packed = index.to_xz();
    locked.symbols = Some(Sha256::of(&packed));
    packed
}

/// A symbol index and its path.
type Index = (PathBuf, Vec<u8>);

/// Where the files of components are looked up.
struct Sources<'a> {
    indexes: Indexes<'a>,
    wheels: Wheels<'a>,
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
    let spec = Components::load(folder)?;
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
        let indexed = locked.indexed.iter().map(|i| (&i.artifact, i.artifact.sha256));
        for (artifact, sha256) in whole.chain(partial).chain(indexed) {
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
        let (symbols, partial, indexed) = (None, Vec::new(), Vec::new());
        ComponentsLock {
            component: vec![LockedComponent { key, symbols, artifact, partial, indexed }],
        }
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
