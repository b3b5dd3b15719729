//! A place where a file speaks of a package's version, and the edit that changes it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use pep508_rs::{PackageName, Requirement};

use super::PinError;
use crate::python::pep508;

/// What may be read of one file: more than any that a person writes.
const LIMIT: u64 = 16 << 20;

/// A place in a file.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// The package.
    pub(super) name: PackageName,
    /// What is written, escapes resolved.
    pub(super) text: String,
    /// Where it stands in the file, in bytes.
    pub(super) span: Range<usize>,
    /// How it is written there.
    pub(super) form: Form,
    /// What it is for.
    pub(super) place: Place,
}

/// How a pin is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A requirement.
    Requirement {
        /// As parsed.
        parsed: Box<Requirement>,
        /// What must be removed with it, so that nothing of it is left; none where that cannot be
        /// told.
        whole: Option<Range<usize>>,
        /// The digests of the files that it names.
        hashes: Option<Range<usize>>,
        /// Whether it stands in a string with escapes.
        escaped: bool,
    },
    /// A bare version.
    Version {
        /// Whether it is the oldest that will do.
        at_least: bool,
    },
    /// A requirement that a script puts together when it runs.
    Computed,
    /// The torch release whose stable ABI is compiled against.
    StableTarget(pep440_rs::Version),
}

/// What a requirement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The build itself.
    Build,
    /// Running the package.
    Run,
    /// Either, or neither: extras, groups, files that something may read.
    Perhaps,
}

impl Site {
    /// A requirement, where the text is one of a package of these names.
    pub(super) fn requirement(
        text: String,
        span: Range<usize>,
        place: Place,
        names: &BTreeSet<PackageName>,
    ) -> Option<Self> {
        let parsed = Box::new(pep508::parse(&text).ok()?);
        let name = parsed.name.clone();
        let form = Form::Requirement { parsed, whole: None, hashes: None, escaped: false };
        names.contains(&name).then_some(Self { name, text, span, form, place })
    }

    /// With what goes where the requirement does.
    pub(super) fn within(mut self, all: Range<usize>) -> Self {
        if let Form::Requirement { whole, .. } = &mut self.form {
            *whole = Some(all);
        }
        self
    }
}

/// The files of a source tree: those that lie in it, regular ones, and nothing that a link or a
/// `..` leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'a>(pub(super) &'a Path);

impl Tree<'_> {
    /// A file's text, as far as it is UTF-8, and the bytes behind that.
    pub(super) fn read(&self, relative: &str) -> Result<Option<(String, Vec<u8>)>, PinError> {
        let path = self.0.join(relative);
        let Ok(metadata) = fs_err::symlink_metadata(&path) else { return Ok(None) };
        if !metadata.is_file() || metadata.len() > LIMIT {
            return Ok(None);
        }
        let mut bytes = fs_err::read(path)?;
        let valid = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = bytes.split_off(valid);
        Ok(Some((String::from_utf8(bytes).unwrap_or_default(), rest)))
    }
}

/// A path as a file of the tree names it, relative to the tree; none where it leads out of it.
pub(super) fn joined(folder: &str, named: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in PathBuf::from(folder).join(named).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?.to_owned()),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The folder of a file.
pub(super) fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// An item of a list in source code, and what separates it from the next: where it stands on lines
/// of its own, these, comment and all.
pub(super) fn item_with_separator(text: &str, item: Range<usize>) -> Range<usize> {
    let mut end = item.end;
    let behind = text[end..].trim_start_matches([' ', '\t']);
    if behind.starts_with(',') {
        end = text.len() - behind.len() + 1;
    }
    let line_start = text[..item.start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    let rest = text[end..line_end].trim();
    if text[line_start..item.start].trim().is_empty() && (rest.is_empty() || rest.starts_with('#'))
    {
        return line_start..line_end;
    }
    let spaces = text[end..line_end].trim_start_matches([' ', '\t']);
    // Of a list in one line the white space that follows goes too.
    let gap = text[end..line_end].len() - spaces.len();
    item.start..end + if end > item.end { gap } else { 0 }
}

/// The line of a place, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_tree() {
        assert_eq!(
            joined("requirements", "common.txt").as_deref(),
            Some("requirements/common.txt")
        );
        assert_eq!(joined("a/b", "./../c.txt").as_deref(), Some("a/c.txt"));
        for (folder, named) in [("a", "../../c.txt"), ("", ".."), ("a", "/etc/passwd"), ("", ".")] {
            assert_eq!(joined(folder, named), None, "{folder} {named}");
        }
    }

    #[test]
    fn an_item_goes_with_its_line_or_its_separator() {
        for (text, item, left) in [
            ("[\n  'a',\n  'b',  # why\n]", "'b'", "[\n  'a',\n]"),
            ("['a', 'b', 'c']", "'b'", "['a', 'c']"),
            ("['a', 'b']", "'b'", "['a', ]"),
            ("['a',\n 'b']", "'b'", "['a',\n ]"),
        ] {
            let start = text.find(item).unwrap();
            let gone = item_with_separator(text, start..start + item.len());
            assert_eq!(format!("{}{}", &text[..gone.start], &text[gone.end..]), left);
        }
    }
}
