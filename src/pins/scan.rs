//! Where a source tree speaks of versions: every file that counts, and its places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr as _;

use pep508_rs::PackageName;

use super::literal;
use super::site::{Form, Place, Site, Tree, folder_of, joined};
use super::target::FAMILY;
use super::{PinError, PinRule, fields, listed, pyproject, script, setup_cfg};
use crate::patch::files_of;

/// A file and its places, in the order in which they stand.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the tree.
    pub(super) path: String,
    /// As far as it is UTF-8.
    pub(super) text: String,
    /// What follows that.
    pub(super) rest: Vec<u8>,
    /// Where it speaks of versions.
    pub(super) sites: Vec<Site>,
}

/// The packages that every source is looked through for.
pub(super) fn family() -> BTreeSet<PackageName> {
    FAMILY.iter().filter_map(|name| PackageName::from_str(name).ok()).collect()
}

/// Looks through a tree.
pub(super) fn scan(root: &Path, rules: &[PinRule]) -> Result<Vec<File>, PinError> {
    let mut names = family();
    names.extend(rules.iter().map(|rule| rule.name.clone()));
    let mut scan = Scan { tree: Tree(root), names, files: BTreeMap::new(), queue: Vec::new() };
    scan.literals(rules)?;
    scan.scripts()?;
    scan.tables()?;
    scan.requirements(root)?;
    let Scan { files, .. } = scan;
    Ok(files.into_values().filter(|file| !file.sites.is_empty()).collect())
}

struct Scan<'a> {
    tree: Tree<'a>,
    names: BTreeSet<PackageName>,
    files: BTreeMap<String, File>,
    /// Requirements files that others name, and what for.
    queue: Vec<(String, Place)>,
}

impl Scan<'_> {
    /// What recipes point to. Their word counts before what is found without them.
    fn literals(&mut self, rules: &[PinRule]) -> Result<(), PinError> {
        for rule in rules {
            for pattern in &rule.literals {
                let read = self.tree.read(&pattern.file)?;
                let (text, rest) = read.ok_or_else(|| PinError::NoFile {
                    name: rule.name.to_string(),
                    file: pattern.file.clone(),
                })?;
                let sites = literal::find(&text, rule, pattern)?;
                self.add(&pattern.file, text, rest, sites);
            }
        }
        Ok(())
    }

    fn scripts(&mut self) -> Result<(), PinError> {
        if let Some((text, rest)) = self.tree.read("setup.py")? {
            let mut found = script::find(&text, &self.names);
            found.sites.extend(script::stable_targets(&text));
            self.name_files("setup.py", &found.files, Place::Perhaps);
            self.add("setup.py", text, rest, found.sites);
        }
        if let Some((text, rest)) = self.tree.read("CMakeLists.txt")? {
            let mut sites: Vec<_> = script::cmake_versions(&text).collect();
            sites.extend(script::stable_targets(&text));
            self.add("CMakeLists.txt", text, rest, sites);
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<(), PinError> {
        if let Some((text, rest)) = self.tree.read("pyproject.toml")? {
            let found = pyproject::find(&text, &self.names);
            self.name_files("pyproject.toml", &found.files, Place::Run);
            self.add("pyproject.toml", text, rest, found.sites);
        }
        if let Some((text, rest)) = self.tree.read("setup.cfg")? {
            let found = setup_cfg::find(&text, &self.names);
            self.name_files("setup.cfg", &found.files, Place::Run);
            self.add("setup.cfg", text, rest, found.sites);
        }
        if let Some((text, rest)) = self.tree.read("PKG-INFO")? {
            let sites = fields::find(&text, Place::Run, &self.names);
            self.add("PKG-INFO", text, rest, sites);
        }
        Ok(())
    }

    /// Requirements files by their names, and those that others name, through all includes.
    fn requirements(&mut self, root: &Path) -> Result<(), PinError> {
        for path in files_of(root)? {
            if let Some(path) = path.to_str().filter(|path| is_list(path)) {
                self.queue.push((path.to_owned(), Place::Perhaps));
            }
        }
        // Those that are surely read come first: a file is looked at once.
        self.queue.sort_by_key(|(_, place)| *place != Place::Run);
        let mut queue: std::collections::VecDeque<_> = self.queue.drain(..).collect();
        let mut seen = BTreeSet::new();
        while let Some((path, place)) = queue.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let Some((text, rest)) = self.tree.read(&path)? else { continue };
            let found = listed::find(&text, place, &self.names);
            for file in found.files.iter().rev() {
                queue.extend(joined(folder_of(&path), file).map(|path| (path, place)));
            }
            self.add(&path, text, rest, found.sites);
        }
        Ok(())
    }

    fn name_files(&mut self, by: &str, files: &[String], place: Place) {
        let named = files.iter().filter_map(|file| joined(folder_of(by), file));
        self.queue.extend(named.map(|path| (path, place)));
    }

    fn add(&mut self, path: &str, text: String, rest: Vec<u8>, sites: Vec<Site>) {
        let file = self.files.entry(path.to_owned()).or_insert_with(|| File {
            path: path.to_owned(),
            text,
            rest,
            sites: Vec::new(),
        });
        let overlaps = |site: &Site, other: &Site| {
            site.span.start < other.span.end && other.span.start < site.span.end
        };
        for site in sites {
            if !file.sites.iter().any(|other| overlaps(&site, other)) {
                file.sites.push(site);
            }
        }
        file.sites.sort_by_key(|site| site.span.start);
    }
}

/// Whether a path is that of a requirements or constraints file, or of one in a folder of them.
fn is_list(path: &str) -> bool {
    let words = ["requirement", "constraint"];
    let path = path.to_ascii_lowercase();
    let is_text = [".txt", ".in", ".pip"].iter().any(|end| path.ends_with(end));
    is_text && words.iter().any(|word| path.contains(word)) && !path.contains(".egg-info/")
}

/// Whether a file names a package at all, so that a rule on it is not in vain.
pub(super) fn speaks_of(root: &Path, name: &PackageName, files: &[File]) -> Result<bool, PinError> {
    let found = files.iter().flat_map(|file| &file.sites);
    if found
        .into_iter()
        .any(|site| site.name == *name && !matches!(site.form, Form::StableTarget(_)))
    {
        return Ok(true);
    }
    // Where a script puts its requirements together, only the name itself can be looked for.
    let words = |text: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let mut words = text.split(|c| !is_name(c));
        words.any(|word| PackageName::from_str(word).is_ok_and(|word| word == *name))
    };
    let script = Tree(root).read("setup.py")?;
    Ok(script.is_some_and(|(text, _)| words(&text)))
}
