//! Odd patches, each in a folder of `tests/fixtures/patches`: a patch as git wrote it, the tree
//! that it is applied to, and the tree that it leads to, or why it is refused.

use std::collections::BTreeMap;
use std::path::Path;

use crosswheel::patch::{sync_tree, tree_digest};
use crosswheel::series::{Named, attempt};

use crate::support::xtask::repository;

/// Every file and link of a tree, with what it is, for an error that can be read.
fn listing(root: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name();
    let told = |entry: Result<walkdir::DirEntry, walkdir::Error>| {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        match entry.path().read_link() {
            Ok(target) => format!("{path} -> {}", target.display()),
            Err(_) if entry.file_type().is_dir() => format!("{path}/"),
            Err(_) => format!("{path} {:?}", fs_err::read(entry.path()).unwrap().escape_ascii()),
        }
    };
    entries.into_iter().map(told).collect()
}

fn tree(case: &Path, name: &str, into: &Path) -> Vec<String> {
    fs_err::create_dir(into).unwrap();
    if case.join(name).exists() {
        sync_tree(&case.join(name), into, &BTreeMap::new()).unwrap();
    }
    listing(into)
}

#[test]
fn odd_patches_do_what_git_meant_or_nothing() {
    let corpus = repository().join("tests/fixtures/patches");
    let mut seen = (0, 0);
    for case in fs_err::read_dir(corpus).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap();
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs) = (place.path().join("tree"), place.path().join("after"));
        let before = tree(&case, "before", &ours);
        let text = fs_err::read(case.join("change.patch")).unwrap();
        let trial = attempt(&ours, &[Named { name: "change.patch".to_owned(), text }]).unwrap();
        assert_eq!(listing(&ours), before, "{name}: an attempt writes nothing");
        let checked = trial.check("a package");
        if case.join("refused").exists() {
            let refused = fs_err::read_to_string(case.join("refused")).unwrap();
            let error = checked.expect_err(name).to_string();
            assert!(error.contains(refused.trim()), "{name}: {error}");
            seen.0 += 1;
            continue;
        }
        checked.unwrap_or_else(|error| panic!("{name}: {error}"));
        trial.write().unwrap();
        let after = tree(&case, "after", &theirs);
        assert_eq!(listing(&ours), after, "{name}");
        // Which tells run bits too.
        assert_eq!(tree_digest(&ours).unwrap(), tree_digest(&theirs).unwrap(), "{name}");
        assert!(trial.is_as_in(&theirs).unwrap(), "{name}");
        seen.1 += 1;
    }
    assert!(seen.0 > 20 && seen.1 > 30, "{seen:?}");
}
