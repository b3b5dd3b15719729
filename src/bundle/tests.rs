use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::Class;
use crate::context::{Context, Setup};
use crate::environment::Environment;
use crate::exec::Interrupt;
use crate::patch::{archive_tree, tree_digest};
use crate::report::Silent;

struct Place {
    folder: tempfile::TempDir,
    context: Context,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup {
            environment: Environment::new([("PATH", "/nonexistent")], folder.path()),
            root: env!("CARGO_MANIFEST_DIR").into(),
            store: Some(folder.path().join("store")),
            reporter: Arc::new(Silent),
            interrupt: Interrupt::default(),
            offline: true,
            executable: "/nonexistent".into(),
        };
        Self { context: Context::new(setup).unwrap(), folder }
    }

    /// Reads a bundle of these members.
    fn read(&self, members: &[(&str, &[u8])]) -> crate::Result<Unbundled> {
        self.read_bytes(&tar(members))
    }

    fn read_bytes(&self, bundle: &[u8]) -> crate::Result<Unbundled> {
        let path = self.folder.path().join("some.bundle");
        fs_err::write(&path, bundle).unwrap();
        read(&self.context, &path)
    }

    /// Files in the store, below `downloads`, whatever their names.
    fn stored(&self) -> usize {
        let files = walkdir::WalkDir::new(self.context.store.root().join("downloads"));
        files.into_iter().filter(|entry| entry.as_ref().unwrap().file_type().is_file()).count()
    }
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Not `append_data`, which refuses hostile names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn entry(name: &str, content: &[u8], role: Role) -> Entry {
    Entry { sha256: Sha256::of(content), size: content.len() as u64, name: name.to_owned(), role }
}

fn index(files: Vec<Entry>) -> Vec<u8> {
    serde_json::to_vec(&Index { format: FORMAT, files, packages: Vec::new() }).unwrap()
}

fn member(content: &[u8]) -> String {
    format!("{FILES}/{}", Sha256::of(content))
}

const WHEEL: &[u8] = b"the content of a wheel";

#[test]
fn what_is_whole_is_in_the_store_afterwards() {
    let place = Place::new();
    let index = index(vec![entry("a.whl", WHEEL, Role::Download)]);
    let (name, members) = (member(WHEEL), |name| [(INDEX, &index[..]), (name, WHEEL)]);
    place.read(&members(&name)).unwrap();
    let blob = place.context.store.verified_blob(&Sha256::of(WHEEL)).unwrap().unwrap();
    assert_eq!(fs_err::read(blob).unwrap(), WHEEL);
    // A second time it is there already.
    place.read(&members(&name)).unwrap();
    assert_eq!(place.stored(), 1);
}

#[test]
fn a_changed_file_is_named_with_both_digests_and_leaves_nothing() {
    let place = Place::new();
    let index = index(vec![entry("a.whl", WHEEL, Role::Download)]);
    let error = place.read(&[(INDEX, &index), (&member(WHEEL), b"other")]).unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    let (text, digests) = (error.to_string(), [WHEEL, b"other"].map(|c| Sha256::of(c).to_string()));
    assert!(text.contains("`a.whl`") && digests.iter().all(|d| text.contains(d)), "{text}");
    assert_eq!(place.stored(), 0);
}

#[test]
fn a_bundle_that_is_cut_short_is_told_by_what_it_lacks() {
    let place = Place::new();
    let index = index(vec![entry("a.whl", WHEEL, Role::Download)]);
    let whole = tar(&[(INDEX, &index), (&member(WHEEL), WHEEL)]);
    let start = whole.windows(WHEEL.len()).position(|w| w == WHEEL).unwrap();
    // In the middle of the file, before its content, and before its header.
    for (end, found) in [(start + 4, 4), (start, 0), (start - 512, 0)] {
        let error = place.read_bytes(&whole[..end]).unwrap_err();
        assert_eq!(error.class(), Class::Integrity, "{error}");
        let says = [
            "`a.whl` in the bundle".to_owned(),
            format!("has {found} bytes and sha256 `{}`", Sha256::of(&WHEEL[..found])),
            format!("{} bytes and `{}` are expected", WHEEL.len(), Sha256::of(WHEEL)),
        ];
        assert!(says.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
    assert_eq!(place.read_bytes(&whole[..600]).unwrap_err().class(), Class::Archive);
    assert_eq!(place.read_bytes(b"").unwrap_err().class(), Class::Archive);
    assert_eq!(place.stored(), 0);
}

#[test]
fn members_that_no_index_lists_are_refused() {
    let place = Place::new();
    let index = index(vec![entry("a.whl", WHEEL, Role::Download)]);
    let name = member(WHEEL);
    let (listed, first) = ((name.as_str(), WHEEL), (INDEX, &index[..]));
    for hostile in ["../escape", "/etc/escape", "files/../../escape", "files/0", INDEX] {
        let error = place.read(&[first, listed, (hostile, b"x")]).unwrap_err();
        assert!(error.to_string().contains("is not in its index"), "{hostile}: {error}");
    }
    let twice = place.read(&[first, listed, listed]).unwrap_err();
    assert!(twice.to_string().contains("or twice"), "{twice}");
    let last = place.read(&[listed, first]).unwrap_err();
    assert!(last.to_string().contains("does not begin with `bundle.json`"), "{last}");
    assert!(!place.folder.path().join("escape").exists());
}

#[test]
fn names_and_commits_that_are_paths_are_refused() {
    let place = Place::new();
    let git = |commit: &str| Role::Git {
        url: "https://example.com/a".to_owned(),
        commit: commit.to_owned(),
        digest: Sha256::of([]),
    };
    for hostile in [
        entry("../../escape.tar.gz", WHEEL, Role::Archive),
        entry("..", WHEEL, Role::Archive),
        entry("a.tar", WHEEL, git("../../../escape")),
        entry("a.tar", WHEEL, git("HEAD")),
    ] {
        let index = index(vec![hostile]);
        let error = place.read(&[(INDEX, &index), (&member(WHEEL), WHEEL)]).unwrap_err();
        assert_eq!(error.class(), Class::Archive, "{error}");
    }
}

#[test]
fn a_source_tree_comes_out_as_it_went_in_or_not_at_all() {
    let place = Place::new();
    let tree = place.folder.path().join("tree");
    fs_err::create_dir_all(tree.join("csrc")).unwrap();
    fs_err::write(tree.join("csrc/a.cu"), "a").unwrap();
    fs_err::write(tree.join("configure"), "#!/bin/sh\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(tree.join("configure"), executable).unwrap();
    std::os::unix::fs::symlink("csrc/a.cu", tree.join("link.cu")).unwrap();
    let (mut archive, digest) = (Vec::new(), tree_digest(&tree).unwrap());
    archive_tree(&tree, &mut archive).unwrap();
    let read = |digest| {
        let index = index(vec![entry("tree.tar", &archive, Role::Folder { digest })]);
        place.read(&[(INDEX, &index), (&member(&archive), &archive)])
    };
    let unbundled = read(digest).unwrap();
    let source = crate::lock::Source::Folder { path: "/elsewhere".into(), digest };
    let found = unbundled.source(&source).unwrap();
    assert_eq!(tree_digest(&found).unwrap(), digest);
    assert!(found.starts_with(place.context.store.root()));

    let other = Sha256::of("another tree");
    let error = read(other).unwrap_err().to_string();
    assert!(error.contains(&other.to_string()) && error.contains(&digest.to_string()), "{error}");
    assert!(!Path::new(&found).with_file_name(other.to_string()).exists());
}
