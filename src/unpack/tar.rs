//! tar archives, in whatever compression.

use std::cell::Cell;
use std::io::{self, Read};

use ::tar::{Archive, EntryType};

use super::error::{Danger, UnpackError};
use super::tree::Tree;

/// How absolute destinations of links are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsoluteLinks {
    /// Below the tree's root, as in a distribution's package.
    BelowRoot,
    /// Refused, as in a source archive.
    Refused,
}

/// How much of an archive may stand between the contents of two members: headers, padding, and the
/// names and attributes that the reader keeps in memory. Linux takes paths of 4 KiB and extended
/// attributes of 64 KiB (limits.h).
const BETWEEN_MEMBERS: u64 = 1 << 20;
/// How much may follow the end of an archive: tar pads it to a multiple of its record's size.
const AFTER_END: u64 = 64 << 20;

/// A stream of which no more is read than there is leave for.
struct Metered<'a, R> {
    stream: R,
    leave: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let leave = self.leave.get();
        if leave == 0 && !buffer.is_empty() {
            let reason = "it holds more bytes that belong to no file than an archive needs";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let most = usize::try_from(leave).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        self.leave.set(leave - read as u64);
        Ok(read)
    }
}

/// Unpacks a plain tar stream.
pub(super) fn unpack(
    content: impl Read,
    tree: &mut Tree<'_>,
    absolute_links: AbsoluteLinks,
) -> Result<(), UnpackError> {
    let malformed = |tree: &Tree<'_>, source| UnpackError::malformed(tree.archive(), source);
    let leave = Cell::new(BETWEEN_MEMBERS);
    let mut archive = Archive::new(Metered { stream: content, leave: &leave });
    let mut entries = archive.entries().map_err(|source| malformed(tree, source))?;
    loop {
        leave.set(BETWEEN_MEMBERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|source| malformed(tree, source))?;
        // A member's content is the tree's to measure.
        leave.set(u64::MAX);
        let member = entry.path_bytes().into_owned();
        let link = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let mode = entry.header().mode().map_err(|e| tree.unreadable(&member, e))?;
                tree.file(&member, mode & 0o111 != 0, &mut entry)?;
            }
            EntryType::Directory => tree.folder(&member)?,
            EntryType::Symlink => {
                if absolute_links == AbsoluteLinks::Refused && link.starts_with(b"/") {
                    return Err(tree.refuse(&member, Danger::LinkOutside));
                }
                tree.symlink(&member, &link)?;
            }
            EntryType::Link => tree.hard_link(&member, &link)?,
            // Comments, such as the commit that git notes in the archives it makes.
            EntryType::XGlobalHeader => {}
            _ => return Err(tree.refuse(&member, Danger::Special)),
        }
        // What is not wanted is passed over here, while there is leave for it.
        io::copy(&mut entry, &mut io::sink()).map_err(|e| tree.unreadable(&member, e))?;
    }
    // What is compressed has its checksum at its end, which lies behind the archive's own.
    leave.set(AFTER_END);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|e| malformed(tree, e))?;
    Ok(())
}
