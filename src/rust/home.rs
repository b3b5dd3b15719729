//! What a build's cargo finds in place of a registry.

use std::path::{Path, PathBuf};

use super::Crates;
use super::crates::place_locks;
use super::error::RustError;
use crate::Result;
use crate::artifact::Artifact;
use crate::configure::BuildFolder;
use crate::unpack;

/// Which crates the folder holds: their digests, in order.
const STAMP: &str = ".crates.json";

/// cargo's configuration. A relative path is relative to the folder that holds cargo's home (the
/// Cargo Book, "Config-relative paths").
const CONFIG: &str = "\
[source.crates-io]
replace-with = \"crosswheel\"

[source.crosswheel]
directory = \"crates\"

[net]
offline = true
";

/// Puts the crates, unpacked, cargo's configuration and the `Cargo.lock`s into a build's folder.
/// `archives` are those of `crates`, in their order. Crates that are there already stay, with what
/// was compiled of them.
pub fn prepare(folder: &BuildFolder, crates: &Crates, archives: &[PathBuf]) -> Result<()> {
    place_locks(crates, &folder.source()).map_err(RustError::Io)?;
    unpack_all(&folder.crates(), &crates.crates, archives)?;
    let home = folder.cargo_home();
    fs_err::create_dir_all(&home).map_err(RustError::Io)?;
    fs_err::write(home.join("config.toml"), CONFIG).map_err(RustError::Io)?;
    Ok(())
}

fn unpack_all(folder: &Path, crates: &[Artifact], archives: &[PathBuf]) -> Result<()> {
    let digests: Vec<_> = crates.iter().map(|artifact| artifact.sha256).collect();
    let stamp = serde_json::to_string(&digests).map_err(|e| RustError::Io(e.into()))?;
    if fs_err::read_to_string(folder.join(STAMP)).is_ok_and(|there| there == stamp) {
        return Ok(());
    }
    let fresh = || {
        match fs_err::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs_err::create_dir_all(folder)
    };
    fresh().map_err(RustError::Io)?;
    for (artifact, archive) in crates.iter().zip(archives) {
        unpack_one(folder, artifact, archive)?;
    }
    fs_err::write(folder.join(STAMP), stamp).map_err(RustError::Io)?;
    Ok(())
}

/// Unpacks a crate, with the file by which cargo knows that it is the one of `Cargo.lock`. It lists
/// no files: the archive was verified whole, and build scripts may write beside their sources.
fn unpack_one(folder: &Path, artifact: &Artifact, archive: &Path) -> Result<()> {
    let staging = tempfile::tempdir_in(folder).map_err(RustError::Io)?;
    let top = unpack::sdist::krate(archive, staging.path())?;
    let checksum = format!("{{\"files\":{{}},\"package\":\"{}\"}}", artifact.sha256);
    fs_err::write(top.join(".cargo-checksum.json"), checksum).map_err(RustError::Io)?;
    let name = format!("{}-{}", artifact.name, artifact.version);
    fs_err::rename(top, folder.join(name)).map_err(RustError::Io)?;
    Ok(())
}
