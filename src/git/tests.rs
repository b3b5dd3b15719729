//! Against repositories made for the purpose, by the machine's git.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::Class;
use crate::report::Silent;

struct Place {
    root: tempfile::TempDir,
    store: Store,
    environment: Environment,
    interrupt: Interrupt,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let process = Environment::from_process();
        let path = process.get("PATH").unwrap();
        let variables = [
            ("PATH", path.to_owned()),
            ("HOME", root.path().into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ];
        Self {
            store: Store::open(root.path().join("store")).unwrap(),
            environment: Environment::new(variables, root.path()),
            interrupt: Interrupt::new(),
            root,
        }
    }

    fn repository<'a>(&'a self, url: &'a str, offline: bool) -> Repository<'a> {
        Repository {
            git: capture::find(&self.environment, "git").expect("tests need git"),
            url,
            mirrors: BTreeMap::new(),
            folder: self.store.root().join("git").join(Sha256::of(url).short()),
            store: &self.store,
            environment: &self.environment,
            interrupt: &self.interrupt,
            reporter: &Silent,
            offline,
        }
    }

    /// Makes a repository, or commits all that changed in it, and returns the commit.
    fn commit(&self, name: &str, files: &[(&str, &str)]) -> (PathBuf, String) {
        let folder = self.root.path().join(name);
        if !folder.exists() {
            fs_err::create_dir(&folder).unwrap();
            self.git(&folder, &["init", "--quiet", "--initial-branch=main"]);
        }
        for (path, content) in files {
            fs_err::write(folder.join(path), content).unwrap();
        }
        self.git(&folder, &["add", "--all"]);
        self.git(&folder, &["commit", "--quiet", "-m", "x"]);
        let commit = self.git(&folder, &["rev-parse", "HEAD"]).trim().to_owned();
        (folder, commit)
    }

    fn git(&self, folder: &Path, args: &[&str]) -> String {
        let git = capture::find(&self.environment, "git").expect("tests need git");
        let mut command = Command::new(git, folder)
            .args(["-c", "protocol.file.allow=always", "-c", "commit.gpgSign=false"])
            .args(args)
            .variables(["PATH", "HOME"].map(|name| (name, self.environment.get(name).unwrap())));
        for who in ["AUTHOR", "COMMITTER"] {
            command = command
                .variable(format!("GIT_{who}_NAME"), "n")
                .variable(format!("GIT_{who}_EMAIL"), "e")
                .variable(format!("GIT_{who}_DATE"), "1000000000 +0000");
        }
        command.read(&self.interrupt).unwrap()
    }
}

fn names(tree: &Path) -> Vec<String> {
    let entries = WalkDir::new(tree).sort_by_file_name().into_iter().map(Result::unwrap);
    entries
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| entry.path().strip_prefix(tree).unwrap().display().to_string())
        .collect()
}

#[test]
fn commits_and_tags_are_found_and_their_trees_written() {
    let place = Place::new();
    let (folder, first) = place.commit("repository", &[("a", "1")]);
    place.git(&folder, &["tag", "light"]);
    let (_, second) = place.commit("repository", &[("a", "2"), ("b", "")]);
    place.git(&folder, &["tag", "-a", "-m", "x", "release/1.0"]);
    let (_, third) = place.commit("repository", &[("c", "")]);

    for url in [folder.to_str().unwrap().to_owned(), format!("file://{}", folder.display())] {
        let repository = place.repository(&url, false);
        assert_eq!(repository.resolve("light").unwrap(), first);
        assert_eq!(repository.resolve("release/1.0").unwrap(), second);
        assert_eq!(repository.resolve(&first[..9]).unwrap(), first);
        assert_eq!(repository.resolve(&third).unwrap(), third);
        let tree = repository.tree(&second).unwrap();
        assert_eq!(names(&tree), ["a", "b"]);
        assert_eq!(fs_err::read_to_string(tree.join("a")).unwrap(), "2");
        assert_eq!(names(&repository.tree(&first).unwrap()), ["a"]);
    }
}

#[test]
fn one_commit_is_fetched_without_the_history() {
    let place = Place::new();
    let (folder, first) = place.commit("repository", &[("a", "1")]);
    let (_, second) = place.commit("repository", &[("a", "2")]);
    let url = format!("file://{}", folder.display());
    let repository = place.repository(&url, false);
    assert_eq!(repository.resolve(&second).unwrap(), second);
    assert_eq!(repository.whole_commit(&first).unwrap(), None);
    // What was abbreviated needs it.
    assert_eq!(repository.resolve(&first[..8]).unwrap(), first);
}

#[test]
fn branches_and_what_is_not_there_are_refused() {
    let place = Place::new();
    let (folder, _) = place.commit("repository", &[("a", "1")]);
    let url = folder.to_str().unwrap();
    let absent = "0123456789".repeat(4);
    for reference in ["main", "v9", "abcd1234", absent.as_str()] {
        let error = place.repository(url, false).resolve(reference).unwrap_err();
        let message = format!("`{url}` has no commit or tag `{reference}`");
        assert_eq!((error.class(), error.to_string()), (Class::Request, message));
    }
    let nowhere = place.root.path().join("nowhere");
    let error = place.repository(nowhere.to_str().unwrap(), false).resolve("v1").unwrap_err();
    assert_eq!(error.class(), Class::Network);
    assert!(error.to_string().ends_with("cannot be fetched"), "{error}");
}

#[test]
fn offline_what_was_fetched_is_there_and_nothing_else() {
    let place = Place::new();
    let (folder, commit) = place.commit("repository", &[("a", "1")]);
    let url = format!("file://{}", folder.display());
    let error = place.repository(&url, true).resolve(&commit).unwrap_err();
    assert_eq!(error.class(), Class::Network);
    place.repository(&url, false).resolve(&commit).unwrap();
    assert_eq!(names(&place.repository(&url, true).tree(&commit).unwrap()), ["a"]);
}

#[test]
fn submodules_come_along() {
    let place = Place::new();
    let (inner, _) = place.commit("inner", &[("in", "")]);
    let (outer, _) = place.commit("outer", &[("out", "")]);
    place.git(&outer, &["submodule", "--quiet", "add", "../inner", "third_party"]);
    let (_, commit) = place.commit("outer", &[]);
    assert!(inner.is_dir());
    let repository = place.repository(outer.to_str().unwrap(), false);
    let tree = repository.tree(&commit).unwrap();
    assert_eq!(names(&tree), [".gitmodules", "out", "third_party/in"]);
}

#[test]
fn a_user_s_settings_do_not_change_what_is_written() {
    let place = Place::new();
    let settings = "[core]\nautocrlf = true\nhooksPath = hooks\n";
    let (folder, commit) = place.commit("repository", &[("a", "1\n")]);
    fs_err::write(place.root.path().join(".gitconfig"), settings).unwrap();
    let url = folder.to_str().unwrap();
    let tree = place.repository(url, false).tree(&commit).unwrap();
    assert_eq!(fs_err::read_to_string(tree.join("a")).unwrap(), "1\n");
}
