//! A Python package index: which files a project has, and which of them is wanted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pep440_rs::{Operator, Version, VersionSpecifiers};
use url::Url;

use super::PYPI;
use super::error::RegistryError;
use super::file_name::{WheelName, normalize, sdist_version};
use super::simple::{ACCEPT, File, parse};
use crate::artifact::{Artifact, Sha256};
use crate::net::{Http, NetError, redact};
use crate::sync::lock;
use crate::target::Arch;

/// How many versions or files an error lists.
const LISTED: usize = 8;

/// The client of one index; it asks for each project once.
#[derive(Debug)]
pub struct Pypi {
    http: Http,
    index: Url,
    projects: Mutex<BTreeMap<String, Arc<Project>>>,
}

/// A project and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its normalised name.
    pub name: String,
    /// Its files, in the index's order.
    pub files: Vec<File>,
}

/// A file that was picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The release that it is of.
    pub version: Version,
    /// The file.
    pub file: &'a File,
    /// What the user should know: that the release was yanked, and why.
    pub warning: Option<String>,
}

impl Pypi {
    /// The index at this URL: a simple index, or a folder that is one, or a folder of files.
    pub fn new(http: Http, index: Url) -> Self {
        Self { http, index, projects: Mutex::default() }
    }

    /// The index's URL, without credentials.
    pub fn index(&self) -> String {
        redact(self.index.as_str())
    }

    /// A project's files; the name may be written in any way.
    pub fn project(&self, name: &str) -> Result<Arc<Project>, RegistryError> {
        let name = normalize(name);
        let known = || lock(&self.projects);
        if let Some(project) = known().get(&name) {
            return Ok(Arc::clone(project));
        }
        let unknown =
            || RegistryError::UnknownProject { index: self.index(), project: name.clone() };
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(unknown());
        }
        let files = match self.index.to_file_path() {
            Ok(folder) if self.index.scheme() == "file" => self.folder(&folder, &name)?,
            _ => self.page(&format!("{}/{name}/", self.index.as_str().trim_end_matches('/')))?,
        };
        let files = files.filter(|files| !files.is_empty()).ok_or_else(unknown)?;
        let project = Arc::new(Project { name: name.clone(), files });
        known().insert(name, Arc::clone(&project));
        Ok(project)
    }

    fn page(&self, url: &str) -> Result<Option<Vec<File>>, RegistryError> {
        match self.http.page(url, ACCEPT) {
            Ok(page) => parse(&page).map(Some),
            Err(NetError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A project in a local folder: its page there, or the files of its own folder, or those of
    /// its name in the folder itself.
    fn folder(&self, folder: &Path, name: &str) -> Result<Option<Vec<File>>, RegistryError> {
        let own = folder.join(name);
        if let Ok(page) = Url::from_file_path(own.join("index.html"))
            && let Some(files) = self.page(page.as_str())?
        {
            return Ok(Some(files));
        }
        let folder = if own.is_dir() { &own } else { folder };
        let fail = |source| RegistryError::File { path: folder.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs_err::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
            let Ok(url) = Url::from_file_path(&path) else { continue };
            if version_of(name, file).is_some() {
                files.push(File {
                    name: file.to_owned(),
                    url: url.into(),
                    sha256: None,
                    size: path.metadata().ok().map(|metadata| metadata.len()),
                    requires_python: None,
                    yanked: None,
                });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(files))
    }

    /// Locks a file: asks for the size that an HTML index does not say, and reads a file whose
    /// digest nothing says.
    pub fn artifact(
        &self,
        project: &Project,
        choice: &Choice<'_>,
    ) -> Result<Artifact, RegistryError> {
        let file = choice.file;
        let (sha256, size) = match (file.sha256, file.size) {
            (Some(sha256), Some(size)) => (sha256, size),
            (Some(sha256), None) => (sha256, self.http.size(&file.url)?),
            (None, _) => {
                let page = self.http.page(&file.url, "*/*")?;
                (Sha256::of(&page.body), page.body.len() as u64)
            }
        };
        Ok(Artifact {
            registry: PYPI.to_owned(),
            name: project.name.clone(),
            version: choice.version.to_string(),
            file: file.name.clone(),
            size,
            sha256,
        })
    }

    /// Where a locked file is.
    pub(super) fn url_of(&self, artifact: &Artifact) -> Result<String, RegistryError> {
        let gone = || RegistryError::Gone {
            registry: artifact.registry.clone(),
            name: artifact.name.clone(),
            version: artifact.version.clone(),
            file: artifact.file.clone(),
        };
        let project = match self.project(&artifact.name) {
            Err(RegistryError::UnknownProject { .. }) => return Err(gone()),
            other => other?,
        };
        let file = project.files.iter().find(|file| file.name == artifact.file);
        let file = file.ok_or_else(gone)?;
        match file.sha256 {
            Some(actual) if actual != artifact.sha256 => Err(RegistryError::Replaced {
                file: file.name.clone(),
                expected: artifact.sha256,
                actual,
            }),
            _ => Ok(file.url.clone()),
        }
    }
}

impl Project {
    /// The source distribution of this version, or of the newest stable one.
    ///
    /// Yanked releases are passed over, but for the version asked for, which gets a warning
    /// (PEP 592).
    pub fn sdist(&self, version: Option<&Version>) -> Result<Choice<'_>, RegistryError> {
        let wanted = version.map_or_else(VersionSpecifiers::empty, |version| {
            VersionSpecifiers::from(pep440_rs::VersionSpecifier::equals_version(version.clone()))
        });
        let sdists: Vec<_> = self
            .files
            .iter()
            .filter_map(|file| Some((sdist_version(&self.name, &file.name)?, file)))
            .collect();
        if let Some(choice) = self.newest(&sdists, &wanted)? {
            return Ok(choice);
        }
        let version = self.require_version(&wanted)?;
        let files = self.files_of(&version);
        Err(RegistryError::NoSdist {
            project: self.name.clone(),
            version: version.to_string(),
            files,
        })
    }

    /// The newest wheel that fits the specifier, is for any Python 3 and runs on Linux machines
    /// with this processor; of several for one version, the one that asks for the oldest glibc.
    pub fn newest_wheel(
        &self,
        wanted: &VersionSpecifiers,
        arch: Arch,
    ) -> Result<Choice<'_>, RegistryError> {
        let mut wheels: Vec<_> = self
            .files
            .iter()
            .filter_map(|file| {
                let wheel = WheelName::parse(&file.name)?;
                let fits = wheel.name == self.name && wheel.for_any_python();
                let glibc = wheel.glibc(arch).filter(|_| fits)?;
                Some((glibc, wheel.version, file))
            })
            .collect();
        wheels.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
        let wheels: Vec<_> = wheels.into_iter().map(|(_, version, file)| (version, file)).collect();
        if let Some(choice) = self.newest(&wheels, wanted)? {
            return Ok(choice);
        }
        let version = self.require_version(wanted)?;
        let files = self.files_of(&version);
        Err(RegistryError::NoWheel {
            project: self.name.clone(),
            version: version.to_string(),
            platform: format!("manylinux {arch}"),
            files,
        })
    }

    /// The file of exactly this name.
    pub fn file(&self, name: &str) -> Option<Choice<'_>> {
        let file = self.files.iter().find(|file| file.name == name)?;
        let version = version_of(&self.name, name)?;
        let warning = self.warning(&version, file);
        Some(Choice { version, file, warning })
    }

    /// The first file of the newest version that fits.
    fn newest<'a>(
        &self,
        candidates: &[(Version, &'a File)],
        wanted: &VersionSpecifiers,
    ) -> Result<Option<Choice<'a>>, RegistryError> {
        let pinned =
            wanted.iter().any(|s| matches!(s.operator(), Operator::Equal | Operator::ExactEqual));
        let prereleases = pinned || wanted.iter().any(|s| s.version().any_prerelease());
        let fits = |version: &Version| {
            wanted.contains(version) && (prereleases || !version.any_prerelease())
        };
        let fitting = || candidates.iter().filter(|(version, _)| fits(version));
        // max_by_key takes the last of equals, and the first is wanted.
        let newest = |(version, _): &&(Version, &File)| version.clone();
        let picked = fitting().rev().filter(|(_, f)| f.yanked.is_none()).max_by_key(newest);
        let yanked = || fitting().rev().max_by_key(newest);
        match (picked, yanked()) {
            (Some((version, file)), _) => {
                Ok(Some(Choice { version: version.clone(), file, warning: None }))
            }
            (None, Some((version, file))) if pinned => Ok(Some(Choice {
                version: version.clone(),
                file,
                warning: self.warning(version, file),
            })),
            (None, Some((_, file))) => Err(RegistryError::Yanked {
                project: self.name.clone(),
                version: shown(wanted),
                reason: reason(file).to_owned(),
            }),
            (None, None) => Ok(None),
        }
    }

    fn warning(&self, version: &Version, file: &File) -> Option<String> {
        file.yanked.as_ref()?;
        Some(format!("`{}` {version} was yanked: {}", self.name, reason(file)))
    }

    /// The newest version that fits, whatever files it has; an error that lists others if none.
    fn require_version(&self, wanted: &VersionSpecifiers) -> Result<Version, RegistryError> {
        let versions = self.versions();
        let fitting = versions.iter().find(|version| wanted.contains(version));
        fitting.cloned().ok_or_else(|| RegistryError::UnknownVersion {
            project: self.name.clone(),
            version: shown(wanted),
            known: nearest(&versions, wanted),
        })
    }

    /// All versions, newest first.
    pub fn versions(&self) -> Vec<Version> {
        let versions = self.files.iter().filter_map(|file| version_of(&self.name, &file.name));
        let sorted: BTreeSet<_> = versions.map(Reverse).collect();
        sorted.into_iter().map(|Reverse(version)| version).collect()
    }

    fn files_of(&self, version: &Version) -> Vec<String> {
        let of = |file: &&File| version_of(&self.name, &file.name).as_ref() == Some(version);
        self.files.iter().filter(of).map(|file| file.name.clone()).take(LISTED).collect()
    }
}

/// The version of any file of a project.
fn version_of(project: &str, file: &str) -> Option<Version> {
    let wheel = WheelName::parse(file).filter(|wheel| wheel.name == project);
    wheel.map(|wheel| wheel.version).or_else(|| sdist_version(project, file))
}

fn reason(file: &File) -> &str {
    match file.yanked.as_deref() {
        Some("") | None => "no reason is given",
        Some(reason) => reason,
    }
}

fn shown(wanted: &VersionSpecifiers) -> String {
    match wanted.iter().as_slice() {
        [one] if *one.operator() == Operator::Equal => one.version().to_string(),
        [] => "any".to_owned(),
        _ => wanted.to_string(),
    }
}

/// The newest versions, and those around the first one that was asked for; newest first.
fn nearest(versions: &[Version], wanted: &VersionSpecifiers) -> Vec<String> {
    let around = wanted
        .iter()
        .next()
        .map_or(0, |specifier| versions.partition_point(|version| version > specifier.version()));
    let near = around.saturating_sub(LISTED / 4)..(around + LISTED / 4).min(versions.len());
    let newest = 0..(LISTED / 2).min(versions.len());
    let indices: BTreeSet<usize> = newest.chain(near).collect();
    indices.into_iter().map(|index| versions[index].to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[&str], yanked: &[&str]) -> Project {
        let file = |name: &&str| File {
            name: (*name).to_owned(),
            url: format!("https://index.example/{name}"),
            sha256: None,
            size: None,
            requires_python: None,
            yanked: yanked.contains(name).then(|| "broken".to_owned()),
        };
        Project { name: "foo".to_owned(), files: files.iter().map(file).collect() }
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_stable_sdist_that_was_not_yanked() {
        let files = ["foo-1.9.tar.gz", "foo-1.10.tar.gz", "foo-1.11.tar.gz", "foo-2.0rc1.tar.gz"];
        let project = project(&files, &["foo-1.11.tar.gz"]);
        assert_eq!(project.sdist(None).unwrap().version, version("1.10"));
        let pinned = project.sdist(Some(&version("1.11"))).unwrap();
        assert_eq!(pinned.warning.as_deref(), Some("`foo` 1.11 was yanked: broken"));
        let pre = project.sdist(Some(&version("2.0rc1"))).unwrap();
        assert_eq!((pre.file.name.as_str(), pre.warning), ("foo-2.0rc1.tar.gz", None));
    }

    #[test]
    fn errors_say_what_there_is() {
        let project = project(&["foo-1.0-py3-none-any.whl", "foo-0.9.tar.gz"], &["foo-0.9.tar.gz"]);
        let none = project.sdist(Some(&version("1.0"))).unwrap_err();
        assert!(
            matches!(&none, RegistryError::NoSdist { files, .. } if files.len() == 1),
            "{none}"
        );
        let unknown = project.sdist(Some(&version("1.2"))).unwrap_err();
        assert!(
            matches!(&unknown, RegistryError::UnknownVersion { known, .. } if known == &["1.0", "0.9"])
        );
        let yanked = project.sdist(None).unwrap_err();
        assert!(matches!(yanked, RegistryError::Yanked { .. }), "{yanked}");
    }

    #[test]
    fn the_wheel_for_the_oldest_glibc() {
        let project = project(
            &[
                "foo-1.13.0-py3-none-manylinux_2_28_aarch64.whl",
                "foo-1.13.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
                "foo-1.13.0-py3-none-musllinux_1_2_aarch64.whl",
                "foo-1.13.0-cp311-cp311-manylinux1_aarch64.whl",
                "foo-1.14.0-py3-none-manylinux2014_x86_64.whl",
            ],
            &[],
        );
        let wanted: VersionSpecifiers = ">=1.13".parse().unwrap();
        let choice = project.newest_wheel(&wanted, Arch::Aarch64).unwrap();
        assert_eq!(
            choice.file.name,
            "foo-1.13.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl"
        );
        let none = project.newest_wheel(&">=1.14".parse().unwrap(), Arch::Aarch64).unwrap_err();
        assert!(matches!(none, RegistryError::NoWheel { .. }), "{none}");
    }
}
