//! An inspection that was remembered is the one that was made.

use std::path::Path;

use crosswheel::audit::{Inspection, inspect, inspect_once};
use crosswheel::store::Store;

use super::elf_fixture::{container, entry};
use super::wheel_fixture::WheelFixture;

fn remembered(store: &Store) -> Vec<std::path::PathBuf> {
    let entries = fs_err::read_dir(store.root().join("audits")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn once(store: &Store, path: &Path) -> Inspection {
    inspect_once(store, path).expect("an inspection")
}

#[test]
fn what_was_found_is_remembered_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("store")).expect("a store");
    let mut fixture = WheelFixture::default();
    fixture.elf.device_code.extend(container(&[entry(2, 90, 0x10_a000), entry(1, 100, 0x20_2000)]));
    fixture.elf.trailer = b"\0/home/someone/src/a.cc\0".to_vec();
    fixture.wheel = fixture.wheel.replace("manylinux_2_34_aarch64", "linux_aarch64");
    fixture.edit_record = |record| record.replacen("sha256=", "sha256=x", 1);
    let path = fixture.write(folder.path());
    let read = inspect(&path).expect("an inspection");
    assert!(!read.faults.is_empty() && !read.notes.is_empty() && !read.files[0].fatbins.is_empty());
    assert_eq!(once(&store, &path), read);
    // The file's bytes are no more, but for its facts nobody would know.
    let files = remembered(&store);
    assert_eq!(files.len(), 1);
    assert_eq!(once(&store, &path), read);
    let text = fs_err::read_to_string(&files[0]).expect("JSON");
    fs_err::write(
        &files[0],
        text.replace("\"distribution\":\"demo\"", "\"distribution\":\"told\""),
    )
    .expect("written");
    let told = once(&store, &path).wheel.and_then(|wheel| wheel.distribution);
    assert_eq!(told.as_deref(), Some("told"), "it was read again");
}

#[test]
fn a_file_that_changed_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("store")).expect("a store");
    let mut fixture = WheelFixture::default();
    let path = fixture.write(folder.path());
    let before = once(&store, &path);
    fixture.elf.needed.push("libcudart.so.12");
    fixture.write(folder.path());
    let after = once(&store, &path);
    assert_ne!(after.sha256, before.sha256);
    assert_eq!(after.cuda_majors, [12, 13]);
}

#[test]
fn what_is_remembered_amiss_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("store")).expect("a store");
    let path = WheelFixture::default().write(folder.path());
    let before = once(&store, &path);
    for file in remembered(&store) {
        fs_err::write(file, "{").expect("written");
    }
    assert_eq!(once(&store, &path), before);
}
