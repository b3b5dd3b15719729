//! Binary packages of Debian and its kin: an ar archive of a version, control files, and the
//! files to install as a tar archive (deb(5)).

use std::io::{self, BufReader, Read, Seek};

use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::error::UnpackError;
use super::tar::{self, AbsoluteLinks};
use super::tree::Tree;
use super::xz;

/// Unpacks a package's files. Its control files and maintainer scripts are not looked at.
pub fn unpack(package: impl Read + Seek, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    let malformed = |source| UnpackError::malformed(tree.archive(), source);
    let mut archive = ar::Archive::new(BufReader::new(package));
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(malformed)?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let name = name.trim_end_matches('/');
        let below_root = AbsoluteLinks::BelowRoot;
        return match name.strip_prefix("data.tar") {
            Some("") => tar::unpack(entry, tree, below_root),
            Some(".gz") => tar::unpack(GzDecoder::new(entry), tree, below_root),
            Some(".xz") => tar::unpack(xz(entry), tree, below_root),
            Some(".zst") => {
                let content =
                    StreamingDecoder::new(entry).map_err(|e| malformed(io::Error::other(e)))?;
                tar::unpack(content, tree, below_root)
            }
            Some(_) => Err(UnpackError::UnknownKind {
                archive: tree.archive().to_owned(),
                known: "packages with `data.tar`, `.gz`, `.xz` or `.zst`",
            }),
            None => continue,
        };
    }
    Err(malformed(io::Error::new(io::ErrorKind::UnexpectedEof, "there is no `data.tar` in it")))
}
