//! A source tree as a Python project: its `[build-system]` (PEP 517, PEP 518) and its identity.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cmake;
use crate::error::{Class, Diagnose};
use crate::request::Request;

/// How a project is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildSystem {
    /// PEP 508 requirements of the build itself.
    pub requires: Vec<String>,
    /// The backend, as `module` or `module:object`.
    pub backend: String,
    /// Folders of an in-tree backend, relative to the source tree.
    pub backend_path: Vec<PathBuf>,
}

impl BuildSystem {
    /// What a tree without `[build-system]` is built with (PEP 517, "Source trees").
    pub fn legacy() -> Self {
        Self {
            requires: vec!["setuptools>=40.8.0".to_owned()],
            backend: LEGACY_BACKEND.to_owned(),
            backend_path: Vec::new(),
        }
    }

    /// What a tree that is no Python project is built with.
    pub(super) fn own(requires: Vec<String>, module: &str) -> Self {
        let backend = format!("{}.{module}", super::shim::PACKAGE);
        Self { requires, backend, backend_path: Vec::new() }
    }
}

/// PEP 517's backend for trees that name none: it puts the source tree on `sys.path`.
const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";

/// A source tree that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Project {
    /// How it is built.
    pub build_system: BuildSystem,
    /// Its name, as far as it is told without running anything.
    pub name: Option<String>,
    /// Its version, as far as it is told without running anything.
    pub version: Option<String>,
}

/// Why a source tree is not a Python project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Neither of the files that make a project.
    #[error(
        "the source is not a Python project: it has neither a `pyproject.toml` that says how it is built nor a `setup.py` nor a `CMakeLists.txt`"
    )]
    NotAProject,
    /// A `pyproject.toml` that is not TOML, or whose tables have other types than the PEPs say.
    #[error("`{path}` is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// PEP 517: the folders of an in-tree backend lie in the source tree.
    #[error("`backend-path` of `{path}` names `{entry}`, which is not in the source tree")]
    BackendOutside {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: PathBuf,
    },
    /// The tree cannot be read.
    #[error("the source tree cannot be read")]
    Io(#[from] std::io::Error),
}

impl Diagnose for ProjectError {
    fn class(&self) -> Class {
        match self {
            Self::Io(_) => Class::Io,
            _ => Class::Request,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::NotAProject).then(|| {
            "name the folder in which one of them lies; an archive has them in its top folder"
                .to_owned()
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyProject {
    build_system: Option<BuildSystemTable>,
    project: Option<ProjectTable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildSystemTable {
    requires: Vec<String>,
    build_backend: Option<String>,
    #[serde(default)]
    backend_path: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct CargoToml {
    package: Option<toml::Table>,
}

#[derive(Debug, Deserialize)]
struct ProjectTable {
    name: Option<String>,
    version: Option<String>,
}

impl Project {
    /// Reads a source tree as what was asked for: a project, or a crate.
    pub fn of(request: &Request, tree: &Path) -> Result<Self, ProjectError> {
        match request {
            Request::Crate { package, .. } => Self::read_crate(tree, package.as_deref()),
            Request::Cmake(_) => Ok(cmake::read(tree)?),
            _ => Self::read(tree),
        }
    }

    /// A crate is built by a backend of crosswheel's own.
    fn read_crate(tree: &Path, member: Option<&str>) -> Result<Self, ProjectError> {
        let path = tree.join("Cargo.toml");
        let text = fs_err::read_to_string(&path)?;
        let CargoToml { package } = toml::from_str(&text)
            .map_err(|source| ProjectError::Malformed { path, source: Box::new(source) })?;
        let text = |key: &str| Some(package.as_ref()?.get(key)?.as_str()?.to_owned());
        Ok(Self {
            build_system: BuildSystem::own(Vec::new(), "cargo"),
            name: member.map(str::to_owned).or(text("name")),
            version: text("version").filter(|_| member.is_none()),
        })
    }

    /// Reads a source tree's `pyproject.toml` and, of an sdist, `PKG-INFO`.
    pub fn read(tree: &Path) -> Result<Self, ProjectError> {
        let path = tree.join("pyproject.toml");
        let pyproject = match fs_err::read_to_string(&path) {
            Ok(text) => toml::from_str::<PyProject>(&text).map_err(|source| {
                ProjectError::Malformed { path: path.clone(), source: Box::new(source) }
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => PyProject::default(),
            Err(error) => return Err(error.into()),
        };
        let PyProject { build_system, project } = pyproject;
        let told = build_system.is_some() || project.is_some();
        if !told && !tree.join("setup.py").is_file() {
            return match tree.join(cmake::FILE).is_file() {
                true => Ok(cmake::read(tree)?),
                false => Err(ProjectError::NotAProject),
            };
        }
        let build_system = match build_system {
            None => BuildSystem::legacy(),
            Some(table) => table.resolve(&path)?,
        };
        let metadata = read_pkg_info(tree)?;
        let project = project.unwrap_or(ProjectTable { name: None, version: None });
        Ok(Self {
            build_system,
            name: metadata.name.or(project.name),
            version: metadata.version.or(project.version),
        })
    }
}

impl BuildSystemTable {
    fn resolve(self, path: &Path) -> Result<BuildSystem, ProjectError> {
        for entry in &self.backend_path {
            let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
            if !entry.components().all(inside) {
                let (path, entry) = (path.to_owned(), entry.clone());
                return Err(ProjectError::BackendOutside { path, entry });
            }
        }
        Ok(BuildSystem {
            requires: self.requires,
            backend: self.build_backend.unwrap_or_else(|| LEGACY_BACKEND.to_owned()),
            backend_path: self.backend_path,
        })
    }
}

/// The headers of an sdist's `PKG-INFO`; a tree that is no sdist has none.
fn read_pkg_info(tree: &Path) -> Result<ProjectTable, ProjectError> {
    let text = match fs_err::read(tree.join("PKG-INFO")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let header = |name: &str| {
        text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    Ok(ProjectTable { name: header("Name"), version: header("Version") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(tree.path().join(name), text).unwrap();
        }
        tree
    }

    #[test]
    fn setup_py_alone_is_built_with_the_legacy_backend() {
        let tree = tree(&[("setup.py", "")]);
        let project = Project::read(tree.path()).unwrap();
        assert_eq!(project.build_system, BuildSystem::legacy());
    }

    #[test]
    fn requires_without_a_backend_keep_their_requires() {
        let tree =
            tree(&[("pyproject.toml", "[build-system]\nrequires = ['setuptools', 'torch']")]);
        let system = Project::read(tree.path()).unwrap().build_system;
        assert_eq!(system.requires, ["setuptools", "torch"]);
        assert_eq!(system.backend, "setuptools.build_meta:__legacy__");
    }

    #[test]
    fn an_in_tree_backend_is_named_with_its_folders() {
        let text =
            "[build-system]\nrequires = []\nbuild-backend = 'b:x'\nbackend-path = ['.', 'a/b']";
        let system = Project::read(tree(&[("pyproject.toml", text)]).path()).unwrap().build_system;
        assert_eq!(system.backend, "b:x");
        assert_eq!(system.backend_path, [Path::new("."), Path::new("a/b")]);
    }

    #[test]
    fn a_backend_outside_of_the_tree_is_refused() {
        for entry in ["../b", "/b", "a/../../b"] {
            let text = format!("[build-system]\nrequires = []\nbackend-path = ['{entry}']");
            let error = Project::read(tree(&[("pyproject.toml", &text)]).path()).unwrap_err();
            assert!(matches!(error, ProjectError::BackendOutside { .. }), "{entry}");
        }
    }

    #[test]
    fn a_pyproject_of_tools_only_makes_no_project() {
        let tree = tree(&[("pyproject.toml", "[tool.black]\nline-length = 100")]);
        let error = Project::read(tree.path()).unwrap_err();
        assert!(matches!(error, ProjectError::NotAProject));
        assert_eq!(error.class(), Class::Request);
    }

    #[test]
    fn a_build_system_without_requires_is_malformed() {
        let tree = tree(&[("pyproject.toml", "[build-system]\nbuild-backend = 'b'")]);
        assert!(matches!(Project::read(tree.path()), Err(ProjectError::Malformed { .. })));
    }

    #[test]
    fn pkg_info_names_an_sdist() {
        let info = "Metadata-Version: 2.4\nName: a_b\nVersion: 1.7.0\n\nName: of the description\n";
        let tree = tree(&[("setup.py", ""), ("PKG-INFO", info)]);
        let project = Project::read(tree.path()).unwrap();
        assert_eq!(
            (project.name.as_deref(), project.version.as_deref()),
            (Some("a_b"), Some("1.7.0"))
        );
    }
}
