//! Stub libraries of the `cuda` component: of every CUDA library, where a toolkit has it, and of
//! the driver's.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::ToolchainError;
use super::sources::Source;
use super::spec::ComponentKey;
use crate::artifact::Sha256;
use crate::symbols::driver::{libcuda, libnvidia_ml};
use crate::symbols::{Library, SymbolIndex, write_stub};
use crate::target::Arch;

/// Counts up when the code that places stubs changes what a component holds.
pub(super) const FORMAT: u32 = 2;

/// Where a toolkit has libraries.
const LIBRARIES: &str = "lib";
/// Where a toolkit has stubs of what comes with the driver.
const DRIVER: &str = "lib/stubs";

/// Out of which header a library of the driver is made, how, and what links call it.
type Driver = (&'static str, fn(&str) -> Library, &'static str);
const DRIVERS: [Driver; 2] = [
    ("include/cuda.h", libcuda, "libcuda.so"),
    ("include/nvml.h", libnvidia_ml, "libnvidia-ml.so"),
];

/// Where the symbol index of a component lies in the folder `toolchains`; `None` for a component
/// that is for no one machine.
pub(super) fn index_path(toolchains: &Path, key: &ComponentKey) -> Option<PathBuf> {
    let target = key.target?;
    let file = match &key.cuda {
        Some(cuda) => format!("{cuda}-{target}.symbols.xz"),
        None => format!("{target}.symbols.xz"),
    };
    Some(toolchains.join(&key.name).join(file))
}

/// Writes the stubs of a component that has any. What was unpacked is left as it is: of that only
/// the names for links are made.
pub(super) fn install(source: &Source, root: &Path) -> Result<(), ToolchainError> {
    let (Some(path), Some(digest)) = (&source.index, source.locked.symbols) else { return Ok(()) };
    let index = load(path, digest)?;
    let folder = root.join(LIBRARIES);
    fs_err::create_dir_all(&folder)?;
    for (file, library) in index.parts.iter().flat_map(|part| index.libraries(part)) {
        write(library, file, index.arch, &folder.join(file))?;
        let link = folder.join(link_name(file));
        if link.symlink_metadata().is_err() {
            symlink(file, link)?;
        }
    }
    for (header, interface, file) in DRIVERS {
        let header = root.join(header);
        if header.is_file() {
            fs_err::create_dir_all(root.join(DRIVER))?;
            let library = interface(&fs_err::read_to_string(header)?);
            write(&library, file, index.arch, &root.join(DRIVER).join(file))?;
        }
    }
    Ok(())
}

/// Reads the symbol index of a component.
pub(super) fn load(path: &Path, digest: Sha256) -> Result<SymbolIndex, ToolchainError> {
    SymbolIndex::load(path, digest)
        .map_err(|source| ToolchainError::Symbols { path: path.to_owned(), source })
}

fn write(library: &Library, file: &str, arch: Arch, at: &Path) -> Result<(), ToolchainError> {
    if at.exists() {
        return Ok(());
    }
    let stub = write_stub(library, file, arch)
        .map_err(|source| ToolchainError::Stub { file: file.to_owned(), source })?;
    Ok(fs_err::write(at, stub)?)
}

/// `libcublas.so` for `libcublas.so.13`.
fn link_name(file: &str) -> &str {
    file.find(".so").map_or(file, |at| &file[..at + ".so".len()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Sources;
    use super::*;
    use crate::audit::tags::is_from_dependencies;
    use crate::symbols::Product;

    fn repository() -> Sources {
        Sources::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains")).unwrap()
    }

    /// The component `cuda` of the repository, for aarch64.
    fn cuda() -> Source {
        let sources = repository();
        let found = sources.all().iter().find(|source| {
            source.spec.key.name == "cuda" && source.spec.key.target == Some(Arch::Aarch64)
        });
        found.unwrap().clone()
    }

    #[test]
    fn the_repositorys_indices_are_locked_and_complete() {
        let sources = repository();
        let with_stubs = |source: &&Source| !source.spec.stubs.is_empty();
        let mut arches = BTreeSet::new();
        for source in sources.all().iter().filter(with_stubs) {
            arches.insert(source.spec.key.target);
            let index =
                load(source.index.as_ref().unwrap(), source.locked.symbols.unwrap()).unwrap();
            let projects = source.spec.stubs.iter().map(|wheel| wheel.project.clone());
            assert_eq!(index.parts, projects.collect());
            let libraries: Vec<_> =
                index.parts.iter().flat_map(|part| index.libraries(part)).collect();
            for (file, library) in &libraries {
                assert_eq!(library.soname.as_deref(), Some(*file));
                assert!(is_from_dependencies(file), "a wheel may not need `{file}`");
            }
            for (link, symbol) in [
                ("libcublas.so", "cublasCreate_v2"),
                ("libcudnn.so", "cudnnCreate"),
                ("libcudnn_graph.so", "cudnnBackendExecute"),
                ("libcufft.so", "cufftCreate"),
                ("libcusparseLt.so", "cusparseLtInit"),
                ("libnccl.so", "ncclGetVersion"),
                ("libnvrtc.so", "nvrtcCompileProgram"),
                ("libnvJitLink.so", "nvJitLinkVersion"),
            ] {
                let (_, library) =
                    libraries.iter().find(|(file, _)| link_name(file) == link).unwrap();
                assert!(library.symbols.iter().any(|s| s.name == symbol), "{link}: {symbol}");
            }
        }
        assert_eq!(arches, BTreeSet::from([Some(Arch::Aarch64), Some(Arch::X86_64)]));
    }

    #[test]
    fn stubs_stand_where_a_toolkit_has_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, content) in [
            ("include/cuda.h", "CUresult CUDAAPI cuInit(unsigned int Flags);\n"),
            ("lib/libcudart.so.13", "the real one"),
        ] {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), content).unwrap();
        }
        install(&cuda(), root).unwrap();
        let read = |path: &str| fs_err::read(root.join(path)).unwrap();
        assert_eq!(read("lib/libcudart.so"), b"the real one");
        let cublas = Library::read(&*read("lib/libcublas.so"), Arch::Aarch64).unwrap();
        assert_eq!(cublas.soname.as_deref(), Some("libcublas.so.13"));
        assert_eq!(read("lib/libcublas.so.13"), read("lib/libcublas.so"));
        let driver = Library::read(&*read("lib/stubs/libcuda.so"), Arch::Aarch64).unwrap();
        assert_eq!(driver.symbols.len(), 1);
        assert!(!root.join("lib/stubs/libnvidia-ml.so").exists(), "no header declares it");
    }

    #[test]
    fn another_index_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut source = cuda();
        let index = SymbolIndex::new(Product::Cuda, "13.0", Arch::Aarch64);
        let path = folder.path().join("index.xz");
        fs_err::write(&path, index.to_xz()).unwrap();
        source.index = Some(path);
        let error = install(&source, folder.path()).unwrap_err();
        assert_eq!(crate::Diagnose::class(&error), crate::Class::Integrity);
    }
}
