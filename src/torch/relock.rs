//! From a whole, verified wheel to its entry in the lock and to the symbol index.

use std::io;
use std::path::Path;

use zip::result::ZipError;

use super::lock::{
    LockedSymbols, LockedTorch, TorchLock, TorchLockError, listing_digest, symbols_path,
};
use super::source::{VERSION_PY, file_name, is_library, is_wanted};
use super::version::{VersionError, VersionFile};
use super::wheel::{TorchWheel, no_prefetch};
use crate::artifact::{Artifact, Sha256};
use crate::error::{Class, Diagnose};
use crate::symbols::{Library, LibraryError};
use crate::symbols::{Product, SymbolIndex, SymbolsError};
use crate::target::Arch;

/// Why a wheel cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum RelockError {
    /// The file is not what the index says it is.
    #[error(
        "`{file}` has sha256 {found} and {found_size} bytes; the index says {expected} and {expected_size}"
    )]
    Mismatch {
        /// The wheel.
        file: String,
        /// The index's digest.
        expected: Sha256,
        /// The index's size.
        expected_size: u64,
        /// The file's digest.
        found: Sha256,
        /// The file's size.
        found_size: u64,
    },
    /// Not the name of a CPython wheel of torch for a known processor.
    #[error("`{0}` is not the name of a torch wheel for aarch64 or x86_64 Linux")]
    Name(String),
    /// The wheel is not a readable archive.
    #[error("the wheel cannot be read")]
    Zip(#[from] ZipError),
    /// One of its libraries cannot be indexed.
    #[error("`{file}` cannot be indexed")]
    Library {
        /// The library's path in the wheel.
        file: String,
        /// Why.
        source: LibraryError,
    },
    /// Its `version.py` does not say what it is.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A wheel without CUDA is of no use for any target.
    #[error("torch {0} is CPU-only: its `version.py` has `cuda = None`")]
    CpuOnly(String),
    /// The present lock or index cannot be read, or the new one written.
    #[error(transparent)]
    Lock(#[from] TorchLockError),
    /// The present index cannot be read.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// A file cannot be read or written.
    #[error("the wheel or the lock cannot be read or written")]
    Io(#[from] io::Error),
}

impl Diagnose for RelockError {
    fn class(&self) -> Class {
        match self {
            Self::Mismatch { .. } => Class::Integrity,
            Self::Name(_) => Class::Request,
            Self::Zip(_) => Class::Archive,
            Self::Library { .. } | Self::Version(_) | Self::CpuOnly(_) => Class::Torch,
            Self::Lock(error) => error.class(),
            Self::Symbols(error) => error.class(),
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::CpuOnly(_) => Some(super::source::CPU_ONLY_HINT.to_owned()),
            Self::Lock(error) => error.hint(),
            Self::Symbols(error) => error.hint(),
            _ => None,
        }
    }
}

/// Verifies a whole wheel against its artifact, then writes its entry in `torch.lock` and its
/// libraries in the symbol index of the folder `toolchains`.
///
/// Other Pythons' libraries that the index already has are kept.
pub fn relock(
    toolchains: &Path,
    wheel: &Path,
    artifact: &Artifact,
) -> Result<LockedTorch, RelockError> {
    verify(wheel, artifact)?;
    let (python, arch) = parse_name(artifact.file_name())?;
    let mut archive = TorchWheel::open(fs_err::File::open(wheel)?.into_file())?;

    let mut files = Vec::new();
    let mut version_py = String::new();
    archive.read(&mut no_prefetch, is_wanted, |path, content| {
        if path == VERSION_PY {
            version_py = String::from_utf8_lossy(&content).into_owned();
        }
        files.push((path.to_owned(), Sha256::of(&content)));
        Ok::<_, RelockError>(())
    })?;
    let version = VersionFile::parse(&version_py)?;
    let cuda = version.cuda.ok_or_else(|| RelockError::CpuOnly(version.version.clone()))?;

    let mut libraries = Vec::new();
    archive.read(&mut no_prefetch, is_library, |path, content| {
        let library = Library::read(content.as_slice(), arch)
            .map_err(|source| RelockError::Library { file: path.to_owned(), source })?;
        libraries.push((file_name(path).to_owned(), library));
        Ok::<_, RelockError>(())
    })?;

    let mut lock = TorchLock::load(toolchains)?;
    let path = symbols_path(toolchains, &artifact.version, arch);
    let mut index = match path.exists() {
        true => SymbolIndex::from_xz(&fs_err::read(&path)?)?,
        false => SymbolIndex::new(Product::Torch, &artifact.version, arch),
    };
    index.insert(&python, libraries);
    let packed = index.to_xz();
    fs_err::create_dir_all(toolchains.join("torch"))?;
    fs_err::write(&path, &packed)?;
    lock.insert_symbols(LockedSymbols {
        version: artifact.version.clone(),
        arch,
        sha256: Sha256::of(&packed),
    });
    let entry = LockedTorch {
        version: artifact.version.clone(),
        arch,
        python,
        cuda,
        extract: listing_digest(files.iter().map(|(path, sha256)| (path, sha256))),
        artifact: artifact.clone(),
    };
    lock.insert(entry.clone());
    lock.save(toolchains)?;
    Ok(entry)
}

fn verify(wheel: &Path, artifact: &Artifact) -> Result<(), RelockError> {
    let (found, found_size) = Sha256::of_reader(fs_err::File::open(wheel)?)?;
    if found == artifact.sha256 && found_size == artifact.size {
        return Ok(());
    }
    Err(RelockError::Mismatch {
        file: artifact.file.clone(),
        expected: artifact.sha256,
        expected_size: artifact.size,
        found,
        found_size,
    })
}

/// The Python tag and the processor of `torch-2.14.0-cp311-cp311-manylinux_2_28_aarch64.whl`.
fn parse_name(file: &str) -> Result<(String, Arch), RelockError> {
    let name = || RelockError::Name(file.to_owned());
    let parts: Vec<&str> = file.strip_suffix(".whl").ok_or_else(name)?.split('-').collect();
    let [project, _, python, _, platform] = parts[..] else { return Err(name()) };
    let arch = [Arch::Aarch64, Arch::X86_64]
        .into_iter()
        .find(|arch| platform.contains("linux") && platform.ends_with(arch.name()))
        .ok_or_else(name)?;
    if project != "torch" || !python.starts_with("cp") {
        return Err(name());
    }
    Ok((python.to_owned(), arch))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::sdk::{Libraries, install_wheel};
    use super::*;

    /// The fixture's wheel on disk, as an index would list it.
    fn wheel(folder: &Path) -> (std::path::PathBuf, Artifact) {
        let bytes = fixture::wheel(&fixture::members("'13.0'", Arch::Aarch64)).into_inner();
        let path = folder.join(fixture::FILE);
        fs_err::write(&path, &bytes).unwrap();
        let artifact = Artifact {
            registry: "pypi".to_owned(),
            name: "torch".to_owned(),
            version: "2.14.0".to_owned(),
            file: fixture::FILE.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::of(&bytes),
        };
        (path, artifact)
    }

    #[test]
    fn what_is_locked_can_be_installed_from_part_of_the_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let (path, artifact) = wheel(folder.path());
        let toolchains = folder.path().join("toolchains");
        let entry = relock(&toolchains, &path, &artifact).unwrap();
        assert_eq!((entry.python.as_str(), entry.cuda.as_str()), ("cp311", "13.0"));

        let lock = TorchLock::load(&toolchains).unwrap();
        let locked = lock.find("2.14.0", Arch::Aarch64, "3.11").unwrap();
        assert_eq!(*locked, entry);
        assert!(lock.find("2.14.0", Arch::Aarch64, "3.13").is_none());
        let index = lock.load_symbols(&toolchains, locked).unwrap().unwrap();
        let libraries = Libraries::Stubs(&index, &locked.python);
        let into = folder.path().join("sdk");
        let file = fs_err::File::open(&path).unwrap().into_file();
        let target = fixture::target("13.0");
        let expected = Some(locked.extract);
        install_wheel(file, &mut no_prefetch, libraries, expected, &target, &into).unwrap();
    }

    #[test]
    fn locking_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, artifact) = wheel(folder.path());
        let read = || {
            let lock = fs_err::read(folder.path().join("torch.lock")).unwrap();
            (lock, fs_err::read(symbols_path(folder.path(), "2.14.0", Arch::Aarch64)).unwrap())
        };
        relock(folder.path(), &path, &artifact).unwrap();
        let first = read();
        relock(folder.path(), &path, &artifact).unwrap();
        assert_eq!(read(), first);
    }

    #[test]
    fn a_changed_index_or_wheel_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, artifact) = wheel(folder.path());
        let entry = relock(folder.path(), &path, &artifact).unwrap();
        let lock = TorchLock::load(folder.path()).unwrap();
        fs_err::write(symbols_path(folder.path(), "2.14.0", Arch::Aarch64), "other").unwrap();
        let error = lock.load_symbols(folder.path(), &entry).unwrap_err();
        let TorchLockError::Symbols { source, .. } = error else { panic!("{error}") };
        assert!(matches!(source, SymbolsError::Changed { .. }), "{source}");
        fs_err::write(&path, "other").unwrap();
        let error = relock(folder.path(), &path, &artifact).unwrap_err();
        assert!(matches!(error, RelockError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn a_name_says_python_and_processor() {
        assert_eq!(parse_name(fixture::FILE).unwrap(), ("cp311".to_owned(), Arch::Aarch64));
        for name in ["torch-2.14.0.tar.gz", "torch-2.14.0-cp311-cp311-win_amd64.whl"] {
            assert!(matches!(parse_name(name), Err(RelockError::Name(_))), "{name}");
        }
    }
}
