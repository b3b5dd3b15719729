//! What a user asks to be built, as written.

mod file;
mod git;

use std::fmt;
use std::path::{Path, PathBuf};

use pep440_rs::{Operator, Version};
use pep508_rs::VersionOrUrl;

use crate::error::{Class, Diagnose};
use crate::python::pep508;
pub use git::{GitRequest, is_local};

/// One package to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A project of the Python index: the newest stable version, or exactly this one.
    Index {
        /// The normalised name, such as `causal-conv1d`.
        name: String,
        /// The version, where one was given.
        version: Option<Version>,
    },
    /// A source distribution on disk.
    Archive(PathBuf),
    /// A source tree on disk, which is copied and never written to.
    Folder(PathBuf),
    /// A crate on disk, of which the shared library is wanted.
    Crate {
        /// The folder of the crate, or of the workspace that it is a member of.
        folder: PathBuf,
        /// The member, where it is one.
        package: Option<String>,
    },
    /// A CMake project on disk, of which the shared library is wanted.
    Cmake(PathBuf),
    /// A commit of a git repository.
    Git(GitRequest),
}

impl Request {
    /// Reads `name`, `name==version`, `git+URL@COMMIT`, or the path of a folder or sdist; relative
    /// paths are relative to `current_dir`. What contains a `/` or ends in `.tar.gz` or `.zip` is
    /// a path.
    pub fn parse(text: &str, current_dir: &Path) -> Result<Self, RequestError> {
        // Of a path, white space at its end may be a part.
        let whole = text;
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("git+") {
            return Ok(Self::Git(GitRequest::parse(text, rest, current_dir)?));
        }
        let is_archive = [".tar.gz", ".tgz", ".zip"].iter().any(|suffix| text.ends_with(suffix));
        if is_archive || text.contains('/') || text.starts_with('.') {
            return match fs_err::canonicalize(current_dir.join(whole)) {
                Ok(folder) if folder.is_dir() => Ok(Self::Folder(folder)),
                _ => Self::parse_path(text, &current_dir.join(text), is_archive),
            };
        }
        let requirement =
            pep508::parse(text).map_err(|_| RequestError::Malformed { text: text.to_owned() })?;
        if !requirement.marker.is_true() {
            return Err(RequestError::Marker { text: text.to_owned() });
        }
        let version = match requirement.version_or_url {
            None => None,
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => match &specifiers[..] {
                [only] if matches!(only.operator(), Operator::Equal | Operator::ExactEqual) => {
                    Some(only.version().clone())
                }
                _ => return Err(RequestError::NotExact { text: text.to_owned() }),
            },
            Some(VersionOrUrl::Url(_)) => {
                return Err(RequestError::Malformed { text: text.to_owned() });
            }
        };
        Ok(Self::Index { name: requirement.name.to_string(), version })
    }

    /// The CMake project in a folder, where there is no crate; a relative path is relative to
    /// `current_dir`.
    pub fn of_cmake(path: &Path, current_dir: &Path) -> Option<Self> {
        let folder = fs_err::canonicalize(current_dir.join(path)).ok()?;
        let is_cmake = folder.join("CMakeLists.txt").is_file();
        (is_cmake && !folder.join("Cargo.toml").is_file()).then_some(Self::Cmake(folder))
    }

    fn parse_path(text: &str, path: &Path, is_archive: bool) -> Result<Self, RequestError> {
        let missing = || RequestError::NoSuchPath { text: text.to_owned() };
        // However it is spelt, it is the same build.
        let path = fs_err::canonicalize(path).map_err(|_| missing())?;
        match (path.is_dir(), path.is_file() && is_archive) {
            (true, _) => Ok(Self::Folder(path)),
            (_, true) => Ok(Self::Archive(path)),
            _ => Err(missing()),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { name, version: None } => f.write_str(name),
            Self::Index { name, version: Some(version) } => write!(f, "{name}=={version}"),
            Self::Archive(path) | Self::Folder(path) => path.display().fmt(f),
            Self::Crate { folder, package: None } => write!(f, "the crate {}", folder.display()),
            Self::Crate { folder, package: Some(package) } => {
                write!(f, "the crate {package} of {}", folder.display())
            }
            Self::Cmake(path) => write!(f, "the library of {}", path.display()),
            Self::Git(git) => git.fmt(f),
        }
    }
}

/// Why a request is not understood.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Neither a requirement nor a path.
    #[error("`{text}` is not a package to build")]
    Malformed {
        /// As written.
        text: String,
    },
    /// A range of versions.
    #[error("`{text}` does not name one version")]
    NotExact {
        /// As written.
        text: String,
    },
    /// An environment marker: what is asked for is built.
    #[error("`{text}` has a marker after its `;`")]
    Marker {
        /// As written.
        text: String,
    },
    /// `git+` and something else than a repository and a commit.
    #[error("`{text}` is not a commit of a git repository: {reason}")]
    Git {
        /// As written.
        text: String,
        /// Such as `it names no commit`.
        reason: &'static str,
    },
    /// An option of pip's in a requirements file.
    #[error("`{text}` is an option, which requirements of a build cannot have")]
    Option {
        /// As written.
        text: String,
    },
    /// A line of a requirements file.
    #[error("line {line} of `{path}` is not understood")]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: Box<RequestError>,
    },
    /// Requirements files that include each other.
    #[error("`{0}` includes itself")]
    Cycle(PathBuf),
    /// A requirements file that cannot be read.
    #[error("the requirements file `{path}` cannot be read")]
    File {
        /// As written, relative to the file that includes it.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A path with nothing buildable at it.
    #[error("there is no folder or sdist at `{text}`")]
    NoSuchPath {
        /// As written.
        text: String,
    },
}

impl Diagnose for RequestError {
    fn class(&self) -> Class {
        match self {
            Self::NoSuchPath { .. } => Class::Request,
            Self::InFile { source, .. } => source.class(),
            Self::File { .. } => Class::Io,
            Self::Malformed { .. }
            | Self::NotExact { .. }
            | Self::Marker { .. }
            | Self::Git { .. }
            | Self::Option { .. }
            | Self::Cycle(_) => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InFile { source, .. } => return source.hint(),
            Self::File { .. } | Self::Cycle(_) => return None,
            Self::Marker { .. } => "leave the marker out: what is asked for is built".into(),
            Self::Option { .. } => {
                "only `-r FILE` may stand there: files are locked by sha256, and the index is the one that pip is configured for".into()
            }
            Self::Git { .. } => {
                "write `git+URL@REF` with a commit or a tag; access to private repositories is git's own configuration".into()
            }
            Self::NotExact { .. } => {
                "write `name==version`, or the name alone for the newest".into()
            }
            Self::Malformed { .. } | Self::NoSuchPath { .. } => "write `name`, `name==version`, `git+URL@COMMIT`, or the path of a folder, a `.tar.gz` or a `.zip`"
                .into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text, Path::new("/nowhere"))
    }

    #[test]
    fn names_are_normalised_and_versions_kept() {
        let request = parse("Causal_Conv1d == 1.7.0").unwrap();
        assert_eq!(request.to_string(), "causal-conv1d==1.7.0");
        assert_eq!(parse("torch_scatter").unwrap().to_string(), "torch-scatter");
    }

    #[test]
    fn ranges_and_noise_are_refused() {
        assert!(matches!(parse("vllm>=0.30"), Err(RequestError::NotExact { .. })));
        assert!(matches!(parse("a b c"), Err(RequestError::Malformed { .. })));
        assert!(matches!(parse("./missing"), Err(RequestError::NoSuchPath { .. })));
        assert!(matches!(parse("missing.tar.gz"), Err(RequestError::NoSuchPath { .. })));
    }

    #[test]
    fn folders_and_archives_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("a-1.tar.gz"), "").unwrap();
        let archive = Request::parse("a-1.tar.gz", folder.path()).unwrap();
        assert!(matches!(archive, Request::Archive(_)));
        assert!(matches!(Request::parse("./", folder.path()).unwrap(), Request::Folder(_)));
    }

    #[test]
    fn every_spelling_of_a_path_is_the_same_request() {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        let parse = |text: &str| Request::parse(text, root.path()).unwrap().to_string();
        let plain = parse("a/b");
        for text in ["./a/b", "a/b/", "a/./b", "a/b/../b", "link/b"] {
            assert_eq!(parse(text), plain, "{text}");
        }
    }
}
