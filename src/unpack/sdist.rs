//! Source archives of packages.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::UnpackError;
use super::tar::{self, AbsoluteLinks};
use super::tree::{Limits, Tree};
use super::{wheel, xz};

/// The kinds of archives that [`sdist`] reads.
const KNOWN: &str = "`.tar.gz`, `.tgz`, `.tar.xz`, `.tar` or `.zip`";

/// Unpacks a source archive into `into`, which is there and empty, and returns its one top folder.
///
/// # Errors
/// [`UnpackError`], where the archive is damaged, hostile or has another shape; `into` is then
/// empty again.
pub fn sdist(archive: &Path, into: &Path) -> Result<PathBuf, UnpackError> {
    let unpacked = one_folder(archive, into, |tree| any(archive, tree));
    if unpacked.is_err() {
        clear(into).map_err(UnpackError::Write)?;
    }
    unpacked
}

/// Unpacks the archive of a crate, which has a name of its own kind or, in a store, none, like
/// [`sdist`].
pub fn krate(archive: &Path, into: &Path) -> Result<PathBuf, UnpackError> {
    let file = fs_err::File::open(archive)
        .map_err(|source| UnpackError::Open { archive: archive.to_owned(), source })?;
    one_folder(archive, into, |tree| {
        tar::unpack(MultiGzDecoder::new(BufReader::new(file)), tree, AbsoluteLinks::Refused)
    })
}

fn one_folder(
    archive: &Path,
    into: &Path,
    unpack: impl FnOnce(&mut Tree<'_>) -> Result<(), UnpackError>,
) -> Result<PathBuf, UnpackError> {
    let size = fs_err::metadata(archive).map(|metadata| metadata.len());
    let size = size.map_err(|source| UnpackError::Open { archive: archive.to_owned(), source })?;
    let mut tree = Tree::new(into, Limits::of_source(size));
    tree.begin(archive, &|path| Some(path.to_owned()));
    unpack(&mut tree)?;
    let top: Vec<_> = tree.top().collect();
    match top[..] {
        [(folder, true)] => Ok(into.join(folder)),
        _ => {
            let names: Vec<_> =
                top.iter().map(|(name, _)| format!("`{}`", name.display())).collect();
            let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Err(UnpackError::Top { archive: archive.to_owned(), found })
        }
    }
}

/// Removes what lies in a folder.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs_err::remove_dir_all(entry.path())?,
            false => fs_err::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Unpacks any archive of source or data, by its name's ending.
pub fn any(archive: &Path, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let name = archive.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let file = fs_err::File::open(archive)
        .map_err(|source| UnpackError::Open { archive: archive.to_owned(), source })?;
    let file = BufReader::new(file);
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        tar::unpack(MultiGzDecoder::new(file), tree, AbsoluteLinks::Refused)
    } else if name.ends_with(".tar.xz") {
        tar::unpack(xz(file), tree, AbsoluteLinks::Refused)
    } else if name.ends_with(".tar") {
        tar::unpack(file, tree, AbsoluteLinks::Refused)
    } else if name.ends_with(".zip") {
        wheel::unpack(file, tree)
    } else {
        Err(UnpackError::UnknownKind { archive: archive.to_owned(), known: KNOWN })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::unpack::error::Danger;

    /// Kind, name, and content or destination of a link.
    type Entry<'a> = (::tar::EntryType, &'a str, &'a str);

    /// A `.tar.gz` whose entries are written as they are, unchecked.
    fn archive(folder: &Path, entries: &[Entry<'_>]) -> PathBuf {
        let path = folder.join("x-1.0.tar.gz");
        let file = fs_err::File::create(&path).unwrap();
        let mut builder = ::tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        for (kind, name, content) in entries {
            let mut header = ::tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let is_file = *kind == ::tar::EntryType::Regular;
            if !is_file {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(if is_file { content.len() as u64 } else { 0 });
            header.set_cksum();
            builder.append(&header, if is_file { content.as_bytes() } else { &[] }).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap().flush().unwrap();
        path
    }

    fn unpack(entries: &[Entry<'_>]) -> Result<PathBuf, UnpackError> {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("into");
        fs_err::create_dir(&into).unwrap();
        let result = sdist(&archive(folder.path(), entries), &into);
        let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "something was written outside the folder: {left:?}");
        result.map(|top| top.strip_prefix(&into).unwrap().to_owned())
    }

    #[test]
    fn an_sdist_has_one_top_folder() {
        use ::tar::EntryType::{Directory, Regular, Symlink};
        let good =
            [(Directory, "x-1.0/", ""), (Regular, "x-1.0/a", "1"), (Symlink, "x-1.0/l", "a")];
        assert_eq!(unpack(&good).unwrap(), Path::new("x-1.0"));
        let two = unpack(&[(Regular, "a/x", ""), (Regular, "b/x", "")]).unwrap_err();
        assert!(
            two.to_string().ends_with("holds `a`, `b` at its top, where one folder is expected")
        );
        assert!(matches!(unpack(&[]).unwrap_err(), UnpackError::Top { .. }));
    }

    #[test]
    fn hostile_members_are_refused_by_name() {
        use ::tar::EntryType::{Block, Fifo, Link, Regular, Symlink};
        let cases: [(&[Entry<'_>], Danger); 9] = [
            (&[(Regular, "../evil", "")], Danger::Outside),
            (&[(Regular, "/evil", "")], Danger::Outside),
            (&[(Symlink, "x/evil", "../../evil")], Danger::LinkOutside),
            (&[(Symlink, "x/evil", "/etc")], Danger::LinkOutside),
            (&[(Symlink, "x/d", "."), (Regular, "x/d/evil", "")], Danger::ThroughLink),
            (&[(Link, "x/evil", "x/none")], Danger::DanglingHardLink),
            (&[(Block, "x/evil", "")], Danger::Special),
            (&[(Fifo, "x/evil", "")], Danger::Special),
            (&[(Regular, "x/evil", ""), (Regular, "x/./evil", "")], Danger::Duplicate),
        ];
        for (entries, expected) in cases {
            let error = unpack(entries).unwrap_err();
            let UnpackError::Refused { member, danger, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*danger, expected);
            assert!(member.ends_with("evil"), "{member}");
        }
    }

    #[test]
    fn a_truncated_archive_is_malformed() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &[(::tar::EntryType::Regular, "x/a", "content")]);
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let into = folder.path().join("into");
        fs_err::create_dir(&into).unwrap();
        let error = sdist(&path, &into).unwrap_err();
        assert!(
            matches!(error, UnpackError::Malformed { .. } | UnpackError::Member { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn other_kinds_of_archives_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.bz2");
        fs_err::write(&path, "").unwrap();
        let error = sdist(&path, folder.path()).unwrap_err();
        assert!(matches!(error, UnpackError::UnknownKind { .. }), "{error:?}");
    }
}
