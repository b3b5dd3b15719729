//! What a build's cargo finds in place of registries and repositories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::crates::place_locks;
use super::error::RustError;
use super::git_source::GitSource;
use super::{CRATES, CrateRepository, Crates, registries};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::configure::BuildFolder;
use crate::context::Context;
use crate::unpack;

/// Which crates the folder holds: their digests, in order.
const STAMP: &str = ".crates.json";

/// The crates of registries, unpacked, as cargo's configuration calls them.
const OWN: &str = "crosswheel";

/// Puts the crates, unpacked, cargo's configuration and the `Cargo.lock`s into a build's folder.
/// `archives` are those of `crates`, in their order. Crates that are there already stay, with what
/// was compiled of them.
pub fn prepare(
    context: &Context,
    folder: &BuildFolder,
    crates: &Crates,
    archives: &[PathBuf],
) -> Result<()> {
    let git = folder.git_crates();
    let place = || {
        place_locks(crates, &folder.source())?;
        remove_others(&git, crates)
    };
    place().map_err(RustError::Io)?;
    for repository in &crates.repositories {
        if !repository.folder(&git).is_dir() {
            repository.place(context, &git)?;
        }
    }
    unpack_all(&folder.crates(), &crates.crates, archives)?;
    let config = || {
        let mut config = Config::of(folder, &crates.repositories);
        config.registries(folder, &crates.crates)?;
        config.write(&folder.cargo_home())
    };
    config().map_err(RustError::Io)?;
    Ok(())
}

/// Removes the folders of repositories as they were before.
fn remove_others(git: &Path, crates: &Crates) -> std::io::Result<()> {
    let Ok(entries) = fs_err::read_dir(git) else { return Ok(()) };
    let wanted: Vec<_> = crates.repositories.iter().map(|r| r.folder(git)).collect();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !wanted.contains(&path.join("crates")) {
            fs_err::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// Writes a configuration by which cargo takes the crates of repositories from their folders, and all
/// others as the machine's own says. Returns the file.
pub(super) fn repositories(
    folder: &BuildFolder,
    repositories: &[CrateRepository],
) -> std::io::Result<PathBuf> {
    let home = folder.cargo_home();
    Config::of(folder, repositories).write(&home)?;
    Ok(home.join(CONFIG))
}

const CONFIG: &str = "config.toml";

/// cargo's configuration. A relative path is relative to the folder that holds cargo's home (the
/// Cargo Book, "Config-relative paths").
#[derive(Default, Serialize)]
struct Config {
    source: BTreeMap<String, toml::Table>,
    registries: BTreeMap<String, toml::Table>,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    net: toml::Table,
}

impl Config {
    /// What stands for repositories.
    fn of(folder: &BuildFolder, repositories: &[CrateRepository]) -> Self {
        let mut config = Self::default();
        for repository in repositories {
            let crates = repository.folder(&folder.git_crates());
            let crates = crates.strip_prefix(folder.root()).unwrap_or(&crates);
            let name = format!("{OWN}-{}", crates.iter().nth(1).unwrap_or_default().display());
            if let Some(wanted) = GitSource::parse(&repository.wanted) {
                config.source.insert(repository.wanted.clone(), wanted.replaced_by(&name));
            }
            config.source.insert(name, table("directory", crates.display()));
        }
        config
    }

    /// What stands for registries: there is no network.
    fn registries(&mut self, folder: &BuildFolder, crates: &[Artifact]) -> std::io::Result<()> {
        self.net.insert("offline".to_owned(), true.into());
        self.source.insert("crates-io".to_owned(), table("replace-with", OWN));
        self.source.insert(OWN.to_owned(), directory(CRATES));
        let others = crates.iter().map(|artifact| &artifact.registry).filter(|r| *r != CRATES);
        for registry in others {
            let name = format!("{OWN}-{}", Sha256::of(registry).short());
            let mut replaced = table("registry", registries::index(registry));
            replaced.insert("replace-with".to_owned(), name.clone().into());
            self.source.insert(registry.clone(), replaced);
            self.source.insert(name, directory(registry));
        }
        for (name, registry) in registries::names(&folder.source(), crates)? {
            self.registries.insert(name, table("index", registries::index(&registry)));
        }
        Ok(())
    }

    fn write(&self, home: &Path) -> std::io::Result<()> {
        fs_err::create_dir_all(home)?;
        let text = toml::to_string(self).expect("a configuration is tables of strings");
        fs_err::write(home.join(CONFIG), text)
    }
}

fn table(key: &str, value: impl ToString) -> toml::Table {
    toml::Table::from_iter([(key.to_owned(), value.to_string().into())])
}

/// The folder of a registry's crates, in that of all crates: two may have a crate of one name. cargo
/// passes over hidden folders.
fn folder_of(registry: &str) -> PathBuf {
    match registry {
        CRATES => PathBuf::new(),
        other => format!(".{}", Sha256::of(other).short()).into(),
    }
}

fn directory(registry: &str) -> toml::Table {
    table("directory", Path::new("crates").join(folder_of(registry)).display())
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
        let folder = folder.join(folder_of(&artifact.registry));
        fs_err::create_dir_all(&folder).map_err(RustError::Io)?;
        unpack_one(&folder, artifact, archive)?;
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
