//! Installing the SDK: from a wheel or a folder to one folder that a build puts on `PYTHONPATH`.
//!
//! Whatever the source, the same files come out, but for the libraries: stubs or the real ones,
//! against which a link gives the same bytes. So the libraries lie in the same place too.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use sha2::Digest as _;
use walkdir::WalkDir;

use super::error::TorchError;
use super::facts::{self, Inspector};
use super::lock::{LockedTorch, listing_digest};
use super::shim::{self, FACTS_PATH, Facts};
use super::source::{file_name, is_companion, is_library, is_wanted};
use super::wheel::{Cost, Prefetch, TorchWheel};
use crate::artifact::Sha256;
use crate::symbols::Library;
use crate::symbols::SymbolIndex;
use crate::symbols::write_stub;
use crate::target::Target;

/// What a store calls the component of an SDK.
pub const SDK_COMPONENT: &str = "torch";
/// Where the SDK lies in its component.
pub const SDK_FOLDER: &str = "sdk";

/// Changes with what an installation consists of, so that older ones are not taken for it.
const LAYOUT: &str = "crosswheel torch sdk 1";

/// An installed SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchSdk {
    /// What its torch is.
    pub facts: Facts,
    /// What goes on `PYTHONPATH`: the folder with `torch/`, and `torch-….dist-info/` beside it.
    pub python_path: PathBuf,
}

impl TorchSdk {
    /// The oldest C++ standard that its headers take, as the year's last two digits.
    pub fn cxx_standard(&self) -> u16 {
        let header = fs_err::read_to_string(self.python_path.join("torch/include/ATen/ATen.h"));
        facts::cxx_standard(&header.unwrap_or_default())
    }
}

/// Where the libraries to link against come from.
#[derive(Debug, Clone, Copy)]
pub enum Libraries<'a> {
    /// The wheel's or the folder's own.
    Real,
    /// Stubs made from a symbol index, for one Python's tag.
    Stubs(&'a SymbolIndex, &'a str),
}

/// The digest by which a store keeps the SDK of a locked wheel; `symbols` is the digest of the
/// index that its stubs are made from, `None` where the real libraries are unpacked.
pub fn locked_digest(torch: &LockedTorch, symbols: Option<Sha256>) -> Sha256 {
    match symbols {
        Some(symbols) => digest(&[&torch.extract.to_string(), &symbols.to_string()]),
        None => digest(&[&torch.artifact.sha256.to_string()]),
    }
}

/// The digest by which a store keeps the SDK of a wheel file with this digest.
pub fn wheel_digest(wheel: Sha256) -> Sha256 {
    digest(&[&wheel.to_string()])
}

/// The digest by which a store keeps the SDK of a folder: of all that is taken from it.
pub fn folder_digest(folder: &Path) -> Result<Sha256, TorchError> {
    let mut files = BTreeMap::new();
    for (path, on_disk) in folder_files(folder)? {
        let (sha256, _) = Sha256::of_reader(fs_err::File::open(on_disk)?)?;
        files.insert(path, sha256);
    }
    Ok(digest(&[&listing_digest(&files).to_string()]))
}

fn digest(inputs: &[&str]) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    for part in [LAYOUT, &shim::digest().to_string()].iter().chain(inputs) {
        hasher.update(part);
        hasher.update("\n");
    }
    Sha256::finish(hasher)
}

/// Installs the SDK of a wheel into the folder `into`, which must not be there yet.
///
/// `expected` is the locked digest of what is extracted; `prefetch` is told the ranges that are
/// read, and only those are read. Returns the SDK and what of the wheel was read.
pub fn install_wheel<R: Read + Seek>(
    wheel: R,
    prefetch: &mut Prefetch<'_>,
    libraries: Libraries<'_>,
    expected: Option<Sha256>,
    target: &Target,
    into: &Path,
) -> Result<(TorchSdk, Cost), TorchError> {
    let mut wheel = TorchWheel::open(wheel)?;
    let mut staging = Staging::new(into, target)?;
    let real = matches!(libraries, Libraries::Real);
    let wanted = |path: &str| is_wanted(path) || real && is_library(path);
    let cost = wheel.read(prefetch, wanted, |path, content| staging.take(path, &content))?;
    if let Some(expected) = expected {
        let found = listing_digest(&staging.extracted);
        if found != expected {
            return Err(TorchError::Extract { expected, found });
        }
    }
    if let Libraries::Stubs(index, python) = libraries {
        staging.write_stubs(index, python)?;
    }
    Ok((staging.finish(into)?, cost))
}

/// Installs the SDK of an unpacked torch (`site-packages/torch`, or the folder that has it), with
/// its real libraries, into the folder `into`, which must not be there yet.
pub fn install_folder(folder: &Path, target: &Target, into: &Path) -> Result<TorchSdk, TorchError> {
    let mut staging = Staging::new(into, target)?;
    for (path, on_disk) in folder_files(folder)? {
        staging.take(&path, &fs_err::read(on_disk)?)?;
    }
    staging.finish(into)
}

/// Opens an SDK that was installed.
pub fn open(python_path: &Path) -> Result<TorchSdk, TorchError> {
    let path = python_path.join(FACTS_PATH);
    let facts = serde_json::from_slice(&fs_err::read(&path)?)
        .map_err(|source| TorchError::Facts { path, source })?;
    Ok(TorchSdk { facts, python_path: python_path.to_owned() })
}

/// What is taken of an unpacked torch: paths as in a wheel, sorted, and where they lie.
///
/// Links are followed, as far as the folder itself goes: containers link `torch/lib` elsewhere.
pub(super) fn folder_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, TorchError> {
    let torch = match folder.join("torch/version.py").is_file() {
        true => folder.join("torch"),
        false => folder.to_owned(),
    };
    if !torch.join("version.py").is_file() {
        return Err(TorchError::NotTorch { path: folder.to_owned() });
    }
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(&torch).follow_links(true) {
        let entry = entry.map_err(io::Error::from)?;
        let inner = entry.path().strip_prefix(&torch).unwrap_or(entry.path());
        let Some(inner) = inner.to_str().filter(|_| entry.file_type().is_file()) else { continue };
        let path = format!("torch/{inner}");
        if is_wanted(&path) || is_library(&path) {
            files.insert(path, entry.into_path());
        }
    }
    if let Some(site) = torch.parent() {
        for entry in fs_err::read_dir(site)? {
            let metadata = entry?.path().join("METADATA");
            let folder = metadata.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let path = format!("{}/METADATA", folder.unwrap_or_default());
            if (is_wanted(&path) || is_companion(&path)) && metadata.is_file() {
                files.insert(path, metadata);
            }
        }
    }
    Ok(files)
}

/// An SDK in the making, in a temporary folder beside its place.
struct Staging<'a> {
    folder: tempfile::TempDir,
    target: &'a Target,
    inspector: Inspector,
    /// What was taken, but for libraries.
    extracted: BTreeMap<String, Sha256>,
}

impl<'a> Staging<'a> {
    fn new(into: &Path, target: &'a Target) -> Result<Self, TorchError> {
        let parent = into.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(parent)?;
        let folder = tempfile::Builder::new().prefix(".torch-sdk-").tempdir_in(parent)?;
        let inspector = Inspector::default();
        Ok(Self { folder, target, inspector, extracted: BTreeMap::new() })
    }

    /// Takes a file of the target's torch.
    fn take(&mut self, path: &str, content: &[u8]) -> Result<(), TorchError> {
        if is_companion(path) {
            // What is beside torch is told, and not there to be imported.
            return self.inspector.file(path, content, self.target);
        }
        if is_library(path) {
            let file = file_name(path);
            let library = Library::read(content, self.target.arch)
                .map_err(|source| TorchError::Library { file: file.to_owned(), source })?;
            self.inspector.library(file, &library);
            self.inspector.library_bytes(file, content);
        } else {
            self.extracted.insert(path.to_owned(), Sha256::of(content));
            self.inspector.file(path, content, self.target)?;
        }
        self.write(path, content)
    }

    fn write_stubs(&mut self, index: &SymbolIndex, python: &str) -> Result<(), TorchError> {
        for (file, library) in index.libraries(python) {
            let stub = write_stub(library, file, index.arch)
                .map_err(|source| TorchError::Stub { file: file.to_owned(), source })?;
            self.inspector.library(file, library);
            self.write(&format!("torch/lib/{file}"), &stub)?;
        }
        Ok(())
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), TorchError> {
        let path = self.folder.path().join(path);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Ok(fs_err::write(path, content)?)
    }

    /// Lays crosswheel's package over the target's files, and moves the whole into place.
    fn finish(self, into: &Path) -> Result<TorchSdk, TorchError> {
        let facts = self.inspector.facts(self.target.arch)?;
        for (path, text) in shim::FILES {
            self.write(path, text.as_bytes())?;
        }
        let mut json = serde_json::to_string_pretty(&facts)
            .map_err(|source| TorchError::Facts { path: FACTS_PATH.into(), source })?;
        json.push('\n');
        self.write(FACTS_PATH, json.as_bytes())?;
        set_mode(self.folder.path())?;
        fs_err::rename(self.folder.path(), into)?;
        // It has another name now: there is nothing left to remove.
        let _ = self.folder.keep();
        Ok(TorchSdk { facts, python_path: into.to_owned() })
    }
}

/// A temporary folder is the user's alone; an installation may be anyone's to read.
fn set_mode(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::wheel::no_prefetch;
    use super::*;
    use crate::error::{Class, Diagnose as _};
    use crate::target::Arch;

    const CUDA: &str = "'13.0'";

    fn index() -> SymbolIndex {
        let mut index = SymbolIndex::new(crate::symbols::Product::Torch, "2.14.0", Arch::Aarch64);
        let names = ["libc10.so", "libtorch_cpu.so"];
        index.insert("cp311", names.map(|name| (name.to_owned(), fixture::library(name))));
        index
    }

    /// Every file below a folder but libraries, with its content.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let walk = WalkDir::new(folder).into_iter().map(Result::unwrap);
        walk.filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(folder).unwrap().to_owned())
            .filter(|path| !path.starts_with("torch/lib"))
            .map(|path| (path.clone(), fs_err::read(folder.join(path)).unwrap()))
            .collect()
    }

    fn install(
        members: &[(String, Vec<u8>)],
        libraries: Libraries<'_>,
        expected: Option<Sha256>,
        into: &Path,
    ) -> Result<(TorchSdk, Cost), TorchError> {
        let wheel = fixture::wheel(members);
        let target = fixture::target("13.0");
        install_wheel(wheel, &mut no_prefetch, libraries, expected, &target, into)
    }

    #[test]
    fn every_source_gives_the_same_sdk_but_for_the_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let members = fixture::members(CUDA, Arch::Aarch64);
        let index = index();
        let [stubs, real, unpacked, site] =
            ["stubs", "real", "unpacked", "site"].map(|name| folder.path().join(name));
        let libraries = Libraries::Stubs(&index, "cp311");
        let (sdk, cost) = install(&members, libraries, None, &stubs).unwrap();
        assert_eq!(cost.members, 5, "neither a library nor `torch/__init__.py` is read");
        let (from_real, whole) = install(&members, Libraries::Real, None, &real).unwrap();
        assert_eq!(whole.members, 7);
        assert!(whole.bytes > cost.bytes);
        fixture::unpack(&members, &site);
        let target = fixture::target("13.0");
        for given in [site.clone(), site.join("torch")] {
            let from_folder = install_folder(&given, &target, &unpacked).unwrap();
            assert_eq!(from_folder.facts, sdk.facts);
            assert_eq!(files(&unpacked), files(&stubs));
            fs_err::remove_dir_all(&unpacked).unwrap();
        }
        assert_eq!(from_real.facts, sdk.facts);
        assert_eq!(files(&real), files(&stubs));
        for name in ["libc10.so", "libtorch_cpu.so"] {
            let stub = fs_err::read(stubs.join("torch/lib").join(name)).unwrap();
            let library = fs_err::read(real.join("torch/lib").join(name)).unwrap();
            let read = |bytes: &[u8]| Library::read(bytes, Arch::Aarch64).unwrap();
            assert_eq!(read(&stub), read(&library));
            assert!(stub.len() < library.len());
        }
        assert_eq!(open(&stubs).unwrap(), sdk);
    }

    #[test]
    fn the_package_lies_over_the_targets_files() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("sdk");
        let members = fixture::members(CUDA, Arch::Aarch64);
        let (sdk, _) = install(&members, Libraries::Real, None, &into).unwrap();
        let read = |path: &str| fs_err::read_to_string(into.join(path)).unwrap();
        assert_eq!(read("torch/utils/cpp_extension.py"), "CUDA_HOME = None\n");
        assert!(read("torch/utils/__init__.py").contains("cmake_prefix_path"));
        assert!(read("torch/__init__.py").contains("crosswheel"));
        assert!(sdk.facts.cxx11_abi && sdk.facts.openmp && !sdk.facts.cudnn);
        assert_eq!(sdk.facts.build_requirements, ["typing-extensions>=4.10.0"]);
    }

    #[test]
    fn a_partial_wheel_is_held_to_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("sdk");
        let mut members = fixture::members(CUDA, Arch::Aarch64);
        let taken = members.iter().filter(|(path, _)| is_wanted(path));
        let digests: BTreeMap<String, Sha256> =
            taken.map(|(path, content)| (path.clone(), Sha256::of(content))).collect();
        let expected = Some(listing_digest(&digests));
        let index = index();
        let libraries = Libraries::Stubs(&index, "cp311");
        members[1].1.push(b' ');
        let error = install(&members, libraries, expected, &into).unwrap_err();
        assert!(matches!(error, TorchError::Extract { .. }), "{error}");
        assert_eq!(error.class(), Class::Integrity);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        members[1].1.pop();
        install(&members, libraries, expected, &into).unwrap();
    }

    #[test]
    fn a_torch_that_cannot_serve_the_target_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("sdk");
        let refuse = |cuda: &str, arch| {
            let members = fixture::members(cuda, arch);
            install(&members, Libraries::Real, None, &into).unwrap_err()
        };
        let cpu = refuse("None", Arch::Aarch64);
        assert!(matches!(cpu, TorchError::CpuOnly { .. }), "{cpu}");
        assert!(cpu.hint().unwrap().contains("from 2.11 on"));
        let old = refuse("'12.8'", Arch::Aarch64);
        assert_eq!(
            old.to_string(),
            "torch 2.14.0+cu is for CUDA 12.8, and the target `thor` has CUDA 13.0"
        );
        let host = refuse(CUDA, Arch::X86_64);
        assert!(matches!(host, TorchError::Library { .. }), "{host}");
        assert_eq!(host.class(), Class::Torch);
    }

    #[test]
    fn a_folder_without_torch_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = folder_digest(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("holds no torch: there is no `version.py`"));
    }
}
