//! The wheel writer: its bytes depend on members, name and time alone.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crosswheel::audit::{Policy, audit};
use crosswheel::package::{
    ArchiveTime, Identity, PackageError, Packaged, WheelContents, WheelTags, write_wheel,
};
use crosswheel::{Class, Diagnose};
use zip::write::SimpleFileOptions;

/// Path, bytes, mode; not sorted.
type Members = Vec<(&'static str, Vec<u8>, u32)>;

fn members() -> Members {
    let metadata =
        b"Metadata-Version: 2.1\r\nName: Demo.Pkg\r\nVersion: 1.7.0\r\n\r\nna\xc3\xafve\r\n";
    let mut library = b"\x00not really ELF".repeat(300);
    library.extend((0u32..2000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()));
    vec![
        ("demo_pkg/lib.so", library, 0o755),
        ("Demo.Pkg-1.7.0.dist-info/RECORD", b"stale\n".to_vec(), 0o644),
        ("Demo.Pkg-1.7.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nGenerator: x\n".to_vec(), 0o644),
        ("zz/last.py", b"print()\n".to_vec(), 0o600),
        ("Demo.Pkg-1.7.0.dist-info/METADATA", metadata.to_vec(), 0o644),
        ("Demo.Pkg-1.7.0.data/scripts/run", b"#!python\n".to_vec(), 0o775),
        ("demo_pkg/__init__.py", b"VERSION = '1.7.0'\n".to_vec(), 0o666),
        ("Demo.Pkg-1.7.0.dist-info/sboms/a.json", b"{}".to_vec(), 0o644),
    ]
}

fn backend_wheel(folder: &Path, members: &Members, year: u16) -> PathBuf {
    let path = folder.join("Demo.Pkg-1.7.0-cp311-cp311-linux_aarch64.whl");
    let mut zip = zip::ZipWriter::new(fs_err::File::create(&path).expect("a file"));
    zip.add_directory("demo_pkg", SimpleFileOptions::default()).expect("a folder");
    for (name, bytes, mode) in members {
        let time = zip::DateTime::from_date_and_time(year, 1, 2, 3, 4, 6).expect("a time");
        let options = SimpleFileOptions::default().last_modified_time(time).unix_permissions(*mode);
        zip.start_file(*name, options).expect("a member");
        zip.write_all(bytes).expect("its bytes");
    }
    zip.finish().expect("a wheel");
    path
}

fn identity() -> Identity {
    Identity {
        version: "1.7.0+cu130.torch2.14.thor".parse().expect("a version"),
        tags: WheelTags::new("cp311", "cp311", "manylinux_2_34_aarch64"),
        time: ArchiveTime::default(),
    }
}

fn packed(folder: &Path, members: &Members, year: u16) -> (Packaged, Vec<u8>) {
    let contents =
        WheelContents::from_wheel(&backend_wheel(folder, members, year)).expect("a wheel");
    let packaged = write_wheel(&contents, &identity(), &folder.join("dist")).expect("written");
    let bytes = fs_err::read(&packaged.path).expect("the wheel");
    (packaged, bytes)
}

#[test]
fn order_and_times_of_the_members_do_not_matter() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = packed(folder.path(), &members(), 2001).1;
    let reversed = members().into_iter().rev().collect();
    assert_eq!(packed(folder.path(), &reversed, 2031).1, first);
}

#[test]
fn a_folder_gives_the_same_bytes_as_the_wheel_it_came_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = packed(folder.path(), &members(), 2001).1;
    let unpacked = folder.path().join("unpacked");
    for (name, bytes, mode) in members() {
        let path = unpacked.join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs_err::write(&path, bytes).expect("written");
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    }
    let contents = WheelContents::from_folder(&unpacked).expect("a wheel");
    let packaged =
        write_wheel(&contents, &identity(), &folder.path().join("again")).expect("written");
    assert_eq!(fs_err::read(&packaged.path).expect("the wheel"), first);
}

/// Holds the deflate, its level, the zip headers and the generated files. Where it changes, every
/// wheel gets another digest: say so in the changelog. The version that `WHEEL` names counts too.
#[test]
fn the_bytes_are_pinned() {
    let folder = tempfile::tempdir().expect("a folder");
    let (packaged, bytes) = packed(folder.path(), &members(), 2001);
    assert_eq!(packaged.sha256, crosswheel::artifact::Sha256::of(&bytes));
    assert_eq!(packaged.size, bytes.len() as u64);
    assert_eq!(
        packaged.sha256.to_string(),
        "ef6945b9f6a38754eb3329b1937db523267260bc832008a6b086a8dcdba4aeb9"
    );
}

#[test]
fn names_modes_times_and_order_are_the_specifications() {
    let folder = tempfile::tempdir().expect("a folder");
    let (packaged, bytes) = packed(folder.path(), &members(), 2001);
    let version = "1.7.0+cu130.torch2.14.thor";
    let name = format!("demo_pkg-{version}-cp311-cp311-manylinux_2_34_aarch64.whl");
    assert_eq!(packaged.path, folder.path().join("dist").join(&name));

    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("a wheel");
    let mut found = Vec::new();
    for index in 0..zip.len() {
        let member = zip.by_index(index).expect("a member");
        assert_eq!(member.last_modified().expect("a time").to_string(), "1980-01-01 00:00:00");
        assert_eq!(member.compression(), zip::CompressionMethod::Deflated);
        let name = member.name().expect("a name").into_owned();
        found.push((name.replace(version, "V"), member.unix_mode().expect("a mode") & 0o7777));
    }
    let expected = [
        ("demo_pkg-V.data/scripts/run", 0o755),
        ("demo_pkg/__init__.py", 0o644),
        ("demo_pkg/lib.so", 0o755),
        ("zz/last.py", 0o644),
        ("demo_pkg-V.dist-info/METADATA", 0o644),
        ("demo_pkg-V.dist-info/WHEEL", 0o644),
        ("demo_pkg-V.dist-info/sboms/a.json", 0o644),
        ("demo_pkg-V.dist-info/RECORD", 0o644),
    ];
    assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));

    let mut text = |name: &str| {
        let mut bytes = Vec::new();
        let path = format!("demo_pkg-{version}.dist-info/{name}");
        zip.by_name(&path).expect("a member").read_to_end(&mut bytes).expect("read");
        String::from_utf8(bytes).expect("UTF-8")
    };
    let metadata = "Metadata-Version: 2.1\r\nName: Demo.Pkg\r\nVersion: 1.7.0+cu130.torch2.14.thor\r\n\r\nnaïve\r\n";
    assert_eq!(text("METADATA"), metadata);
    assert!(
        text("WHEEL")
            .ends_with("Root-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_34_aarch64\n")
    );
    assert!(text("RECORD").ends_with(".dist-info/RECORD,,\n"));
}

#[test]
fn what_is_written_passes_the_audit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (packaged, _) = packed(folder.path(), &members(), 2001);
    let report = audit(&packaged.path, None, &Policy::default()).expect("an audit");
    assert_eq!(report.violations, []);
    assert_eq!(report.inspection.sha256, packaged.sha256);
}

#[test]
fn another_time_gives_other_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = packed(folder.path(), &members(), 2001).1;
    let contents = WheelContents::from_wheel(&backend_wheel(folder.path(), &members(), 2001))
        .expect("a wheel");
    let time = ArchiveTime::from_source_date_epoch(Some("1709210096")).expect("a time");
    let packaged =
        write_wheel(&contents, &Identity { time, ..identity() }, folder.path()).expect("written");
    assert_ne!(fs_err::read(&packaged.path).expect("the wheel"), first);
}

#[test]
fn unsafe_and_ambiguous_wheels_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |extra: &'static str| {
        let mut members = members();
        members.push((extra, Vec::new(), 0o644));
        let path = backend_wheel(folder.path(), &members, 2001);
        WheelContents::from_wheel(&path).err().expect("refused")
    };
    for path in ["../evil", "/evil", "a/../../evil", "a\\evil", "a//b"] {
        assert!(matches!(refused(path), PackageError::UnsafeMember { .. }), "{path}");
    }
    assert!(matches!(refused("other-1.dist-info/x"), PackageError::DistInfo { found: 2, .. }));
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let contents = WheelContents::from_wheel(&backend_wheel(folder.path(), &members(), 2001))
        .expect("a wheel");
    // The wheel's own name is taken by a folder, so that the last step fails.
    let dist = folder.path().join("dist");
    let name = "demo_pkg-1.7.0+cu130.torch2.14.thor-cp311-cp311-manylinux_2_34_aarch64.whl";
    fs_err::create_dir_all(dist.join(name)).expect("made");
    let error = write_wheel(&contents, &identity(), &dist).expect_err("not writable");
    assert_eq!(error.class(), Class::Io);
    assert!(error.to_string().contains(name), "{error}");
    assert_eq!(fs_err::read_dir(&dist).expect("a folder").count(), 1);
}

#[test]
fn a_corrupt_member_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("demo-1-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(fs_err::File::create(&path).expect("a file"));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let members =
        [("demo-1.dist-info/METADATA", "Name: demo\nVersion: 1\n"), ("demo.py", "MARKER")];
    for (name, text) in members {
        zip.start_file(name, stored).expect("a member");
        zip.write_all(text.as_bytes()).expect("its bytes");
    }
    zip.finish().expect("a wheel");
    let mut bytes = fs_err::read(&path).expect("the wheel");
    let at = bytes.windows(6).position(|w| w == b"MARKER").expect("stored");
    bytes[at] ^= 1;
    fs_err::write(&path, bytes).expect("written");
    let contents = WheelContents::from_wheel(&path).expect("its directory is whole");
    let error = write_wheel(&contents, &identity(), folder.path()).expect_err("corrupt");
    assert!(
        matches!(&error, PackageError::Member { member, .. } if member == "demo.py"),
        "{error}"
    );
}
