//! A patch file: what `git format-patch` writes, or `git diff`.

use std::path::{Component, Path, PathBuf};

use diffy::patch_set::{FileMode, FileOperation, ParseOptions, PatchKind, PatchSet};

use super::hunks;

/// What a patch does to one file.
pub(super) struct Change<'a> {
    pub(super) operation: Operation,
    /// What the file is afterwards, where that is another thing than before.
    pub(super) mode: Option<FileMode>,
    pub(super) kind: PatchKind<'a, [u8]>,
}

/// How files come and go, by paths below the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Create(PathBuf),
    Delete(PathBuf),
    Modify(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Copy { from: PathBuf, to: PathBuf },
}

impl Operation {
    /// The path that a message names.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Create(path) | Self::Delete(path) | Self::Modify(path) => path,
            Self::Rename { to, .. } | Self::Copy { to, .. } => to,
        }
    }

    /// The file that is not there afterwards.
    pub(super) fn removes(&self) -> Option<&Path> {
        match self {
            Self::Delete(path) | Self::Rename { from: path, .. } => Some(path),
            _ => None,
        }
    }
}

const SECTION: &[u8] = b"diff --git ";

/// Reads a patch.
///
/// # Errors
/// What is wrong with it, where it is none, or where something in it would be passed over.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Change<'_>>, String> {
    let mut changes = Vec::new();
    let mut hunks = 0;
    for parsed in PatchSet::parse_bytes(text, ParseOptions::gitdiff()) {
        let parsed = parsed.map_err(|error| error.to_string())?;
        let operation = operation(parsed.operation())?;
        let mode = parsed.new_mode().copied();
        let kind = parsed.into_patch();
        hunks += hunks::of(&kind).len();
        changes.push(Change { operation, mode, kind });
    }
    // The parser goes over what it does not know, as patch(1) does; a hunk must not be lost so.
    let begin = position(text).unwrap_or(text.len());
    let starting =
        |with: &[u8]| lines(&text[begin..]).filter(|line| line.starts_with(with)).count();
    if starting(b"@@ ") != hunks || starting(SECTION) != changes.len() {
        return Err("it has a hunk or a file in a place where none can be".to_owned());
    }
    Ok(changes)
}

/// Where the first file begins: what stands before is for people.
fn position(text: &[u8]) -> Option<usize> {
    let mut offset = 0;
    let mut after_message = !text.starts_with(b"From ");
    for line in lines(text) {
        if after_message && line.starts_with(SECTION) {
            return Some(offset);
        }
        after_message |= line == b"---\n";
        offset += line.len();
    }
    None
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

fn operation(operation: &FileOperation<'_, [u8]>) -> Result<Operation, String> {
    Ok(match operation {
        FileOperation::Create(path) => Operation::Create(stripped(path)?),
        FileOperation::Delete(path) => Operation::Delete(stripped(path)?),
        FileOperation::Modify { original, modified } => {
            let (from, to) = (stripped(original)?, stripped(modified)?);
            if from != to {
                let (from, to) = (from.display(), to.display());
                return Err(format!("`{from}` and `{to}` are two files, and it renames none"));
            }
            Operation::Modify(to)
        }
        // Git writes these without a first component.
        FileOperation::Rename { from, to } => {
            Operation::Rename { from: plain(from)?, to: plain(to)? }
        }
        FileOperation::Copy { from, to } => Operation::Copy { from: plain(from)?, to: plain(to)? },
    })
}

/// A path without its first component, as by `-p1`.
fn stripped(path: &[u8]) -> Result<PathBuf, String> {
    let slash = path.iter().position(|byte| *byte == b'/');
    let below = slash.map(|slash| &path[slash + 1..]);
    plain(below.ok_or_else(|| {
        format!("`{}` has no first component such as `a/`", String::from_utf8_lossy(path))
    })?)
}

/// A path that stays below the tree, and out of git's own folder.
fn plain(path: &[u8]) -> Result<PathBuf, String> {
    let refuse = || format!("`{}` is no path of a source tree", String::from_utf8_lossy(path));
    let text = std::str::from_utf8(path).map_err(|_| refuse())?;
    let git = |name: &std::ffi::OsStr| name.eq_ignore_ascii_case(".git");
    let normal = |part: Component<'_>| matches!(part, Component::Normal(name) if !git(name));
    let whole = Path::new(text);
    // Components leave out what would be another spelling of the same path.
    let same = whole.components().collect::<PathBuf>().as_os_str() == whole.as_os_str();
    match !text.is_empty() && !text.contains('\0') && same && whole.components().all(normal) {
        true => Ok(whole.to_owned()),
        false => Err(refuse()),
    }
}

/// What a patch says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heading {
    /// `Name <address>`.
    pub author: Option<String>,
    /// As an RFC 2822 date.
    pub date: Option<String>,
    /// Its first line, without git's `[PATCH]`.
    pub subject: Option<String>,
    /// What follows it.
    pub body: String,
}

impl Heading {
    /// Of a patch in the form of a mail; nothing of any other.
    pub fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut heading = Self::default();
        let Some((head, rest)) = text.split_once("\n\n").filter(|_| text.starts_with("From "))
        else {
            return heading;
        };
        // A line that begins with white space goes on with the one before.
        for line in head.replace("\n ", " ").replace("\n\t", " ").lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            let value = Some(value.trim().to_owned());
            match name {
                "From" => heading.author = value,
                "Date" => heading.date = value,
                "Subject" => {
                    heading.subject = value.map(|subject| without_tag(&subject).to_owned())
                }
                _ => {}
            }
        }
        heading.body = rest.split("\n---\n").next().unwrap_or_default().trim().to_owned();
        if rest.starts_with("---\n") {
            heading.body.clear();
        }
        heading
    }
}

/// A subject without `[PATCH]` or `[PATCH 2/3]`.
fn without_tag(subject: &str) -> &str {
    let rest = subject.strip_prefix("[PATCH").and_then(|rest| rest.split_once("] "));
    rest.map_or(subject, |(_, subject)| subject)
}

/// A patch with the positions of its hunks changed: of each hunk, in order, where it begins before
/// and after, counted from 1.
pub(super) fn renumbered(text: &[u8], starts: &[(usize, usize)]) -> Vec<u8> {
    let begin = position(text).unwrap_or(text.len());
    let mut renumbered = text[..begin].to_vec();
    let mut starts = starts.iter();
    for line in lines(&text[begin..]) {
        let moved = line.starts_with(b"@@ ").then(|| starts.next()).flatten();
        match moved.and_then(|starts| header(line, *starts)) {
            Some(header) => renumbered.extend(header),
            None => renumbered.extend(line),
        }
    }
    renumbered
}

/// `@@ -old,n +new,n @@` with other starts.
fn header(line: &[u8], (old, new): (usize, usize)) -> Option<Vec<u8>> {
    let line = line.strip_prefix(b"@@ -")?;
    let end = line.windows(3).position(|window| window == b" @@")?;
    let (before, after) = std::str::from_utf8(&line[..end]).ok()?.split_once(" +")?;
    let length =
        |range: &str| range.split_once(',').map(|(_, n)| format!(",{n}")).unwrap_or_default();
    let mut header = format!("@@ -{old}{} +{new}{}", length(before), length(after)).into_bytes();
    header.extend(&line[end..]);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(text: &str) -> Result<Vec<Operation>, String> {
        Ok(parse(text.as_bytes())?.into_iter().map(|change| change.operation).collect())
    }

    const MODIFY: &str = "diff --git a/d/x b/d/x\n--- a/d/x\n+++ b/d/x\n@@ -1 +1 @@\n-1\n+2\n";

    #[test]
    fn the_first_component_is_left_out() {
        assert_eq!(operations(MODIFY).unwrap(), [Operation::Modify("d/x".into())]);
        let rename =
            "diff --git a/d/x b/e/x\nsimilarity index 100%\nrename from d/x\nrename to e/x\n";
        let expected = Operation::Rename { from: "d/x".into(), to: "e/x".into() };
        assert_eq!(operations(rename).unwrap(), [expected]);
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for path in ["../x", "d/../../x", "/etc/x", ".git/config", "d/.GIT/x", "d//x", "./x", ""] {
            let text = MODIFY.replace("d/x", path);
            assert!(operations(&text).is_err(), "{path}");
            let rename = format!(
                "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to {path}\n"
            );
            assert!(operations(&rename).is_err(), "{path}");
        }
    }

    #[test]
    fn nothing_in_a_patch_is_passed_over() {
        for text in [
            "",
            "Just words.\n",
            // Without git's own line.
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n",
            // The second file likewise.
            &format!("{MODIFY}--- a/y\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n"),
            // Words between hunks.
            &format!("{MODIFY}words\n@@ -5 +5 @@\n-1\n+2\n"),
            // A hunk that is cut short, and one that has too much.
            &MODIFY.replace("+2\n", ""),
            &format!("{MODIFY}+3\n@@ -9 +9 @@\n-1\n+2\n"),
            &MODIFY.replace("b/d/x\n@@", "b/other\n@@"),
            "diff --git a/x b/x\nold mode 100644\nnew mode 100777\n",
        ] {
            assert!(operations(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_may_quote_patches() {
        let mail = format!(
            "From 00 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nDate: Tue, 1 Jan 2030 00:00:00 +0000\n\
             Subject: [PATCH 1/2] A subject that is\n folded\n\nWhy.\n\ndiff --git a/q b/q\n@@ -1 +1 @@\n\
             ---\n d/x | 2 +-\n\n{MODIFY}-- \n2.47.3\n"
        );
        assert_eq!(operations(&mail).unwrap(), [Operation::Modify("d/x".into())]);
        let heading = Heading::read(mail.as_bytes());
        assert_eq!(heading.author.as_deref(), Some("A <a@b>"));
        assert_eq!(heading.subject.as_deref(), Some("A subject that is folded"));
        assert!(heading.body.starts_with("Why."), "{}", heading.body);
        assert_eq!(Heading::read(MODIFY.as_bytes()), Heading::default());
    }

    #[test]
    fn hunks_are_renumbered_and_nothing_else() {
        let text = MODIFY.replace("@@\n", "@@ def f(): @@ -1 +1 @@\n");
        let moved = String::from_utf8(renumbered(text.as_bytes(), &[(41, 43)])).unwrap();
        assert_eq!(moved, text.replace("@@ -1 +1 @@ def", "@@ -41 +43 @@ def"));
    }
}
