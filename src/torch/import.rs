//! A torch out of a container or from a device, kept under a name: what [`SCRIPT`] wrote there, or
//! a folder that was copied.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TorchError;
use super::facts::Inspector;
use super::sdk::folder_files;
use super::shim::Facts;
use super::source::{file_name, is_library};
use crate::Result;
use crate::context::Context;
use crate::report::Step;
use crate::store::Store;
use crate::symbols::{Library, write_stub};
use crate::target::{Arch, Target};
use crate::unpack;

/// What is run with the Python of a torch: it writes an archive to standard output.
pub const SCRIPT: &str = include_str!("export.py");

/// A torch that was imported; `docs/schemas/torch.schema.json` describes its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// What `--torch` takes.
    pub name: String,
    /// `torch.__version__`.
    pub version: String,
    /// `torch.version.cuda`.
    pub cuda: String,
    /// The processor of its libraries.
    pub arch: Arch,
    /// The versions of torchvision and torchaudio beside it.
    pub companions: BTreeMap<String, String>,
    /// Where it lies.
    pub path: PathBuf,
}

/// The imported torch of this name.
pub fn find(store: &Store, name: &str) -> Option<PathBuf> {
    let path = store.root().join(FOLDER).join(name);
    (is_name(name) && path.join(RECORD).is_file()).then_some(path)
}

/// All of them, by name.
pub fn list(store: &Store) -> Result<Vec<Imported>, TorchError> {
    let folder = store.root().join(FOLDER);
    let entries = match fs_err::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(found) = find(store, &name) {
            let path = found.join(RECORD);
            let text = fs_err::read(&path)?;
            let record = serde_json::from_slice(&text);
            all.push(record.map_err(|source| TorchError::Facts { path, source })?);
        }
    }
    all.sort_by(|a: &Imported, b: &Imported| a.name.cmp(&b.name));
    Ok(all)
}

/// The folder of the store.
const FOLDER: &str = "torches";
/// What is told of a torch, in its folder.
const RECORD: &str = "imported.json";

fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        && !name.starts_with('.')
}

/// Takes in an archive of [`SCRIPT`]'s, or a folder `site-packages/torch`, under a name; without
/// one, under its version. What had the name before is replaced. Libraries become stubs: what a
/// link and an audit see of them.
pub fn import(
    context: &Context,
    source: &Path,
    name: Option<&str>,
    target: &Target,
) -> Result<Imported> {
    let torches = context.store.root().join(FOLDER);
    fs_err::create_dir_all(&torches).map_err(TorchError::Io)?;
    let staging = tempfile::Builder::new().prefix(".import-").tempdir_in(&torches);
    let staging = staging.map_err(TorchError::Io)?;
    let _step = Step::start(context.reporter.as_ref(), "reading", source.display().to_string());
    let unpacked = staging.path().join("unpacked");
    let folder = if source.is_dir() {
        source.to_owned()
    } else {
        fs_err::create_dir(&unpacked).map_err(TorchError::Io)?;
        unpack::sdist(source, &unpacked)?
    };
    let made = staging.path().join("made");
    let facts = take(&folder, &made, target)?;
    let name = name.unwrap_or(&facts.version).to_owned();
    if !is_name(&name) {
        return Err(TorchError::Name(name).into());
    }
    let path = torches.join(&name);
    let Facts { version, cuda, arch, companions, .. } = facts;
    let imported = Imported { name, version, cuda, arch, companions, path };
    let record = serde_json::to_vec_pretty(&imported).expect("strings serialise");
    let place = || {
        fs_err::write(made.join(RECORD), record)?;
        if imported.path.exists() {
            fs_err::rename(&imported.path, staging.path().join("old"))?;
        }
        fs_err::rename(&made, &imported.path)
    };
    place().map_err(TorchError::Io)?;
    Ok(imported)
}

/// Writes what is wanted of a torch into a new folder, and looks at it on the way.
fn take(folder: &Path, into: &Path, target: &Target) -> Result<Facts, TorchError> {
    let mut inspector = Inspector::default();
    for (path, on_disk) in folder_files(folder)? {
        let content = fs_err::read(on_disk)?;
        let written = if is_library(&path) {
            let file = file_name(&path);
            let fail = |source| TorchError::Library { file: file.to_owned(), source };
            let library = Library::read(content.as_slice(), target.arch).map_err(fail)?;
            inspector.library(file, &library);
            write_stub(&library, file, target.arch)
                .map_err(|source| TorchError::Stub { file: file.to_owned(), source })?
        } else {
            inspector.file(&path, &content, target)?;
            content
        };
        let path = into.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(into))?;
        fs_err::write(path, written)?;
    }
    inspector.facts(target.arch)
}
