//! The libraries to resolve against: of a target, and of a torch wherever it comes from.

use std::path::Path;

use object::ReadCache;

use super::AuditError;
use super::closure::Providers;
use crate::Result;
use crate::symbols::Library;
use crate::target::{Arch, Floors, Target};
use crate::toolchain::Sources;
use crate::torch::source::is_library;

/// Libraries by file name.
pub type Libraries = Vec<(String, Library)>;

/// What a target has, without its torch.
pub fn of_target(sources: &Sources, target: &Target) -> Result<Providers> {
    of_machine(sources, target.arch, &target.cuda, Some(&target.floors))
}

/// What machines of a processor have with a CUDA release; without floors, with the newest system
/// that is known.
pub fn of_machine(
    sources: &Sources,
    arch: Arch,
    cuda: &str,
    floors: Option<&Floors>,
) -> Result<Providers> {
    let system = sources.symbols("system", arch, None)?.ok_or(AuditError::NoSystem(arch))?;
    let providers = Providers::system(&system, floors);
    Ok(match sources.symbols("cuda", arch, Some(cuda))? {
        Some(index) => providers.with_cuda(&index),
        None => providers,
    })
}

/// The largest library that is read as a whole, in bytes: of a stub, which has nothing but tables,
/// they would be read in a hundred thousand pieces.
const WHOLE: u64 = 64 << 20;

/// The libraries of an unpacked `torch`. Of large ones, only the tables are read.
pub fn of_folder(torch: &Path, arch: Arch) -> Result<Libraries> {
    let folder = torch.join("lib");
    let read = |source| AuditError::Read { path: folder.clone(), source };
    let mut libraries = Vec::new();
    for entry in fs_err::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_library(&format!("torch/lib/{name}")) {
            continue;
        }
        let library = if fs_err::metadata(&path).map_err(read)?.len() > WHOLE {
            let file = fs_err::File::open(&path).map_err(read)?;
            Library::read(&ReadCache::new(file), arch)
        } else {
            Library::read(&fs_err::read(&path).map_err(read)?[..], arch)
        };
        let library =
            library.map_err(|source| AuditError::Library { path: path.clone(), source })?;
        libraries.push((name, library));
    }
    libraries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(libraries)
}
