//! The parts of a torch wheel that a build reads, as a zip archive of their own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use zip::write::SimpleFileOptions;

use crate::Result;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::fetch::read_torch_parts;
use crate::lock::TorchInput;
use crate::store::Key;
use crate::torch::TorchError;
use crate::torch::lock::{LockedTorch, listing_digest};
use crate::torch::sdk::{SDK_COMPONENT, SDK_FOLDER};
use crate::torch::source::is_wanted;

/// Makes the archive in a folder: out of the SDK in the store, which has them all, or else out of
/// the wheel.
pub(super) fn members(
    context: &Context,
    input: &TorchInput,
    torch: &LockedTorch,
    scratch: &Path,
) -> Result<PathBuf> {
    let key = Key::new(SDK_COMPONENT, input.digest());
    let mut members = of_sdk(&context.components.path(&key).join(SDK_FOLDER))?;
    if digest(&members) != torch.extract {
        members.clear();
        read_torch_parts(context, torch, |path, content| {
            members.insert(path.to_owned(), content);
            Ok(())
        })?;
    }
    let found = digest(&members);
    if found != torch.extract {
        return Err(TorchError::Extract { expected: torch.extract, found }.into());
    }
    let path = scratch.join(format!("torch-{}.zip", torch.extract.short()));
    pack(&members, &path)?;
    Ok(path)
}

fn digest(members: &BTreeMap<String, Vec<u8>>) -> Sha256 {
    let digests: BTreeMap<_, _> =
        members.iter().map(|(path, content)| (path.clone(), Sha256::of(content))).collect();
    listing_digest(&digests)
}

fn of_sdk(sdk: &Path) -> Result<BTreeMap<String, Vec<u8>>, TorchError> {
    let mut members = BTreeMap::new();
    if !sdk.is_dir() {
        return Ok(members);
    }
    for entry in WalkDir::new(sdk) {
        let entry = entry.map_err(std::io::Error::from)?;
        let below = entry.path().strip_prefix(sdk).ok().and_then(Path::to_str);
        let wanted = below.filter(|path| entry.file_type().is_file() && is_wanted(path));
        if let Some(path) = wanted {
            members.insert(path.to_owned(), fs_err::read(entry.path())?);
        }
    }
    Ok(members)
}

/// Sorted, with the earliest time that a zip archive can hold.
fn pack(members: &BTreeMap<String, Vec<u8>>, path: &Path) -> Result<(), TorchError> {
    let file = std::io::BufWriter::new(fs_err::File::create(path)?);
    let mut zip = zip::ZipWriter::new(file);
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    for (member, content) in members {
        zip.start_file(member.as_str(), options)?;
        zip.write_all(content)?;
    }
    zip.finish()?.flush()?;
    Ok(())
}
