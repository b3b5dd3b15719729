//! Patch: from fetched inputs to a source tree of the build's own.
//!
//! The tree is a copy that a build script may write into; nobody else's files are touched. A later
//! build of the same folder changes only the files that differ, so that what was compiled from
//! the others stays valid.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use sha2::Digest as _;
use walkdir::WalkDir;

use crate::Result;
use crate::artifact::Sha256;
use crate::configure::{BuildFolder, ConfigureError};
use crate::context::Context;
use crate::fetch::{Fetched, patched_tree, source_tree};
use crate::lock::{Locked, LockedTree, TreeError};
use crate::pins::{self, Pin};
use crate::python::pyproject::{BuildSystem, Project};

/// A source tree to build in, and how it says that it is built.
#[derive(Debug, Clone)]
pub struct Patched {
    /// What it is built from.
    pub fetched: Fetched,
    /// Where it is built.
    pub folder: BuildFolder,
    /// Its backend.
    pub system: BuildSystem,
    /// The pins that were changed.
    pub pins: Vec<Pin>,
}

/// Brings the source into the build's folder, with the pins that fit the target.
pub fn patch(context: &Context, fetched: Fetched, folder: BuildFolder) -> Result<Patched> {
    let Locked { source, recipe, resolved, patches, .. } = &fetched.locked;
    let pins = patched_tree(
        context,
        source,
        &folder.source(),
        |_| Ok(patches.clone()),
        |tree| pins::for_target(tree, resolved, recipe, &fetched.torch),
    )?;
    for tree in &fetched.locked.trees {
        further_tree(context, tree, &folder.trees())?;
    }
    let project = Project::of(&resolved.request, &folder.source())?;
    Ok(Patched { fetched, folder, system: project.build_system, pins })
}

/// Brings a tree that the recipe names into the build's folder of such trees.
fn further_tree(context: &Context, tree: &LockedTree, trees: &Path) -> Result<()> {
    let root = trees.join(&tree.wanted.name);
    match &tree.source {
        Some(source) => source_tree(context, source, &[], &root)?,
        None => {
            // CMake's FetchContent takes an empty folder for one that is not there.
            fs_err::create_dir_all(&root).map_err(ConfigureError::Io)?;
            fs_err::write(root.join("EMPTY"), "").map_err(ConfigureError::Io)?;
        }
    }
    if let Some(folder) = tree.wanted.folder.as_ref().filter(|folder| !root.join(folder).is_dir()) {
        let (name, folder) = (tree.wanted.name.clone(), folder.clone());
        return Err(TreeError::NoFolder { name, folder }.into());
    }
    Ok(())
}

/// What a checkout holds beside its sources: never copied, never part of the digest.
const LEFT_OUT: [&str; 6] = [".git", ".hg", ".svn", "__pycache__", ".venv", ".tox"];

/// A digest over the paths, kinds, run bits and contents of a source tree; times do not count.
pub fn tree_digest(folder: &Path) -> io::Result<Sha256> {
    tree_digest_without(folder, |_| false)
}

/// The same, where the contents of some files, told by their paths, do not count.
pub(crate) fn tree_digest_without(
    folder: &Path,
    is_left_out: impl Fn(&Path) -> bool,
) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    for relative in files_of(folder)? {
        let path = folder.join(&relative);
        let metadata = fs_err::symlink_metadata(&path)?;
        let (kind, content) = if metadata.is_symlink() {
            let destination = fs_err::read_link(&path)?;
            ("link", Sha256::of(destination.as_os_str().as_encoded_bytes()))
        } else {
            let digest = match is_left_out(&relative) {
                true => Sha256::of([]),
                false => Sha256::of_reader(fs_err::File::open(&path)?)?.0,
            };
            (if is_executable(&metadata) { "executable" } else { "file" }, digest)
        };
        hasher.update(relative.as_os_str().as_encoded_bytes());
        hasher.update(format!("\0{kind}\0{content}\n"));
    }
    Ok(Sha256::finish(hasher))
}

/// Writes a source tree as a tar archive, whose bytes depend on what [`tree_digest`] sees alone.
pub fn archive_tree(folder: &Path, out: impl io::Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(io::BufWriter::new(out));
    for relative in files_of(folder)? {
        let path = folder.join(&relative);
        let metadata = fs_err::symlink_metadata(&path)?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_size(0);
        if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, &relative, fs_err::read_link(&path)?)?;
        } else {
            let content = fs_err::read(&path)?;
            header.set_size(content.len() as u64);
            header.set_mode(if is_executable(&metadata) { 0o755 } else { 0o644 });
            builder.append_data(&mut header, &relative, &content[..])?;
        }
    }
    builder.into_inner()?.into_inner().map(drop).map_err(io::IntoInnerError::into_error)
}

/// Makes `copy` hold what `folder` holds. Files whose content is the same are left alone, with
/// their times; files that an earlier sync brought and that are gone from `folder` are removed;
/// what a build made in `copy` stays. Files of `changed`, by their paths, have that content instead
/// of their own.
pub fn sync_tree(
    folder: &Path,
    copy: &Path,
    changed: &BTreeMap<PathBuf, Vec<u8>>,
) -> io::Result<()> {
    let wanted = files_of(folder)?;
    fs_err::create_dir_all(copy)?;
    let record = copy.with_extension("files");
    let before = recorded(&record)?;
    let gone: Vec<_> = before.difference(&wanted).collect();
    for path in &gone {
        match fs_err::remove_file(copy.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A folder that is empty now may have a file's place to give. It fails on others.
        let folders = path.ancestors().skip(1).filter(|folder| *folder != Path::new(""));
        folders
            .map(|folder| copy.join(folder))
            .take_while(|f| std::fs::remove_dir(f).is_ok())
            .count();
    }
    if !gone.is_empty() {
        remove_collected(copy)?;
    }
    for relative in &wanted {
        copy_changed(&folder.join(relative), &copy.join(relative), changed.get(relative))?;
    }
    let lines: Vec<_> = wanted.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    fs_err::write(record, lines.join("\n"))
}

/// Removes what setuptools collects for a wheel, from which a file that is gone would come back.
fn remove_collected(copy: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(copy.join("build")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_collected = entry.file_name().to_string_lossy().starts_with("lib");
        if is_collected && entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn recorded(record: &Path) -> io::Result<BTreeSet<PathBuf>> {
    match fs_err::read_to_string(record) {
        Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn copy_changed(from: &Path, to: &Path, changed: Option<&Vec<u8>>) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let metadata = fs_err::symlink_metadata(from)?;
    let present = fs_err::symlink_metadata(to).ok();
    if metadata.is_symlink() {
        let destination = fs_err::read_link(from)?;
        if present.is_some() {
            if fs_err::read_link(to).is_ok_and(|there| there == destination) {
                return Ok(());
            }
            fs_err::remove_file(to)?;
        }
        return std::os::unix::fs::symlink(destination, to);
    }
    if present.is_some_and(|there| there.is_symlink() || !same_file(&metadata, &there)) {
        fs_err::remove_file(to)?;
    }
    let same = |content: &[u8]| io::Result::Ok(to.exists() && content == fs_err::read(to)?);
    let is_same = match changed {
        Some(content) => same(content)?,
        None => same(&fs_err::read(from)?)?,
    };
    if is_same {
        return Ok(());
    }
    // Written anew rather than `fs::copy`: the copy's time says when it changed here.
    fs_err::copy(from, to)?;
    if let Some(content) = changed {
        fs_err::write(to, content)?;
    }
    let now = std::time::SystemTime::now();
    fs_err::OpenOptions::new().append(true).open(to)?.set_modified(now)
}

fn same_file(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    one.file_type() == other.file_type() && is_executable(one) == is_executable(other)
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

/// The files of a source tree: all but what a checkout holds beside its sources.
pub(crate) fn files_of(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let entries = WalkDir::new(folder).into_iter().filter_entry(|entry| {
        entry.depth() == 0
            || !(LEFT_OUT.iter().any(|name| entry.file_name() == *name)
                // What tools say that they can make again, such as cargo's `target`
                // (bford.info/cachedir).
                || entry.path().join("CACHEDIR.TAG").is_file())
    });
    let mut files = BTreeSet::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let relative = entry.path().strip_prefix(folder).map_err(io::Error::other)?;
            files.insert(relative.to_owned());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_sync_touches_only_what_changed() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs_err::create_dir_all(from.join("csrc")).unwrap();
        fs_err::write(from.join("csrc/a.cu"), "a").unwrap();
        fs_err::write(from.join("b.cu"), "b").unwrap();
        sync_tree(&from, &to, &BTreeMap::new()).unwrap();
        fs_err::write(to.join("made.o"), "object").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        for file in ["csrc/a.cu", "b.cu"] {
            let file = fs_err::OpenOptions::new().append(true).open(to.join(file)).unwrap();
            file.set_modified(old).unwrap();
        }
        fs_err::write(from.join("csrc/a.cu"), "changed").unwrap();
        sync_tree(&from, &to, &BTreeMap::new()).unwrap();
        let time = |file: &str| fs_err::metadata(to.join(file)).unwrap().modified().unwrap();
        assert_ne!(time("csrc/a.cu"), old);
        assert_eq!(time("b.cu"), old);
        assert!(to.join("made.o").exists());
        fs_err::remove_file(from.join("b.cu")).unwrap();
        sync_tree(&from, &to, &BTreeMap::new()).unwrap();
        assert!(!to.join("b.cu").exists() && to.join("made.o").exists());
    }

    #[test]
    fn what_is_gone_comes_back_from_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        let sync = || sync_tree(&from, &to, &BTreeMap::new()).unwrap();
        for file in ["a.py", "d/e/b.py"] {
            fs_err::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs_err::write(from.join(file), file).unwrap();
        }
        sync();
        for file in ["build/lib.linux/a.py", "build/temp.linux/a.o"] {
            fs_err::create_dir_all(to.join(file).parent().unwrap()).unwrap();
            fs_err::write(to.join(file), file).unwrap();
        }
        sync();
        assert!(to.join("build/lib.linux/a.py").exists());
        // A folder becomes a file.
        fs_err::remove_dir_all(from.join("d")).unwrap();
        fs_err::write(from.join("d"), "now a file").unwrap();
        sync();
        assert_eq!(fs_err::read(to.join("d")).unwrap(), b"now a file");
        assert!(!to.join("build/lib.linux").exists() && to.join("build/temp.linux/a.o").exists());
    }

    #[test]
    fn the_digest_sees_content_and_run_bits_but_no_times() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a");
        fs_err::write(&file, "1").unwrap();
        let first = tree_digest(root.path()).unwrap();
        let handle = fs_err::OpenOptions::new().append(true).open(&file).unwrap();
        handle.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs_err::create_dir(root.path().join("target")).unwrap();
        fs_err::write(root.path().join("target/CACHEDIR.TAG"), "Signature").unwrap();
        fs_err::create_dir(root.path().join(".git")).unwrap();
        fs_err::write(root.path().join(".git/HEAD"), "x").unwrap();
        assert_eq!(tree_digest(root.path()).unwrap(), first);
        fs_err::write(&file, "2").unwrap();
        assert_ne!(tree_digest(root.path()).unwrap(), first);
    }
}
