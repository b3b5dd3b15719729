//! The repository's own data: targets, components, recipes and `crosswheel.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cache::shared::RemoteTable;
use crate::error::{Class, Diagnose};
use crate::registry::RegistryTable;

/// The folder that holds `toolchains/`, `patches/` and `crosswheel.toml`.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The project at this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `dist/` and relative paths of `crosswheel.toml` belong.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One file a target.
    pub fn targets(&self) -> PathBuf {
        self.root.join("toolchains/targets")
    }

    /// Components and torch wheels, as written and as locked.
    pub fn toolchains(&self) -> PathBuf {
        self.root.join("toolchains")
    }

    /// A folder a package, with its recipe.
    pub fn patches(&self) -> PathBuf {
        self.root.join("patches")
    }

    /// The packages of `crosswheel.toml` as locked.
    pub fn package_lock(&self) -> PathBuf {
        self.root.join("crosswheel.lock")
    }

    /// Reads `crosswheel.toml`; a project without one has the defaults.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let path = self.root.join("crosswheel.toml");
        if !path.exists() {
            return Ok(Config::default());
        }
        let text = fs_err::read_to_string(&path)?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Malformed { path, source: Box::new(source) })
    }
}

/// `crosswheel.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// What `build-wheels` builds when it is given no names.
    pub packages: Vec<String>,
    /// The targets that it builds them for; `thor` where there are none.
    pub targets: Vec<String>,
    /// The server whose object cache this one shares.
    pub cache: RemoteTable,
    /// Registries by name: further apt repositories, and mirrors of `pypi` and `debian`.
    pub registries: BTreeMap<String, RegistryTable>,
    /// Where the headers of further Pythons are: `"3.12" = "path/to/folder-or-archive"`.
    pub python_headers: BTreeMap<String, PathBuf>,
    /// Where git repositories are, and what there is in their place, by the URL that requests,
    /// recipes and submodules name.
    pub sources: BTreeMap<String, Substitute>,
}

/// What is used in the place of a git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Substitute {
    /// A mirror or clone with the same commits: a URL, or a path relative to the project.
    pub git: Option<String>,
    /// Another commit than a recipe names, or another tag. Manifests say so.
    pub commit: Option<String>,
    /// A source tree in the place of the commit that a recipe names. Manifests say so.
    pub path: Option<PathBuf>,
}

/// Why `crosswheel.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or an unknown key.
    #[error("`{path}` is not understood")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be read.
    #[error("the project's configuration cannot be read")]
    Io(#[from] std::io::Error),
}

impl Diagnose for ConfigError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Usage,
            Self::Io(_) => Class::Io,
        }
    }
}
