//! What an ELF file needs from its machine, and what it offers.
//!
//! Source: the System V ABI's chapters on object files and dynamic linking, and the GNU symbol
//! versioning of the Linux Standard Base (section 10.7).

use std::collections::{BTreeMap, BTreeSet};

use object::elf;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, FileKind};
use serde::{Deserialize, Serialize};

/// Why bytes are not an ELF file that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Neither a 32-bit nor a 64-bit ELF file.
    #[error("it is not an ELF file")]
    NotElf,
    /// Headers or tables that point nowhere.
    #[error("its ELF tables are malformed")]
    Malformed(#[from] object::read::Error),
    /// Names that overlap, so that they are longer together than the file could hold.
    #[error("its names are longer than the file that holds them")]
    Names,
    /// Sections that overlap.
    #[error("its sections are larger than the file that holds them")]
    Sections,
}

/// An ELF file: what a report shows, and its dynamic symbols.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Elf {
    /// `e_machine`: 183 is AArch64, 62 is x86_64.
    pub machine: u16,
    /// 32 or 64.
    pub bits: u8,
    /// Whether it is position-independent (`ET_DYN`): a shared object or such an executable.
    pub shared: bool,
    /// The name that other files need it by.
    pub soname: Option<String>,
    /// The names of the shared objects that it is loaded with, in search order.
    pub needed: Vec<String>,
    /// `DT_RPATH`, one folder each.
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`, one folder each.
    pub runpath: Vec<String>,
    /// Symbol versions needed, by the shared object that is to provide them.
    pub needed_versions: BTreeMap<String, BTreeSet<String>>,
    /// Whether loading it makes the process's stack executable.
    pub executable_stack: bool,
    /// Whether relocations write into its code (`DT_TEXTREL`).
    pub text_relocations: bool,
    /// The Python module that it initialises: `PyInit_<module>`, without the prefix.
    pub python_module: Option<String>,
    /// Dynamic symbols that others must provide.
    #[serde(skip)]
    pub undefined: Vec<Symbol>,
    /// Dynamic symbols that it provides.
    #[serde(skip)]
    pub defined: Vec<Symbol>,
}

/// A dynamic symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Symbol {
    /// As the linker sees it, mangled.
    pub name: String,
    /// Its version, such as `GLIBC_2.34`.
    pub version: Option<String>,
    /// For an undefined symbol with a version: the `NEEDED` name that provides it.
    pub library: Option<String>,
    /// Whether it may stay undefined, or gives way to another definition.
    pub weak: bool,
}

impl Elf {
    /// Whether bytes begin as an ELF file does.
    pub fn is_elf(bytes: &[u8]) -> bool {
        bytes.starts_with(&elf::ELFMAG)
    }

    /// Reads an ELF file of either class and byte order.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        match FileKind::parse(bytes) {
            Ok(FileKind::Elf64) => read::<elf::FileHeader64<Endianness>>(bytes),
            Ok(FileKind::Elf32) => read::<elf::FileHeader32<Endianness>>(bytes),
            _ => Err(ElfError::NotElf),
        }
    }

    /// Undefined symbols of Python's C API, private ones included.
    pub fn python_symbols(&self) -> impl Iterator<Item = &str> {
        let python = |name: &&str| name.starts_with("Py") || name.starts_with("_Py");
        self.undefined.iter().map(|s| s.name.as_str()).filter(python)
    }
}

/// The bytes of all sections of these names, in the file's order. A section that lies outside the
/// file is malformed, and so are sections that overlap so much that they are larger than it.
pub fn sections<'a>(bytes: &'a [u8], names: &[&str]) -> Result<Vec<&'a [u8]>, ElfError> {
    fn of<'a, H: FileHeader<Endian = Endianness>>(
        bytes: &'a [u8],
        names: &[&str],
    ) -> Result<Vec<&'a [u8]>, ElfError> {
        let header = H::parse(bytes)?;
        let endian = header.endian()?;
        let table = header.sections(endian, bytes)?;
        let mut found = Vec::new();
        let mut left = bytes.len();
        for section in table.iter() {
            let name = table.section_name(endian, section)?;
            if names.iter().any(|n| n.as_bytes() == name) {
                let data = section.data(endian, bytes)?;
                left = left.checked_sub(data.len()).ok_or(ElfError::Sections)?;
                found.push(data);
            }
        }
        Ok(found)
    }
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => of::<elf::FileHeader64<Endianness>>(bytes, names),
        Ok(FileKind::Elf32) => of::<elf::FileHeader32<Endianness>>(bytes, names),
        _ => Err(ElfError::NotElf),
    }
}

/// How often, on average, a byte of a file may stand in a name. Names end alike and share their
/// bytes, and every symbol repeats the names of its version and library, which are short.
const SHARING: usize = 16;

/// Takes names out of a file, as many as it can hold: where each begins within the one before, the
/// square of its size would be copied.
struct Names {
    left: usize,
}

impl Names {
    fn of(file: &[u8]) -> Self {
        Self { left: file.len().saturating_mul(SHARING) }
    }

    fn text(&mut self, name: &[u8]) -> Result<String, ElfError> {
        self.left = self.left.checked_sub(name.len()).ok_or(ElfError::Names)?;
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

fn read<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Elf, ElfError> {
    let file = ElfFile::<H>::parse(bytes)?;
    let (header, endian) = (file.elf_header(), file.endian());
    let machine = header.e_machine(endian).0;
    let mut facts = Elf {
        machine,
        bits: if header.is_class_64() { 64 } else { 32 },
        shared: header.e_type(endian) == elf::ET_DYN,
        soname: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        needed_versions: BTreeMap::new(),
        executable_stack: has_executable_stack(&file, machine),
        text_relocations: false,
        python_module: None,
        undefined: Vec::new(),
        defined: Vec::new(),
    };
    let mut names = Names::of(bytes);
    read_dynamic(&file, &mut names, &mut facts)?;
    read_needed_versions(&file, &mut names, &mut facts)?;
    read_symbols(&file, &mut names, &mut facts)?;
    let modules = facts.defined.iter().filter_map(|s| s.name.strip_prefix("PyInit_"));
    facts.python_module = modules.min().map(str::to_owned);
    Ok(facts)
}

/// `PT_GNU_STACK` decides; a file without it gets the platform's default, which glibc's
/// `stackinfo.h` says is executable on x86 and not on AArch64.
fn has_executable_stack<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    machine: u16,
) -> bool {
    let endian = file.endian();
    let mut headers = file.elf_program_headers().iter();
    match headers.find(|h| h.p_type(endian) == elf::PT_GNU_STACK) {
        Some(header) => header.p_flags(endian).contains(elf::PF_X),
        None => [elf::EM_X86_64.0, elf::EM_386.0].contains(&machine),
    }
}

fn read_dynamic<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    names: &mut Names,
    facts: &mut Elf,
) -> Result<(), ElfError> {
    let table = file.elf_dynamic_table()?;
    let folders = |names: &mut Names, path: &[u8]| -> Result<Vec<String>, ElfError> {
        Ok(names.text(path)?.split(':').map(str::to_owned).collect())
    };
    for entry in table.iter() {
        match entry.tag {
            elf::DT_SONAME => facts.soname = Some(names.text(table.string(entry)?)?),
            elf::DT_NEEDED => facts.needed.push(names.text(table.string(entry)?)?),
            elf::DT_RPATH => facts.rpath.extend(folders(names, table.string(entry)?)?),
            elf::DT_RUNPATH => facts.runpath.extend(folders(names, table.string(entry)?)?),
            elf::DT_TEXTREL => facts.text_relocations = true,
            elf::DT_FLAGS => {
                facts.text_relocations |= entry.val & elf::DF_TEXTREL.0 != 0;
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_needed_versions<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    names: &mut Names,
    facts: &mut Elf,
) -> Result<(), ElfError> {
    let (endian, sections) = (file.endian(), file.elf_section_table());
    let Some((mut needs, link)) = sections.gnu_verneed(endian, file.data())? else {
        return Ok(());
    };
    let strings = sections.strings(endian, file.data(), link)?;
    while let Some((need, mut versions)) = needs.next()? {
        let library = names.text(need.file(endian, strings)?)?;
        let needed = facts.needed_versions.entry(library).or_default();
        while let Some(version) = versions.next()? {
            needed.insert(names.text(version.name(endian, strings)?)?);
        }
    }
    Ok(())
}

fn read_symbols<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    names: &mut Names,
    facts: &mut Elf,
) -> Result<(), ElfError> {
    let endian = file.endian();
    let table = file.elf_dynamic_symbol_table();
    let versions = file.elf_section_table().versions(endian, file.data())?.unwrap_or_default();
    for (index, symbol) in table.enumerate() {
        let name = symbol.name(endian, table.strings())?;
        let binding = symbol.st_bind();
        if name.is_empty() || binding == elf::STB_LOCAL {
            continue;
        }
        let version = versions.version(versions.version_index(endian, index).index())?;
        let described = Symbol {
            name: names.text(name)?,
            version: version.map(|v| names.text(v.name())).transpose()?,
            library: version.and_then(|v| v.file()).map(|file| names.text(file)).transpose()?,
            weak: [elf::STB_WEAK, elf::STB_GNU_UNIQUE].contains(&binding),
        };
        let hidden = [elf::STV_HIDDEN, elf::STV_INTERNAL].contains(&symbol.st_visibility());
        if symbol.is_undefined(endian) {
            facts.undefined.push(described);
        } else if !hidden {
            facts.defined.push(described);
        }
    }
    facts.undefined.sort();
    facts.defined.sort();
    Ok(())
}

#[cfg(test)]
impl Elf {
    /// A Python module of this name, or a library, that needs and has nothing.
    pub(super) fn module(name: Option<&str>) -> Self {
        Self {
            machine: crate::target::Arch::Aarch64.elf_machine(),
            bits: 64,
            shared: true,
            soname: None,
            needed: Vec::new(),
            rpath: Vec::new(),
            runpath: Vec::new(),
            needed_versions: BTreeMap::new(),
            executable_stack: false,
            text_relocations: false,
            python_module: name.map(str::to_owned),
            undefined: Vec::new(),
            defined: Vec::new(),
        }
    }
}
