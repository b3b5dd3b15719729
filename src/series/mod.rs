//! Series: local patches of packages, in `patches/<package>/<series>/`.
//!
//! In: the source of a package. Out: the patches that are for it, or the tree that they make of it.
//! A series is a folder of files as `git format-patch` writes them, applied in the order of their
//! names, with a `series.toml` that tells for which sources:
//!
//! ```toml
//! when = ">=1.7, <1.8"
//!
//! [[source]]
//! version = "1.7.0"
//! file = "causal_conv1d-1.7.0.tar.gz"
//! size = 30328
//! sha256 = "3202…"
//! ```
//!
//! The sources are those that the patches were found to apply to. A version that only `when` names
//! is patched all the same, without fuzz; one that is recorded must have the recorded bytes.
//! Nothing here needs git but [`tree`], which gives people a history to work in.

mod apply;
mod edit;
mod error;
mod hunks;
mod stream;
mod text;
pub mod tree;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::PackageName;
use serde::{Deserialize, Serialize};

pub use apply::{Named, Outcome, Refusal, Trial, attempt};
pub use edit::{Checked, Refreshed, check, drop, refresh};
pub use error::SeriesError;
pub use hunks::{Compared, Nearest, Place, Placed};
pub use text::Heading;

use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::atomic;
use crate::context::Context;
use crate::lock::{Identity, Source};
use crate::store::Store;

/// What a series' folder is described in.
const DESCRIPTION: &str = "series.toml";

/// A patch, by what it is: part of what a build is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Where it lay, below `patches/`.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
}

/// `series.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The versions that it is for, beside those of the sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<VersionSpecifiers>,
    /// The sources that the patches were found to apply to.
    #[serde(default)]
    pub source: Vec<Recorded>,
}

/// A source that patches were found to apply to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Recorded {
    /// A source distribution.
    Sdist {
        /// The release.
        version: Version,
        /// Its file's name.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// Its digest.
        sha256: Sha256,
    },
    /// A commit of a repository.
    Git {
        /// What git clones.
        url: String,
        /// The whole name of the commit.
        commit: String,
        /// The digest of its tree.
        digest: Sha256,
    },
}

impl Recorded {
    /// What a person calls it: a version, or a commit as git abbreviates it.
    pub fn label(&self) -> String {
        match self {
            Self::Sdist { version, .. } => version.to_string(),
            Self::Git { commit, .. } => commit.chars().take(12).collect(),
        }
    }

    fn digest(&self) -> Sha256 {
        match self {
            Self::Sdist { sha256: digest, .. } | Self::Git { digest, .. } => *digest,
        }
    }

    /// Where it can be had.
    pub fn source(&self, package: &str) -> Source {
        match self.clone() {
            Self::Sdist { version, file, size, sha256 } => Source::Index(Artifact {
                registry: "pypi".to_owned(),
                name: package.to_owned(),
                version: version.to_string(),
                file,
                size,
                sha256,
            }),
            Self::Git { url, commit, digest } => Source::Git { url, commit, digest },
        }
    }

    /// Of a source; none of a folder, or of one that does not tell its version.
    pub fn of(source: &Source, identity: &Identity) -> std::io::Result<Option<Self>> {
        let version = || Version::from_str(identity.version.as_deref()?).ok();
        Ok(match source {
            Source::Folder { .. } => None,
            Source::Git { url, commit, digest } => {
                let (url, commit, digest) = (url.clone(), commit.clone(), *digest);
                Some(Self::Git { url, commit, digest })
            }
            Source::Index(artifact) => version().map(|version| Self::Sdist {
                version,
                file: artifact.file_name().to_owned(),
                size: artifact.size,
                sha256: artifact.sha256,
            }),
            Source::Archive { path, sha256 } => {
                let size = fs_err::metadata(path)?.len();
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                version().map(|version| Self::Sdist { version, file, size, sha256: *sha256 })
            }
        })
    }
}

/// A folder of patches.
#[derive(Debug, Clone)]
pub struct Series {
    /// The package's normalised name.
    pub package: String,
    /// The folder's own name.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// What it is for.
    pub description: Description,
}

/// What a series is to a source.
enum Fit {
    None,
    /// By `when`, or as recorded.
    Yes,
    /// Of this version another source was recorded.
    Changed {
        recorded: Sha256,
        found: Sha256,
    },
}

impl Series {
    /// Reads a folder; none where there is nothing of a series in it.
    fn read(package: &str, folder: &Path) -> Result<Option<Self>, SeriesError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut series = Self {
            package: package.to_owned(),
            name,
            folder: folder.to_owned(),
            description: Description::default(),
        };
        let path = folder.join(DESCRIPTION);
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return match series.files()?.is_empty() {
                    true => Ok(None),
                    false => Err(SeriesError::Undescribed { folder: folder.to_owned() }),
                };
            }
            Err(error) => return Err(error.into()),
        };
        series.description = toml::from_str(&text)
            .map_err(|source| SeriesError::Malformed { path, source: Box::new(source) })?;
        Ok(Some(series))
    }

    /// Its patches' files, in the order in which they are applied.
    pub fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in entries(&self.folder)? {
            if entry.extension().is_some_and(|extension| extension == "patch") && entry.is_file() {
                files.push(entry);
            }
        }
        Ok(files)
    }

    /// Its patches, with their texts.
    pub fn patches(&self) -> std::io::Result<Vec<Named>> {
        let read = |path: PathBuf| Ok(Named { name: file_name(&path), text: fs_err::read(path)? });
        self.files()?.into_iter().map(read).collect()
    }

    /// What a person calls it: `causal-conv1d 1.7.0`.
    pub fn label(&self) -> String {
        format!("{} {}", self.package, self.name)
    }

    /// `series.toml`.
    fn text(&self) -> String {
        let body = toml::to_string(&self.description).expect("strings and numbers serialise");
        format!(
            "# Written by `cargo xtask patch`. `when` may be widened to more versions by hand.\n\n{body}"
        )
    }

    /// Writes `series.toml`.
    fn describe(&self) -> std::io::Result<()> {
        atomic::write(&self.folder.join(DESCRIPTION), atomic::PLAIN, self.text().as_bytes())
    }

    fn fit(&self, source: &Source, version: Option<&Version>) -> Fit {
        let Some(found) = digest(source) else { return Fit::None };
        let Description { when, source: recorded } = &self.description;
        if recorded.iter().any(|recorded| recorded.digest() == found) {
            return Fit::Yes;
        }
        let Some(version) = version else { return Fit::None };
        let is_sdist = !matches!(source, Source::Git { .. });
        let other = recorded.iter().find(|recorded| {
            is_sdist && matches!(recorded, Recorded::Sdist { version: v, .. } if v == version)
        });
        match other {
            Some(other) => Fit::Changed { recorded: other.digest(), found },
            None if when.as_ref().is_some_and(|when| when.contains(version)) => Fit::Yes,
            None => Fit::None,
        }
    }
}

/// The digest of what does not change under its name.
fn digest(source: &Source) -> Option<Sha256> {
    match source {
        Source::Index(artifact) => Some(artifact.sha256),
        Source::Archive { sha256, .. } => Some(*sha256),
        Source::Git { digest, .. } => Some(*digest),
        Source::Folder { .. } => None,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a folder, sorted; nothing where there is none.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// All series of a package, by their names.
pub fn of_package(patches: &Path, package: &str) -> Result<Vec<Series>, SeriesError> {
    let mut all = Vec::new();
    for folder in entries(&patches.join(package))?.into_iter().filter(|path| path.is_dir()) {
        all.extend(Series::read(package, &folder)?);
    }
    Ok(all)
}

/// All series of all packages.
pub fn all(patches: &Path) -> Result<Vec<Series>, SeriesError> {
    let mut all = Vec::new();
    for folder in entries(patches)?.into_iter().filter(|path| path.is_dir()) {
        all.extend(of_package(patches, &file_name(&folder))?);
    }
    Ok(all)
}

/// The normalised name that a series is found by.
fn package_of(identity: &Identity) -> Option<String> {
    Some(PackageName::from_str(identity.name.as_deref()?).ok()?.to_string())
}

/// The series that is for a source.
///
/// # Errors
/// [`SeriesError::Changed`] where the series was made on other bytes of the same version,
/// [`SeriesError::Twice`] where two are for it.
pub fn find(
    patches: &Path,
    source: &Source,
    identity: &Identity,
) -> Result<Option<Series>, SeriesError> {
    let Some(package) = package_of(identity) else { return Ok(None) };
    let version = identity.version.as_deref().and_then(|version| Version::from_str(version).ok());
    let mut found: Option<Series> = None;
    for series in of_package(patches, &package)? {
        match series.fit(source, version.as_ref()) {
            Fit::None => continue,
            Fit::Changed { recorded, found } => {
                let (source_name, folder) = (source.label(), series.folder);
                return Err(SeriesError::Changed { source_name, folder, recorded, found });
            }
            Fit::Yes => {}
        }
        if let Some(first) = found {
            let (first, second, source_name) = (first.folder, series.folder, source.label());
            return Err(SeriesError::Twice { first, second, source_name });
        }
        found = Some(series);
    }
    Ok(found)
}

/// The patches that are for a source, kept in the store by their digests: what was locked stays to
/// be had, whatever becomes of the files.
pub fn lock(context: &Context, source: &Source, identity: &Identity) -> Result<Vec<Patch>> {
    let patches = context.project.patches();
    let Some(series) = find(&patches, source, identity)? else { return Ok(Vec::new()) };
    let keep = |patch: Named| {
        let sha256 = Sha256::of(&patch.text);
        keep(&context.store, sha256, &patch.text)?;
        let path = format!("{}/{}/{}", series.package, series.name, patch.name);
        Ok(Patch { path, sha256 })
    };
    let kept = series.patches().and_then(|all| all.into_iter().map(keep).collect());
    Ok(kept.map_err(SeriesError::Io)?)
}

/// The digest of patches, by which a lock tells that they are others; none where there are none.
pub fn digest_of(patches: &[Patch]) -> Option<Sha256> {
    let digests: Vec<String> = patches.iter().map(|patch| patch.sha256.to_string()).collect();
    (!digests.is_empty()).then(|| Sha256::of(digests.join("\n")))
}

fn keep(store: &Store, sha256: Sha256, text: &[u8]) -> std::io::Result<()> {
    if store.blob(&sha256).is_some() {
        return Ok(());
    }
    let path = store.blob_path(&sha256);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    atomic::write(&path, atomic::READ_ONLY, text)
}

/// A locked patch with its text: from the store, or from `patches/` where it has these bytes there.
pub fn text(context: &Context, patch: &Patch) -> Result<Named, SeriesError> {
    let Patch { path, sha256 } = patch.clone();
    let places = [context.store.blob_path(&sha256), context.project.patches().join(&path)];
    let is_it = |text: &Vec<u8>| Sha256::of(text) == sha256;
    match places.iter().find_map(|place| fs_err::read(place).ok().filter(is_it)) {
        Some(text) => Ok(Named { name: path, text }),
        None => Err(SeriesError::Gone { path, sha256 }),
    }
}

/// Applies locked patches to a tree, all or none.
pub fn apply_locked(
    context: &Context,
    source: &Source,
    patches: &[Patch],
    tree: &Path,
) -> Result<Trial> {
    let texts = patches.iter().map(|patch| text(context, patch)).collect::<Result<Vec<_>, _>>()?;
    let trial = attempt(tree, &texts).map_err(SeriesError::Io)?;
    trial.check(&source.label())?;
    trial.write().map_err(SeriesError::Io)?;
    Ok(trial)
}
