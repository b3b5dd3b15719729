//! The CUDA libraries that packages link to: `toolchains/cuda.toml`.
//!
//! In: what is written there, once for every processor. Out: for the `cuda` component the wheels
//! whose libraries it has stubs of, and for each library whose headers are not in it a component
//! of its own, `cuda-<name>`, which is fetched for packages that ask for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::error::ToolchainError;
use super::sources::read;
use super::spec::{ComponentKey, ComponentSpec, Components, Layout, WheelSource};
use crate::artifact::Sha256;
use crate::target::Arch;
use crate::unpack::members::globs;

/// The file's name.
const FILE: &str = "cuda.toml";
/// The component that has the stubs.
const COMPONENT: &str = "cuda";
/// What the project's wheels are for.
const ARCHES: [Arch; 2] = [Arch::Aarch64, Arch::X86_64];

/// A tool of a toolkit's: `cicc` lies apart from the others.
pub fn tool(toolkit: &Path, name: &str) -> PathBuf {
    let in_nvvm = toolkit.join("nvvm/bin").join(name);
    if in_nvvm.exists() { in_nvvm } else { toolkit.join("bin").join(name) }
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CudaLibraries {
    /// In the order of the file.
    library: Vec<CudaLibrary>,
}

/// The libraries of one project of the Python index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CudaLibrary {
    /// What recipes call it, such as `cudnn`.
    name: String,
    /// The CUDA release that this version is for, such as `13.0`.
    cuda: String,
    /// The project's name.
    project: String,
    /// A PEP 440 specifier, such as `==9.24.0.43`.
    version: String,
    /// The folder of its wheels that has `include` and `lib`.
    #[serde(default = "default_root")]
    root: String,
    /// Globs, below `root`, of the shared libraries to link to.
    #[serde(default = "default_libraries")]
    libraries: Vec<String>,
    /// Globs of what a source includes that wants its headers; empty where the component `cuda`
    /// has them.
    #[serde(default)]
    headers: Vec<String>,
}

fn default_root() -> String {
    "nvidia/cu13".to_owned()
}

fn default_libraries() -> Vec<String> {
    vec!["lib/lib*.so.*".to_owned()]
}

/// What components of headers are called.
pub(super) fn component_name(library: &str) -> String {
    format!("{COMPONENT}-{library}")
}

/// The library of such a component.
pub(super) fn library_name(component: &str) -> Option<&str> {
    component.strip_prefix(COMPONENT)?.strip_prefix('-')
}

impl CudaLibraries {
    /// Reads `cuda.toml` of the folder `toolchains`; an absent file describes nothing.
    pub fn load(folder: &Path) -> Result<Self, ToolchainError> {
        let path = folder.join(FILE);
        if path.is_file() { read(&path) } else { Ok(Self::default()) }
    }

    /// Adds what the libraries are to the components: stubs to `cuda`, and components of headers.
    pub(super) fn extend(&self, components: &mut Components) {
        for spec in &mut components.component {
            let ComponentKey { name, target, cuda, .. } = &spec.key;
            let (Some(arch), Some(cuda)) = (target, cuda) else { continue };
            if name == COMPONENT {
                let libraries = self.library.iter().filter(|library| library.cuda == *cuda);
                spec.stubs = libraries.map(|library| library.stubs(*arch)).collect();
            }
        }
        for library in self.library.iter().filter(|library| !library.headers.is_empty()) {
            components.component.extend(ARCHES.map(|arch| library.component(arch)));
        }
    }

    /// The names of the libraries whose headers a package may ask for.
    pub fn names(&self) -> BTreeSet<&str> {
        let asked = self.library.iter().filter(|library| !library.headers.is_empty());
        asked.map(|library| library.name.as_str()).collect()
    }

    /// The digest of what decides which libraries a source wants.
    pub fn digest(&self) -> Sha256 {
        let headers: BTreeSet<_> = self.library.iter().map(|l| (&l.name, &l.headers)).collect();
        Sha256::of(serde_json::to_vec(&headers).expect("strings serialise"))
    }

    /// What tells from a source's includes which libraries it wants.
    pub fn detector(&self) -> crate::Result<Detector> {
        let asked = self.library.iter().filter(|library| !library.headers.is_empty());
        let detector = |library: &CudaLibrary| Ok((library.name.clone(), globs(&library.headers)?));
        Ok(Detector(asked.map(detector).collect::<crate::Result<_>>()?))
    }
}

impl CudaLibrary {
    fn wheel(&self, arch: Arch, members: &[String]) -> WheelSource {
        WheelSource {
            project: self.project.clone(),
            version: self.version.clone(),
            arch,
            members: members.iter().map(|glob| format!("{}/{glob}", self.root)).collect(),
        }
    }

    fn stubs(&self, arch: Arch) -> WheelSource {
        self.wheel(arch, &self.libraries)
    }

    fn component(&self, arch: Arch) -> ComponentSpec {
        let key = ComponentKey {
            name: component_name(&self.name),
            build: None,
            target: Some(arch),
            cuda: Some(self.cuda.clone()),
            python: None,
        };
        let wheel = vec![self.wheel(arch, &["include/**".to_owned()])];
        let layout = Layout { strip: Some(self.root.clone()), ..Layout::default() };
        let (apt, stubs, index) = (Vec::new(), Vec::new(), Vec::new());
        ComponentSpec { key, apt, wheel, stubs, index, layout, license: None }
    }
}

/// Tells which libraries' headers an include names.
#[derive(Debug, Clone)]
pub struct Detector(Vec<(String, GlobSet)>);

impl Detector {
    /// The libraries that have the header of an include, such as `cudnn.h` or
    /// `nccl_device/core.h`.
    pub fn libraries<'a>(&'a self, include: &'a str) -> impl Iterator<Item = &'a str> {
        let has = move |(_, globs): &&(String, GlobSet)| globs.is_match(include);
        self.0.iter().filter(has).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> CudaLibraries {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        CudaLibraries::load(&root.join("toolchains")).unwrap()
    }

    #[test]
    fn includes_tell_what_is_wanted() {
        let detector = repository().detector().unwrap();
        for (include, libraries) in [
            ("cudnn.h", &["cudnn"][..]),
            ("ATen/cudnn/Handle.h", &["cudnn"]),
            ("cufftXt.h", &["cufft"]),
            ("nccl_device/core.h", &["nccl"]),
            ("torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp", &["nccl"]),
            ("torch/csrc/distributed/c10d/nccl2/WindowNCCL.hpp", &["nccl"]),
            ("nppi_color_conversion.h", &["npp"]),
            // In the component `cuda`, somebody else's, or in a folder of the package's own.
            ("cublas_v2.h", &[]),
            ("cudnn_frontend.hpp", &[]),
            ("my/nccl.h", &[]),
        ] {
            assert_eq!(detector.libraries(include).collect::<Vec<_>>(), libraries, "{include}");
        }
    }

    #[test]
    fn each_library_is_described_for_both_processors() {
        let key = |arch| ComponentKey {
            name: COMPONENT.to_owned(),
            build: None,
            target: Some(arch),
            cuda: Some("13.0".to_owned()),
            python: None,
        };
        let cuda = |arch| ComponentSpec {
            key: key(arch),
            apt: Vec::new(),
            wheel: Vec::new(),
            stubs: Vec::new(),
            index: Vec::new(),
            layout: Layout::default(),
            license: None,
        };
        let mut components = Components { component: ARCHES.map(cuda).into() };
        let libraries = repository();
        libraries.extend(&mut components);
        for (spec, arch) in components.component.iter().zip(ARCHES) {
            assert_eq!(spec.stubs.len(), libraries.library.len());
            assert!(spec.stubs.iter().all(|wheel| wheel.arch == arch), "{:?}", spec.stubs);
        }
        let headers: Vec<_> = components.component[2..].iter().collect();
        assert_eq!(headers.len(), 2 * libraries.names().len());
        let cudnn = headers.iter().find(|spec| spec.key.name == "cuda-cudnn").unwrap();
        assert_eq!(cudnn.wheel[0].members, ["nvidia/cudnn/include/**"]);
        assert_eq!(cudnn.key.target, Some(Arch::Aarch64));
    }
}
