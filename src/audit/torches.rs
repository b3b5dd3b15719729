//! The libraries of a torch that a wheel is to be imported with: out of a locked symbol index, or
//! out of a wheel or folder. What is read of a wheel is kept in the store, as an index.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::closure::Providers;
use super::{AuditError, libraries};
use crate::Result;
use crate::artifact::{Artifact, Input, Sha256};
use crate::atomic;
use crate::context::Context;
use crate::lock::of_index;
use crate::net::{NetError, RangeReader};
use crate::report::Step;
use crate::symbols::{Library, Product, SymbolIndex};
use crate::target::Arch;
use crate::torch::lock::{TorchLock, python_tag};
use crate::torch::source::{TorchSource, VERSION_PY, file_name, is_library};
use crate::torch::version::VersionFile;
use crate::torch::wheel::{Prefetch, TorchWheel, no_prefetch};
use crate::torch::{TorchError, relock};

/// A torch's libraries, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Torch {
    /// `__version__`, or the release.
    pub version: String,
    /// Its CUDA release; absent for a torch without.
    pub cuda: Option<String>,
    index: SymbolIndex,
    part: String,
}

/// What lies beside an index in the store.
#[derive(Serialize, Deserialize)]
struct Facts {
    version: String,
    cuda: Option<String>,
}

impl Torch {
    /// Finds a torch for a processor and a Python; of an index without a wheel for that Python,
    /// any: its libraries differ in what they need of Python.
    pub fn find(context: &Context, source: &TorchSource, arch: Arch, python: &str) -> Result<Self> {
        match source {
            TorchSource::Index { version } => Self::release(context, version, arch, python),
            TorchSource::Wheel(path) => {
                let read = |source| AuditError::Read { path: path.clone(), source };
                let file = || fs_err::File::open(path).map_err(read);
                let (sha256, _) = Sha256::of_reader(file()?).map_err(read)?;
                Self::remembered(context, sha256, arch, python, || {
                    let _step = Step::start(context.reporter.as_ref(), "reading", file_label(path));
                    let archive = TorchWheel::open(std::io::BufReader::new(file()?.into_file()));
                    of_wheel(archive.map_err(relock::RelockError::from)?, &mut no_prefetch, arch)
                })
            }
            TorchSource::Folder(path) => Self::folder(path, arch),
        }
    }

    /// What a target has, with this torch.
    pub fn add_to(&self, providers: Providers) -> Providers {
        providers.with_torch(
            self.version.clone(),
            self.cuda.clone(),
            self.index.libraries(&self.part),
        )
    }

    fn release(context: &Context, version: &str, arch: Arch, python: &str) -> Result<Self> {
        let toolchains = context.project.toolchains();
        let lock = TorchLock::load(&toolchains)?;
        let locked = lock.torch.iter().filter(|t| t.version == version && t.arch == arch);
        let locked: Vec<_> = locked.collect();
        let tag = python_tag(python);
        let own = locked.iter().find(|t| t.python == tag).or(locked.first());
        if let Some(torch) = own
            && let Some(index) = lock.load_symbols(&toolchains, torch)?
        {
            let (version, cuda) = (torch.version.clone(), Some(torch.cuda.clone()));
            return Ok(Self { version, cuda, index, part: torch.python.clone() });
        }
        let named = Sha256::of(format!("torch {version} {tag}"));
        Self::remembered(context, named, arch, python, || {
            remote(context, &of_index(context, arch, python, version)?, arch)
        })
    }

    /// Reads an unpacked torch: `site-packages/torch`, or the folder that has it.
    pub fn folder(path: &Path, arch: Arch) -> Result<Self> {
        let inner = path.join("torch");
        let torch = if inner.join("version.py").is_file() { &inner } else { path };
        let version_py = torch.join("version.py");
        let text = fs_err::read_to_string(&version_py)
            .map_err(|source| AuditError::Read { path: version_py, source })?;
        let VersionFile { version, cuda } = VersionFile::parse(&text).map_err(TorchError::from)?;
        let mut index = SymbolIndex::new(Product::Torch, &version, arch);
        let part = "folder".to_owned();
        index.insert(&part, libraries::of_folder(torch, arch)?);
        Ok(Self { version, cuda, index, part })
    }

    /// What the store has under a name, or what `read` finds.
    fn remembered(
        context: &Context,
        name: Sha256,
        arch: Arch,
        python: &str,
        read: impl FnOnce() -> Result<(Facts, libraries::Libraries)>,
    ) -> Result<Self> {
        let place = |end: &str| -> PathBuf {
            let file = format!("torch-{}-{arch}.{end}", name.short());
            context.store.root().join("audits").join(file)
        };
        let part = python_tag(python);
        let known = || {
            let facts = fs_err::read(place("json")).ok()?;
            let index = SymbolIndex::from_xz(&fs_err::read(place("symbols.xz")).ok()?).ok()?;
            Some((serde_json::from_slice::<Facts>(&facts).ok()?, index))
        };
        if let Some((Facts { version, cuda }, index)) = known() {
            let part = index.parts.first().cloned().unwrap_or(part);
            return Ok(Self { version, cuda, index, part });
        }
        let (facts, libraries) = read()?;
        let mut index = SymbolIndex::new(Product::Torch, &facts.version, arch);
        index.insert(&part, libraries);
        let write = |path: &Path, bytes: &[u8]| {
            let folder = path.parent().map_or(Ok(()), fs_err::create_dir_all);
            folder.and_then(|()| atomic::write(path, atomic::PLAIN, bytes))
        };
        let json = serde_json::to_vec(&facts).unwrap_or_default();
        for (path, bytes) in [(place("symbols.xz"), index.to_xz()), (place("json"), json)] {
            write(&path, &bytes).map_err(|source| AuditError::Read { path, source })?;
        }
        Ok(Self { version: facts.version, cuda: facts.cuda, index, part })
    }
}

/// Reads the libraries of a wheel of the index, and of that wheel nothing else.
fn remote(
    context: &Context,
    artifact: &Artifact,
    arch: Arch,
) -> Result<(Facts, libraries::Libraries)> {
    let whole = || -> Result<_> {
        let found = context.fetch(&[Input::Whole(artifact.clone())])?;
        let file = fs_err::File::open(&found[&artifact.sha256]).map_err(TorchError::Io)?;
        let archive = TorchWheel::open(std::io::BufReader::new(file.into_file()));
        of_wheel(archive.map_err(relock::RelockError::from)?, &mut no_prefetch, arch)
    };
    if context.store.blob(&artifact.sha256).is_some() {
        return whole();
    }
    let url = context.registries.url_of(artifact)?;
    let reader = match RangeReader::open(context.registries.http(), &url) {
        Ok(reader) => reader,
        Err(NetError::RangesRefused { .. }) => return whole(),
        Err(error) => return Err(context.registries.explain(artifact, error)),
    };
    let label = format!("the libraries of {}", artifact.file_name());
    let _step = Step::start(context.reporter.as_ref(), "reading", label);
    let mut prefetch = |ranges: &[std::ops::Range<u64>]| {
        reader.prefetch(ranges, &|_| ()).map_err(std::io::Error::other)
    };
    let archive = TorchWheel::open(reader.clone()).map_err(relock::RelockError::from)?;
    of_wheel(archive, &mut prefetch, arch)
}

fn of_wheel<R: std::io::Read + std::io::Seek>(
    mut wheel: TorchWheel<R>,
    prefetch: &mut Prefetch<'_>,
    arch: Arch,
) -> Result<(Facts, libraries::Libraries)> {
    let mut version_py = String::new();
    let mut found = Vec::new();
    let wanted = |path: &str| path == VERSION_PY || is_library(path);
    wheel.read(prefetch, wanted, |path, content| {
        if path == VERSION_PY {
            version_py = String::from_utf8_lossy(&content).into_owned();
            return Ok::<_, relock::RelockError>(());
        }
        let library = Library::read(content.as_slice(), arch)
            .map_err(|source| relock::RelockError::Library { file: path.to_owned(), source })?;
        found.push((file_name(path).to_owned(), library));
        Ok(())
    })?;
    let VersionFile { version, cuda } =
        VersionFile::parse(&version_py).map_err(TorchError::from)?;
    Ok((Facts { version, cuda }, found))
}

fn file_label(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
