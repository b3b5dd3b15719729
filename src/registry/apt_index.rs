//! The packages of one suite, for one processor: a Packages file, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::deb822::{Paragraph, paragraphs};
use super::debian_version;
use super::error::RegistryError;
use crate::artifact::{Artifact, Sha256};

/// A binary package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The path below the repository's root.
    pub filename: String,
    /// Size in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: Sha256,
    /// `Pre-Depends` and `Depends`: each a list of alternatives, by name.
    pub depends: Vec<Vec<String>>,
    /// The virtual packages that it stands for.
    pub provides: Vec<String>,
}

/// The packages of one suite, for one processor.
#[derive(Debug, Clone, Default)]
pub struct PackageIndex {
    suite: String,
    packages: BTreeMap<String, Package>,
    /// Virtual package to those that provide it.
    providers: BTreeMap<String, BTreeSet<String>>,
}

impl Package {
    fn from_paragraph(paragraph: &Paragraph) -> Option<Self> {
        let filename = paragraph.get("filename")?;
        // A path below the root and nothing else, since it becomes part of a URL.
        if filename.starts_with('/')
            || filename.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            return None;
        }
        let depends = ["pre-depends", "depends"].into_iter().filter_map(|f| paragraph.get(f));
        let provides = paragraph.get("provides").map(relation).unwrap_or_default();
        Some(Self {
            name: paragraph.get("package")?.to_owned(),
            version: paragraph.get("version")?.to_owned(),
            filename: filename.to_owned(),
            size: paragraph.get("size")?.parse().ok()?,
            sha256: paragraph.get("sha256")?.parse().ok()?,
            depends: depends.flat_map(relation).collect(),
            provides: provides.into_iter().flatten().collect(),
        })
    }

    /// As the lock names it.
    pub fn artifact(&self, registry: &str) -> Artifact {
        Artifact {
            registry: registry.to_owned(),
            name: self.name.clone(),
            version: self.version.clone(),
            file: self.filename.clone(),
            size: self.size,
            sha256: self.sha256,
        }
    }
}

/// A relationship field (Debian Policy 7.1): alternatives between `|`, all of them between `,`.
///
/// Only names are kept: a suite has one version of a package, which its own dependencies fit.
fn relation(field: &str) -> Vec<Vec<String>> {
    let name = |alternative: &str| {
        let name = alternative.trim();
        let end = name.find(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '<' | ':'));
        name[..end.unwrap_or(name.len())].to_owned()
    };
    let alternatives = |group: &str| -> Vec<String> {
        group.split('|').map(name).filter(|name| !name.is_empty()).collect()
    };
    field.split(',').map(alternatives).filter(|group| !group.is_empty()).collect()
}

impl PackageIndex {
    /// An index of no packages yet.
    pub fn new(suite: impl Into<String>) -> Self {
        Self { suite: suite.into(), ..Self::default() }
    }

    /// Adds the packages of a Packages file; of several versions of one the newest is kept.
    pub fn add(&mut self, text: &str) {
        for package in paragraphs(text).filter_map(|p| Package::from_paragraph(&p)) {
            let older = self.packages.get(&package.name).is_some_and(|known| {
                debian_version::compare(&package.version, &known.version).is_le()
            });
            if older {
                continue;
            }
            for provided in &package.provides {
                self.providers.entry(provided.clone()).or_default().insert(package.name.clone());
            }
            self.packages.insert(package.name.clone(), package);
        }
    }

    /// The package of this name.
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// The packages of these names and, where `depends` is set, what they need, sorted by name.
    ///
    /// Of alternatives the first that exists is taken, unless another is wanted anyhow; a virtual
    /// package stands for the first, by name, of those that provide it. What is excluded is left
    /// out together with what only it needs.
    pub fn closure(
        &self,
        wanted: &[String],
        depends: bool,
        exclude: &[String],
    ) -> Result<Vec<&Package>, RegistryError> {
        let unknown = |package: &str, by: Option<&str>| RegistryError::UnknownPackage {
            suite: self.suite.clone(),
            package: package.to_owned(),
            by: by.map(str::to_owned),
        };
        let mut found: BTreeMap<&str, &Package> = BTreeMap::new();
        let mut queue = VecDeque::new();
        for name in wanted {
            let package = self.get(name).ok_or_else(|| unknown(name, None))?;
            if found.insert(&package.name, package).is_none() {
                queue.push_back(package);
            }
        }
        while let Some(package) = queue.pop_front().filter(|_| depends) {
            for group in &package.depends {
                let met =
                    |name: &String| exclude.contains(name) || found.contains_key(name.as_str());
                if group.iter().any(met) {
                    continue;
                }
                let needed = group.iter().find_map(|name| self.real(name, exclude));
                let Some(needed) = needed else {
                    return Err(unknown(&group.join(" | "), Some(&package.name)));
                };
                if let Some(needed) = needed
                    && found.insert(&needed.name, needed).is_none()
                {
                    queue.push_back(needed);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The package that a name of a dependency stands for: nothing where there is none, and
    /// `Some(None)` where one that provides it is excluded.
    fn real(&self, name: &str, exclude: &[String]) -> Option<Option<&Package>> {
        if let Some(package) = self.get(name) {
            return Some(Some(package));
        }
        let providers = self.providers.get(name)?;
        if providers.iter().any(|provider| exclude.contains(provider)) {
            return Some(None);
        }
        providers.iter().find_map(|provider| self.get(provider)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(packages: &[(&str, &str)]) -> PackageIndex {
        let mut index = PackageIndex::new("trixie");
        for (name, fields) in packages {
            let digest = Sha256::of(name);
            index.add(&format!(
                "Package: {name}\nVersion: 1\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {digest}\n{fields}\n"
            ));
        }
        index
    }

    fn closure(index: &PackageIndex, wanted: &[&str], exclude: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let found = index.closure(&owned(wanted), true, &owned(exclude)).unwrap();
        found.into_iter().map(|package| package.name.clone()).collect()
    }

    #[test]
    fn alternatives_virtual_packages_and_cycles() {
        let index = index(&[
            ("a", "Depends: none | b (>= 1), v [amd64],\n c:any"),
            ("b", "Pre-Depends: a"),
            ("c", "Recommends: d"),
            ("d", ""),
            ("p1", "Provides: v (= 2), w"),
            ("p2", "Provides: v"),
        ]);
        assert_eq!(closure(&index, &["a"], &[]), ["a", "b", "c", "p1"]);
        assert_eq!(closure(&index, &["a"], &["p2", "b"]), ["a", "c"]);
        let error = index.closure(&["x".to_owned()], true, &[]).unwrap_err();
        assert_eq!(error.to_string(), "`trixie` has no package `x`");
    }

    #[test]
    fn what_no_package_provides_is_an_error_that_names_who_needs_it() {
        let index = index(&[("a", "Depends: x | y")]);
        let error = index.closure(&["a".to_owned()], true, &[]).unwrap_err();
        assert_eq!(error.to_string(), "`trixie` has no package `x | y`, which `a` needs");
        assert_eq!(closure(&index, &["a"], &["y"]), ["a"]);
    }

    #[test]
    fn the_newest_version_is_kept_and_odd_paths_are_not() {
        let digest = Sha256::of("x");
        let entry = |version, file| {
            format!(
                "Package: a\nVersion: {version}\nFilename: {file}\nSize: 1\nSHA256: {digest}\n\n"
            )
        };
        let mut index = PackageIndex::new("s");
        index.add(&(entry("1.10-1", "new") + &entry("1.9-1", "old") + &entry("2", "../evil")));
        assert_eq!(index.get("a").unwrap().filename, "new");
    }
}
