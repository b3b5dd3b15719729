//! Readers of foreign bytes neither panic nor run away, whatever they are given.

use crosswheel::audit::elf::{Elf, ElfError, sections};
use crosswheel::audit::fatbin::parse_section;
use crosswheel::audit::{Policy, audit};
use crosswheel::package::{WheelName, metadata, record};
use proptest::prelude::*;

use super::elf_fixture::{ElfFixture, container, entry};
use super::wheel_fixture::WheelFixture;

/// Bytes with some of them overwritten, and then cut.
fn mutated(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = original.len();
    let edits = prop::collection::vec((0..length, any::<u8>()), 0..8);
    (edits, 0..=length).prop_map(move |(edits, cut)| {
        let mut bytes = original.clone();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        // Half of the cases keep their length, so that deeper tables are reached.
        bytes.truncate(if cut % 2 == 0 { length } else { cut });
        bytes
    })
}

/// An extreme 32-bit word somewhere on a word's boundary, where offsets and sizes stand.
fn with_extreme_word(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let words = original.len() / 4;
    let extremes = prop::sample::select(vec![0u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
    (0..words, extremes).prop_map(move |(word, value)| {
        let mut bytes = original.clone();
        bytes[word * 4..word * 4 + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    })
}

fn read_elf(bytes: &[u8]) {
    let elf = Elf::parse(bytes);
    if let Ok(found) = sections(bytes, &[".nv_fatbin"]) {
        for section in found {
            let _ = parse_section(section);
        }
    }
    if let Ok(elf) = elf {
        assert!(elf.undefined.len() + elf.defined.len() <= bytes.len() / 16);
    }
}

fn fatbins() -> Vec<u8> {
    let mut bytes = container(&[entry(2, 110, 0x8000), entry(1, 90, 0x10_0000)]);
    bytes.extend([0; 16]);
    bytes.extend(container(&[entry(8, 110, 0)]));
    bytes
}

proptest! {
    #[test]
    fn elf_from_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_elf(&bytes);
        read_elf(&[b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat());
    }

    #[test]
    fn elf_from_mutated_bytes(bytes in mutated(ElfFixture::default().build())) {
        read_elf(&bytes);
    }

    #[test]
    fn elf_with_an_extreme_word(bytes in with_extreme_word(ElfFixture::default().build())) {
        read_elf(&bytes);
    }

    #[test]
    fn fatbin_from_mutated_bytes(bytes in mutated(fatbins())) {
        if let Ok(found) = parse_section(&bytes) {
            let entries: usize = found.iter().map(|f| f.entries.len()).sum();
            prop_assert!(entries * 64 <= bytes.len());
        }
    }

    #[test]
    fn fatbin_with_an_extreme_word(bytes in with_extreme_word(fatbins())) {
        let _ = parse_section(&bytes);
    }

    #[test]
    fn record_and_metadata_from_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = record::parse(&bytes);
        let _ = metadata::value(&bytes, "Name");
        if let Some(changed) = metadata::with_version(&bytes, "2") {
            prop_assert_eq!(metadata::value(&changed, "Version"), Some("2"));
        }
    }

    #[test]
    fn metadata_fields_in_any_order(text in "(Name: [a-z]{1,4}\n|Version:[ 0-9a-z.]{0,4}\r?\n|[ \t][a-z:]{0,5}\n|\n){0,8}") {
        if let Some(changed) = metadata::with_version(text.as_bytes(), "7.7") {
            prop_assert_eq!(metadata::value(&changed, "Version"), Some("7.7"));
            prop_assert_eq!(metadata::values(&changed, "Name"), metadata::values(text.as_bytes(), "Name"));
        }
    }

    #[test]
    fn wheel_names_from_any_text(text in "[-a-z0-9._+]{0,30}(\\.whl)?") {
        if let Ok(name) = text.parse::<WheelName>() {
            prop_assert_eq!(name.to_string().parse::<WheelName>().expect("its own name"), name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn wheels_from_mutated_bytes(bytes in mutated(wheel())) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(WheelFixture::default().file_name);
        fs_err::write(&path, bytes).expect("written");
        let _ = audit(&path, Some(&super::thor()), &Policy::default());
    }
}

fn wheel() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::read(WheelFixture::default().write(folder.path())).expect("the wheel")
}

/// Where a section's header stands, and the section, by its index in the fixture.
fn section_of(bytes: &[u8], index: usize) -> (usize, std::ops::Range<usize>) {
    let word = |at: usize| {
        usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")))
    };
    let header = word(40).expect("small") + 64 * index;
    let start = word(header + 24).expect("small");
    (header, start..start + word(header + 32).expect("small"))
}

#[test]
fn names_within_one_another_are_not_copied_out() {
    let long: &str = Box::leak("n".repeat(20_000).into_boxed_str());
    let mut fixture = ElfFixture { needed: vec!["x"; 2000], ..ElfFixture::default() };
    fixture.needed.push(long);
    let mut bytes = fixture.build();
    assert!(Elf::parse(&bytes).is_ok());
    let ((_, strings), (_, dynamic)) = (section_of(&bytes, 1), section_of(&bytes, 5));
    let name = bytes[strings].windows(long.len()).position(|w| w == long.as_bytes());
    for (index, entry) in dynamic.step_by(16).take(2000).enumerate() {
        let within = (name.expect("the long name") + index) as u64;
        bytes[entry + 8..entry + 16].copy_from_slice(&within.to_le_bytes());
    }
    assert!(matches!(Elf::parse(&bytes), Err(ElfError::Names)));
}

#[test]
fn one_section_under_many_headers_is_not_read_each_time() {
    let code = container(&vec![entry(2, 110, 0); 100]);
    let mut bytes = ElfFixture { device_code: code, ..ElfFixture::default() }.build();
    assert_eq!(sections(&bytes, &[".nv_fatbin"]).expect("sections").len(), 1);
    let (header, _) = section_of(&bytes, 6);
    let copied = bytes[header..header + 64].to_vec();
    for index in 1..6 {
        let (header, _) = section_of(&bytes, index);
        bytes[header..header + 64].copy_from_slice(&copied);
    }
    assert!(matches!(sections(&bytes, &[".nv_fatbin"]), Err(ElfError::Sections)));
}
