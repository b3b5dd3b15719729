//! From fetched inputs to a bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{BundleError, Entry, FILES, FORMAT, INDEX, Index, Role, torch};
use crate::Result;
use crate::artifact::{Input, Sha256};
use crate::context::Context;
use crate::fetch::Fetched;
use crate::git;
use crate::lock::{Locked, PackageLock, Source, TorchInput};
use crate::patch;
use crate::series;

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// Where it lies.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// How many files are in it.
    pub files: usize,
}

/// The entries of a bundle in the making, and where their bytes are.
#[derive(Default)]
struct Collected(BTreeMap<Entry, PathBuf>);

/// Writes the inputs of these builds into one file. `scratch` parts lie in the store meanwhile.
pub fn write(context: &Context, builds: &[Fetched], path: &Path) -> Result<Bundled> {
    let fail = |source| BundleError::Io { path: path.to_owned(), source };
    let scratch = tempfile::tempdir_in(context.store.root()).map_err(fail)?;
    let mut collected = Collected::default();
    let mut packages: Vec<PackageLock> = Vec::new();
    for Fetched { locked, .. } in builds {
        collected.downloads(context, locked)?;
        collected.torch(context, locked, scratch.path())?;
        collected.patches(context, locked, scratch.path())?;
        for source in locked.sources() {
            collected.source(context, source, scratch.path()).map_err(|error| match error {
                Collecting::Io(source) => fail(source).into(),
                Collecting::Other(error) => error,
            })?;
        }
        let package = PackageLock::of(locked);
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    let files: Vec<Entry> = collected.0.keys().cloned().collect();
    let index = Index { format: FORMAT, files, packages };
    Ok(archive(&index, &collected.0, path).map_err(fail)?)
}

/// What can go wrong with a source tree.
enum Collecting {
    Io(io::Error),
    Other(crate::Error),
}

impl From<io::Error> for Collecting {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<crate::Error> for Collecting {
    fn from(error: crate::Error) -> Self {
        Self::Other(error)
    }
}

impl Collected {
    /// Files of registries: of the toolchain, the build environment, the source, a whole torch.
    fn downloads(&mut self, context: &Context, locked: &Locked) -> Result<()> {
        let mut inputs = locked.toolchain.clone();
        inputs.extend(locked.requirements.iter().cloned().map(Input::Whole));
        let crates = locked.rust.iter().flat_map(|rust| &rust.crates.crates);
        inputs.extend(crates.cloned().map(Input::Whole));
        for source in locked.sources() {
            if let Source::Index(artifact) = source {
                inputs.push(Input::Whole(artifact.clone()));
            }
        }
        if let TorchInput::Whole(artifact) = &locked.torch {
            inputs.push(Input::Whole(artifact.clone()));
        }
        let found = context.fetch(&inputs)?;
        for input in &inputs {
            let path = found[&input.sha256()].clone();
            let size = fs_err::metadata(&path).map_err(crate::store::StoreError::Io)?.len();
            let name = input.artifact().file_name().to_owned();
            let entry = Entry { sha256: input.sha256(), size, name, role: Role::Download };
            self.0.insert(entry, path);
        }
        Ok(())
    }

    /// Local patches, which a store has by their digests, as it has downloads.
    fn patches(&mut self, context: &Context, locked: &Locked, scratch: &Path) -> Result<()> {
        for patch in &locked.patches {
            let text = series::text(context, patch)?.text;
            let file = scratch.join(format!("{}.patch", patch.sha256));
            fs_err::write(&file, &text).map_err(crate::store::StoreError::Io)?;
            let (sha256, size) = (patch.sha256, text.len() as u64);
            let entry = Entry { sha256, size, name: patch.path.clone(), role: Role::Download };
            self.0.insert(entry, file);
        }
        Ok(())
    }

    fn torch(&mut self, context: &Context, locked: &Locked, scratch: &Path) -> Result<()> {
        let TorchInput::Locked { torch, .. } = &locked.torch else { return Ok(()) };
        let archive = torch::members(context, &locked.torch, torch, scratch)?;
        let (sha256, size) = digest(&archive).map_err(crate::store::StoreError::Io)?;
        let name = format!("{} (in part)", torch.artifact.file_name());
        let role = Role::Torch { extract: torch.extract };
        self.0.insert(Entry { sha256, size, name, role }, archive);
        Ok(())
    }

    /// The tree of a folder or a commit; an archive on disk.
    fn source(
        &mut self,
        context: &Context,
        source: &Source,
        scratch: &Path,
    ) -> Result<(), Collecting> {
        let (tree, role) = match source {
            Source::Index(_) => return Ok(()),
            Source::Archive { path, .. } => {
                let (sha256, size) = digest(path)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.0.insert(Entry { sha256, size, name, role: Role::Archive }, path.clone());
                return Ok(());
            }
            Source::Folder { path, digest } => {
                let bundled = context.store.tree(digest);
                let tree = if path.exists() { path.clone() } else { bundled };
                (tree, Role::Folder { digest: *digest })
            }
            Source::Git { url, commit, digest } => {
                let tree = git::tree(context, url, commit, *digest)?;
                let (url, commit, digest) = (url.clone(), commit.clone(), *digest);
                (tree, Role::Git { url, commit, digest })
            }
        };
        let archive = scratch.join(format!("tree-{}.tar", self.0.len()));
        patch::archive_tree(&tree, fs_err::File::create(&archive)?)?;
        let (sha256, size) = digest(&archive)?;
        let name = format!("{}.tar", source.label());
        self.0.insert(Entry { sha256, size, name, role }, archive);
        Ok(())
    }
}

fn digest(path: &Path) -> io::Result<(Sha256, u64)> {
    Sha256::of_reader(fs_err::File::open(path)?)
}

/// Writes the archive beside its place, then moves it there.
fn archive(index: &Index, files: &BTreeMap<Entry, PathBuf>, path: &Path) -> io::Result<Bundled> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let staged = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    let mut builder = tar::Builder::new(io::BufWriter::new(staged.as_file()));
    let json = serde_json::to_vec_pretty(index).map_err(io::Error::other)?;
    append(&mut builder, INDEX, json.len() as u64, &json[..])?;
    let mut last = None;
    for (entry, file) in files {
        // Two roles may have one content.
        if last.replace(entry.sha256) != Some(entry.sha256) {
            let content: File = fs_err::File::open(file)?.into();
            append(&mut builder, &format!("{FILES}/{}", entry.sha256), entry.size, content)?;
        }
    }
    builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    staged.as_file().sync_all()?;
    staged.persist(path)?;
    let (sha256, size) = digest(path)?;
    Ok(Bundled { path: path.to_owned(), sha256, size, files: files.len() })
}

fn append<W: io::Write>(
    builder: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder.append_data(&mut header, name, content)
}
