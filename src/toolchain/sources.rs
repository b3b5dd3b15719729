//! The description of components and their lock, read together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::ToolchainError;
use super::lock::{ComponentsLock, LockedComponent};
use super::spec::{ComponentSpec, Components, Wanted};
use super::{ComponentRef, cuda, stubs};
use crate::artifact::{Artifact, Sha256};
use crate::store::{Components as ComponentStore, Key};
use crate::symbols::SymbolIndex;
use crate::target::{Arch, Target};

/// The component that others are relocated to.
pub const RUNTIME: &str = "runtime";

/// `components.toml`, `cuda.toml` and `components.lock`.
#[derive(Debug, Clone)]
pub struct Sources {
    components: Vec<Source>,
    /// Those of registries that this machine does not know.
    unlocked: Vec<ComponentSpec>,
}

/// A component, as written and as locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As written.
    pub spec: ComponentSpec,
    /// As locked.
    pub locked: LockedComponent,
    /// The symbol index that its stubs are made from, where it has any.
    pub index: Option<PathBuf>,
}

impl Sources {
    /// Reads these files of the folder `toolchains`, and puts each component together with its
    /// lock.
    pub fn load(folder: &Path) -> Result<Self, ToolchainError> {
        let spec = Components::load(folder)?;
        let lock: ComponentsLock = read(&folder.join("components.lock"))?;
        let mut sources = Self { components: Vec::new(), unlocked: Vec::new() };
        for spec in spec.component {
            let Some(locked) = lock.component.iter().find(|locked| locked.key == spec.key) else {
                sources.unlocked.push(spec);
                continue;
            };
            let has_stubs = locked.symbols.is_some();
            let index = stubs::index_path(folder, &spec.key).filter(|_| has_stubs);
            sources.components.push(Source { spec, locked: locked.clone(), index });
        }
        Ok(sources)
    }

    /// Whether a component with the headers of this Python is locked for the target.
    pub fn has_headers(&self, target: &Target, python: &str) -> bool {
        let serves = |source: &Source| {
            let key = &source.spec.key;
            key.name == "python-headers"
                && key.python.as_deref() == Some(python)
                && key.target.is_none_or(|arch| arch == target.arch)
        };
        self.components.iter().any(serves)
    }

    /// All of them, in the order of `components.toml`.
    pub fn all(&self) -> &[Source] {
        &self.components
    }

    /// Debian's package of pip, which knows the default index of machines without a pip.
    pub fn pip_package(&self) -> Option<&Artifact> {
        let pip = self.components.iter().find(|source| source.spec.key.name == "pip")?;
        pip.locked.artifact.first()
    }

    /// The first that serves.
    pub fn find(&self, wanted: &Wanted<'_>) -> Result<&Source, ToolchainError> {
        let found = self.components.iter().find(|source| source.spec.key.serves(wanted));
        found.ok_or_else(|| self.not_found(wanted))
    }

    /// The store's keys of all components, for whatever machine.
    pub fn keys(&self, components: &ComponentStore) -> BTreeSet<String> {
        let runtimes = self.components.iter().filter(|source| source.spec.key.name == RUNTIME);
        let runtimes: Vec<_> = runtimes.map(Source::runtime_digest).collect();
        let keys = self.components.iter().flat_map(|source| {
            let keys = runtimes.iter().map(|runtime| source.key(*runtime, components));
            keys.map(|key| key.as_str().to_owned()).collect::<Vec<_>>()
        });
        keys.collect()
    }

    /// The symbol index of a component: of `system` what a target's distribution and driver
    /// define, of `cuda` what the libraries of a CUDA release do. `None` where none is locked.
    pub fn symbols(
        &self,
        name: &str,
        target: Arch,
        cuda: Option<&str>,
    ) -> Result<Option<SymbolIndex>, ToolchainError> {
        let wanted = |source: &&Source| {
            let key = &source.spec.key;
            key.name == name && key.target == Some(target) && key.cuda.as_deref() == cuda
        };
        let source = self.components.iter().find(wanted);
        let Some((path, digest)) = source.and_then(|s| s.index.as_ref().zip(s.locked.symbols))
        else {
            return Ok(None);
        };
        stubs::load(path, digest).map(Some)
    }

    /// The CUDA libraries whose headers can be fetched for a target.
    pub fn libraries<'a>(&'a self, target: Arch, cuda: &'a str) -> impl Iterator<Item = &'a str> {
        let keys = self.components.iter().map(|source| &source.spec.key);
        let keys =
            keys.filter(move |key| key.target == Some(target) && key.cuda.as_deref() == Some(cuda));
        keys.filter_map(|key| cuda::library_name(&key.name))
    }

    fn not_found(&self, wanted: &Wanted<'_>) -> ToolchainError {
        if let Some(spec) = self.unlocked.iter().find(|spec| spec.key.serves(wanted)) {
            return ToolchainError::NotLocked {
                component: spec.key.to_string(),
                name: spec.key.name.clone(),
                registries: spec.apt.iter().map(|source| source.registry.clone()).collect(),
            };
        }
        let named = self.components.iter().map(|source| &source.spec.key);
        let named: Vec<_> = named.filter(|key| key.name == wanted.name).collect();
        if wanted.name == "python-headers" {
            let mut known: Vec<_> = named
                .iter()
                .filter(|key| key.target.is_none_or(|target| target == wanted.target))
                .filter_map(|key| key.python.clone())
                .collect();
            known.sort();
            let python = wanted.python.to_owned();
            return ToolchainError::NoPythonHeaders { python, target: wanted.target, known };
        }
        let Wanted { name, build, target, cuda, .. } = wanted;
        if let Some(library) = cuda::library_name(name) {
            let known: BTreeSet<_> = self.libraries(*target, cuda).collect();
            return ToolchainError::NoLibrary {
                library: library.to_owned(),
                cuda: (*cuda).to_owned(),
                target: *target,
                known: known.into_iter().map(str::to_owned).collect(),
            };
        }
        ToolchainError::NoComponent {
            wanted: format!("`{name}` for {target} and CUDA {cuda} on {build}"),
            known: named.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Source {
    /// The digest of the component that others are relocated to, which is not relocated itself.
    pub fn runtime_digest(&self) -> Sha256 {
        self.digest(Sha256::of([]))
    }

    /// How manifests name it; `runtime` is the runtime's digest.
    pub fn component_ref(&self, runtime: Sha256) -> ComponentRef {
        ComponentRef {
            name: self.spec.key.name.clone(),
            version: self.locked.version().to_owned(),
            digest: self.digest(runtime),
        }
    }

    /// Under which key a store keeps it: what is relocated holds the runtime's path, so it is
    /// another one in another store.
    pub fn key(&self, runtime: Sha256, components: &ComponentStore) -> Key {
        let digest = self.digest(runtime);
        let runtime = components.path(&Key::new(RUNTIME, runtime));
        let keyed = match self.spec.layout.relocate {
            true => Sha256::of(format!("{digest} {}", runtime.display())),
            false => digest,
        };
        Key::new(&self.spec.key.name, keyed)
    }

    /// The digest of all that decides what the component holds, wherever the store is.
    ///
    /// `runtime` is the runtime's digest, which counts only for what is relocated.
    pub fn digest(&self, runtime: Sha256) -> Sha256 {
        let inputs: Vec<_> = self.locked.inputs().map(|input| input.sha256()).collect();
        let runtime = self.spec.layout.relocate.then_some(runtime);
        let mut parts = serde_json::json!({
            // Counts up when the code that lays components out changes what they hold.
            "format": 1,
            "name": self.spec.key.name,
            "layout": self.spec.layout,
            "inputs": inputs,
            "runtime": runtime,
        });
        if let Some(symbols) = self.locked.symbols {
            parts["stubs"] = serde_json::json!([stubs::FORMAT, symbols]);
        }
        Sha256::of(parts.to_string())
    }
}

pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ToolchainError> {
    let text = fs_err::read_to_string(path)?;
    toml::from_str(&text).map_err(|source| {
        let (path, source) = (path.to_owned(), Box::new(source));
        ToolchainError::Malformed { path, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains")
    }

    #[test]
    fn every_target_of_the_repository_has_its_components() {
        let sources = Sources::load(&repository()).unwrap();
        let targets = repository().join("targets");
        for name in Target::names(&targets).unwrap() {
            let target = Target::load(&targets, &name).unwrap();
            for component in
                ["runtime", "patchelf", "gcc", "sysroot", "cuda", "python", "ninja", "uv"]
            {
                let wanted = Wanted {
                    name: component,
                    build: Arch::X86_64,
                    target: target.arch,
                    cuda: &target.cuda,
                    python: "3.11",
                };
                let source = sources.find(&wanted).unwrap();
                assert!(source.spec.key.serves(&wanted));
                assert!(source.locked.inputs().next().is_some(), "{component} is locked empty");
            }
        }
    }

    #[test]
    fn what_is_built_for_aarch64_can_be_imported_under_emulation() {
        let sources = Sources::load(&repository()).unwrap();
        let wanted = |name, python| {
            let (build, target) = (Arch::X86_64, Arch::Aarch64);
            sources.find(&Wanted { name, build, target, cuda: "13.0", python })
        };
        wanted("qemu", "").unwrap();
        let headers = sources.all().iter().map(|source| &source.spec.key);
        let headers = headers.filter(|key| key.name == "python-headers");
        let of_target = headers.filter(|key| key.target == Some(Arch::Aarch64));
        let pythons: Vec<_> = of_target.filter_map(|key| key.python.as_deref()).collect();
        assert!(pythons.contains(&"3.11"), "{pythons:?}");
        for python in pythons {
            wanted("target-root", python).unwrap();
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_there_is() {
        let sources = Sources::load(&repository()).unwrap();
        let wanted = Wanted {
            name: "python-headers",
            build: Arch::X86_64,
            target: Arch::Aarch64,
            cuda: "13.0",
            python: "3.10",
        };
        let error = sources.find(&wanted).unwrap_err();
        assert_eq!(error.to_string(), "there are no headers of Python 3.10 for aarch64");
        let hint = crate::Diagnose::hint(&error).unwrap();
        assert!(hint.contains("--python-headers 3.10=PATH"), "{hint}");
        assert!(hint.ends_with("3.11, 3.13"), "{hint}");
        let error = sources.find(&Wanted { python: "3.12", ..wanted }).unwrap_err();
        let hint = crate::Diagnose::hint(&error).unwrap();
        assert!(hint.contains("[registries.ubuntu]"), "{hint}");
        assert!(hint.contains("toolchain lock python-headers"), "{hint}");
    }

    #[test]
    fn only_what_is_relocated_depends_on_the_runtime_and_the_store() {
        let sources = Sources::load(&repository()).unwrap();
        let (here, there) =
            (ComponentStore::new(Path::new("/a")), ComponentStore::new(Path::new("/b")));
        let (one, two) = (Sha256::of("1"), Sha256::of("2"));
        for source in sources.all() {
            let moves = source.key(one, &here) != source.key(one, &there);
            let follows = source.digest(one) != source.digest(two);
            let relocated = source.spec.layout.relocate;
            assert_eq!((moves, follows), (relocated, relocated), "{}", source.spec.key);
        }
    }
}
