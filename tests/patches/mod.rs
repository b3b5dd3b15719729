//! Local patches: how they are applied, and the verbs that look after them.

mod build;
mod corpus;
mod readme;
mod verbs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crosswheel::series::{Named, attempt};

use crate::releases::sdist;
use crate::support::index::{Distribution, Form, Index};
use crate::support::xtask::{Run, repository, xtask};

/// A project without patches, a store, and an index with two releases of a package.
struct Place {
    folder: tempfile::TempDir,
    index: Index,
}

/// A file of thirty lines, of which one is another.
fn lines(line: usize, text: &str) -> String {
    (1..=30).map(|n| if n == line { format!("{text}\n") } else { format!("line {n}\n") }).collect()
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("project/patches")).unwrap();
        let toolchains = folder.path().join("project/toolchains");
        std::os::unix::fs::symlink(repository().join("toolchains"), toolchains).unwrap();
        let place = Self { folder, index: Index::start() };
        let one = lines(0, "");
        let two = lines(20, "line twenty");
        place.releases(&[("foo-1.0.tar.gz", "1.0", &one), ("foo-2.0.tar.gz", "2.0", &two)]);
        place
    }

    /// Puts releases with this content of `a.txt` on the index.
    fn releases(&self, releases: &[(&'static str, &str, &str)]) {
        let distributions: Vec<_> = releases
            .iter()
            .map(|(file, version, text)| {
                let metadata = format!("Metadata-Version: 2.1\nName: Foo\nVersion: {version}\n");
                let ignore = ("d/.gitignore", "*.o\n");
                let files = [("setup.py", ""), ("PKG-INFO", &metadata), ("a.txt", text), ignore];
                let content = sdist(&format!("foo-{version}"), &files);
                Distribution { file, content, yanked: None }
            })
            .collect();
        self.index.project("foo", Form::Json, &distributions);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn patches(&self, name: &str) -> PathBuf {
        self.path("project/patches").join(name)
    }

    /// The names of files and folders in a folder below `patches/`; nothing where there is none.
    fn listing(&self, name: &str) -> Vec<String> {
        let Ok(entries) = fs_err::read_dir(self.patches(name)) else { return Vec::new() };
        let name = |entry: std::io::Result<fs_err::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `patch` with these words, in this folder.
    fn patch_in(&self, folder: &Path, words: &[&str]) -> Run {
        let words = ["patch"].iter().chain(words).map(OsString::from);
        let own = ["--project".into(), self.path("project").into_os_string()];
        let store = ["--store".into(), self.path("store").into_os_string()];
        let command = xtask(words.chain(own).chain(store)).dir(folder);
        let command = command.env("HOME", self.folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        Run::of(&command.env("PIP_INDEX_URL", self.index.simple()))
    }

    fn patch(&self, words: &[&str]) -> Run {
        self.patch_in(self.folder.path(), words)
    }

    /// What a run that succeeds prints on standard output.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let run = self.patch(words);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// Opens a tree.
    #[track_caller]
    fn start(&self, request: &str) -> PathBuf {
        self.done(&["start", request]).trim().into()
    }

    /// A series of one patch, made by hand: in version 1.0 another line.
    #[track_caller]
    fn first(&self, line: usize, text: &str) -> PathBuf {
        let tree = self.start("foo==1.0");
        fs_err::write(tree.join("a.txt"), lines(line, text)).unwrap();
        self.done(&["commit", "-m", "Change a line"]);
        tree
    }
}

/// Applies a patch to a tree, all of it.
fn apply(tree: &Path, text: &str) {
    let patch = Named { name: "a patch".to_owned(), text: text.as_bytes().to_vec() };
    let trial = attempt(tree, &[patch]).unwrap();
    trial.check("a tree").unwrap();
    trial.write().unwrap();
}
