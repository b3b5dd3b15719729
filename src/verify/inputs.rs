//! From a manifest's record to locked inputs, and what of them is another here.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use pep440_rs::Version;
use serde::Serialize;

use super::record::Record;
use super::{Options, VerifyError};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::context::Context;
use crate::lock::{Locked, Source, TorchInput, toolchain_request};
use crate::package::ArchiveTime;
use crate::patch::tree_digest;
use crate::request::{GitRequest, Request};
use crate::resolve::Resolved;
use crate::rust::{self, Compiler, RustInputs};
use crate::series::{self, Patch};
use crate::target::Arch;
use crate::torch::lock::TorchLock;
use crate::torch::sdk;
use crate::torch::source::TorchSource;

/// An input that is not here what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Which, such as `` component `gcc` ``.
    pub input: String,
    /// Its digest or version in the manifest.
    pub recorded: String,
    /// Its digest or version here; nothing where it is not here.
    pub here: Option<String>,
}

impl Changed {
    fn new(input: impl Into<String>, recorded: impl ToString, here: impl ToString) -> Self {
        let (recorded, here) = (recorded.to_string(), Some(here.to_string()));
        Self { input: input.into(), recorded, here }
    }

    /// Of two digests, where they differ.
    fn of(input: impl Into<String>, recorded: Sha256, here: Option<Sha256>) -> Option<Self> {
        let (recorded, found) = (recorded.to_string(), here.map(|digest| digest.to_string()));
        (here.map(|h| h.to_string()) != Some(recorded.clone())).then(|| Self {
            input: input.into(),
            recorded,
            here: found,
        })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, recorded, here } = self;
        match here {
            Some(here) => write!(f, "{input}: `{recorded}` in the manifest, `{here}` here"),
            None => write!(f, "{input}: `{recorded}` in the manifest, absent here"),
        }
    }
}

/// The recorded inputs, as they lie on this machine.
///
/// # Errors
/// [`VerifyError::Inputs`] with all that are not here what they were.
pub fn locked(context: &Context, record: &Record, options: &Options) -> Result<Locked> {
    let mut locked = recorded(context, record, options)?;
    let mut changed = Vec::new();
    if record.crosswheel != env!("CARGO_PKG_VERSION") {
        let here = env!("CARGO_PKG_VERSION");
        changed.push(Changed::new("crosswheel", &record.crosswheel, here));
    }
    changed.extend(toolchain(context, record, &locked)?);
    changed.extend(torch(context, record, options)?);
    changed.extend(record.patches.iter().filter_map(|patch| absent(context, patch)));
    changed.extend(compiler(record, &locked));
    if changed.is_empty() {
        // Whatever else counts that is not told above, such as a part that a manifest got wrong.
        let all = "the digest of all inputs together";
        changed.extend(Changed::of(all, record.inputs, Some(locked.digest())));
    }
    changed.extend(place_source(&mut locked.source, options)?);
    for source in locked.further_sources_mut() {
        // Of a folder on another machine a bundle may have brought the files.
        let bundled = matches!(source, Source::Folder { path, digest }
            if !path.exists() && context.store.tree(digest).is_dir());
        if !bundled {
            changed.extend(place_source(source, &Options::default())?);
        }
    }
    place_torch(&mut locked, options);
    if !changed.is_empty() {
        return Err(VerifyError::Inputs { changed }.into());
    }
    Ok(locked)
}

/// The inputs as recorded, with the toolchain that this checkout has for them.
fn recorded(context: &Context, record: &Record, options: &Options) -> Result<Locked> {
    let resolution = &record.resolution;
    let epoch = resolution.source_date_epoch.to_string();
    let headers = resolution.headers.as_ref();
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let resolved = Resolved {
        request: request(record)?,
        target: record.target.clone(),
        variant: resolution.variant.clone(),
        python: record.python.version.clone(),
        headers: headers.map(|h| options.python_headers.clone().unwrap_or(h.path.clone())),
        torch: torch_source(record),
        full_torch: matches!(resolution.torch, TorchInput::Whole(_)),
        // The recorded recipe has them.
        pins: Vec::new(),
        crates: BTreeMap::new(),
        local_version: resolution.local_version.clone(),
        only: resolution.only.clone(),
        jobs: options.jobs.unwrap_or(cores),
        memory: None,
        until: None,
        max_silence: options.max_silence.unwrap_or_default().0,
        keep_going: false,
        time: ArchiveTime::from_source_date_epoch(Some(&epoch))?,
    };
    let rust = resolution.rust.clone().map(|rust| placed(context, rust, record.target.arch));
    let request = toolchain_request(&resolved, &resolution.libraries, rust.as_ref());
    let (toolchain, symbols) =
        context.with_provisioner(|p| Ok((p.inputs(&request)?, p.symbols(&request)?)))?;
    Ok(Locked {
        source: record.source.clone(),
        identity: resolution.identity.clone(),
        recipe: record.recipe.clone(),
        patches: record.patches.clone(),
        trees: resolution.trees.clone(),
        torch: resolution.torch.clone(),
        libraries: resolution.libraries.clone(),
        headers: headers.map(|headers| headers.digest),
        toolchain,
        symbols,
        requirements: record.build_requirements.clone(),
        rust,
        resolved,
    })
}

/// The recorded crates, with the machine's own Rust where the first build had its machine's: where
/// it lies is not recorded.
fn placed(context: &Context, recorded: RustInputs, target: Arch) -> RustInputs {
    let compiler = match recorded.compiler {
        Compiler::Component => Compiler::Component,
        Compiler::Machine { .. } => Compiler::choose(context, target),
    };
    RustInputs { compiler, ..recorded }
}

/// A Rust that is another here.
fn compiler(record: &Record, locked: &Locked) -> Option<Changed> {
    let recorded = record.resolution.rust.as_ref()?.compiler.to_string();
    let here = locked.rust.as_ref()?.compiler.to_string();
    (recorded != here).then(|| Changed::new("Rust", recorded, here))
}

/// What would have been asked for to get exactly this source.
fn request(record: &Record) -> Result<Request, VerifyError> {
    let is_library = Path::new(&record.wheel.file).extension().is_some_and(|e| e == "so");
    Ok(match &record.source {
        Source::Index(artifact) => {
            let version = artifact.version.parse::<Version>().ok();
            Request::Index { name: artifact.name.clone(), version }
        }
        Source::Archive { path, .. } => Request::Archive(path.clone()),
        Source::Folder { path, .. } if is_library && !path.join("Cargo.toml").is_file() => {
            Request::Cmake(path.clone())
        }
        Source::Folder { path, .. } if is_library => Request::Crate {
            folder: path.clone(),
            package: record.environment.get(rust::CRATE).cloned(),
        },
        Source::Folder { path, .. } => Request::Folder(path.clone()),
        Source::Git { url, commit, .. } => {
            Request::Git(GitRequest { url: url.clone(), reference: commit.clone() })
        }
    })
}

fn torch_source(record: &Record) -> TorchSource {
    match &record.resolution.torch {
        TorchInput::Locked { .. } | TorchInput::Whole(_) => {
            TorchSource::Index { version: record.torch.version.clone() }
        }
        TorchInput::Wheel { path, .. } => TorchSource::Wheel(path.clone()),
        TorchInput::Folder { path, .. } => TorchSource::Folder(path.clone()),
    }
}

/// Components and their files that are others in this checkout, and headers that were changed.
fn toolchain(context: &Context, record: &Record, locked: &Locked) -> Result<Vec<Changed>> {
    let request = toolchain_request(&locked.resolved, &locked.libraries, locked.rust.as_ref());
    let refs = context.with_provisioner(|p| Ok(p.refs(&request)?))?;
    let here: BTreeMap<_, _> = refs.iter().map(|r| (r.name.as_str(), r.digest)).collect();
    let mut changed: Vec<_> = record
        .components
        .iter()
        .filter_map(|component| {
            let name = component.name.as_str();
            let input = format!("component `{name}`");
            Changed::of(input, component.digest, here.get(name).copied())
        })
        .collect();
    // The files say why a component differs; where they are the same, its layout was changed.
    let files: BTreeMap<_, _> =
        locked.toolchain.iter().map(|input| (package(input.artifact()), input)).collect();
    let differing = !changed.is_empty();
    for file in record.toolchain.iter().filter(|_| differing) {
        if locked.toolchain.iter().any(|input| input.sha256() == file.used()) {
            continue;
        }
        let here = files.get(&(file.registry.as_str(), file.name.as_str()));
        let input = format!("file `{}`", file.file_name());
        changed.extend(Changed::of(input, file.used(), here.map(|input| input.sha256())));
    }
    let symbols =
        |symbols: &[Sha256]| symbols.iter().map(Sha256::to_string).collect::<Vec<_>>().join(" ");
    if record.resolution.symbols != locked.symbols {
        let (then, now) = (symbols(&record.resolution.symbols), symbols(&locked.symbols));
        changed.push(Changed::new("symbol indices of CUDA's libraries", then, now));
    }
    if let Some(headers) = &record.resolution.headers {
        let path = locked.resolved.headers.as_deref().unwrap_or(&headers.path);
        let here = if path.exists() { request.headers_digest()? } else { None };
        let input = format!("Python headers `{}`", path.display());
        changed.extend(Changed::of(input, headers.digest, here));
    }
    Ok(changed)
}

fn package(artifact: &Artifact) -> (&str, &str) {
    (&artifact.registry, &artifact.name)
}

/// A torch that is not here as it was.
fn torch(context: &Context, record: &Record, options: &Options) -> Result<Vec<Changed>> {
    let mut changed = Vec::new();
    let input = &record.resolution.torch;
    let place = |path: &PathBuf| options.torch.clone().unwrap_or_else(|| path.clone());
    match input {
        TorchInput::Locked { torch, symbols } => {
            let lock = TorchLock::load(&context.project.toolchains())?;
            let here = lock.symbols(&torch.version, torch.arch);
            let name = format!("symbol index of torch {}", torch.version);
            changed.extend(Changed::of(name, *symbols, here));
        }
        TorchInput::Whole(_) => {}
        TorchInput::Wheel { path, sha256 } => {
            let path = place(path);
            let name = format!("torch `{}`", path.display());
            changed.extend(Changed::of(name, *sha256, file_digest(&path)?));
        }
        TorchInput::Folder { path, digest } => {
            let path = place(path);
            let here = path.is_dir().then(|| sdk::folder_digest(&path)).transpose()?;
            let name = format!("torch `{}`", path.display());
            changed.extend(Changed::of(name, *digest, here));
        }
    }
    if changed.is_empty() {
        // Covers crosswheel's own files of the SDK.
        changed.extend(Changed::of("torch SDK", record.torch.digest, Some(input.digest())));
    }
    Ok(changed)
}

/// A patch that neither the store nor `patches/` has.
fn absent(context: &Context, patch: &Patch) -> Option<Changed> {
    let here = series::text(context, patch).is_ok();
    let input = format!("patch `{}`", patch.path);
    (!here).then(|| Changed { input, recorded: patch.sha256.to_string(), here: None })
}

/// Says where a source on disk lies now, and whether it is still the one that was built.
fn place_source(source: &mut Source, options: &Options) -> Result<Option<Changed>, VerifyError> {
    let moved = |path: &mut PathBuf| {
        if let Some(place) = &options.source {
            path.clone_from(place);
        }
        format!("source `{}`", path.display())
    };
    match source {
        Source::Index(_) | Source::Git { .. } => Ok(None),
        Source::Archive { path, sha256 } => {
            let name = moved(path);
            Ok(Changed::of(name, *sha256, file_digest(path)?))
        }
        Source::Folder { path, digest } => {
            let name = moved(path);
            let here = path.is_dir().then(|| tree_digest(path)).transpose()?;
            Ok(Changed::of(name, *digest, here))
        }
    }
}

fn place_torch(locked: &mut Locked, options: &Options) {
    let Some(place) = &options.torch else { return };
    if let TorchInput::Wheel { path, .. } | TorchInput::Folder { path, .. } = &mut locked.torch {
        path.clone_from(place);
    }
}

fn file_digest(path: &Path) -> Result<Option<Sha256>, VerifyError> {
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(Sha256::of_reader(fs_err::File::open(path)?)?.0))
}
