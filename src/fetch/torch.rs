//! The torch SDK in the store: made from parts of a remote wheel, a whole one, or a folder.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Result;
use crate::artifact::{Artifact, Input};
use crate::context::Context;
use crate::lock::TorchInput;
use crate::net::{NetError, RangeReader};
use crate::report::{Event, Step, next_id};
use crate::store::Key;
use crate::symbols::SymbolIndex;
use crate::target::Target;
use crate::torch::TorchError;
use crate::torch::lock::{LockedTorch, TorchLock};
use crate::torch::sdk::{self, Libraries, SDK_FOLDER as SDK, TorchSdk};
use crate::torch::source::{VERSION_PY, is_wanted};
use crate::torch::version::VersionFile;
use crate::torch::wheel::{TorchWheel, no_prefetch};

/// Finds the SDK in the store, or makes it.
pub fn torch_sdk(context: &Context, target: &Target, input: &TorchInput) -> Result<TorchSdk> {
    let key = Key::new(sdk::SDK_COMPONENT, input.digest());
    let fill = |root: &Path| install(context, target, input, &root.join(SDK));
    let installed = context.components.install(&key, fill)?;
    Ok(sdk::open(&installed.path.join(SDK))?)
}

fn install(context: &Context, target: &Target, input: &TorchInput, into: &Path) -> Result<()> {
    match input {
        TorchInput::Locked { torch, .. } => install_locked(context, target, torch, into),
        TorchInput::Whole(artifact) => {
            install_file(context, target, whole_wheel(context, artifact)?, into)
        }
        TorchInput::Wheel { path, .. } => install_file(context, target, open(path)?, into),
        TorchInput::Folder { path, .. } => {
            let subject = path.display().to_string();
            let _step = Step::start(context.reporter.as_ref(), "unpacking", subject);
            sdk::install_folder(path, target, into)?;
            Ok(())
        }
    }
}

/// Of a locked wheel with a symbol index only what a build reads is fetched; where the server
/// refuses ranges, the whole of it, and the SDK is the same.
fn install_locked(
    context: &Context,
    target: &Target,
    torch: &LockedTorch,
    into: &Path,
) -> Result<()> {
    let toolchains = context.project.toolchains();
    let lock = TorchLock::load(&toolchains)?;
    let Some(symbols) = lock.load_symbols(&toolchains, torch)? else {
        return install_file(context, target, whole_wheel(context, &torch.artifact)?, into);
    };
    let stubs = Libraries::Stubs(&symbols, &torch.python);
    match open_parts(context, torch)? {
        Wheel::Local(file) => {
            sdk::install_wheel(file, &mut no_prefetch, stubs, Some(torch.extract), target, into)?;
            Ok(())
        }
        Wheel::Remote(reader) => install_remote(context, target, torch, &symbols, &reader, into),
    }
}

/// Reads the members that a build wants of a locked wheel, each whole.
pub(crate) fn read_torch_parts(
    context: &Context,
    torch: &LockedTorch,
    take: impl FnMut(&str, Vec<u8>) -> Result<(), TorchError>,
) -> Result<()> {
    match open_parts(context, torch)? {
        Wheel::Local(file) => {
            let mut wheel = TorchWheel::open(file).map_err(TorchError::Zip)?;
            wheel.read(&mut no_prefetch, is_wanted, take)?;
        }
        Wheel::Remote(reader) => {
            let mut wheel = TorchWheel::open(reader.clone()).map_err(TorchError::Zip)?;
            wheel.read(&mut prefetch(context, torch, &reader), is_wanted, take)?;
        }
    }
    Ok(())
}

/// What a bundle brought of a locked wheel, or the wheel.
fn open_parts(context: &Context, torch: &LockedTorch) -> Result<Wheel> {
    let parts = context.store.torch_parts(&torch.extract);
    match parts.is_file() {
        true => Ok(Wheel::Local(open(&parts)?)),
        false => open_wheel(context, &torch.artifact),
    }
}

enum Wheel {
    Local(BufReader<File>),
    Remote(RangeReader),
}

fn open_wheel(context: &Context, artifact: &Artifact) -> Result<Wheel> {
    if context.offline || context.store.blob(&artifact.sha256).is_some() {
        return Ok(Wheel::Local(whole_wheel(context, artifact)?));
    }
    let url = context.registries.url_of(artifact)?;
    match RangeReader::open(context.registries.http(), &url) {
        Ok(reader) => Ok(Wheel::Remote(reader)),
        Err(NetError::RangesRefused { .. }) => Ok(Wheel::Local(whole_wheel(context, artifact)?)),
        Err(error) => Err(context.registries.explain(artifact, error)),
    }
}

/// What a wheel of the index says of itself, read out of it without the rest.
pub(crate) fn torch_version(context: &Context, artifact: &Artifact) -> Result<VersionFile> {
    let mut text = String::new();
    let mut take = |_: &str, content: Vec<u8>| {
        text = String::from_utf8_lossy(&content).into_owned();
        Ok::<_, TorchError>(())
    };
    let wanted = |path: &str| path == VERSION_PY;
    match open_wheel(context, artifact)? {
        Wheel::Local(file) => {
            let mut wheel = TorchWheel::open(file).map_err(TorchError::Zip)?;
            wheel.read(&mut no_prefetch, wanted, &mut take)?;
        }
        Wheel::Remote(reader) => {
            let mut wheel = TorchWheel::open(reader.clone()).map_err(TorchError::Zip)?;
            let mut prefetch = |ranges: &[std::ops::Range<u64>]| {
                reader.prefetch(ranges, &|_| ()).map_err(std::io::Error::other)
            };
            wheel.read(&mut prefetch, wanted, &mut take)?;
        }
    }
    Ok(VersionFile::parse(&text).map_err(TorchError::from)?)
}

fn install_remote(
    context: &Context,
    target: &Target,
    torch: &LockedTorch,
    symbols: &SymbolIndex,
    reader: &RangeReader,
    into: &Path,
) -> Result<()> {
    let stubs = Libraries::Stubs(symbols, &torch.python);
    let extract = Some(torch.extract);
    let mut prefetch = prefetch(context, torch, reader);
    sdk::install_wheel(reader.clone(), &mut prefetch, stubs, extract, target, into)?;
    Ok(())
}

/// Fetches the ranges that are about to be read, and tells of it.
fn prefetch<'a>(
    context: &'a Context,
    torch: &'a LockedTorch,
    reader: &'a RangeReader,
) -> impl FnMut(&[std::ops::Range<u64>]) -> std::io::Result<()> + 'a {
    let received = AtomicU64::new(0);
    move |ranges| {
        let id = next_id();
        let size = ranges.iter().map(|range| range.end - range.start).sum();
        let file = format!("{} (in part)", torch.artifact.file_name());
        context.reporter.report(Event::DownloadStarted { id, file, size, resumed: 0 });
        let result = reader.prefetch(ranges, &|bytes| {
            let received = received.fetch_add(bytes, Ordering::Relaxed) + bytes;
            context.reporter.report(Event::DownloadProgress { id, received });
        });
        context.reporter.report(Event::DownloadFinished { id });
        result.map_err(std::io::Error::other)
    }
}

fn install_file(
    context: &Context,
    target: &Target,
    file: BufReader<File>,
    into: &Path,
) -> Result<()> {
    let _step = Step::start(context.reporter.as_ref(), "unpacking", "torch");
    sdk::install_wheel(file, &mut no_prefetch, Libraries::Real, None, target, into)?;
    Ok(())
}

fn whole_wheel(context: &Context, artifact: &Artifact) -> Result<BufReader<File>> {
    let found = context.fetch(&[Input::Whole(artifact.clone())])?;
    open(&found[&artifact.sha256])
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = fs_err::File::open(path).map_err(TorchError::Io)?;
    Ok(BufReader::new(file.into()))
}
