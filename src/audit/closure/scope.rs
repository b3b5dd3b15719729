//! In which libraries ld.so looks for a file's symbols.
//!
//! Source: `ld.so(8)` and `dlopen(3)`. A module that Python loads has a scope of its own, the
//! breadth-first tree of its `NEEDED` libraries, after the global one. A library that it needs is
//! resolved in the scope of the module that it is loaded with. What another module brings is not
//! in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::providers::{Provider, Providers};
use crate::audit::elf::Symbol;
use crate::audit::report::FileFacts;

/// A library in a scope.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member<'a> {
    /// A file of the wheel, by its number.
    File(usize),
    /// A library of the target, by name.
    Target(&'a str, &'a Provider),
}

/// What a symbol of one file may be bound to.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// In the order of the search.
    pub(super) members: Vec<Member<'a>>,
    /// `NEEDED` names that nobody known has, and the file that needs each.
    pub(super) unknown: BTreeMap<&'a str, &'a str>,
}

/// The files of a wheel, and what they define for each other.
pub(super) struct Files<'a> {
    pub(super) files: &'a [FileFacts],
    by_name: HashMap<&'a str, usize>,
    defined: Vec<HashMap<&'a str, Vec<&'a Symbol>>>,
}

impl<'a> Files<'a> {
    pub(super) fn new(files: &'a [FileFacts]) -> Self {
        let mut by_name = HashMap::new();
        for (number, file) in files.iter().enumerate() {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            by_name.entry(name).or_insert(number);
            if let Some(soname) = &file.elf.soname {
                by_name.entry(soname.as_str()).or_insert(number);
            }
        }
        let defined = files.iter().map(|file| {
            let mut names: HashMap<&str, Vec<&Symbol>> = HashMap::new();
            for symbol in &file.elf.defined {
                names.entry(symbol.name.as_str()).or_default().push(symbol);
            }
            names
        });
        let defined = defined.collect();
        Self { files, by_name, defined }
    }

    /// Whether a file defines a symbol for a reference with this version.
    pub(super) fn defines(&self, file: usize, name: &str, version: Option<&str>) -> bool {
        let Some(found) = self.defined[file].get(name) else { return false };
        version.is_none_or(|wanted| {
            found.iter().any(|s| s.version.as_deref().is_none_or(|version| version == wanted))
        })
    }

    /// The files that nothing else in the wheel needs: what is loaded by name.
    fn roots(&self) -> Vec<usize> {
        let needed: HashSet<usize> = self
            .files
            .iter()
            .enumerate()
            .flat_map(|(number, file)| self.needs(number, file))
            .collect();
        let root = |number: &usize| {
            !needed.contains(number) || self.files[*number].elf.python_module.is_some()
        };
        (0..self.files.len()).filter(root).collect()
    }

    fn needs(&self, number: usize, file: &'a FileFacts) -> impl Iterator<Item = usize> {
        let found = file.elf.needed.iter().filter_map(|name| self.by_name.get(name.as_str()));
        found.copied().filter(move |needed| *needed != number)
    }

    /// For each file the scopes that it may be loaded in, by number, and those scopes.
    pub(super) fn scopes(
        &self,
        providers: &'a Providers,
        with_torch: bool,
    ) -> (Vec<Vec<usize>>, Vec<Scope<'a>>) {
        let mut of_file = vec![Vec::new(); self.files.len()];
        let mut scopes = Vec::new();
        let global = self.scope(providers, providers.global(with_torch), None);
        let mut reached = BTreeSet::new();
        let roots = self.roots();
        // Files that only need each other have no root: each is one then.
        for root in roots.iter().copied().chain(0..self.files.len()) {
            if reached.contains(&root) && !roots.contains(&root) {
                continue;
            }
            let local = self.scope(providers, Vec::new(), Some(root));
            for member in &local.members {
                if let Member::File(file) = member {
                    reached.insert(*file);
                    if !of_file[*file].contains(&scopes.len()) {
                        of_file[*file].push(scopes.len());
                    }
                }
            }
            let members = global.members.iter().copied().chain(local.members).collect();
            scopes.push(Scope { members, unknown: local.unknown });
        }
        (of_file, scopes)
    }

    /// The breadth-first tree of libraries, or of one file.
    fn scope(
        &self,
        providers: &'a Providers,
        names: Vec<&'a str>,
        root: Option<usize>,
    ) -> Scope<'a> {
        let mut scope = Scope::default();
        let mut seen = HashSet::new();
        let mut queue: VecDeque<(&'a str, &'a str)> = names.into_iter().map(|n| (n, "")).collect();
        let take =
            |scope: &mut Scope<'a>, queue: &mut VecDeque<(&'a str, &'a str)>, number: usize| {
                let file = &self.files[number];
                scope.members.push(Member::File(number));
                queue.extend(file.elf.needed.iter().map(|n| (n.as_str(), file.path.as_str())));
            };
        if let Some(root) = root {
            seen.insert(self.files[root].path.as_str());
            take(&mut scope, &mut queue, root);
        }
        while let Some((name, by)) = queue.pop_front() {
            if let Some(number) = self.by_name.get(name) {
                if seen.insert(self.files[*number].path.as_str()) {
                    take(&mut scope, &mut queue, *number);
                }
            } else if let Some(provider) = providers.library(name) {
                if seen.insert(name) {
                    scope.members.push(Member::Target(name, provider));
                    let by = if by.is_empty() { name } else { by };
                    queue.extend(provider.needed.iter().map(|n| (n.as_str(), by)));
                }
            } else if !name.starts_with("libpython3.") {
                scope.unknown.entry(name).or_insert(by);
            }
        }
        scope
    }
}
