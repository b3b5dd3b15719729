use std::io::Write as _;

use super::*;

/// Differences of two members, found as if they stood in wheels.
fn differences(first: &[u8], second: &[u8]) -> Difference {
    member("a/_C.so", first, second).expect("they differ")
}

fn kinds(difference: &Difference) -> Vec<CauseKind> {
    difference.causes.iter().map(|cause| cause.kind).collect()
}

/// A wheel of these members, in this order.
fn wheel(folder: &Path, name: &str, members: &[(&str, &str)]) -> std::path::PathBuf {
    let path = folder.join(name);
    let mut zip = zip::ZipWriter::new(fs_err::File::create(&path).unwrap());
    for (member, content) in members {
        zip.start_file(*member, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// An object file of AArch64 whose data section holds one symbol with this content.
fn object(content: &[u8]) -> Vec<u8> {
    use object::write::{Object, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
    let section = file.section_id(object::write::StandardSection::ReadOnlyData);
    file.append_section_data(section, &[0; 32], 1);
    let symbol = file.add_symbol(Symbol {
        name: b"built_at".to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    file.add_symbol_data(symbol, section, content, 1);
    file.write().unwrap()
}

#[test]
fn members_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let record = ("a-1.dist-info/RECORD", "one");
    let one = wheel(folder.path(), "one.whl", &[("a.py", "1"), ("b.py", "2"), record]);
    let two = ("a-1.dist-info/RECORD", "two");
    let two = wheel(folder.path(), "two.whl", &[("a.py", "1"), ("c.py", "2"), two]);
    let found = compare(&one, &two).unwrap();
    let told: Vec<_> = found.iter().map(|d| (d.member.as_str(), d.kind)).collect();
    assert_eq!(told, [("b.py", Kind::OnlyFirst), ("c.py", Kind::OnlySecond)]);
}

#[test]
fn an_archive_of_the_same_members_differs_by_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let one = wheel(folder.path(), "one.whl", &[("a.py", "1"), ("b.py", "2")]);
    let two = wheel(folder.path(), "two.whl", &[("b.py", "2"), ("a.py", "1")]);
    let found = compare(&one, &two).unwrap();
    assert_eq!((found.len(), found[0].kind), (1, Kind::Archive));
    assert_eq!(found[0].member, "two.whl");
    assert_eq!(kinds(&found[0]), [CauseKind::Order]);
}

#[test]
fn a_section_and_what_it_holds_are_named() {
    let found = differences(&object(b"built at 10:20:30\0"), &object(b"built at 10:20:31\0"));
    let place = &found.places[0];
    assert_eq!(place.part, "section `.rodata`");
    assert_eq!(
        (place.first.as_str(), place.second.as_str()),
        ("built at 10:20:30", "built at 10:20:31")
    );
    assert_eq!(kinds(&found), [CauseKind::Time]);
}

#[test]
fn each_cause_is_told_by_what_it_writes() {
    for (first, second, kind) in [
        ("x\0/home/a/pkg/k.cu\0", "x\0/home/b/pkg/k.cu\0", CauseKind::Path),
        ("tmpxft_0000a1_k.cpp\0", "tmpxft_0000b2_k.cpp\0", CauseKind::TemporaryName),
        ("made Jan  2 2026\0", "made Jan  3 2026\0", CauseKind::Time),
        ("seed 1234\0", "seed 99871\0", CauseKind::Number),
        ("one\0twos\0", "twos\0one\0", CauseKind::Order),
    ] {
        let found = differences(first.as_bytes(), second.as_bytes());
        assert_eq!(kinds(&found), [kind], "{first} {second} {found:?}");
    }
}

#[test]
fn what_tells_nothing_has_no_cause() {
    let found = differences(&[0, 1, 2, 3], &[0, 1, 2, 4]);
    assert_eq!(found.causes, []);
    assert_eq!((found.places[0].offset, found.places[0].first.as_str()), (3, "03"));
}

#[test]
fn lines_are_compared_in_texts() {
    let found = differences(b"one\ntwo\n", b"one\nthree\n");
    let place = &found.places[0];
    assert_eq!((place.part.as_str(), place.offset), ("line 2", 4));
    assert_eq!((place.first.as_str(), place.second.as_str()), ("two", "three"));
}

#[test]
fn an_entry_of_device_code_is_named() {
    // As `audit::fatbin` describes it: a container of one PTX entry for sm_110, as it is.
    let section = |ptx: &[u8]| {
        let mut entry = [0u8; 64];
        entry[0] = 1;
        entry[4] = 64;
        entry[8..16].copy_from_slice(&(ptx.len() as u64).to_le_bytes());
        entry[28] = 110;
        let size = (entry.len() + ptx.len()) as u64;
        let header = [&0xBA55_ED50_u32.to_le_bytes()[..], &[1, 0, 16, 0], &size.to_le_bytes()];
        [&header.concat(), &entry[..], ptx].concat()
    };
    let mut found = Found::default();
    let (one, two) = (section(b".file 1 \"/a/k.cu\"\n"), section(b".file 1 \"/b/k.cu\"\n"));
    assert!(fatbin::compare(&mut found, "section `.nv_fatbin`", &one, &two));
    assert_eq!(found.places[0].part, "section `.nv_fatbin`, entry 1 (PTX for sm_110), line 1");
    assert_eq!(found.evidence.causes()[0].kind, CauseKind::Path);
}
