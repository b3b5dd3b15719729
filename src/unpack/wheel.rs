//! Wheels, and zip archives in general.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::{Danger, UnpackError};
use super::tree::Tree;

/// A link's destination is a path: longer content is none (PATH_MAX of linux/limits.h).
const LONGEST_LINK: u64 = 4096;

/// Unpacks every member that the tree wants.
///
/// A zip may hold a path twice, of which readers take the last: such an archive is refused.
pub fn unpack(archive: impl Read + Seek, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let mut zip = open(archive, tree.archive())?;
    for index in 0..zip.len() {
        let at = tree.archive();
        let mut file = zip.by_index(index).map_err(|e| malformed(at, e))?;
        let member = file.name_raw().to_vec();
        let mode = file.unix_mode().unwrap_or(0o644);
        if file.is_dir() {
            tree.folder(&member)?;
        } else if file.is_symlink() {
            let mut destination = Vec::new();
            let read = file.by_ref().take(LONGEST_LINK).read_to_end(&mut destination);
            read.map_err(|source| tree.unreadable(&member, source))?;
            if destination.starts_with(b"/") {
                return Err(tree.refuse(&member, Danger::LinkOutside));
            }
            tree.symlink(&member, &destination)?;
        } else {
            tree.file(&member, mode & 0o111 != 0, &mut file)?;
        }
    }
    Ok(())
}

/// Opens a zip archive; `path` is what errors call it.
pub(super) fn open<R: Read + Seek>(archive: R, path: &Path) -> Result<ZipArchive<R>, UnpackError> {
    let zip = ZipArchive::new(archive).map_err(|e| malformed(path, e))?;
    if zip.has_duplicate_names() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it holds one path twice");
        return Err(UnpackError::malformed(path, source));
    }
    Ok(zip)
}

pub(super) fn malformed(archive: &Path, error: ZipError) -> UnpackError {
    UnpackError::malformed(archive, io::Error::from(error))
}

/// Where an installer puts a wheel's member, below one prefix.
///
/// Of `<name>-<version>.data`, `scripts` becomes `bin` and `data`, `purelib` and `platlib` the
/// root (the binary distribution format, "the .data directory"). Of the rest, where `strip` names
/// a folder, that folder is the root and what lies outside it is left out.
pub fn installed_path(member: &Path, strip: Option<&str>) -> Option<PathBuf> {
    let mut names = member.components();
    let first = names.next()?.as_os_str().to_str()?;
    if first.ends_with(".data") {
        let scheme = names.next()?.as_os_str().to_str()?;
        return match scheme {
            "scripts" => Some(Path::new("bin").join(names.as_path())),
            "data" | "purelib" | "platlib" => Some(names.as_path().to_owned()),
            _ => None,
        };
    }
    match strip {
        Some(folder) => member.strip_prefix(folder).ok().map(Path::to_owned),
        None => Some(member.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_go_where_an_installer_puts_them() {
        let installed = |member, strip| {
            let path = installed_path(Path::new(member), strip)?;
            Some(path.to_str().unwrap().to_owned())
        };
        assert_eq!(installed("ninja-1.13.data/scripts/ninja", None).as_deref(), Some("bin/ninja"));
        assert_eq!(installed("x-1.data/data/share/x", None).as_deref(), Some("share/x"));
        assert_eq!(installed("x-1.data/headers/x.h", None), None);
        assert_eq!(installed("x/y.py", None).as_deref(), Some("x/y.py"));
        let strip = Some("nvidia/cu13");
        assert_eq!(installed("nvidia/cu13/bin/nvcc", strip).as_deref(), Some("bin/nvcc"));
        assert_eq!(installed("nvidia/cu130/x", strip), None);
        assert_eq!(installed("x-1.dist-info/RECORD", strip), None);
    }
}
