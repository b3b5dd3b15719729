//! The symbol index: what every library of a product defines, as text under xz.
//!
//! One index serves one version of a product on one processor. Its libraries come from *parts*,
//! each with a tag: of torch the wheels of several Pythons, of CUDA the wheels of several
//! projects, of a system its packages. Libraries that are the same in every part stand in it once; of the others there is
//! one entry for each set of parts:
//!
//! ```text
//! crosswheel symbols 1
//! torch 2.14.0
//! arch aarch64
//! python cp311 cp313
//!
//! library libc10.so
//! soname libc10.so
//! needed libstdc++.so.6
//! define object weak
//! 0 _ZTIN3c105ErrorE 24
//! 4 SN3c105ErrorE 13
//!
//! library libtorch_python.so
//! only cp311
//! …
//! ```
//!
//! `define` opens a group of symbols that share type, binding, `other=` (`st_other`, decimal,
//! absent if 0) and `version=` (the default one) or `hidden-version=`. A line in it has the
//! number of bytes that the name shares with the one before, the rest of the name and, for
//! objects and thread-local variables, the size in bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

use lzma_rust2::{XzOptions, XzReader, XzWriter};

use super::library::{Library, Symbol, Version};
use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};
use crate::target::Arch;

/// The first line; its number changes with the format.
const HEADER: &str = "crosswheel symbols 1";

/// What an index may unpack to; ten times the largest known, so a hostile file is no bomb.
const LIMIT: u64 = 128 << 20;

/// Whose libraries an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// torch's; its parts are the Pythons of its wheels, such as `cp311`.
    Torch,
    /// Those of a CUDA release; its parts are projects of the Python index, such as
    /// `nvidia-cublas`.
    Cuda,
    /// Those of a target's system; its parts are packages of its distribution, such as `libc6`.
    System,
}

impl Product {
    /// The keywords of the header's lines: before the version, and before the parts.
    const NAMES: [(Self, &'static str, &'static str); 3] = [
        (Self::Torch, "torch ", "python "),
        (Self::Cuda, "cuda ", "project "),
        (Self::System, "system ", "package "),
    ];

    fn keywords(self) -> (&'static str, &'static str) {
        let (_, version, parts) = Self::NAMES[self as usize];
        (version, parts)
    }
}

/// Every library of a product's version on one processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolIndex {
    /// Whose libraries they are.
    pub product: Product,
    /// Its release, such as `2.14.0`.
    pub version: String,
    /// The processor.
    pub arch: Arch,
    /// Tags of the parts that were read.
    pub parts: BTreeSet<String>,
    /// Sorted by file name, then by parts.
    libraries: Vec<Entry>,
}

/// A library as some parts have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    file: String,
    parts: BTreeSet<String>,
    library: Library,
}

/// Why an index cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The file is not the locked one.
    #[error("the symbol index has sha256 {found}, and {expected} is locked")]
    Changed {
        /// What it should be.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// The file cannot be read.
    #[error("the symbol index cannot be read")]
    Io(#[from] std::io::Error),
    /// The compressed stream is damaged.
    #[error("the symbol index cannot be decompressed")]
    Xz(#[source] std::io::Error),
    /// It unpacks to more than any index has.
    #[error("the symbol index is larger than {LIMIT} bytes")]
    TooLarge,
    /// A line that does not belong there.
    #[error("line {line} of the symbol index is not understood: `{text}`")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What it says.
        text: String,
    },
}

impl Diagnose for SymbolsError {
    fn class(&self) -> Class {
        match self {
            Self::Io(_) => Class::Io,
            _ => Class::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("restore the file from the repository, or make it anew with `cargo xtask toolchain lock`".to_owned())
    }
}

impl SymbolIndex {
    /// An index with nothing in it.
    pub fn new(product: Product, version: impl Into<String>, arch: Arch) -> Self {
        let (parts, libraries) = (BTreeSet::new(), Vec::new());
        Self { product, version: version.into(), arch, parts, libraries }
    }

    /// Removes the libraries of one part.
    pub fn remove(&mut self, part: &str) {
        for entry in &mut self.libraries {
            entry.parts.remove(part);
        }
        self.libraries.retain(|entry| !entry.parts.is_empty());
        self.parts.remove(part);
    }

    /// Adds the libraries of one part, instead of those it had for it.
    pub fn insert(&mut self, part: &str, libraries: impl IntoIterator<Item = (String, Library)>) {
        self.remove(part);
        self.parts.insert(part.to_owned());
        for (file, library) in libraries {
            let same = |entry: &&mut Entry| entry.file == file && entry.library == library;
            match self.libraries.iter_mut().find(same) {
                Some(entry) => {
                    entry.parts.insert(part.to_owned());
                }
                None => self.libraries.push(Entry {
                    file,
                    parts: BTreeSet::from([part.to_owned()]),
                    library,
                }),
            }
        }
        self.libraries.sort_by(|a, b| (&a.file, &a.parts).cmp(&(&b.file, &b.parts)));
    }

    /// The libraries of one part, by file name.
    pub fn libraries(&self, part: &str) -> impl Iterator<Item = (&str, &Library)> {
        self.libraries
            .iter()
            .filter(move |entry| entry.parts.contains(part))
            .map(|entry| (entry.file.as_str(), &entry.library))
    }

    /// Reads a file, which must have this digest.
    pub fn load(path: &Path, expected: Sha256) -> Result<Self, SymbolsError> {
        let bytes = fs_err::read(path)?;
        let found = Sha256::of(&bytes);
        if found != expected {
            return Err(SymbolsError::Changed { expected, found });
        }
        Self::from_xz(&bytes)
    }

    /// As text under xz: the same bytes for the same index.
    pub fn to_xz(&self) -> Vec<u8> {
        let mut options = XzOptions::with_preset(9);
        // Names are text without alignment: position bits cost, literal context helps.
        options.lzma_options.lc = 4;
        options.lzma_options.pb = 0;
        options.lzma_options.nice_len = 273;
        let mut writer = XzWriter::new(Vec::new(), options).expect("constant options are valid");
        writer.write_all(self.to_text().as_bytes()).expect("a Vec takes every write");
        writer.finish().expect("a Vec takes every write")
    }

    /// Reads what [`SymbolIndex::to_xz`] wrote.
    pub fn from_xz(bytes: &[u8]) -> Result<Self, SymbolsError> {
        let mut text = String::new();
        let read = XzReader::new(bytes, false)
            .take(LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(SymbolsError::Xz)?;
        if read as u64 > LIMIT {
            return Err(SymbolsError::TooLarge);
        }
        Self::from_text(&text)
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        let (version, parts) = self.product.keywords();
        let mut text = format!(
            "{HEADER}\n{version}{}\narch {}\n{parts}{}\n",
            self.version,
            self.arch,
            words(&self.parts)
        );
        for entry in &self.libraries {
            write_entry(&mut text, entry, &self.parts).expect("a String takes every write");
        }
        text
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Result<Self, SymbolsError> {
        let mut lines = text.lines().enumerate().map(|(index, text)| Line { index, text });
        let mut next = || lines.next().unwrap_or(Line { index: 0, text: "" });
        let header = |line: Line<'_>, keyword: &str| {
            line.after(keyword).map(str::to_owned).ok_or_else(|| line.malformed())
        };
        header(next(), HEADER)?;
        let line = next();
        let named = |(product, keyword, _): &(Product, &str, _)| {
            Some((*product, line.after(keyword)?.to_owned()))
        };
        let found = Product::NAMES.iter().find_map(named);
        let (product, version) = found.ok_or_else(|| line.malformed())?;
        let line = next();
        let arch = match header(line, "arch ")?.as_str() {
            "aarch64" => Arch::Aarch64,
            "x86_64" => Arch::X86_64,
            _ => return Err(line.malformed()),
        };
        let parts = header(next(), product.keywords().1)?;
        let parts = parts.split_whitespace().map(str::to_owned).collect();
        let mut index = Self { product, version, arch, parts, libraries: Vec::new() };
        let mut group = None;
        for line in lines {
            index.read_line(line, &mut group)?;
        }
        Ok(index)
    }

    /// Takes one line after the header; `group` is the open group and the last symbol in it.
    fn read_line(
        &mut self,
        line: Line<'_>,
        group: &mut Option<Symbol>,
    ) -> Result<(), SymbolsError> {
        if line.text.is_empty() {
            return Ok(());
        }
        if let Some(file) = line.after("library ") {
            *group = None;
            self.libraries.push(Entry {
                file: file.to_owned(),
                parts: self.parts.clone(),
                library: Library::default(),
            });
            return Ok(());
        }
        let entry = self.libraries.last_mut().ok_or_else(|| line.malformed())?;
        if let Some(parts) = line.after("only ") {
            entry.parts = parts.split_whitespace().map(str::to_owned).collect();
        } else if let Some(soname) = line.after("soname ") {
            entry.library.soname = Some(soname.to_owned());
        } else if let Some(needed) = line.after("needed ") {
            entry.library.needed.push(needed.to_owned());
        } else if let Some(define) = line.after("define ") {
            *group = Some(parse_group(define).ok_or_else(|| line.malformed())?);
        } else {
            let last = group.as_mut().ok_or_else(|| line.malformed())?;
            parse_symbol(line.text, last).ok_or_else(|| line.malformed())?;
            entry.library.symbols.insert(last.clone());
        }
        Ok(())
    }
}

/// A line and where it stands, counted from 0.
#[derive(Clone, Copy)]
struct Line<'a> {
    index: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn after(self, keyword: &str) -> Option<&'a str> {
        self.text.strip_prefix(keyword)
    }

    fn malformed(self) -> SymbolsError {
        SymbolsError::Malformed { line: self.index + 1, text: self.text.to_owned() }
    }
}

fn words(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn write_entry(
    text: &mut String,
    entry: &Entry,
    all: &BTreeSet<String>,
) -> Result<(), std::fmt::Error> {
    writeln!(text, "\nlibrary {}", entry.file)?;
    if entry.parts != *all {
        writeln!(text, "only {}", words(&entry.parts))?;
    }
    if let Some(soname) = &entry.library.soname {
        writeln!(text, "soname {soname}")?;
    }
    for needed in &entry.library.needed {
        writeln!(text, "needed {needed}")?;
    }
    let mut previous: Option<&Symbol> = None;
    for symbol in &entry.library.symbols {
        let same_group = |p: &&Symbol| {
            (p.kind, p.binding, p.other, &p.version)
                == (symbol.kind, symbol.binding, symbol.other, &symbol.version)
        };
        let shared = match previous.filter(same_group) {
            Some(previous) => shared_prefix(&previous.name, &symbol.name),
            None => {
                write_group(text, symbol)?;
                0
            }
        };
        write!(text, "{shared} {}", &symbol.name[shared..])?;
        if symbol.kind.has_size() {
            write!(text, " {}", symbol.size)?;
        }
        text.push('\n');
        previous = Some(symbol);
    }
    Ok(())
}

fn write_group(text: &mut String, symbol: &Symbol) -> Result<(), std::fmt::Error> {
    write!(text, "define {} {}", symbol.kind, symbol.binding)?;
    if symbol.other != 0 {
        write!(text, " other={}", symbol.other)?;
    }
    match &symbol.version {
        Some(Version { name, default: true }) => write!(text, " version={name}")?,
        Some(Version { name, default: false }) => write!(text, " hidden-version={name}")?,
        None => {}
    }
    text.push('\n');
    Ok(())
}

/// How many bytes two names share at their start, at a character's border.
fn shared_prefix(a: &str, b: &str) -> usize {
    let shared = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=shared).rev().find(|&at| b.is_char_boundary(at)).unwrap_or(0)
}

/// The symbol that opens a group: all but its name and size.
fn parse_group(text: &str) -> Option<Symbol> {
    let mut words = text.split(' ');
    let mut symbol = Symbol {
        kind: words.next()?.parse().ok()?,
        binding: words.next()?.parse().ok()?,
        other: 0,
        version: None,
        name: String::new(),
        size: 0,
    };
    for word in words {
        match word.split_once('=')? {
            ("other", value) => symbol.other = value.parse().ok()?,
            ("version", name) => {
                symbol.version = Some(Version { name: name.to_owned(), default: true });
            }
            ("hidden-version", name) => {
                symbol.version = Some(Version { name: name.to_owned(), default: false });
            }
            _ => return None,
        }
    }
    Some(symbol)
}

/// Makes the next symbol of a group out of the last one.
fn parse_symbol(text: &str, last: &mut Symbol) -> Option<()> {
    let mut words = text.split(' ');
    let shared: usize = words.next()?.parse().ok()?;
    let rest = words.next()?;
    last.size = if last.kind.has_size() { words.next()?.parse().ok()? } else { 0 };
    if shared > last.name.len() || !last.name.is_char_boundary(shared) || words.next().is_some() {
        return None;
    }
    last.name.truncate(shared);
    last.name.push_str(rest);
    (!last.name.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
crosswheel symbols 1
torch 2.14.0
arch aarch64
python cp311 cp313

library libc10.so
soname libc10.so
needed libstdc++.so.6
needed libc.so.6
define object weak
0 _ZTIN3c105ErrorE 24
3 SN3c105ErrorE 13
define function global
0 _ZN3c105abortEv
define function weak other=128
0 simd
define function global hidden-version=OMP_1.0
0 omp_set_lock
define function global version=OMP_3.0
0 omp_set_lock

library libtorch_python.so
only cp311
soname libtorch_python.so

library libtorch_python.so
only cp313
soname libtorch_python.so
define tls unique
0 state 8
";

    /// The sample's groups in the order of the type.
    fn sample() -> SymbolIndex {
        SymbolIndex::from_text(SAMPLE).unwrap()
    }

    #[test]
    fn reads_what_it_writes() {
        let index = sample();
        let text = index.to_text();
        assert_eq!(SymbolIndex::from_text(&text).unwrap(), index);
        let packed = index.to_xz();
        assert_eq!(SymbolIndex::from_xz(&packed).unwrap(), index);
        assert_eq!(SymbolIndex::from_xz(&packed).unwrap().to_xz(), packed);
    }

    #[test]
    fn expands_names_and_attributes() {
        let index = sample();
        let (file, library) = index.libraries("cp311").next().unwrap();
        assert_eq!(file, "libc10.so");
        assert_eq!(library.needed, ["libstdc++.so.6", "libc.so.6"]);
        let find =
            |name: &str| library.symbols.iter().filter(|s| s.name == name).collect::<Vec<_>>();
        assert_eq!(find("_ZTSN3c105ErrorE")[0].size, 13);
        assert_eq!(find("simd")[0].other, 128);
        let defaults: Vec<bool> =
            find("omp_set_lock").iter().map(|s| s.version.as_ref().unwrap().default).collect();
        assert_eq!(defaults, [false, true]);
    }

    #[test]
    fn each_part_has_its_own_libraries() {
        let mut index = sample();
        let symbols = |index: &SymbolIndex, python: &str| {
            index.libraries(python).map(|(_, library)| library.symbols.len()).collect::<Vec<_>>()
        };
        assert_eq!(symbols(&index, "cp311"), [6, 0]);
        assert_eq!(symbols(&index, "cp313"), [6, 1]);

        let c10 = index.libraries("cp313").next().unwrap().1.clone();
        index.insert("cp312", [("libc10.so".to_owned(), c10.clone())]);
        assert_eq!(symbols(&index, "cp312"), [6]);
        index.insert("cp311", [("libc10.so".to_owned(), c10)]);
        assert_eq!(symbols(&index, "cp311"), [6], "what it had before is gone");
        assert_eq!(SymbolIndex::from_text(&index.to_text()).unwrap(), index);
    }

    #[test]
    fn an_index_says_whose_it_is() {
        let mut index = SymbolIndex::new(Product::Cuda, "13.0", Arch::X86_64);
        index.insert("nvidia-nccl-cu13", [("libnccl.so.2".to_owned(), Library::default())]);
        assert!(index.to_text().contains("\ncuda 13.0\narch x86_64\nproject nvidia-nccl-cu13\n"));
        assert_eq!(SymbolIndex::from_text(&index.to_text()).unwrap(), index);
        index.remove("nvidia-nccl-cu13");
        assert_eq!(index, SymbolIndex::new(Product::Cuda, "13.0", Arch::X86_64));
        let mixed = SAMPLE.replacen("torch 2.14.0", "cuda 13.0", 1);
        assert!(SymbolIndex::from_text(&mixed).is_err(), "Pythons are no parts of CUDA");
    }

    #[test]
    fn a_malformed_line_is_named() {
        for (from, to, line) in [
            ("crosswheel symbols 1", "crosswheel symbols 2", 1),
            ("arch aarch64", "arch sparc", 3),
            ("define object weak", "define object strong", 10),
            ("3 SN3c105ErrorE 13", "3 SN3c105ErrorE", 12),
            ("3 SN3c105ErrorE 13", "30 SN3c105ErrorE 13", 12),
            ("0 _ZN3c105abortEv", "0 _ZN3c105abortEv 4", 14),
        ] {
            let error = SymbolIndex::from_text(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            let SymbolsError::Malformed { line: found, .. } = error else { panic!("{error}") };
            assert_eq!(found, line, "{to}");
        }
    }

    #[test]
    fn a_file_must_be_the_locked_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.xz");
        let packed = sample().to_xz();
        fs_err::write(&path, &packed).unwrap();
        assert_eq!(SymbolIndex::load(&path, Sha256::of(&packed)).unwrap(), sample());
        let error = SymbolIndex::load(&path, Sha256::of("another")).unwrap_err();
        assert!(matches!(error, SymbolsError::Changed { .. }), "{error}");
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut packed = sample().to_xz();
        let middle = packed.len() / 2;
        packed[middle] ^= 0x10;
        assert!(matches!(SymbolIndex::from_xz(&packed), Err(SymbolsError::Xz(_))));
    }
}
