//! Crates out of git repositories: the tree of a commit, beside which stands a folder of its crates
//! as cargo takes them in place of the repository.
//!
//! ```text
//! git/<repository>-<digest>/tree/      the tree, whose crates need no workspace above them
//! git/<repository>-<digest>/crates/    a link for each crate that is taken
//! ```
//!
//! What cargo compiled of such a crate it takes to be good as long as the crate's folder is the same,
//! so that the folder has the digest in its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dependencies::paths;
use super::error::RustError;
use super::git_source::GitSource;
use super::standalone::standalone;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::lock::{self, Source};
use crate::patch::files_of;
use crate::{Result, atomic, fetch};

const MANIFEST: &str = "Cargo.toml";
/// Without files, and without a digest of an archive, which such a crate has not.
const CHECKSUM: &str = "{\"files\":{},\"package\":null}";

/// A commit of a git repository that crates come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CrateRepository {
    /// As `Cargo.lock` names it.
    pub wanted: String,
    /// The crates that are taken of it.
    pub crates: BTreeSet<String>,
    /// What `crosswheel.toml` has in its place, where that is not the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What it is.
    pub source: Source,
}

/// A crate of a tree.
struct Member {
    /// Its folder in the tree.
    folder: PathBuf,
    name: String,
    version: String,
    /// As it was, and as it is without a workspace.
    manifest: [String; 2],
}

impl CrateRepository {
    /// Locks the commit, or what the configuration has in its place.
    pub(super) fn lock(
        context: &Context,
        wanted: &GitSource,
        crates: &BTreeSet<String>,
    ) -> Result<Self> {
        let (source, instead) =
            lock::commit(context, &wanted.url, &wanted.commit).map_err(|e| {
                let (crates, url) = (crates.iter().cloned().collect(), wanted.url.clone());
                RustError::Repository { crates, url, source: Box::new(e) }
            })?;
        Ok(Self { wanted: wanted.to_string(), crates: crates.clone(), instead, source })
    }

    /// Whether it is still what the configuration says, and can be had.
    pub(super) fn is_current(&self, context: &Context) -> bool {
        let Self { wanted, instead, source, .. } = self;
        GitSource::parse(wanted).is_some_and(|wanted| {
            lock::is_current_commit(context, &wanted.url, &wanted.commit, instead, source)
        })
    }

    /// The folder of crates below `git`, which tells what it was made from.
    pub(super) fn folder(&self, git: &Path) -> PathBuf {
        let name = GitSource::parse(&self.wanted).map(|wanted| wanted.name()).unwrap_or_default();
        let digest = Sha256::of(format!("{} {:?}", self.source.digest(), self.crates));
        git.join(format!("{name}-{}", digest.short())).join("crates")
    }

    /// Makes the folder of crates, and returns their versions.
    pub(super) fn place(&self, context: &Context, git: &Path) -> Result<BTreeMap<String, String>> {
        fs_err::create_dir_all(git).map_err(RustError::Io)?;
        let staging = tempfile::tempdir_in(git).map_err(RustError::Io)?;
        let tree = staging.path().join("tree");
        fetch::source_tree(context, &self.source, &[], &tree)?;
        let members = members(&tree).map_err(RustError::Io)?;
        let taken = self.taken(&members)?;
        let crates = self.folder(git);
        let place = || {
            let links = staging.path().join("crates");
            fs_err::create_dir(&links)?;
            for Member { folder, name, version, manifest: [before, after] } in &taken {
                let place = tree.join(folder);
                if before != after {
                    atomic::write(&place.join(MANIFEST), atomic::PLAIN, after.as_bytes())?;
                }
                let checksum = place.join(".cargo-checksum.json");
                atomic::write(&checksum, atomic::PLAIN, CHECKSUM.as_bytes())?;
                let link = links.join(format!("{name}-{version}"));
                fs_err::os::unix::fs::symlink(Path::new("../tree").join(folder), link)?;
            }
            let to = crates.parent().unwrap_or(git);
            match fs_err::rename(staging.path(), to) {
                // Somebody else was faster, or an earlier build.
                Err(_) if crates.is_dir() => Ok(()),
                renamed => renamed,
            }
        };
        place().map_err(RustError::Io)?;
        let versions = taken.into_iter().map(|m| (m.name.clone(), m.version.clone()));
        Ok(versions.collect())
    }

    /// The members that are wanted, and those of the tree that they depend on.
    fn taken<'a>(&self, members: &'a [Member]) -> Result<Vec<&'a Member>, RustError> {
        let mut taken: Vec<&Member> = Vec::new();
        for krate in &self.crates {
            let found = members.iter().find(|member| member.name == *krate);
            taken.push(found.ok_or_else(|| RustError::NoSuchCrate {
                krate: krate.clone(),
                repository: self.instead.clone().unwrap_or_else(|| self.wanted.clone()),
                known: members.iter().map(|member| member.name.clone()).collect(),
            })?);
        }
        let mut next = 0;
        while let Some(member) = taken.get(next) {
            let folder = &member.folder;
            let paths = paths(&member.manifest[1]).unwrap_or_default();
            for path in paths.iter().filter_map(|path| inside(&folder.join(path))) {
                let found = members.iter().find(|member| member.folder == path);
                taken.extend(found.filter(|f| taken.iter().all(|t| t.folder != f.folder)));
            }
            next += 1;
        }
        Ok(taken)
    }
}

/// A path without `..`; `None` for one that leaves the tree.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// The crates of a tree, those near its top first. What is no manifest is none's business here: trees
/// have such files for tests.
fn members(tree: &Path) -> std::io::Result<Vec<Member>> {
    let files = files_of(tree)?;
    let manifests = files.iter().filter(|path| path.file_name().is_some_and(|n| n == MANIFEST));
    let mut texts = BTreeMap::new();
    for path in manifests {
        let folder = path.parent().unwrap_or(Path::new(""));
        texts.insert(folder.to_owned(), fs_err::read_to_string(tree.join(path))?);
    }
    let is_workspace =
        |text: &&String| text.parse::<toml::Table>().is_ok_and(|t| t.contains_key("workspace"));
    let workspaces: BTreeMap<_, _> = texts
        .iter()
        .filter(|(_, text)| is_workspace(text))
        .map(|(f, t)| (f.as_path(), t))
        .collect();
    let member = |(folder, text): (&PathBuf, &String)| {
        let above = folder.ancestors().find_map(|f| Some((f, *workspaces.get(f)?)));
        let after = match above {
            Some((root, workspace)) => {
                standalone(text, workspace, folder.strip_prefix(root).ok()?).ok()?
            }
            None => text.clone(),
        };
        let table: toml::Table = after.parse().ok()?;
        let package = table.get("package")?;
        let said = |key: &str| package.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        // cargo's own default.
        let version = said("version").unwrap_or_else(|| "0.0.0".to_owned());
        let manifest = [text.clone(), after];
        Some(Member { folder: folder.clone(), name: said("name")?, version, manifest })
    };
    let mut members: Vec<_> = texts.iter().filter_map(member).collect();
    members.sort_by_key(|member| member.folder.components().count());
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = tree.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        tree
    }

    #[test]
    fn wanted_crates_bring_those_of_their_tree_that_they_need() {
        let workspace = "[workspace]\nmembers = [\"a\", \"b\", \"c\"]\n[workspace.package]\n\
                         version = \"1.2.3\"\n[workspace.dependencies]\nb = { path = \"b\" }\n";
        let package =
            |name: &str| format!("[package]\nname = \"{name}\"\nversion.workspace = true\n");
        let tree = tree(&[
            ("Cargo.toml", workspace),
            ("a/Cargo.toml", &format!("{}[dependencies]\nb.workspace = true\n", package("a"))),
            ("b/Cargo.toml", &package("b")),
            ("c/Cargo.toml", &package("c")),
            ("tests/odd/Cargo.toml", "[package"),
        ]);
        let members = members(tree.path()).unwrap();
        let wanted = |names: &[&str]| CrateRepository {
            wanted: "git+https://example.com/x#01".to_owned(),
            crates: names.iter().map(|name| (*name).to_owned()).collect(),
            instead: None,
            source: Source::Folder { path: tree.path().to_owned(), digest: Sha256::of("") },
        };
        let taken: Vec<_> = wanted(&["a"])
            .taken(&members)
            .unwrap()
            .iter()
            .map(|member| format!("{} {}", member.name, member.version))
            .collect();
        assert_eq!(taken, ["a 1.2.3", "b 1.2.3"]);
        let Err(error) = wanted(&["d"]).taken(&members) else { panic!("there is no `d`") };
        assert_eq!(
            error.to_string(),
            "`git+https://example.com/x#01` has no crate `d`; it has `a`, `b`, `c`"
        );
    }

    #[test]
    fn a_path_out_of_the_tree_is_none_of_it() {
        assert_eq!(inside(Path::new("a/../b/./c")), Some("b/c".into()));
        assert_eq!(inside(Path::new("a/../../b")), None);
        assert_eq!(inside(Path::new("/a")), None);
    }
}
