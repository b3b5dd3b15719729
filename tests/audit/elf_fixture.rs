//! Small ELF files with device code, made byte by byte, so that a test can ask for any fault.

use std::collections::BTreeMap;

/// What the file shall say. The default is a good Thor extension.
#[derive(Clone)]
pub struct ElfFixture {
    pub machine: u16,
    pub needed: Vec<&'static str>,
    pub runpath: Option<&'static str>,
    pub executable_stack: bool,
    pub text_relocations: bool,
    /// Symbol, version, library.
    pub undefined: Vec<(&'static str, &'static str, &'static str)>,
    /// Symbols that others must provide, in no version.
    pub unversioned: Vec<&'static str>,
    /// Symbols that others may provide.
    pub weak: Vec<&'static str>,
    pub defined: Vec<&'static str>,
    pub device_code: Vec<u8>,
    /// Bytes that no table describes.
    pub trailer: Vec<u8>,
}

impl Default for ElfFixture {
    fn default() -> Self {
        Self {
            machine: 183,
            needed: vec!["libc10.so", "libcudart.so.13", "libc.so.6"],
            runpath: Some("$ORIGIN/../torch/lib"),
            executable_stack: false,
            text_relocations: false,
            undefined: vec![
                ("memcpy", "GLIBC_2.17", "libc.so.6"),
                ("stat", "GLIBC_2.33", "libc.so.6"),
                ("_ZSt4cout", "GLIBCXX_3.4", "libstdc++.so.6"),
            ],
            unversioned: Vec::new(),
            weak: Vec::new(),
            defined: vec!["PyInit__C", "_ZN3foo3barEv"],
            device_code: container(&[entry(2, 110, 0), entry(1, 110, 0)]),
            trailer: Vec::new(),
        }
    }
}

/// `STB_GLOBAL` and `STB_WEAK`.
const GLOBAL: u8 = 1;
const WEAK: u8 = 2;

/// One entry of a fatbin: kind (1 PTX, 2 SASS), SM number, flags.
pub fn entry(kind: u16, sm: u32, flags: u64) -> Vec<u8> {
    let payload = [0x7f; 24];
    let mut bytes = vec![0; 64];
    bytes[0..2].copy_from_slice(&kind.to_le_bytes());
    bytes[2..4].copy_from_slice(&0x101u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&64u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes[28..32].copy_from_slice(&sm.to_le_bytes());
    bytes[40..48].copy_from_slice(&flags.to_le_bytes());
    bytes[56..64].copy_from_slice(&100u64.to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// One container with these entries.
pub fn container(entries: &[Vec<u8>]) -> Vec<u8> {
    let body = entries.concat();
    let mut bytes = 0xBA55_ED50u32.to_le_bytes().to_vec();
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A string table: offsets of what was added.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        if self.bytes.is_empty() {
            self.bytes.push(0);
        }
        let offset = self.bytes.len() as u32;
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        offset
    }
}

struct Section {
    name: &'static str,
    kind: u32,
    link: u32,
    info: u32,
    entry_size: u64,
    bytes: Vec<u8>,
}

fn section(
    name: &'static str,
    kind: u32,
    link: u32,
    info: u32,
    entry_size: u64,
    bytes: Vec<u8>,
) -> Section {
    Section { name, kind, link, info, entry_size, bytes }
}

impl ElfFixture {
    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut strings = Strings::default();
        let (verneed, libraries, indices) = self.verneed(&mut strings);
        let (symbols, versions) = self.symbols(&mut strings, &indices);
        let dynamic = self.dynamic(&mut strings);
        let sections = [
            section(".dynstr", 3, 0, 0, 0, strings.bytes),
            section(".dynsym", 11, 1, 1, 24, symbols),
            section(".gnu.version", 0x6fff_ffff, 2, 0, 2, versions),
            section(".gnu.version_r", 0x6fff_fffe, 1, libraries, 0, verneed),
            section(".dynamic", 6, 1, 0, 16, dynamic),
            section(".nv_fatbin", 1, 0, 0, 0, self.device_code.clone()),
        ];
        self.assemble(sections)
    }

    fn dynamic(&self, strings: &mut Strings) -> Vec<u8> {
        let mut words: Vec<[u64; 2]> = Vec::new();
        for library in &self.needed {
            words.push([1, u64::from(strings.add(library))]);
        }
        words.push([14, u64::from(strings.add("_C.so"))]);
        if let Some(runpath) = self.runpath {
            words.push([29, u64::from(strings.add(runpath))]);
        }
        if self.text_relocations {
            words.push([22, 0]);
        }
        words.push([0, 0]);
        words.iter().flatten().flat_map(|w| w.to_le_bytes()).collect()
    }

    /// The section, its number of libraries, and the index of each version.
    fn verneed(&self, strings: &mut Strings) -> (Vec<u8>, u32, BTreeMap<(&str, &str), u16>) {
        let mut by_library: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (_, version, library) in &self.undefined {
            let versions = by_library.entry(library).or_default();
            if !versions.contains(version) {
                versions.push(version);
            }
        }
        let (mut bytes, mut indices, mut next) = (Vec::new(), BTreeMap::new(), 2u16);
        for (i, (library, versions)) in by_library.iter().enumerate() {
            let last = i + 1 == by_library.len();
            bytes.extend(1u16.to_le_bytes());
            bytes.extend((versions.len() as u16).to_le_bytes());
            bytes.extend(strings.add(library).to_le_bytes());
            bytes.extend(16u32.to_le_bytes());
            bytes.extend((if last { 0 } else { 16 + 16 * versions.len() as u32 }).to_le_bytes());
            for (j, version) in versions.iter().enumerate() {
                bytes.extend(0u32.to_le_bytes());
                bytes.extend(0u16.to_le_bytes());
                bytes.extend(next.to_le_bytes());
                bytes.extend(strings.add(version).to_le_bytes());
                bytes.extend((if j + 1 == versions.len() { 0u32 } else { 16 }).to_le_bytes());
                indices.insert((*library, *version), next);
                next += 1;
            }
        }
        (bytes, by_library.len() as u32, indices)
    }

    fn symbols(
        &self,
        strings: &mut Strings,
        indices: &BTreeMap<(&str, &str), u16>,
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut symbols, mut versions) = (vec![0; 24], 0u16.to_le_bytes().to_vec());
        let mut push = |name: u32, binding: u8, shndx: u16, version: u16| {
            symbols.extend(name.to_le_bytes());
            symbols.extend([binding << 4 | 2, 0]); // STT_FUNC
            symbols.extend(shndx.to_le_bytes());
            symbols.extend([0; 16]);
            versions.extend(version.to_le_bytes());
        };
        for (name, version, library) in &self.undefined {
            push(strings.add(name), GLOBAL, 0, indices[&(*library, *version)]);
        }
        for name in &self.unversioned {
            push(strings.add(name), GLOBAL, 0, 1);
        }
        for name in &self.weak {
            push(strings.add(name), WEAK, 0, 1);
        }
        for name in &self.defined {
            push(strings.add(name), GLOBAL, 6, 1);
        }
        (symbols, versions)
    }

    fn assemble(&self, sections: [Section; 6]) -> Vec<u8> {
        let mut names = Strings::default();
        let name_offsets: Vec<u32> = sections.iter().map(|s| names.add(s.name)).collect();
        let shstrtab = names.add(".shstrtab");
        let mut bytes = vec![0; 64 + 56];
        let mut headers = vec![0; 64];
        let mut place = |name: u32, s: &Section, bytes: &mut Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            for word in [name, s.kind] {
                headers.extend(word.to_le_bytes());
            }
            for word in [0, 0, bytes.len() as u64, s.bytes.len() as u64] {
                headers.extend(word.to_le_bytes());
            }
            headers.extend(s.link.to_le_bytes());
            headers.extend(s.info.to_le_bytes());
            headers.extend(8u64.to_le_bytes());
            headers.extend(s.entry_size.to_le_bytes());
            bytes.extend(&s.bytes);
        };
        for (section, name) in sections.iter().zip(name_offsets) {
            place(name, section, &mut bytes);
        }
        let table = section(".shstrtab", 3, 0, 0, 0, names.bytes.clone());
        place(shstrtab, &table, &mut bytes);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let offset = bytes.len() as u64;
        bytes.extend(headers);
        bytes[..64].copy_from_slice(&self.header(offset));
        let flags: u32 = if self.executable_stack { 7 } else { 6 };
        bytes[64..68].copy_from_slice(&0x6474_e551u32.to_le_bytes());
        bytes[68..72].copy_from_slice(&flags.to_le_bytes());
        bytes.extend(&self.trailer);
        bytes
    }

    fn header(&self, section_headers: u64) -> Vec<u8> {
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend(3u16.to_le_bytes());
        header.extend(self.machine.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        header.extend(0u64.to_le_bytes());
        header.extend(64u64.to_le_bytes());
        header.extend(section_headers.to_le_bytes());
        header.extend(0u32.to_le_bytes());
        for word in [64u16, 56, 1, 64, 8, 7] {
            header.extend(word.to_le_bytes());
        }
        header
    }
}
