//! What is in a wheel that can be imported, and which Python imports it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pep440_rs::{Version, VersionSpecifiers};
use serde::{Deserialize, Serialize};

use super::attest::Recorded;
use super::{Options, ProveError};
use crate::Result;
use crate::artifact::Sha256;
use crate::audit::{Inspection, inspect};
use crate::package::{WheelContents, WheelName, metadata};
use crate::python::pep508;
use crate::python::tags::Platform;
use crate::target::{Arch, Target};
use crate::toolchain::spec::Wanted;
use crate::toolchain::{Sources, ToolchainError};
use crate::unpack::wheel::installed_path;

/// A wheel that is to be imported.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its file name, taken apart.
    pub name: WheelName,
    /// Where it lies.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// `Requires-Dist` of its `METADATA`.
    pub requires: Vec<String>,
    /// `Requires-Python` of its `METADATA`, where it is one.
    pub requires_python: Option<VersionSpecifiers>,
    /// The shared objects that its files are loaded with, whoever brings them.
    pub needed: BTreeSet<String>,
    /// What is imported, in this order.
    pub modules: Vec<Listed>,
}

/// Something to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// As `import` takes it; a library's path in the wheel.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is installed, below `site-packages`.
    pub path: String,
}

/// What a module is, which decides whether a failure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What `import` is mostly said with: a package or module that lies in no other.
    Package,
    /// A module of machine code.
    Extension,
    /// A shared object that is no module: torch loads some by their path.
    Library,
    /// A module of Python code in a package.
    Python,
}

impl Subject {
    /// Reads the wheel's directory, metadata and ELF files.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|n| n.parse().ok());
        let name: WheelName = name.ok_or_else(|| ProveError::NotAWheel(path.to_owned()))?;
        let metadata = WheelContents::from_wheel(path)?.dist_info("METADATA")?.unwrap_or_default();
        let requires = metadata::values(&metadata, "Requires-Dist");
        let requires = requires.into_iter().map(str::to_owned).collect();
        let requires_python = metadata::value(&metadata, "Requires-Python");
        let requires_python = requires_python.and_then(|text| text.parse().ok());
        let inspection = inspect(path)?;
        let needed = inspection.files.iter().flat_map(|file| file.elf.needed.clone()).collect();
        let path = fs_err::canonicalize(path).map_err(ProveError::Io)?;
        let (sha256, modules) = (inspection.sha256, modules(&inspection));
        Ok(Self { name, path, sha256, requires, requires_python, needed, modules })
    }

    /// Forgets what is no machine code, and what only Python code needs.
    pub fn keep_extensions(&mut self) {
        self.modules.retain(|module| matches!(module.kind, Kind::Extension | Kind::Library));
        let is_torch = |text: &String| {
            pep508::parse(text).is_ok_and(|requirement| requirement.name.as_ref() == "torch")
        };
        self.requires.retain(is_torch);
    }

    /// Whether its files are loaded with torch's libraries.
    pub fn needs_torch(&self) -> bool {
        self.needed.iter().any(|name| name.starts_with("libtorch") || name.starts_with("libc10"))
    }

    /// Whether its files are loaded with CUDA's libraries.
    pub fn needs_cuda(&self) -> bool {
        self.needed.iter().any(|name| name.starts_with("libcu"))
    }

    /// The Python that imports it: the one asked for, the one that it was built for, or one of the
    /// target's.
    pub fn python(
        &self,
        sources: &Sources,
        target: &Target,
        recorded: &Recorded,
        options: &Options,
    ) -> Result<String> {
        if target.arch != Arch::Aarch64 {
            let (arch, target) = (target.arch, target.name.clone());
            return Err(ProveError::Target { target, arch }.into());
        }
        let known = pythons(sources, target.arch);
        let own = self.name.tags.python.iter().filter_map(|tag| own_python(tag));
        let own = own.filter(|_| !self.name.tags.abi.contains("none")).collect::<Vec<_>>();
        let own = if self.name.tags.abi.contains("abi3") { Vec::new() } else { own };
        let of_target = target.python.iter().filter(|python| known.contains(python)).cloned();
        let candidates = own.into_iter().chain(of_target).chain(known.iter().cloned());
        let asked = options.python.clone();
        let recorded = recorded.python.clone().filter(|python| self.fits(python, target));
        let fits = |python: &String| self.fits(python, target);
        let python = asked.or(recorded).or_else(|| candidates.clone().find(fits));
        let wheel = self.name.to_string();
        let Some(python) = python.filter(fits) else {
            let any = (0..40).any(|minor| self.fits(&format!("3.{minor}"), target));
            if !any {
                let tags = self.name.tags.platform.iter().cloned().collect::<Vec<_>>().join(", ");
                return Err(
                    ProveError::Platform { wheel, tags, target: target.name.clone() }.into()
                );
            }
            let python = options.python.clone();
            let python = python.unwrap_or_else(|| known.join(" or "));
            return Err(ProveError::OtherPython { wheel, python }.into());
        };
        match sources.find(&root(&python, target)) {
            Ok(_) => Ok(python),
            Err(error @ ToolchainError::NotLocked { .. }) => Err(error.into()),
            Err(_) => Err(ProveError::NoPython { wheel, python, known }.into()),
        }
    }

    /// Whether it installs on a Python of the target.
    fn fits(&self, python: &str, target: &Target) -> bool {
        let Ok(version) = python.parse::<Version>() else { return false };
        let wanted = self.requires_python.as_ref().is_none_or(|wanted| wanted.contains(&version));
        let name = self.name.to_string();
        wanted && platform(python, target).is_some_and(|p| p.fitness(&name).is_some())
    }
}

/// The component with a Python for the target.
fn root<'a>(python: &'a str, target: &'a Target) -> Wanted<'a> {
    let (build, target_arch, cuda) = (Arch::X86_64, target.arch, target.cuda.as_str());
    Wanted { name: "target-root", build, target: target_arch, cuda, python }
}

/// The Pythons that can be run for a processor, sorted.
fn pythons(sources: &Sources, arch: Arch) -> Vec<String> {
    let roots = sources.all().iter().map(|source| &source.spec.key);
    let roots = roots.filter(|key| key.name == "target-root" && key.target == Some(arch));
    let mut pythons: Vec<String> = roots.filter_map(|key| key.python.clone()).collect();
    pythons.sort();
    pythons
}

/// `3.11` of `cp311`.
fn own_python(tag: &str) -> Option<String> {
    let digits = tag.strip_prefix("cp3")?;
    digits.parse::<u16>().ok().map(|minor| format!("3.{minor}"))
}

/// What a wheel for the target may ask for.
pub(super) fn platform(python: &str, target: &Target) -> Option<Platform> {
    let version = |text: &str| -> Option<(u16, u16)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let (major, minor) = version(python)?;
    Some(Platform { major, minor, arch: target.arch, glibc: version(&target.floors.glibc)? })
}

/// What can be imported: packages, then extension modules, libraries, and the other modules.
fn modules(inspection: &Inspection) -> Vec<Listed> {
    let elf: BTreeMap<&str, Option<&str>> = inspection
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.elf.python_module.as_deref()))
        .collect();
    let paths = inspection.wheel.iter().flat_map(|wheel| &wheel.paths);
    let mut found: Vec<Listed> = Vec::new();
    for member in paths {
        let outside = [".data/scripts/", ".data/data/", ".data/headers/", ".dist-info/"];
        if outside.iter().any(|folder| member.contains(folder)) {
            continue;
        }
        let Some(path) = installed_path(Path::new(member), None) else { continue };
        let Some(path) = path.to_str() else { continue };
        found.extend(listed(path, elf.get(member.as_str()).copied()));
    }
    let mut tops: BTreeMap<String, String> = BTreeMap::new();
    for module in found.iter().filter(|module| module.kind != Kind::Library) {
        let top = module.name.split('.').next().unwrap_or(&module.name);
        tops.entry(top.to_owned()).or_insert_with(|| module.path.clone());
    }
    // A module that is no package and one of machine code is one module.
    found.retain(|module| module.kind != Kind::Python || !tops.contains_key(&module.name));
    let extensions: BTreeSet<String> = found
        .iter()
        .filter(|module| module.kind == Kind::Extension)
        .map(|module| module.name.clone())
        .collect();
    let tops = tops.into_iter().filter(|(name, _)| !extensions.contains(name));
    found.extend(tops.map(|(name, path)| Listed { name, kind: Kind::Package, path }));
    found.sort_by(|a, b| (a.kind, &a.name, &a.path).cmp(&(b.kind, &b.name, &b.path)));
    found
}

/// What a file is; `elf` where it is one, with the module that it initialises.
fn listed(path: &str, elf: Option<Option<&str>>) -> Option<Listed> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let new = |name: String, kind| Some(Listed { name, kind, path: path.to_owned() });
    let dotted = |stem: &str| {
        let parts = folder.split('/').filter(|part| !part.is_empty()).chain([stem]);
        let parts: Vec<&str> = parts.collect();
        parts.iter().all(|part| is_identifier(part)).then(|| parts.join("."))
    };
    if let Some(module) = elf {
        let stem = file.split('.').next().unwrap_or(file);
        return match dotted(stem) {
            Some(name) if module == Some(stem) => new(name, Kind::Extension),
            _ if file.contains(".so") => new(path.to_owned(), Kind::Library),
            _ => None,
        };
    }
    let stem = file.strip_suffix(".py")?;
    // These do not mean to be imported, or want what only their tests need.
    let apart = |part: &str| matches!(part, "test" | "tests" | "testing" | "__main__" | "conftest");
    if folder.split('/').chain([stem]).any(apart) || stem.starts_with("test_") {
        return None;
    }
    match stem {
        "__init__" => {
            let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
            let parts = parent.split('/').filter(|p| !p.is_empty()).chain([last]);
            let parts: Vec<&str> = parts.collect();
            let name = parts.iter().all(|part| is_identifier(part)).then(|| parts.join("."))?;
            new(name, Kind::Python)
        }
        _ => new(dotted(stem)?, Kind::Python),
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, elf: Option<Option<&str>>) -> Option<(String, Kind)> {
        listed(path, elf).map(|listed| (listed.name, listed.kind))
    }

    #[test]
    fn files_are_modules_by_name_and_content() {
        let is = |name: &str, kind| Some((name.to_owned(), kind));
        let suffix = "cpython-311-aarch64-linux-gnu.so";
        assert_eq!(one(&format!("a/_C.{suffix}"), Some(Some("_C"))), is("a._C", Kind::Extension));
        assert_eq!(one("plain.abi3.so", Some(Some("plain"))), is("plain", Kind::Extension));
        assert_eq!(one("a/libx.so.1", Some(None)), is("a/libx.so.1", Kind::Library));
        assert_eq!(one("a/_C.so", Some(Some("other"))), is("a/_C.so", Kind::Library));
        assert_eq!(one("a/bin/ptxas", Some(None)), None);
        assert_eq!(one("a/__init__.py", None), is("a", Kind::Python));
        assert_eq!(one("a/b/__init__.py", None), is("a.b", Kind::Python));
        assert_eq!(one("a/b/c.py", None), is("a.b.c", Kind::Python));
        for path in ["a/b-c/d.py", "a/tests/b.py", "a/__main__.py", "a/test_b.py", "a/py.typed"] {
            assert_eq!(one(path, None), None, "{path}");
        }
    }

    #[test]
    fn a_tag_names_its_python() {
        assert_eq!(own_python("cp311").as_deref(), Some("3.11"));
        assert_eq!(own_python("py3"), None);
    }
}
