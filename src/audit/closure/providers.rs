//! What the target's libraries define, put together so that symbols are found in it.
//!
//! In: symbol indices (system, CUDA, torch) and the target's floors. Out: [`Providers`].

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::floors::{Needs, SymbolSet, limits};
use crate::symbols::{Library, SymbolIndex};
use crate::target::{Arch, Floors};

/// The library by which `import torch` puts CUDA's libraries into the global scope
/// (`_load_global_deps` of `torch/__init__.py`).
const TORCH_GLOBAL: &str = "libtorch_global_deps.so";

/// Whose library it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The distribution's: glibc, libstdc++, libgcc, libgomp …
    System,
    /// The driver's, known only as far as its headers declare it.
    Driver,
    /// A CUDA library's.
    Cuda,
    /// torch's.
    Torch,
}

/// One library of the target.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Whose it is.
    pub origin: Origin,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    definitions: HashMap<String, Vec<Definition>>,
}

/// A definition's version, and whether references without one take it.
#[derive(Debug, Clone)]
struct Definition {
    version: Option<String>,
    default: bool,
    weak: bool,
}

impl Provider {
    fn new(origin: Origin, library: &Library, limits: &Needs) -> Self {
        let mut definitions: HashMap<String, Vec<Definition>> =
            HashMap::with_capacity(library.symbols.len());
        for symbol in &library.symbols {
            let version = symbol.version.as_ref();
            if version.is_some_and(|v| exceeds(&v.name, limits)) {
                continue;
            }
            definitions.entry(symbol.name.clone()).or_default().push(Definition {
                version: version.map(|v| v.name.clone()),
                default: version.is_none_or(|v| v.default),
                weak: symbol.binding != crate::symbols::library::Binding::Global,
            });
        }
        Self { origin, needed: library.needed.clone(), definitions }
    }

    /// Whether ld.so binds a reference to a definition here: one of its version or, where the
    /// library knows no versions, any; without a version, the default one, or the only one.
    pub fn defines(&self, name: &str, version: Option<&str>) -> bool {
        let Some(found) = self.definitions.get(name) else { return false };
        match version {
            Some(wanted) => {
                found.iter().any(|d| d.version.as_deref().is_none_or(|version| version == wanted))
            }
            None => found.len() == 1 || found.iter().any(|d| d.default),
        }
    }

    /// Whether it defines a symbol of that name that gives way to no other, and did so in these
    /// versions of its sets or before.
    pub fn defined_strongly(&self, name: &str, until: &Needs) -> bool {
        let old = |d: &Definition| d.version.as_deref().is_none_or(|v| !exceeds(v, until));
        self.definitions.get(name).is_some_and(|found| found.iter().any(|d| !d.weak && old(d)))
    }

    /// The versions of a name's definitions.
    pub fn versions<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let found = self.definitions.get(name).into_iter().flatten();
        found.filter_map(|d| d.version.as_deref())
    }

    /// The names of everything that it defines, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }
}

/// Whether a symbol version is above the limit of its set.
pub(super) fn exceeds(version: &str, limits: &Needs) -> bool {
    SymbolSet::parse(version)
        .is_some_and(|(set, number)| limits.get(&set).is_some_and(|limit| number > *limit))
}

/// Everything that a target has for a wheel's files.
#[derive(Debug, Clone)]
pub struct Providers {
    /// The processor.
    pub arch: Arch,
    /// The torch, as messages name it.
    pub torch: Option<String>,
    /// The CUDA release whose libraries are known, such as `13.0`.
    pub cuda: Option<String>,
    /// The CUDA release of the torch, where it is known.
    pub torch_cuda: Option<String>,
    /// The Python to resolve for, such as `3.12`, where the wheel does not tell.
    pub python: Option<String>,
    libraries: BTreeMap<String, Provider>,
    pythons: BTreeMap<u32, HashSet<String>>,
    limits: Needs,
}

impl Providers {
    /// The system's libraries and Pythons; with floors, without what is newer than they are.
    pub fn system(index: &SymbolIndex, floors: Option<&Floors>) -> Self {
        let limits = floors.map(limits).unwrap_or_default();
        let (mut libraries, mut pythons) = (BTreeMap::new(), BTreeMap::new());
        for (file, library) in index.parts.iter().flat_map(|part| index.libraries(part)) {
            if let Some(minor) = python_minor(file) {
                let names = library.symbols.iter().map(|s| s.name.clone());
                pythons.insert(minor, names.collect());
                continue;
            }
            let driver = file.starts_with("libcuda.") || file.starts_with("libnvidia-ml.");
            let origin = if driver { Origin::Driver } else { Origin::System };
            libraries.insert(file.to_owned(), Provider::new(origin, library, &limits));
        }
        let (torch, cuda, torch_cuda, python) = (None, None, None, None);
        Self { arch: index.arch, torch, cuda, torch_cuda, python, libraries, pythons, limits }
    }

    /// Adds CUDA's libraries.
    pub fn with_cuda(mut self, index: &SymbolIndex) -> Self {
        self.cuda = Some(index.version.clone());
        let libraries = index.parts.iter().flat_map(|part| index.libraries(part));
        self.add(Origin::Cuda, libraries);
        self
    }

    /// Adds torch's libraries, by file name.
    pub fn with_torch<'a>(
        mut self,
        torch: String,
        cuda: Option<String>,
        libraries: impl Iterator<Item = (&'a str, &'a Library)>,
    ) -> Self {
        (self.torch, self.torch_cuda) = (Some(torch), cuda);
        self.add(Origin::Torch, libraries);
        self
    }

    /// Says which Python a wheel is loaded by that does not tell itself.
    pub fn for_python(mut self, python: &str) -> Self {
        self.python = Some(python.to_owned());
        self
    }

    fn add<'a>(&mut self, origin: Origin, libraries: impl Iterator<Item = (&'a str, &'a Library)>) {
        for (file, library) in libraries {
            let name = library.soname.as_deref().unwrap_or(file);
            // Torch's wheels carry a libgomp, which is not loaded where the system's was before.
            let new = || Provider::new(origin, library, &self.limits);
            self.libraries.entry(name.to_owned()).or_insert_with(new);
            if name != file && !self.libraries.contains_key(file) {
                self.libraries.insert(file.to_owned(), new());
            }
        }
    }

    /// The library of this `NEEDED` name.
    pub fn library(&self, name: &str) -> Option<&Provider> {
        self.libraries.get(name)
    }

    /// All libraries, by `NEEDED` name.
    pub fn libraries(&self) -> impl Iterator<Item = (&str, &Provider)> {
        self.libraries.iter().map(|(name, library)| (name.as_str(), library))
    }

    /// Whether a version is above the target's floors, which the audit reports as such.
    pub fn exceeds_floor(&self, version: &str) -> bool {
        exceeds(version, &self.limits)
    }

    /// What is loaded before any extension module, and visible to all: what the interpreter needs
    /// and, with torch, what `import torch` loads globally.
    pub fn global(&self, with_torch: bool) -> Vec<&str> {
        let mut names = vec!["libm.so.6", "libc.so.6"];
        if with_torch && self.libraries.contains_key(TORCH_GLOBAL) {
            names.push(TORCH_GLOBAL);
        }
        names
    }

    /// Whether a Python exports a symbol. A Python whose exports are not known has what both the
    /// last one before and the first one after it have; without a Python, what all have.
    pub fn python_exports(&self, python: Option<&str>, name: &str) -> Exported {
        let minor = python.and_then(|p| p.strip_prefix("3.")).and_then(|m| m.parse::<u32>().ok());
        let known = |minor: &u32| self.pythons[minor].contains(name);
        let asked: Vec<u32> = match minor {
            Some(minor) if self.pythons.contains_key(&minor) => {
                return if known(&minor) { Exported::Yes } else { Exported::No };
            }
            Some(minor) => {
                let before = self.pythons.range(..minor).next_back();
                let after = self.pythons.range(minor..).next();
                before.into_iter().chain(after).map(|(minor, _)| *minor).collect()
            }
            None => self.pythons.keys().copied().collect(),
        };
        match asked.iter().filter(|minor| known(minor)).count() {
            0 => Exported::No,
            count if count == asked.len() && count > 1 => Exported::Yes,
            _ => Exported::Unknown,
        }
    }
}

/// Whether a Python exports a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Another Python does, and of this one it is not known.
    Unknown,
}

/// 11 for `libpython3.11.so.1.0`.
fn python_minor(library: &str) -> Option<u32> {
    library.strip_prefix("libpython3.")?.split('.').next()?.parse().ok()
}
