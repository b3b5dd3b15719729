//! Binary packages of Debian and its kin: an ar archive of a version, control files, and the
//! files to install as a tar archive (deb(5)).

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::GzDecoder;
use object::read::ReadCache;
use object::read::archive::ArchiveFile;
use ruzstd::decoding::StreamingDecoder;

use super::error::UnpackError;
use super::tar::{self, AbsoluteLinks};
use super::tree::Tree;
use super::xz;

/// Unpacks a package's files. Its control files and maintainer scripts are not looked at.
pub fn unpack(package: impl Read + Seek, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let malformed = |source| UnpackError::malformed(tree.archive(), source);
    let invalid = |error| malformed(io::Error::new(io::ErrorKind::InvalidData, error));
    let cache = ReadCache::new(package);
    let mut data = None;
    for member in ArchiveFile::parse(&cache).map_err(invalid)?.members() {
        let member = member.map_err(invalid)?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        if let Some(form) = name.trim_end_matches('/').strip_prefix("data.tar") {
            data = Some((form.to_owned(), member.file_range()));
            break;
        }
    }
    let Some((form, (offset, size))) = data else {
        let missing = "there is no `data.tar` in it";
        return Err(malformed(io::Error::new(io::ErrorKind::UnexpectedEof, missing)));
    };
    let mut package = cache.into_inner();
    package.seek(SeekFrom::Start(offset)).map_err(malformed)?;
    let entry = BufReader::new(package.take(size));
    let below_root = AbsoluteLinks::BelowRoot;
    match form.as_str() {
        "" => tar::unpack(entry, tree, below_root),
        ".gz" => tar::unpack(GzDecoder::new(entry), tree, below_root),
        ".xz" => tar::unpack(xz(entry), tree, below_root),
        ".zst" => {
            let content =
                StreamingDecoder::new(entry).map_err(|e| malformed(io::Error::other(e)))?;
            tar::unpack(content, tree, below_root)
        }
        _ => Err(UnpackError::UnknownKind {
            archive: tree.archive().to_owned(),
            known: "packages with `data.tar`, `.gz`, `.xz` or `.zst`",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Limits;
    use crate::{Class, Diagnose as _};

    #[test]
    fn a_name_that_lies_beyond_the_end_is_malformed() {
        let header = format!("{:<48}{:<10}`\n", "/99999999999999", 4);
        let package = [b"!<arch>\n", header.as_bytes(), b"data"].concat();
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path(), Limits::SOURCE);
        let error = unpack(io::Cursor::new(package), &mut tree).unwrap_err();
        assert_eq!(error.class(), Class::Archive, "{error}");
    }
}
