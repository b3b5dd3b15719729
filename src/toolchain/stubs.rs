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
pub(super) const FORMAT: u32 = 1;

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
    let (target, cuda) = (key.target?, key.cuda.as_ref()?);
    Some(toolchains.join(&key.name).join(format!("{cuda}-{target}.symbols.xz")))
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
