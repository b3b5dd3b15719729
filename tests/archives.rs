//! Hostile and broken sdists, through the executable: refused by name, and nothing is written.

use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::EntryType;
use zip::write::SimpleFileOptions;

use crate::support::xtask::{Run, Workplace};

/// Kind, name, and content or destination of a link.
type Entry<'a> = (EntryType, &'a str, &'a str);

/// A `.tar.gz` whose entries are written as they are, unchecked.
fn tar_gz(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_file = *kind == EntryType::Regular;
        if !is_file {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(if is_file { content.len() as u64 } else { 0 });
        header.set_cksum();
        builder.append(&header, if is_file { content.as_bytes() } else { &[] }).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// A `.zip`; a link is a member with a link's mode.
fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for (kind, name, content) in entries {
        match kind {
            EntryType::Symlink => writer.add_symlink(*name, *content, options).unwrap(),
            _ => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content.as_bytes()).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

/// Two members with one name, which no writer makes.
fn zip_with_duplicate() -> Vec<u8> {
    let bytes =
        zip(&[(EntryType::Regular, "x/setup.py", "1"), (EntryType::Regular, "x/setup.pz", "2")]);
    let mut text = bytes;
    while let Some(at) = text.windows(10).position(|window| window == b"x/setup.pz") {
        text[at + 9] = b'y';
    }
    text
}

fn refused(workplace: &Workplace, file: &str, content: &[u8], code: u8, says: &[&str]) {
    let folder = workplace.path("sdists");
    fs_err::create_dir_all(&folder).unwrap();
    let path = folder.join(file);
    fs_err::write(&path, content).unwrap();
    let before = entries(&workplace.path(""));
    let run = Run::of(&workplace.build(&path, "dist", &[]));
    run.fails(code, says);
    run.fails(code, &[file]);
    assert_eq!(entries(&workplace.path("")), before, "{file}: something was written");
    assert_eq!(workplace.builds(Path::new(file.trim_end_matches(".tar.gz"))).len(), 0);
    fs_err::remove_file(path).unwrap();
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name();
    walk.into_iter().map(|entry| entry.unwrap().into_path()).collect()
}

#[test]
fn hostile_archives_are_refused_by_name_and_write_nothing() {
    use EntryType::{Block, Link, Regular, Symlink};
    let workplace = Workplace::new("hostile");
    // 100 MiB of nothing, in a few kilobytes.
    let nothing = "\0".repeat(100 << 20);
    let bomb = [(Regular, "x/setup.py", ""), (Regular, "x/evil", &nothing)];
    let too_large = "takes the archive over 67108864 bytes when unpacked";
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("parent.tar.gz", tar_gz(&[(Regular, "x/../../evil", "")]), "would be written outside"),
        ("absolute.tar.gz", tar_gz(&[(Regular, "/evil", "")]), "would be written outside"),
        ("link.tar.gz", tar_gz(&[(Symlink, "x/evil", "/etc")]), "is a link that leaves"),
        ("hard.tar.gz", tar_gz(&[(Link, "x/evil", "x/none")]), "is a hard link to a file that"),
        ("device.tar.gz", tar_gz(&[(Block, "x/evil", "")]), "is neither a file, a folder nor"),
        (
            "twice.tar.gz",
            tar_gz(&[(Regular, "x/evil", "1"), (Regular, "x/evil", "2")]),
            "is there twice",
        ),
        ("bomb.tar.gz", tar_gz(&bomb), too_large),
        ("parent.zip", zip(&[(Regular, "x/../../evil", "")]), "would be written outside"),
        ("absolute.zip", zip(&[(Regular, "/evil", "")]), "would be written outside"),
        ("link.zip", zip(&[(Symlink, "x/evil", "../../etc")]), "is a link that leaves"),
        ("twice.zip", zip_with_duplicate(), "it holds one path twice"),
        ("bomb.zip", zip(&bomb), too_large),
    ];
    for (file, content, says) in cases {
        let member = if file == "twice.zip" { file } else { "evil` in `" };
        refused(&workplace, file, &content, 6, &[says, member]);
    }
    let whole = tar_gz(&[(Regular, "x/setup.py", "import sys\n")]);
    refused(&workplace, "cut.tar.gz", &whole[..whole.len() / 2], 6, &["hint: if the file was"]);
    refused(&workplace, "text.zip", b"no archive", 6, &["is not a valid archive"]);
}

#[test]
fn an_archive_that_is_no_project_is_told() {
    use EntryType::Regular;
    let workplace = Workplace::new("no-project-archive");
    let says = ["is not a Python project", "nor a `setup.py`", "hint: name the folder"];
    refused(&workplace, "notes.tar.gz", &tar_gz(&[(Regular, "x/notes", "1")]), 3, &says);
    let nested = tar_gz(&[(Regular, "x/python/setup.py", "1")]);
    refused(&workplace, "nested.tar.gz", &nested, 3, &says);
    let two = tar_gz(&[(Regular, "a/setup.py", ""), (Regular, "b/setup.py", "")]);
    refused(&workplace, "two.tar.gz", &two, 6, &["holds `a`, `b` at its top"]);
}
