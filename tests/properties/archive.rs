//! An archive unpacks to what it holds, below its folder, or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crosswheel::unpack::{self, UnpackError};
use crosswheel::{Class, Diagnose as _};
use flate2::Compression;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use proptest::prelude::*;
use tar::EntryType;
use walkdir::WalkDir;
use zip::write::{SimpleFileOptions, ZipWriter};

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File { content: Vec<u8>, executable: bool },
    Folder,
    Link(String),
    HardLink(String),
    Device,
}

/// A member, as the archive names it.
type Member = (String, Kind);

/// What lies at a path once it is unpacked.
type Contents = BTreeMap<String, Kind>;

/// Paths of few names, so that they often meet.
fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "é d", "."]);
    prop::collection::vec(name, 1..4).prop_map(|names| format!("x/{}", names.join("/")))
}

fn file() -> impl Strategy<Value = Kind> {
    let content = prop::collection::vec(any::<u8>(), 0..40);
    (content, any::<bool>()).prop_map(|(content, executable)| Kind::File { content, executable })
}

/// Members of which most archives have no other.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let destination = prop::sample::select(vec!["a", "b/c", "../a", "../../x/b", "../..", "/a"]);
    let kind = prop_oneof![
        6 => file(),
        2 => Just(Kind::Folder),
        1 => destination.prop_map(|to| Kind::Link(to.to_owned())),
        1 => path().prop_map(Kind::HardLink),
    ];
    prop::collection::vec((path(), kind), 1..7)
}

/// Files only, no two with one path: what nothing speaks against.
fn plain() -> impl Strategy<Value = Vec<Member>> {
    let member = prop::collection::vec("[a-z]{1,3}", 0..3);
    prop::collection::vec((member, file()), 1..6).prop_map(|members| {
        let named = members.into_iter().enumerate().map(|(index, (folders, kind))| {
            let folders: String = folders.iter().fold(String::new(), |mut path, name| {
                write!(path, "{name}/").unwrap();
                path
            });
            (format!("x/{folders}{index}"), kind)
        });
        named.collect()
    })
}

/// A member that no archive may have, whatever else is in it.
fn hostile() -> impl Strategy<Value = Member> {
    let outside = ["../evil", "/evil", "x/../../evil", "x/..", "x/a\\evil", "..", "x/./../y"];
    let leaves = ["../..", "../../../etc", "/etc/passwd", "a/..", "a/../../..", ""];
    let long = format!("x/{}", "n".repeat(256));
    let link = |to: &'static str| ("x/link".to_owned(), Kind::Link(to.to_owned()));
    prop_oneof![
        (prop::sample::select(outside.to_vec()), file()).prop_map(|(n, kind)| (n.to_owned(), kind)),
        prop::sample::select(leaves.to_vec()).prop_map(link),
        Just((long, Kind::File { content: Vec::new(), executable: false })),
        Just(("x/device".to_owned(), Kind::Device)),
        Just(("x/h".to_owned(), Kind::HardLink("x/nothing".to_owned()))),
        Just(("x/h".to_owned(), Kind::HardLink("/etc/passwd".to_owned()))),
    ]
}

/// The members' paths and what is there, where nothing speaks against them.
fn expected(members: &[Member]) -> Option<Contents> {
    let mut contents = Contents::new();
    for (name, kind) in members {
        let path = plain_path(name)?;
        let is_folder = *kind == Kind::Folder;
        let folders = if is_folder { path.len() } else { path.len().checked_sub(1)? };
        for depth in 1..=folders {
            let folder = contents.entry(path[..depth].join("/")).or_insert(Kind::Folder);
            (*folder == Kind::Folder).then_some(())?;
        }
        let kind = match kind {
            Kind::Folder => continue,
            Kind::Device => return None,
            Kind::File { .. } => kind.clone(),
            Kind::Link(to) => {
                let climbs = to.split('/').take_while(|part| *part == "..").count();
                let below = to.split('/').skip(climbs).all(|part| part != "..");
                let inside = below && climbs < path.len() && !to.starts_with('/') && !to.is_empty();
                inside.then(|| kind.clone())?
            }
            Kind::HardLink(to) => {
                let original = contents.get(&plain_path(to)?.join("/"))?;
                matches!(original, Kind::File { .. }).then(|| original.clone())?
            }
        };
        contents.insert(path.join("/"), kind).is_none().then_some(())?;
    }
    // And one folder at the top.
    (contents.get("x") == Some(&Kind::Folder)).then_some(contents)
}

fn plain_path(name: &str) -> Option<Vec<&str>> {
    let parts: Vec<_> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let odd = name.starts_with('/') || name.contains('\\') || parts.contains(&"..");
    (!odd && parts.iter().all(|part| part.len() < 256)).then_some(parts)
}

/// A tar archive whose headers say what the members say, unchecked.
fn tar(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind) in members {
        let mut header = tar::Header::new_gnu();
        let (entry, content, link, mode): (_, &[u8], &str, _) = match kind {
            Kind::File { content, executable: true } => (EntryType::Regular, content, "", 0o775),
            Kind::File { content, .. } => (EntryType::Regular, content, "", 0o600),
            Kind::Folder => (EntryType::Directory, &[], "", 0o700),
            Kind::Link(to) => (EntryType::Symlink, &[], to, 0o777),
            Kind::HardLink(to) => (EntryType::Link, &[], to, 0o644),
            Kind::Device => (EntryType::Block, &[], "", 0o644),
        };
        if name.len() > 100 {
            let mut long = tar::Header::new_gnu();
            long.set_entry_type(EntryType::GNULongName);
            long.set_size(name.len() as u64);
            long.set_cksum();
            builder.append(&long, name.as_bytes()).unwrap();
        }
        let short = name.len().min(100);
        header.as_old_mut().name[..short].copy_from_slice(&name.as_bytes()[..short]);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(entry);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The forms of a tar archive, by the ending of its name.
const TARS: [&str; 3] = ["tar", "tar.gz", "tar.xz"];

fn compressed(tar: &[u8], ending: &str) -> Vec<u8> {
    match ending {
        "tar.gz" => {
            let mut stream = GzEncoder::new(Vec::new(), Compression::fast());
            stream.write_all(tar).unwrap();
            stream.finish().unwrap()
        }
        "tar.xz" => {
            let mut stream = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
            stream.write_all(tar).unwrap();
            stream.finish().unwrap()
        }
        _ => tar.to_vec(),
    }
}

/// A zip archive; nothing where it cannot say what the members say.
fn zip(members: &[Member]) -> Option<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, kind) in members {
        let options = SimpleFileOptions::default();
        match kind {
            Kind::File { content, executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                zip.start_file(name, options.unix_permissions(mode)).ok()?;
                zip.write_all(content).unwrap();
            }
            Kind::Folder => zip.add_directory(name, options).ok()?,
            Kind::Link(to) => zip.add_symlink(name, to, options).ok()?,
            Kind::HardLink(_) | Kind::Device => return None,
        }
    }
    Some(zip.finish().unwrap().into_inner())
}

/// Unpacks an archive. What it left in its folder must be nothing where it was refused, and it
/// must have left nothing beside it.
fn unpack(bytes: &[u8], ending: &str) -> Result<Contents, UnpackError> {
    let folder = tempfile::tempdir().unwrap();
    let (archive, into) = (folder.path().join(format!("x.{ending}")), folder.path().join("into"));
    fs_err::write(&archive, bytes).unwrap();
    fs_err::create_dir(&into).unwrap();
    let unpacked = unpack::sdist(&archive, &into);
    let mut beside: Vec<PathBuf> =
        fs_err::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    beside.sort();
    assert_eq!(beside, [into.clone(), archive]);
    let contents = read(&into);
    match unpacked {
        Ok(top) => {
            assert_eq!(top, into.join("x"));
            Ok(contents)
        }
        Err(error) => {
            assert_eq!(contents, Contents::new(), "{error}");
            assert_eq!(error.class(), Class::Archive, "{error:?}");
            Err(error)
        }
    }
}

/// What lies in a folder.
fn read(folder: &Path) -> Contents {
    let entries = WalkDir::new(folder).min_depth(1).into_iter().map(Result::unwrap);
    let kind = |entry: walkdir::DirEntry| {
        let path = entry.path();
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        let kind = match entry.file_type() {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => {
                let destination = fs_err::read_link(path).unwrap();
                Kind::Link(destination.to_str().unwrap().to_owned())
            }
            _ => Kind::File {
                content: fs_err::read(path).unwrap(),
                executable: entry.metadata().unwrap().permissions().mode() & 0o111 != 0,
            },
        };
        (name, kind)
    };
    entries.map(kind).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn an_archive_unpacks_to_exactly_its_members_or_not_at_all(
        members in members(), ending in prop::sample::select(TARS.to_vec()),
    ) {
        let expected = expected(&members);
        prop_assert_eq!(unpack(&compressed(&tar(&members), ending), ending).ok(), expected.clone());
        if let Some(zip) = zip(&members) {
            prop_assert_eq!(unpack(&zip, "zip").ok(), expected);
        }
    }

    #[test]
    fn plain_files_always_unpack(
        members in plain(), ending in prop::sample::select(TARS.to_vec()),
    ) {
        let expected = expected(&members).expect("nothing speaks against them");
        prop_assert_eq!(unpack(&compressed(&tar(&members), ending), ending).unwrap(), expected.clone());
        prop_assert_eq!(unpack(&zip(&members).unwrap(), "zip").unwrap(), expected);
    }

    #[test]
    fn one_hostile_member_is_enough(
        members in plain(), at in any::<prop::sample::Index>(), evil in hostile(),
    ) {
        let mut members = members;
        members.insert(at.index(members.len() + 1), evil);
        prop_assert!(unpack(&tar(&members), "tar").is_err());
        if let Some(zip) = zip(&members) {
            prop_assert!(unpack(&zip, "zip").is_err());
        }
    }

    #[test]
    fn a_path_that_is_there_twice_is_refused(
        members in plain(), twice in any::<prop::sample::Index>(), other in file(),
    ) {
        let mut members = members;
        let (name, _) = members[twice.index(members.len())].clone();
        members.push((name.replacen("x/", "./x//", 1), other));
        prop_assert!(unpack(&tar(&members), "tar").is_err());
        prop_assert!(unpack(&zip(&members).unwrap(), "zip").is_err());
    }

    #[test]
    fn a_damaged_archive_unpacks_to_its_members_or_not_at_all(
        members in plain(), at in any::<prop::sample::Index>(), bit in 0..8u32,
        ending in prop::sample::select(vec!["tar.gz", "tar.xz"]), cut in any::<bool>(),
    ) {
        let mut bytes = compressed(&tar(&members), ending);
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        if let Ok(contents) = unpack(&bytes, ending) {
            prop_assert!(!cut, "the end was not missed");
            prop_assert_eq!(contents, expected(&members).unwrap());
        }
    }
}

#[test]
fn names_and_comments_of_members_take_no_memory_to_speak_of() {
    // 32 MiB of a name, in some 32 KiB of an archive.
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(32 << 20);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &vec![b'n'; 32 << 20][..]).unwrap();
        let error = unpack(&compressed(&builder.into_inner().unwrap(), "tar.gz"), "tar.gz");
        assert!(matches!(error, Err(UnpackError::Malformed { .. })), "{kind:?} {error:?}");
    }
}

#[test]
fn a_dictionary_that_takes_gigabytes_is_refused() {
    let members = [("x/a".to_owned(), Kind::File { content: vec![1; 100], executable: false })];
    let bytes = compressed(&tar(&members), "tar.xz");
    assert!(unpack(&bytes, "tar.xz").is_ok());
    // The block header's only filter, LZMA2 (0x21), has its dictionary's size in its one byte of
    // properties; 40 is the largest, 4 GiB (The .xz File Format, 3.1 and 5.3.1).
    let mut large = bytes;
    let filter = 12 + 2;
    assert_eq!(large[filter..filter + 2], [0x21, 1]);
    large[filter + 2] = 40;
    let header = 12..12 + (usize::from(large[12]) + 1) * 4;
    let checksum = crc32(&large[header.start..header.end - 4]);
    large[header.end - 4..header.end].copy_from_slice(&checksum.to_le_bytes());
    let error = unpack(&large, "tar.xz").unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("memory"), "{cause}");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
