//! What an audit reads: wheels, ELF files, device code.

use std::io::{Cursor, Write as _};

use crosswheel::audit::elf::{Elf, sections};
use crosswheel::audit::fatbin::parse_section;
use crosswheel::audit::{Policy, audit};
use crosswheel::package::WheelContents;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{folder, form};

/// The members that the parts of the input become, with zero bytes between.
const MEMBERS: [&str; 5] = [
    "x-1.0.dist-info/METADATA",
    "x-1.0.dist-info/WHEEL",
    "x-1.0.dist-info/RECORD",
    "x/__init__.py",
    "x/_C.cpython-311-aarch64-linux-gnu.so",
];

/// A wheel: as it is, or whole around the input's parts.
pub fn wheel(data: &[u8]) {
    let Some((form, data)) = form(data, 2) else { return };
    let bytes = if form == 0 { data.to_vec() } else { wheel_of(data) };
    let folder = folder();
    let path = folder.path().join("x-1.0-cp311-cp311-linux_aarch64.whl");
    fs_err::write(&path, bytes).expect("written");
    if let Ok(report) = audit(&path, None, &Policy::default()) {
        serde_json::to_string(&report).expect("a report is JSON");
        // What has no fault can be packed again.
        let packed = WheelContents::from_wheel(&path);
        assert!(packed.is_ok() || !report.passed(), "{:?}", packed.err());
    }
}

fn wheel_of(data: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut parts = data.splitn(MEMBERS.len(), |byte| *byte == 0);
    for member in MEMBERS {
        zip.start_file(member, stored).expect("a name of its own");
        zip.write_all(parts.next().unwrap_or_default()).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}

/// An ELF file, and its device code.
pub fn elf(data: &[u8]) {
    let found = sections(data, &[".nv_fatbin", "__nv_relfatbin"]).unwrap_or_default();
    assert!(found.iter().map(|section| section.len()).sum::<usize>() <= data.len());
    for section in found {
        let _ = parse_section(section);
    }
    if let Ok(elf) = Elf::parse(data) {
        // A 32-bit symbol takes 16 bytes (System V ABI, "Symbol Table").
        assert!(elf.undefined.len() + elf.defined.len() <= data.len() / 16);
        serde_json::to_string(&elf).expect("facts are JSON");
    }
}

/// The device code of a section.
pub fn fatbin(data: &[u8]) {
    if let Ok(found) = parse_section(data) {
        let entries = found.iter().flat_map(|fatbin| &fatbin.entries);
        let (mut count, mut stored) = (0, 0);
        for entry in entries {
            count += 1;
            stored += entry.stored;
            let _ = entry.arch.to_string();
        }
        assert!(stored + count * 64 <= data.len() as u64);
    }
}
