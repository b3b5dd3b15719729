//! Archives, through the real unpacking into a folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use crosswheel::artifact::Sha256;
use crosswheel::bundle;
use crosswheel::context::{Context, Setup};
use crosswheel::environment::Environment;
use crosswheel::exec::Interrupt;
use crosswheel::report::Silent;
use crosswheel::unpack::{self, Limits, Tree, UnpackError};
use crosswheel::{Class, Diagnose as _};
use walkdir::WalkDir;

use super::{folder, form};

/// What a tar archive consists of (POSIX pax, "ustar Interchange Format").
const BLOCK: usize = 512;
/// Where in a header its checksum stands.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A source archive: as it is, in each of the forms, or a tar whose headers have right checksums.
pub fn sdist(data: &[u8]) {
    let Some((form, data)) = form(data, 5) else { return };
    let name = ["x.tar.gz", "x.tar.xz", "x.zip", "x.tar", "x.tar"][usize::from(form)];
    let bytes = if form == 4 { with_checksums(data) } else { data.to_vec() };
    let folder = folder();
    let (archive, into) = (folder.path().join(name), folder.path().join("into"));
    fs_err::write(&archive, bytes).expect("written");
    fs_err::create_dir(&into).expect("made");
    let unpacked = unpack::sdist(&archive, &into);
    assert_contained(folder.path(), 2, &into);
    match unpacked {
        Ok(top) => assert!(top.parent() == Some(&into) && top.is_dir()),
        Err(error) => {
            assert_refused(&error);
            assert_eq!(fs_err::read_dir(&into).expect("there").count(), 0, "{error:?}");
        }
    }
}

/// A package of Debian: as it is, or around its files' archive in each of the forms.
pub fn deb(data: &[u8]) {
    let Some((form, data)) = form(data, 5) else { return };
    let package = match form {
        0 => data.to_vec(),
        1 => ar("data.tar", &with_checksums(data)),
        2 => ar("data.tar.gz", data),
        3 => ar("data.tar.xz", data),
        _ => ar("data.tar.zst", data),
    };
    let folder = folder();
    let into = folder.path().join("into");
    fs_err::create_dir(&into).expect("made");
    let limits = Limits { entries: 1000, bytes: 16 << 20 };
    let mut tree = Tree::new(&into, limits);
    let unpacked = unpack::deb::unpack(std::io::Cursor::new(package), &mut tree);
    assert_contained(folder.path(), 1, &into);
    let size = |entry: &walkdir::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    let entries: Vec<_> = WalkDir::new(&into).min_depth(1).into_iter().flatten().collect();
    assert!(entries.len() <= limits.entries);
    assert!(entries.iter().map(size).sum::<u64>() <= limits.bytes);
    if let Err(error) = unpacked {
        assert_refused(&error);
    }
}

/// A bundle: as it is, or made of an index, a zero byte, and the file that the index lists, whose
/// digest and size stand in the index for `SHA256` and `SIZE`.
pub fn bundle(data: &[u8]) {
    let Some((form, data)) = form(data, 2) else { return };
    let bytes = if form == 0 { data.to_vec() } else { bundle_of(data) };
    let folder = folder();
    let (path, root) = (folder.path().join("some.bundle"), folder.path().join("store"));
    fs_err::write(&path, bytes).expect("written");
    let context = Context::new(Setup {
        environment: Environment::new([("PATH", "/nonexistent")], folder.path()),
        root: folder.path().into(),
        store: Some(root.clone()),
        reporter: Arc::new(Silent),
        interrupt: Interrupt::default(),
        offline: true,
        executable: "/nonexistent".into(),
    });
    let read = bundle::read(&context.expect("a store"), &path);
    assert_contained(folder.path(), 2, &root);
    for entry in WalkDir::new(root.join("downloads")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let content = fs_err::read(entry.path()).expect("readable");
            assert!(entry.path().ends_with(Sha256::of(content).to_string()), "{entry:?}");
        }
    }
    if let Err(error) = read {
        assert!(matches!(error.class(), Class::Archive | Class::Integrity), "{error:?}");
    }
}

/// The index that `data` begins with, and the one file behind it.
fn bundle_of(data: &[u8]) -> Vec<u8> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let content = data.get(end + 1..).unwrap_or_default();
    let sha256 = Sha256::of(content).to_string();
    let index = String::from_utf8_lossy(&data[..end])
        .replace("SHA256", &sha256)
        .replace("SIZE", &content.len().to_string());
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in
        [("bundle.json".to_owned(), index.as_bytes()), (format!("files/{sha256}"), content)]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

/// It is the archive that is at fault, and not this machine.
fn assert_refused(error: &UnpackError) {
    assert_eq!(error.class(), Class::Archive, "{error:?}");
}

/// Nothing lies beside `into`, and what lies in it is plain and leads nowhere else.
fn assert_contained(folder: &Path, entries: usize, into: &Path) {
    assert_eq!(fs_err::read_dir(folder).expect("there").count(), entries, "beside the folder");
    let root = fs_err::canonicalize(into).expect("there");
    for entry in WalkDir::new(into).min_depth(1) {
        let entry = entry.expect("readable");
        let kind = entry.file_type();
        if kind.is_symlink() {
            if let Ok(real) = fs_err::canonicalize(entry.path()) {
                assert!(
                    real.starts_with(&root),
                    "{} leads to {}",
                    entry.path().display(),
                    real.display()
                );
            }
            continue;
        }
        assert!(kind.is_file() || kind.is_dir(), "{} is special", entry.path().display());
        let mode = entry.metadata().expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode & !0o755, 0, "{mode:o}");
    }
}

/// Blocks of which each has a header's checksum, so that no change of a header is turned away for
/// that alone.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut blocks = data.to_vec();
    blocks.resize(data.len().next_multiple_of(BLOCK), 0);
    for block in blocks.chunks_exact_mut(BLOCK).filter(|block| block.iter().any(|b| *b != 0)) {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    blocks
}

/// An ar archive of one member (deb(5)).
fn ar(name: &str, content: &[u8]) -> Vec<u8> {
    let size = content.len();
    let mut bytes = b"!<arch>\n".to_vec();
    bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100644).bytes());
    bytes.extend(content);
    bytes
}
