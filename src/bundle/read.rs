//! From a bundle to files in the store.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::{BundleError, Entry, FILES, FORMAT, INDEX, Index, Role};
use crate::Result;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::git;
use crate::lock::{PackageLocks, Source};
use crate::patch::tree_digest;
use crate::report::Step;
use crate::unpack::{self, Limits, Tree};

/// The largest index that is read, in bytes: a few hundred for each file.
const INDEX_LIMIT: u64 = 64 << 20;
/// Bytes of a file that are held at once.
const BUFFER: usize = 128 << 10;

/// What a bundle brought beside downloads.
#[derive(Debug, Default)]
pub struct Unbundled {
    /// Where source trees lie, by their digests.
    pub trees: BTreeMap<Sha256, PathBuf>,
    /// Where archives lie, by their digests.
    pub archives: BTreeMap<Sha256, PathBuf>,
}

impl Unbundled {
    /// Where a source lies that was on the disk of the machine that wrote the bundle.
    pub fn source(&self, source: &Source) -> Option<PathBuf> {
        match source {
            Source::Folder { digest, .. } => self.trees.get(digest).cloned(),
            Source::Archive { sha256, .. } => self.archives.get(sha256).cloned(),
            Source::Index(_) | Source::Git { .. } => None,
        }
    }
}

/// Brings everything in a bundle into the store, each file once it was verified.
pub fn read(context: &Context, path: &Path) -> Result<Unbundled> {
    let _step = Step::start(context.reporter.as_ref(), "unpacking", path.display().to_string());
    let io = |source| BundleError::Io { path: path.to_owned(), source };
    let file = fs_err::File::open(path).map_err(io)?;
    let mut archive = tar::Archive::new(io::BufReader::new(file));
    let entries = archive.entries().map_err(io)?;
    // Extensions, such as long names, are entries like any other, and so are refused.
    let mut entries = entries.raw(true);
    let malformed = |reason: String| BundleError::Malformed { path: path.to_owned(), reason };
    let first = entries.next().transpose().map_err(|error| malformed(error.to_string()))?;
    let index = index(first).map_err(malformed)?;
    let mut pending: BTreeMap<Sha256, Vec<Entry>> = BTreeMap::new();
    for entry in index.files {
        pending.entry(entry.sha256).or_default().push(entry);
    }
    let mut unbundled = Unbundled::default();
    for entry in entries {
        context.interrupt.check()?;
        // A header that is none, behind a file that was whole.
        let Ok(mut entry) = entry else { break };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let listed = (entry.header().entry_type() == tar::EntryType::Regular)
            .then(|| name.strip_prefix(FILES)?.strip_prefix('/')?.parse::<Sha256>().ok())
            .flatten()
            .and_then(|sha256| pending.remove(&sha256));
        let Some(roles) = listed else {
            return Err(malformed(format!("`{name}` is not in its index, or twice")).into());
        };
        let staged = stage(context, path, &roles[0], &mut entry)?;
        for role in &roles {
            place(context, path, role, staged.path(), &mut unbundled)?;
        }
    }
    if let Some(Entry { name, size, sha256, .. }) = pending.into_values().flatten().next() {
        let (path, file, actual) = (path.to_owned(), name, Sha256::of([]));
        return Err(
            BundleError::Changed { path, file, size, found: 0, expected: sha256, actual }.into()
        );
    }
    let locks = PackageLocks::load(context)?;
    for package in index.packages {
        locks.remember(package)?;
    }
    Ok(unbundled)
}

fn index<R: Read>(first: Option<tar::Entry<'_, R>>) -> Result<Index, String> {
    let entry = first.ok_or("it is empty")?;
    if &*entry.path_bytes() != INDEX.as_bytes() || entry.size() > INDEX_LIMIT {
        return Err(format!("it does not begin with `{INDEX}`"));
    }
    let mut text = Vec::new();
    entry.take(INDEX_LIMIT).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match index.format {
        FORMAT => Ok(index),
        other => Err(format!("its form is {other}, and {FORMAT} is read")),
    }
}

/// Copies a file into the store, under no name yet, and holds it to its digest.
fn stage(
    context: &Context,
    path: &Path,
    entry: &Entry,
    content: &mut impl Read,
) -> Result<tempfile::NamedTempFile> {
    let io = |source| BundleError::Io { path: path.to_owned(), source };
    let downloads = context.store.root().join("downloads");
    let mut staged = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))
        .tempfile_in(downloads)
        .map_err(io)?;
    let mut hasher = sha2::Sha256::new();
    let mut found = 0;
    let mut buffer = vec![0; BUFFER];
    loop {
        // Where the bundle ends too early, that is what there is of the file.
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(io(error).into()),
        };
        found += read as u64;
        hasher.update(&buffer[..read]);
        if found <= entry.size {
            staged.write_all(&buffer[..read]).map_err(io)?;
        }
    }
    let actual = Sha256::finish(hasher);
    if actual != entry.sha256 || found != entry.size {
        let (path, file) = (path.to_owned(), entry.name.clone());
        let (size, expected) = (entry.size, entry.sha256);
        return Err(BundleError::Changed { path, file, size, found, expected, actual }.into());
    }
    staged.as_file().sync_all().map_err(io)?;
    Ok(staged)
}

/// Gives a verified file its place in the store.
fn place(
    context: &Context,
    path: &Path,
    entry: &Entry,
    staged: &Path,
    unbundled: &mut Unbundled,
) -> Result<()> {
    let io = |source| BundleError::Io { path: path.to_owned(), source };
    let store = &context.store;
    match &entry.role {
        Role::Download => {
            let blob = store.blob_path(&entry.sha256);
            link(staged, &blob).map_err(io)?;
        }
        Role::Archive => {
            // No path, so that it has its name below the store and nowhere else.
            if Path::new(&entry.name).file_name() != Some(entry.name.as_ref()) {
                let reason = format!("`{}` is no file's name", entry.name);
                return Err(BundleError::Malformed { path: path.to_owned(), reason }.into());
            }
            let named = store.root().join("named").join(entry.sha256.short()).join(&entry.name);
            link(staged, &named).map_err(io)?;
            unbundled.archives.insert(entry.sha256, named);
        }
        // What is made of it is held to this digest.
        Role::Torch { extract } => link(staged, &store.torch_parts(extract)).map_err(io)?,
        Role::Folder { digest } => {
            let tree = store.tree(digest);
            tree_of(path, staged, *digest, &tree)?;
            unbundled.trees.insert(*digest, tree);
        }
        Role::Git { url, commit, digest } => {
            let tree = git::tree_path(store, url, commit).ok_or_else(|| {
                let reason = format!("`{commit}` is no commit");
                BundleError::Malformed { path: path.to_owned(), reason }
            })?;
            tree_of(path, staged, *digest, &tree)?;
        }
    }
    Ok(())
}

/// A name for a file, where nothing has that name yet.
fn link(staged: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs_err::create_dir_all(folder)?;
    }
    match fs_err::hard_link(staged, to) {
        Err(_) if to.is_file() => Ok(()),
        linked => linked,
    }
}

/// Unpacks a source tree, holds it to its digest, and moves it into place.
fn tree_of(path: &Path, archive: &Path, expected: Sha256, to: &Path) -> Result<()> {
    let io = |source| BundleError::Io { path: path.to_owned(), source };
    if to.is_dir() && tree_digest(to).map_err(io)? == expected {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder).map_err(io)?;
    let staging = tempfile::tempdir_in(folder).map_err(io)?;
    let root = staging.path().join("tree");
    fs_err::create_dir(&root).map_err(io)?;
    let mut tree = Tree::new(&root, Limits::SOURCE);
    unpack::members::unpack(fs_err::File::open(archive).map_err(io)?, &mut tree)?;
    let actual = tree_digest(&root).map_err(io)?;
    if actual != expected {
        return Err(BundleError::Tree { path: path.to_owned(), expected, actual }.into());
    }
    match fs_err::rename(&root, to) {
        Err(error) if !to.is_dir() => Err(io(error).into()),
        _ => Ok(()),
    }
}
