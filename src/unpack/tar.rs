//! tar archives, in whatever compression.

use std::io::Read;

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

/// Unpacks a plain tar stream.
pub(super) fn unpack(
    content: impl Read,
    tree: &mut Tree<'_>,
    absolute_links: AbsoluteLinks,
) -> Result<(), UnpackError> {
    let malformed = |tree: &Tree<'_>, source| UnpackError::malformed(tree.archive(), source);
    let mut archive = Archive::new(content);
    let entries = archive.entries().map_err(|source| malformed(tree, source))?;
    for entry in entries {
        let mut entry = entry.map_err(|source| malformed(tree, source))?;
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
    }
    Ok(())
}
