//! What a link sees of a shared library: its SONAME, what it needs and what it defines.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, Sym as _, VersionTable};
use object::read::{self, SymbolIndex as TableIndex};
use object::{Endianness, ReadRef};

use crate::error::{Class, Diagnose};
use crate::target::Arch;

/// The dynamic interface of one shared library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Library {
    /// `DT_SONAME`; a library without one is recorded by the name under which it is linked.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in the order of the dynamic section.
    pub needed: Vec<String>,
    /// Every symbol that it defines for others.
    pub symbols: BTreeSet<Symbol>,
}

/// A defined dynamic symbol. The order is the one in which an index lists them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    /// `STT_…`.
    pub kind: Kind,
    /// `STB_…`.
    pub binding: Binding,
    /// `st_other`: the visibility, and on aarch64 the flag of a variant calling convention
    /// (`STO_AARCH64_VARIANT_PCS`), which a linker copies into what it links.
    pub other: u8,
    /// The version, where the library defines versions.
    pub version: Option<Version>,
    /// Its (mangled) name.
    pub name: String,
    /// Bytes of an object or of a thread-local variable, which a copy relocation reserves in an
    /// executable; 0 for the rest.
    pub size: u64,
}

/// A symbol's version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Such as `OMP_1.0`.
    pub name: String,
    /// Whether a new link binds to it (`name@@version`), or only what was linked before does.
    pub default: bool,
}

/// The type of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Untyped, such as `_end`, or an assembler label.
    NoType,
    /// Data.
    Object,
    /// Code.
    Function,
    /// A thread-local variable.
    Tls,
    /// Code that is chosen when the library is loaded.
    Ifunc,
}

/// The binding of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// Strong.
    Global,
    /// Weak.
    Weak,
    /// One instance in the whole process, as GCC makes of static variables in templates.
    Unique,
}

impl Kind {
    const NAMES: [(Self, &'static str, elf::SymbolType); 5] = [
        (Self::NoType, "notype", elf::STT_NOTYPE),
        (Self::Object, "object", elf::STT_OBJECT),
        (Self::Function, "function", elf::STT_FUNC),
        (Self::Tls, "tls", elf::STT_TLS),
        (Self::Ifunc, "ifunc", elf::STT_GNU_IFUNC),
    ];

    /// The value in `st_info`.
    pub fn elf(self) -> elf::SymbolType {
        Self::NAMES[self as usize].2
    }

    /// Whether a copy of it has a size.
    pub fn has_size(self) -> bool {
        matches!(self, Self::Object | Self::Tls)
    }
}

impl Binding {
    const NAMES: [(Self, &'static str, elf::SymbolBind); 3] = [
        (Self::Global, "global", elf::STB_GLOBAL),
        (Self::Weak, "weak", elf::STB_WEAK),
        (Self::Unique, "unique", elf::STB_GNU_UNIQUE),
    ];

    /// The value in `st_info`.
    pub fn elf(self) -> elf::SymbolBind {
        Self::NAMES[self as usize].2
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize].1)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize].1)
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(_, name, _)| *name == text).map(|(kind, ..)| *kind).ok_or(())
    }
}

impl FromStr for Binding {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(_, name, _)| *name == text).map(|(bind, ..)| *bind).ok_or(())
    }
}

/// Why a library's interface cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Not an ELF file, or a damaged one.
    #[error("not a readable 64-bit ELF shared library")]
    Elf(#[from] read::Error),
    /// For another processor.
    #[error("e_machine is {found}, and {expected} is expected")]
    Machine {
        /// The file's `e_machine`.
        found: u16,
        /// What it should be for.
        expected: Arch,
    },
    /// A type, binding or name for which an index has no place.
    #[error("symbol `{name}` has {what}")]
    Unsupported {
        /// The symbol.
        name: String,
        /// What is unusual about it.
        what: String,
    },
}

impl Diagnose for LibraryError {
    fn class(&self) -> Class {
        Class::Archive
    }
}

impl Library {
    /// Reads the interface of an ELF file.
    pub fn read<'data, R: ReadRef<'data>>(data: R, arch: Arch) -> Result<Self, LibraryError> {
        let header = elf::FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let machine = header.e_machine(endian).0;
        if machine != arch.elf_machine() {
            return Err(LibraryError::Machine { found: machine, expected: arch });
        }
        let sections = header.sections(endian, data)?;
        let mut library = Self::default();
        if let Some((entries, link)) = sections.dynamic(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            for entry in entries {
                let tag = entry.d_tag(endian);
                if tag == elf::DT_SONAME {
                    library.soname = Some(text(entry.string(endian, strings)?)?);
                } else if tag == elf::DT_NEEDED {
                    library.needed.push(text(entry.string(endian, strings)?)?);
                }
            }
        }
        let versions = sections.versions(endian, data)?;
        let table = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
        for (index, symbol) in table.enumerate() {
            let section = symbol.st_shndx(endian);
            // An absolute symbol in a library names a version definition.
            if symbol.is_undefined(endian)
                || section == elf::SHN_ABS
                || symbol.st_bind() == elf::STB_LOCAL
            {
                continue;
            }
            let name = text(symbol.name(endian, table.strings())?)?;
            let version = match &versions {
                Some(versions) => version(versions, endian, index)?,
                None => None,
            };
            library.symbols.insert(define(symbol, endian, name, version)?);
        }
        Ok(library)
    }
}

/// The version that a symbol is defined with.
fn version(
    versions: &VersionTable<'_, elf::FileHeader64<Endianness>>,
    endian: Endianness,
    index: TableIndex,
) -> Result<Option<Version>, LibraryError> {
    let tag = versions.version_index(endian, index);
    let Some(version) = versions.version(tag.index())? else { return Ok(None) };
    Ok(Some(Version { name: text(version.name())?, default: !tag.is_hidden() }))
}

/// An entry of the dynamic symbol table as an index keeps it.
fn define(
    symbol: &elf::Sym64<Endianness>,
    endian: Endianness,
    name: String,
    version: Option<Version>,
) -> Result<Symbol, LibraryError> {
    let unsupported = |what: String| LibraryError::Unsupported { name: name.clone(), what };
    let kind = match symbol.st_type() {
        elf::STT_COMMON => Kind::Object,
        other => Kind::NAMES
            .iter()
            .find(|(.., value)| *value == other)
            .map(|(kind, ..)| *kind)
            .ok_or_else(|| unsupported(format!("the type {}", other.0)))?,
    };
    let bind = symbol.st_bind();
    let binding = Binding::NAMES
        .iter()
        .find(|(.., value)| *value == bind)
        .map(|(binding, ..)| *binding)
        .ok_or_else(|| unsupported(format!("the binding {}", bind.0)))?;
    let size = if kind.has_size() { symbol.st_size(endian) } else { 0 };
    Ok(Symbol { kind, binding, other: symbol.st_other().0, version, name, size })
}

/// A string of the dynamic string table, which an index can only keep if it is one word.
fn text(bytes: &[u8]) -> Result<String, LibraryError> {
    match str::from_utf8(bytes) {
        Ok(word) if !word.is_empty() && !word.contains(char::is_whitespace) => Ok(word.to_owned()),
        _ => Err(LibraryError::Unsupported {
            name: String::from_utf8_lossy(bytes).into_owned(),
            what: "a name that is not one word".to_owned(),
        }),
    }
}
