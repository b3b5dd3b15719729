//! Applying patches to a source tree: first all of it in memory, then to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use diffy::patch_set::{FileMode, PatchKind};
use serde::Serialize;
use walkdir::WalkDir;

use super::error::SeriesError;
use super::hunks::{self, Place, Placed};
use super::stream;
use super::text::{self, Change, Operation};
use crate::report::{Event, Reporter};
use crate::unpack::tree::{MTIME, contained_link};

/// A patch to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// What came of one patch's change of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The patch.
    pub patch: String,
    /// The file, by its path below the tree; none where the patch is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where its hunks go.
    pub hunks: Vec<Placed>,
    /// Why nothing can be done to the file at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// Why a change is impossible, wherever its hunks go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Refusal {
    /// The text is no patch, or holds what is not understood.
    #[error("it is not a patch as `git format-patch` writes them: {message}")]
    Malformed {
        /// What is wrong.
        message: String,
    },
    /// The file is not there.
    #[error("the file is not there")]
    Absent,
    /// A file that would be made is there.
    #[error("the file is there already")]
    Present,
    /// There is a folder in its place.
    #[error("it is a folder")]
    Folder,
    /// One of its folders is a link or a file.
    #[error("its path goes through `{through}`, which is no folder")]
    Through {
        /// By its path below the tree.
        through: PathBuf,
    },
    /// A link that would lead out of the tree.
    #[error("it would be a link to `{target}`, which is not in the source tree")]
    LinkLeaves {
        /// Where it would lead.
        target: PathBuf,
    },
    /// A binary patch of another content.
    #[error("its content is not the one that the binary patch was made from")]
    OtherContent,
    /// Binary data that cannot be unpacked.
    #[error("its binary data is damaged, or cut short")]
    Damaged,
    /// A marker that two binary files differ.
    #[error("the patch tells that the file differs, and not how")]
    NoContent,
    /// A file that would be deleted has more than the patch deletes.
    #[error("it is to be deleted, and has more in it than the patch knows")]
    MoreContent,
    /// A submodule, or a mode that is none of a source tree's.
    #[error("it would be a submodule")]
    Submodule,
}

impl Outcome {
    /// Whether it can be done.
    pub fn fits(&self) -> bool {
        self.refused.is_none() && self.hunks.iter().all(|placed| placed.place.fits())
    }
}

impl fmt::Display for Outcome {
    /// What is in the way, from `in` on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or(Path::new(""));
        if let Some(refusal) = &self.refused {
            return match &self.file {
                Some(file) => write!(f, "in `{}`: {refusal}", file.display()),
                None => refusal.fmt(f),
            };
        }
        let Some(failed) = self.hunks.iter().find(|placed| !placed.place.fits()) else {
            return write!(f, "in `{}`", file.display());
        };
        let Placed { hunk, line, place } = failed;
        write!(f, "in `{}`: hunk {hunk}, for line {line}, ", file.display())?;
        match place {
            Place::Ambiguous { at } => {
                let at: Vec<_> = at.iter().map(usize::to_string).collect();
                write!(f, "fits at several lines: {}", at.join(", "))
            }
            Place::Missing { nearest: Some(nearest) } => write!(f, "fits nowhere; {nearest}"),
            _ => f.write_str("fits nowhere, and nothing in the file is like it"),
        }
    }
}

/// A file or link of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File { content: Vec<u8>, executable: bool },
    Link { target: Vec<u8> },
}

impl Node {
    /// What git takes for the content.
    fn content(&self) -> &[u8] {
        match self {
            Self::File { content, .. } => content,
            Self::Link { target } => target,
        }
    }

    fn with(&self, content: Vec<u8>, mode: Option<FileMode>) -> Result<Self, Refusal> {
        Ok(match mode {
            Some(FileMode::Regular) => Self::File { content, executable: false },
            Some(FileMode::Executable) => Self::File { content, executable: true },
            Some(FileMode::Symlink) => Self::Link { target: content },
            Some(FileMode::Gitlink) => return Err(Refusal::Submodule),
            None => match self {
                Self::File { executable, .. } => Self::File { content, executable: *executable },
                Self::Link { .. } => Self::Link { target: content },
            },
        })
    }
}

/// What patches make of a tree, not written yet.
#[derive(Debug)]
pub struct Trial {
    root: PathBuf,
    /// What is another thing than on the disk; nothing where a file is gone.
    changed: BTreeMap<PathBuf, Option<Node>>,
    /// What came of each change, in order.
    pub outcomes: Vec<Outcome>,
}

/// Applies patches, one after the other, to the tree in this folder, in memory. Where something
/// does not fit, the rest of it is tried all the same.
pub fn attempt(root: &Path, patches: &[Named]) -> io::Result<Trial> {
    let mut trial = Trial { root: root.to_owned(), changed: BTreeMap::new(), outcomes: Vec::new() };
    for patch in patches {
        trial.patch(patch)?;
    }
    Ok(trial)
}

impl Trial {
    /// The first change that does not fit.
    fn failure(&self) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| !outcome.fits())
    }

    /// That every change fits.
    ///
    /// # Errors
    /// [`SeriesError::DoesNotApply`], with the first that does not.
    pub fn check(&self, source_name: &str) -> Result<(), SeriesError> {
        let Some(failed) = self.failure() else { return Ok(()) };
        let (source_name, failed) = (source_name.to_owned(), Box::new(failed.clone()));
        Err(SeriesError::DoesNotApply { source_name, failed })
    }

    /// Tells of hunks that lie elsewhere than their patches have them.
    pub fn report(&self, reporter: &dyn Reporter) {
        for Outcome { patch, file, hunks, .. } in &self.outcomes {
            for Placed { hunk, line, place } in hunks {
                if let (Place::Moved { to }, Some(file)) = (place, file) {
                    reporter.report(Event::Note(format!(
                        "`{patch}`: hunk {hunk} of `{}` is at line {to}, not {line}",
                        file.display()
                    )));
                }
            }
        }
    }

    /// Whether the tree in another folder has in all changed files what this one would have.
    pub fn is_as_in(&self, other: &Path) -> io::Result<bool> {
        for (path, node) in &self.changed {
            // Where a file was, a folder may be.
            let there = read(&other.join(path))?.unwrap_or(None);
            if there != *node {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes it to the disk.
    pub fn write(&self) -> io::Result<()> {
        let remove = |path: &Path| match fs_err::remove_file(self.root.join(path)) {
            Err(error) if !is_absence(&error) => Err(error),
            _ => Ok(()),
        };
        // What is gone may have been in the way: a link, or a file, where a folder will be.
        for (path, _) in self.changed.iter().filter(|(_, node)| node.is_none()) {
            remove(path)?;
            self.remove_empty_folders(path);
        }
        for (path, node) in &self.changed {
            let Some(node) = node else { continue };
            remove(path)?;
            let path = self.root.join(path);
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder)?;
            }
            match node {
                Node::Link { target } => {
                    std::os::unix::fs::symlink(OsString::from_vec(target.clone()), &path)?;
                }
                Node::File { content, executable } => {
                    fs_err::write(&path, content)?;
                    let mode = if *executable { 0o755 } else { 0o644 };
                    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
                    // As of every file that was unpacked.
                    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME);
                    fs_err::OpenOptions::new().append(true).open(&path)?.set_modified(time)?;
                }
            }
        }
        Ok(())
    }

    /// As git has it, no folder stays that nothing is in.
    fn remove_empty_folders(&self, path: &Path) {
        for folder in path.ancestors().skip(1).filter(|folder| *folder != Path::new("")) {
            // It fails where something is in it.
            if std::fs::remove_dir(self.root.join(folder)).is_err() {
                return;
            }
        }
    }

    fn patch(&mut self, patch: &Named) -> io::Result<()> {
        let changes = match text::parse(&patch.text) {
            Ok(changes) => changes,
            Err(message) => {
                let (patch, refused) = (patch.name.clone(), Some(Refusal::Malformed { message }));
                self.outcomes.push(Outcome { patch, file: None, hunks: Vec::new(), refused });
                return Ok(());
            }
        };
        let removed = changes.iter().filter_map(|change| change.operation.removes());
        let removed: BTreeSet<PathBuf> = removed.map(Path::to_owned).collect();
        let before = self.changed.clone();
        let mut step = Step { trial: self, before, removed, written: BTreeMap::new() };
        for change in &changes {
            let (hunks, refused) = match step.change(change)? {
                Ok(hunks) => (hunks, None),
                Err(refusal) => (Vec::new(), Some(refusal)),
            };
            let file = Some(change.operation.path().to_owned());
            let patch = patch.name.clone();
            step.trial.outcomes.push(Outcome { patch, file, hunks, refused });
        }
        let written = step.written;
        let is_file = |path: &Path| matches!(written.get(path), Some(Some(_)));
        for path in written.keys().filter(|path| is_file(path)) {
            // Two files, of which one would have to be a folder for the other.
            if let Some(through) = path.ancestors().skip(1).find(|folder| is_file(folder)) {
                let refused = Some(Refusal::Through { through: through.to_owned() });
                let (patch, file) = (patch.name.clone(), Some(path.clone()));
                self.outcomes.push(Outcome { patch, file, hunks: Vec::new(), refused });
            }
        }
        for (path, node) in written {
            match read(&self.root.join(&path))?.as_ref().ok() == Some(&node) {
                true => self.changed.remove(&path),
                false => self.changed.insert(path, node),
            };
        }
        Ok(())
    }
}

/// One patch in the making. What it says of files is of how they were before it.
struct Step<'a> {
    trial: &'a mut Trial,
    before: BTreeMap<PathBuf, Option<Node>>,
    removed: BTreeSet<PathBuf>,
    written: BTreeMap<PathBuf, Option<Node>>,
}

impl Step<'_> {
    fn change(&mut self, change: &Change<'_>) -> io::Result<Result<Vec<Placed>, Refusal>> {
        // Two layers: the disk's errors, and what the patch gets wrong.
        let Change { operation, mode, kind } = change;
        let old = match operation {
            Operation::Create(_) => Ok(None),
            Operation::Modify(path) => self.present(path, self.written.get(path))?,
            Operation::Delete(path)
            | Operation::Rename { from: path, .. }
            | Operation::Copy { from: path, .. } => self.present(path, None)?,
        };
        let old = match old {
            Ok(old) => old,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !matches!(operation, Operation::Modify(_) | Operation::Delete(_))
            && let Err(refusal) = self.absent(operation.path())?
        {
            return Ok(Err(refusal));
        }
        Ok(self.made(operation, old, *mode, kind))
    }

    fn made(
        &mut self,
        operation: &Operation,
        old: Option<Node>,
        mode: Option<FileMode>,
        kind: &PatchKind<'_, [u8]>,
    ) -> Result<Vec<Placed>, Refusal> {
        let empty = Node::File { content: Vec::new(), executable: false };
        let old = old.unwrap_or(empty);
        let (content, placed) = match kind {
            PatchKind::Text(patch) => hunks::apply(old.content(), patch.hunks()),
            PatchKind::Binary(diffy::binary::BinaryPatch::Marker) => {
                return Err(Refusal::NoContent);
            }
            PatchKind::Binary(patch) => {
                if !stream::is_whole(patch) {
                    return Err(Refusal::Damaged);
                }
                let content = patch.apply(old.content()).map_err(|_| Refusal::OtherContent)?;
                // The patch holds the way back too, which leads to what it was made from alone.
                let back = patch.apply_reverse(&content).map_err(|_| Refusal::OtherContent)?;
                if back != old.content() {
                    return Err(Refusal::OtherContent);
                }
                (content, Vec::new())
            }
        };
        let path = operation.path();
        if let Operation::Delete(_) = operation {
            if !content.is_empty() && placed.iter().all(|placed| placed.place.fits()) {
                return Err(Refusal::MoreContent);
            }
            self.written.insert(path.to_owned(), None);
            return Ok(placed);
        }
        let new = old.with(content, mode)?;
        if let Node::Link { target } = &new {
            let target = Path::new(std::ffi::OsStr::from_bytes(target));
            if target.is_absolute() || contained_link(path, target).is_none() {
                return Err(Refusal::LinkLeaves { target: target.to_owned() });
            }
        }
        if let Operation::Rename { from, .. } = operation {
            // Something else may have taken its place.
            self.written.entry(from.clone()).or_insert(None);
        }
        self.written.insert(path.to_owned(), Some(new));
        Ok(placed)
    }

    /// What is at a path, if something may be read there.
    fn present(
        &self,
        path: &Path,
        written: Option<&Option<Node>>,
    ) -> io::Result<Result<Option<Node>, Refusal>> {
        if let Some(node) = written {
            return Ok(node.clone().ok_or(Refusal::Absent).map(Some));
        }
        Ok(self.reach(path)?.and_then(|node| node.ok_or(Refusal::Absent).map(Some)))
    }

    /// Whether something may be made at a path.
    fn absent(&self, path: &Path) -> io::Result<Result<(), Refusal>> {
        let taken = match self.written.get(path) {
            Some(node) => node.is_some(),
            None => match self.reach(path)? {
                Ok(node) => node.is_some() && !self.removed.contains(path),
                Err(Refusal::Folder) if self.is_emptied(path)? => false,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        Ok(if taken { Err(Refusal::Present) } else { Ok(()) })
    }

    /// Whether of a folder on the disk nothing is left after this patch.
    fn is_emptied(&self, folder: &Path) -> io::Result<bool> {
        for entry in WalkDir::new(self.trial.root.join(folder)) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&self.trial.root).map_err(io::Error::other)?;
            let gone = self.removed.contains(path) || self.before.get(path) == Some(&None);
            if !entry.file_type().is_dir() && !gone {
                return Ok(false);
            }
        }
        Ok(!self.before.iter().any(|(path, node)| {
            node.is_some() && path.starts_with(folder) && !self.removed.contains(path)
        }))
    }

    /// What was at a path before this patch. No link is followed on the way.
    fn reach(&self, path: &Path) -> io::Result<Result<Option<Node>, Refusal>> {
        let mut folders: Vec<_> = path.ancestors().skip(1).collect();
        folders.pop();
        for folder in folders.into_iter().rev() {
            match self.at(folder)? {
                Err(Refusal::Folder) => {}
                // What is gone after the patch is in nobody's way.
                Ok(None) => return Ok(Ok(None)),
                Ok(Some(_)) if self.removed.contains(folder) => return Ok(Ok(None)),
                _ => return Ok(Err(Refusal::Through { through: folder.to_owned() })),
            }
        }
        self.at(path)
    }

    fn at(&self, path: &Path) -> io::Result<Result<Option<Node>, Refusal>> {
        if let Some(node) = self.before.get(path) {
            return Ok(Ok(node.clone()));
        }
        // An earlier patch may have made the folder.
        if self.before.iter().any(|(other, node)| node.is_some() && other.starts_with(path)) {
            return Ok(Err(Refusal::Folder));
        }
        read(&self.trial.root.join(path))
    }
}

/// What lies at a path of the disk.
fn read(path: &Path) -> io::Result<Result<Option<Node>, Refusal>> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absence(&error) => return Ok(Ok(None)),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        return Ok(Err(Refusal::Folder));
    }
    if metadata.is_symlink() {
        let target = fs_err::read_link(path)?.into_os_string().into_vec();
        return Ok(Ok(Some(Node::Link { target })));
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;
    Ok(Ok(Some(Node::File { content: fs_err::read(path)?, executable })))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
