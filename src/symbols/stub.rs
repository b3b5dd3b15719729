//! Stub libraries: what a linker reads of a shared library, and nothing that could run.
//!
//! A link against a stub gives the same bytes as a link against the library itself: the linker
//! copies the SONAME, and of each symbol the type, `st_other`, the version and, into an
//! executable that needs a copy relocation, the size. Code and data are sections without
//! contents (`SHT_NOBITS`); every symbol has an address of its own, since two data symbols at one
//! address would be taken for aliases.

use std::collections::BTreeMap;

use object::elf;
use object::write::StringId;
use object::write::elf::{
    FileHeader, ProgramHeader, SectionHeader, SectionIndex, Sym, Verdef, Writer,
};
use object::{Endianness, write};

use super::library::{Kind, Library, Symbol};
use crate::target::Arch;

/// The largest page that either processor uses: segments are that far apart.
const PAGE: u64 = 0x1_0000;

/// What objects and thread-local variables are aligned to, in bytes.
const DATA_ALIGNMENT: u64 = 16;

/// Bytes that a function takes; its address only has to differ from every other.
const FUNCTION_SIZE: u64 = 4;

/// The second hash of the Bloom filter is the first, shifted right by this.
const BLOOM_SHIFT: u32 = 26;

/// Writes an ELF shared object with this interface; `file` stands for a SONAME that is not there
/// where one has to be (the base version's name).
///
/// # Errors
/// Only if the tables of a library exceed what ELF can hold.
pub fn write_stub(library: &Library, file: &str, arch: Arch) -> Result<Vec<u8>, write::Error> {
    let mut buffer = Vec::new();
    Stub::plan(library, file).write(arch, &mut buffer)?;
    Ok(buffer)
}

/// A symbol with its place.
struct Placed<'a> {
    symbol: &'a Symbol,
    hash: u32,
    /// Bytes from the start of its section.
    offset: u64,
}

/// What a stub consists of, before its file is laid out.
struct Stub<'a> {
    library: &'a Library,
    base_version: &'a str,
    /// In the order of the hash table.
    symbols: Vec<Placed<'a>>,
    /// Version names and their indices, from 2.
    versions: BTreeMap<&'a str, u16>,
    buckets: u32,
    blooms: u32,
    text_size: u64,
    data_size: u64,
    tls_size: u64,
}

/// Where things come to lie: file offsets, which are also addresses up to `read_only_end`.
struct Layout {
    gnu_hash: u64,
    dynsym: u64,
    dynstr: u64,
    versym: u64,
    verdef: u64,
    read_only_end: u64,
    dynamic: u64,
    dynamic_size: u64,
    dynamic_address: u64,
    text_address: u64,
    tls_address: u64,
    data_address: u64,
}

/// The indices that symbols refer to, and the names of the sections without contents.
struct Sections {
    text: (SectionIndex, StringId),
    tls: (SectionIndex, StringId),
    data: (SectionIndex, StringId),
}

impl<'a> Stub<'a> {
    fn plan(library: &'a Library, file: &'a str) -> Self {
        let count = u32::try_from(library.symbols.len()).unwrap_or(u32::MAX);
        let buckets = (count / 4).max(1);
        let mut stub = Self {
            library,
            base_version: library.soname.as_deref().unwrap_or(file),
            symbols: Vec::with_capacity(library.symbols.len()),
            versions: BTreeMap::new(),
            buckets,
            blooms: (count / 8).next_power_of_two(),
            text_size: 0,
            data_size: 0,
            tls_size: 0,
        };
        for symbol in &library.symbols {
            let (end, size, alignment) = match symbol.kind {
                Kind::Function | Kind::Ifunc => (&mut stub.text_size, FUNCTION_SIZE, FUNCTION_SIZE),
                Kind::Object | Kind::NoType => {
                    (&mut stub.data_size, symbol.size.max(1), DATA_ALIGNMENT)
                }
                Kind::Tls => (&mut stub.tls_size, symbol.size.max(1), DATA_ALIGNMENT),
            };
            let offset = end.next_multiple_of(alignment);
            *end = offset + size;
            let hash = elf::gnu_hash(symbol.name.as_bytes());
            stub.symbols.push(Placed { symbol, hash, offset });
            if let Some(version) = &symbol.version {
                stub.versions.insert(&version.name, 0);
            }
        }
        // The hash table wants symbols by bucket; a stable sort keeps the rest in index order.
        stub.symbols.sort_by_key(|placed| placed.hash % buckets);
        for (index, (_, value)) in (2..).zip(stub.versions.iter_mut()) {
            *value = index;
        }
        stub
    }

    fn write(&self, arch: Arch, buffer: &mut Vec<u8>) -> Result<(), write::Error> {
        let mut writer = Writer::new(Endianness::Little, true, buffer);
        let names: Vec<StringId> = self
            .symbols
            .iter()
            .map(|placed| writer.add_dynamic_string(placed.symbol.name.as_bytes()))
            .collect();
        let entries = self.dynamic_strings(&mut writer);
        let versions: Vec<StringId> =
            self.version_names().map(|name| writer.add_dynamic_string(name.as_bytes())).collect();
        let (layout, sections) = self.reserve(&mut writer, entries.len())?;

        writer.write_file_header(&FileHeader {
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            e_type: elf::ET_DYN,
            e_machine: elf::Machine(arch.elf_machine()),
            e_entry: 0,
            e_flags: elf::FileFlags(0),
        })?;
        self.write_program_headers(&mut writer, &layout);
        let count = self.symbols.len() as u32;
        writer.write_gnu_hash(1, BLOOM_SHIFT, self.blooms, self.buckets, count, |index| {
            self.symbols[index as usize].hash
        });
        self.write_symbols(&mut writer, &names, &layout, &sections);
        writer.write_dynstr();
        self.write_versions(&mut writer, &versions);
        self.write_dynamic(&mut writer, &entries, &layout)?;
        writer.write_shstrtab();
        self.write_section_headers(&mut writer, &layout, &sections);
        Ok(())
    }

    /// `DT_NEEDED` and `DT_SONAME`, with their strings.
    fn dynamic_strings(&self, writer: &mut Writer<'a>) -> Vec<(elf::DynamicTag, StringId)> {
        let needed = self.library.needed.iter().map(|name| (elf::DT_NEEDED, name));
        let soname = self.library.soname.iter().map(|name| (elf::DT_SONAME, name));
        needed
            .chain(soname)
            .map(|(tag, name)| (tag, writer.add_dynamic_string(name.as_bytes())))
            .collect()
    }

    /// The base version's name and the others, by index; nothing without versions.
    fn version_names(&self) -> impl Iterator<Item = &'a str> {
        let base = (!self.versions.is_empty()).then_some(self.base_version);
        base.into_iter().chain(self.versions.keys().copied())
    }

    fn reserve(
        &self,
        writer: &mut Writer<'a>,
        strings: usize,
    ) -> Result<(Layout, Sections), write::Error> {
        let count = self.symbols.len() as u32;
        writer.reserve_file_header();
        writer.reserve_program_headers(6);
        writer.reserve_null_dynamic_symbol_index();
        for _ in &self.symbols {
            writer.reserve_dynamic_symbol_index();
        }
        let gnu_hash = writer.reserve_gnu_hash(self.blooms, self.buckets, count);
        let dynsym = writer.reserve_dynsym();
        let dynstr = writer.reserve_dynstr()?;
        let (mut versym, mut verdef) = (0, 0);
        let versions = self.version_names().count();
        if versions > 0 {
            versym = writer.reserve_gnu_versym();
            verdef = writer.reserve_gnu_verdef(versions as u16, versions);
        }
        let read_only_end = writer.reserved_len();
        // GNU_HASH, STRTAB, SYMTAB, STRSZ, SYMENT and NULL; VERSYM, VERDEF and VERDEFNUM.
        let entries = strings + 6 + if versions > 0 { 3 } else { 0 };
        let dynamic = writer.reserve_dynamic(entries);
        let dynamic_size = writer.reserved_len() - dynamic;

        let text_address = read_only_end.next_multiple_of(PAGE);
        let dynamic_address =
            (text_address + self.text_size).next_multiple_of(PAGE) + dynamic % PAGE;
        let tls_address = (dynamic_address + dynamic_size).next_multiple_of(DATA_ALIGNMENT);
        let layout = Layout {
            gnu_hash,
            dynsym,
            dynstr,
            versym,
            verdef,
            read_only_end,
            dynamic,
            dynamic_size,
            dynamic_address,
            text_address,
            tls_address,
            data_address: (tls_address + self.tls_size).next_multiple_of(DATA_ALIGNMENT),
        };

        writer.reserve_gnu_hash_section_index();
        writer.reserve_dynsym_section_index();
        writer.reserve_dynstr_section_index();
        if versions > 0 {
            writer.reserve_gnu_versym_section_index();
            writer.reserve_gnu_verdef_section_index();
        }
        writer.reserve_dynamic_section_index();
        let mut section = |name| (writer.reserve_section_index(), writer.add_section_name(name));
        let sections =
            Sections { text: section(b".text"), tls: section(b".tbss"), data: section(b".bss") };
        writer.reserve_shstrtab_section_index();
        writer.reserve_shstrtab()?;
        writer.reserve_section_headers();
        Ok((layout, sections))
    }

    fn write_program_headers(&self, writer: &mut Writer<'a>, layout: &Layout) {
        let read_only = ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: elf::PF_R,
            p_offset: 0,
            p_vaddr: 0,
            p_paddr: 0,
            p_filesz: layout.read_only_end,
            p_memsz: layout.read_only_end,
            p_align: PAGE,
        };
        let text = ProgramHeader {
            p_flags: elf::PF_R | elf::PF_X,
            p_vaddr: layout.text_address,
            p_paddr: layout.text_address,
            p_filesz: 0,
            p_memsz: self.text_size,
            ..read_only
        };
        let data = ProgramHeader {
            p_flags: elf::PF_R | elf::PF_W,
            p_offset: layout.dynamic,
            p_vaddr: layout.dynamic_address,
            p_paddr: layout.dynamic_address,
            p_filesz: layout.dynamic_size,
            p_memsz: layout.data_address + self.data_size - layout.dynamic_address,
            ..read_only
        };
        let dynamic = ProgramHeader {
            p_type: elf::PT_DYNAMIC,
            p_memsz: layout.dynamic_size,
            p_align: 8,
            ..data
        };
        let tls = ProgramHeader {
            p_type: elf::PT_TLS,
            p_flags: elf::PF_R,
            p_vaddr: layout.tls_address,
            p_paddr: layout.tls_address,
            p_filesz: 0,
            p_memsz: self.tls_size,
            p_align: DATA_ALIGNMENT,
            ..read_only
        };
        let stack = ProgramHeader {
            p_type: elf::PT_GNU_STACK,
            p_flags: elf::PF_R | elf::PF_W,
            p_filesz: 0,
            p_memsz: 0,
            p_align: 16,
            ..read_only
        };
        writer.write_align_program_headers();
        for header in [read_only, text, data, dynamic, tls, stack] {
            writer.write_program_header(&header);
        }
    }

    fn write_symbols(
        &self,
        writer: &mut Writer<'a>,
        names: &[StringId],
        layout: &Layout,
        sections: &Sections,
    ) {
        writer.write_null_dynamic_symbol();
        for (placed, name) in self.symbols.iter().zip(names) {
            let symbol = placed.symbol;
            let (section, start) = match symbol.kind {
                Kind::Function | Kind::Ifunc => (sections.text.0, layout.text_address),
                Kind::Object | Kind::NoType => (sections.data.0, layout.data_address),
                // A thread-local symbol's value counts from the start of the TLS segment.
                Kind::Tls => (sections.tls.0, 0),
            };
            let st_name = writer.dynamic_string_offset(Some(*name));
            writer.write_dynamic_symbol(&Sym {
                section: Some(section.0),
                st_name,
                st_info: elf::SymbolInfo::new(symbol.binding.elf(), symbol.kind.elf()),
                st_other: elf::SymbolOther(symbol.other),
                st_shndx: elf::SymbolSection(0),
                st_value: start + placed.offset,
                st_size: symbol.size,
            });
        }
    }

    fn write_versions(&self, writer: &mut Writer<'a>, names: &[StringId]) {
        if names.is_empty() {
            return;
        }
        writer.write_null_gnu_versym();
        for placed in &self.symbols {
            let tag = match &placed.symbol.version {
                Some(version) => {
                    let hidden = if version.default { 0 } else { elf::VERSYM_HIDDEN.0 };
                    self.versions[version.name.as_str()] | hidden
                }
                None => elf::VER_NDX_GLOBAL.0,
            };
            writer.write_gnu_versym(elf::VersymIndex(tag));
        }
        writer.write_align_gnu_verdef();
        for (index, (name, id)) in (1..).zip(self.version_names().zip(names)) {
            let flags = if index == 1 { elf::VER_FLG_BASE } else { elf::VersionFlags(0) };
            let offset = writer.dynamic_string_offset(Some(*id));
            writer.write_gnu_verdef(&Verdef {
                version: elf::VER_DEF_CURRENT,
                flags,
                index: elf::VersionIndex(index),
                aux_count: 1,
                name: offset,
                hash: elf::hash(name.as_bytes()),
            });
        }
    }

    fn write_dynamic(
        &self,
        writer: &mut Writer<'a>,
        strings: &[(elf::DynamicTag, StringId)],
        layout: &Layout,
    ) -> Result<(), write::Error> {
        writer.write_align_dynamic();
        for (tag, id) in strings {
            writer.write_dynamic_string(*tag, *id)?;
        }
        let mut entries = vec![
            (elf::DT_GNU_HASH, layout.gnu_hash),
            (elf::DT_STRTAB, layout.dynstr),
            (elf::DT_SYMTAB, layout.dynsym),
            (elf::DT_STRSZ, u64::from(writer.dynstr_len())),
            (elf::DT_SYMENT, size_of::<elf::Sym64<Endianness>>() as u64),
        ];
        if !self.versions.is_empty() {
            entries.extend([
                (elf::DT_VERSYM, layout.versym),
                (elf::DT_VERDEF, layout.verdef),
                (elf::DT_VERDEFNUM, self.versions.len() as u64 + 1),
            ]);
        }
        entries.push((elf::DT_NULL, 0));
        entries.into_iter().try_for_each(|(tag, value)| writer.write_dynamic(tag, value))
    }

    fn write_section_headers(&self, writer: &mut Writer<'a>, layout: &Layout, sections: &Sections) {
        writer.write_null_section_header();
        writer.write_gnu_hash_section_header(layout.gnu_hash);
        writer.write_dynsym_section_header(layout.dynsym, 1);
        writer.write_dynstr_section_header(layout.dynstr);
        writer.write_gnu_versym_section_header(layout.versym);
        writer.write_gnu_verdef_section_header(layout.verdef);
        writer.write_dynamic_section_header(layout.dynamic_address);
        let alloc = elf::SHF_ALLOC;
        let nobits = [
            (sections.text, alloc | elf::SHF_EXECINSTR, layout.text_address, self.text_size),
            (
                sections.tls,
                alloc | elf::SHF_WRITE | elf::SHF_TLS,
                layout.tls_address,
                self.tls_size,
            ),
            (sections.data, alloc | elf::SHF_WRITE, layout.data_address, self.data_size),
        ];
        for ((_, name), sh_flags, sh_addr, sh_size) in nobits {
            let sh_name = writer.section_name_offset(Some(name));
            writer.write_section_header(&SectionHeader {
                sh_name,
                sh_type: elf::SHT_NOBITS,
                sh_flags,
                sh_addr,
                sh_offset: layout.dynamic + layout.dynamic_size,
                sh_size,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: DATA_ALIGNMENT,
                sh_entsize: 0,
            });
        }
        writer.write_shstrtab_section_header();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::library::{Binding, Version};
    use super::*;

    fn symbol(kind: Kind, binding: Binding, name: &str) -> Symbol {
        let size = if kind.has_size() { 24 } else { 0 };
        Symbol { kind, binding, other: 0, version: None, name: name.to_owned(), size }
    }

    fn sample() -> Library {
        let versioned = |name: &str, version: &str, default| Symbol {
            version: Some(Version { name: version.to_owned(), default }),
            ..symbol(Kind::Function, Binding::Global, name)
        };
        let vector = Symbol { other: 0x80, ..symbol(Kind::Function, Binding::Weak, "simd") };
        Library {
            soname: Some("libsample.so.1".to_owned()),
            needed: vec!["libm.so.6".to_owned(), "libc.so.6".to_owned()],
            symbols: BTreeSet::from([
                versioned("lock", "OMP_1.0", false),
                versioned("lock", "OMP_3.0", true),
                vector,
                symbol(Kind::Ifunc, Binding::Global, "choose"),
                symbol(Kind::NoType, Binding::Global, "_end"),
                symbol(Kind::Object, Binding::Unique, "instance"),
                symbol(Kind::Object, Binding::Weak, "_ZTV1A"),
                symbol(Kind::Tls, Binding::Global, "current"),
            ]),
        }
    }

    #[test]
    fn a_stub_reads_as_the_library_it_stands_for() {
        let bare = Library { symbols: BTreeSet::new(), soname: None, needed: Vec::new() };
        for arch in [Arch::Aarch64, Arch::X86_64] {
            for library in [sample(), bare.clone()] {
                let stub = write_stub(&library, "libsample.so", arch).unwrap();
                assert_eq!(Library::read(stub.as_slice(), arch).unwrap(), library);
            }
        }
    }

    #[test]
    fn a_loader_finds_every_symbol_by_its_hash() {
        use object::read::elf::FileHeader as _;

        let stub = write_stub(&sample(), "libsample.so", Arch::Aarch64).unwrap();
        let data = stub.as_slice();
        let header = elf::FileHeader64::<Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, data).unwrap();
        let table = sections.symbols(endian, data, elf::SHT_DYNSYM).unwrap();
        let (hash, _) = sections.gnu_hash(endian, data).unwrap().unwrap();
        let versions = sections.versions(endian, data).unwrap().unwrap();
        for symbol in sample().symbols {
            let name = symbol.name.as_bytes();
            let found = hash.find(endian, name, elf::gnu_hash(name), None, &table, &versions);
            let (_, found) = found.unwrap_or_else(|| panic!("`{}` is not found", symbol.name));
            assert_eq!(found.st_type(), symbol.kind.elf());
        }
    }

    #[test]
    fn addresses_differ_so_that_nothing_is_an_alias() {
        use object::read::elf::{FileHeader as _, Sym as _};

        let stub = write_stub(&sample(), "libsample.so", Arch::X86_64).unwrap();
        let data = stub.as_slice();
        let header = elf::FileHeader64::<Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, data).unwrap();
        let table = sections.symbols(endian, data, elf::SHT_DYNSYM).unwrap();
        let values: Vec<u64> = table.iter().skip(1).map(|symbol| symbol.st_value(endian)).collect();
        let distinct: BTreeSet<&u64> = values.iter().collect();
        assert_eq!(distinct.len(), values.len());
    }
}
