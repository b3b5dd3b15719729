//! ELF files, section by section, with the symbols at what differs.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::{Cause, CauseKind, Found, Place, fatbin, part, runs};
use crate::audit::fatbin::{EXECUTABLE_SECTION, RELOCATABLE_SECTION};

/// A section by its name, and which of that name it is.
type Key = (String, usize);

/// An ELF file as it is compared.
struct File<'a> {
    sections: BTreeMap<Key, Section<'a>>,
    /// Names of all symbols, with address and size, sorted by address.
    symbols: Vec<(u64, u64, String)>,
}

struct Section<'a> {
    address: u64,
    bytes: &'a [u8],
}

/// Compares two ELF files. Returns whether both could be read.
pub(super) fn compare(found: &mut Found, within: &str, first: &[u8], second: &[u8]) -> bool {
    let (Some(one), Some(two)) = (File::read(first), File::read(second)) else { return false };
    let before = found.places.len();
    // What is a digest of the rest comes last.
    let mut sections: Vec<_> = one.sections.iter().collect();
    sections.sort_by_key(|((name, _), _)| name == BUILD_ID);
    for (key, section) in sections {
        let name = part(within, &format!("section `{}`", key.0));
        let Some(other) = two.sections.get(key) else {
            let (first, second) = (super::size(section.bytes), "not there".to_owned());
            found.places.push(Place { part: name, offset: 0, first, second });
            continue;
        };
        if section.bytes != other.bytes {
            differing(found, &name, &key.0, (&one, section), (&two, other));
        }
    }
    for (key, section) in two.sections.iter().filter(|(key, _)| !one.sections.contains_key(key)) {
        let name = part(within, &format!("section `{}`", key.0));
        let (first, second) = ("not there".to_owned(), super::size(section.bytes));
        found.places.push(Place { part: name, offset: 0, first, second });
    }
    if found.places.len() == before {
        // Headers, or what no section covers.
        found.places.extend(runs(first, second, |_| part(within, "headers")));
    } else if one.sizes() == two.sizes() && one.names() == two.names() && one.symbols != two.symbols
    {
        let words = "the symbols are the same, at other addresses";
        found.evidence.hint(Cause::new(CauseKind::Order, words));
    }
    true
}

fn differing(
    found: &mut Found,
    name: &str,
    section: &str,
    (one, first): (&File<'_>, &Section<'_>),
    (_, second): (&File<'_>, &Section<'_>),
) {
    let is_code = [EXECUTABLE_SECTION, RELOCATABLE_SECTION].contains(&section);
    if is_code && fatbin::compare(found, name, first.bytes, second.bytes) {
        return;
    }
    match section {
        BUILD_ID => {
            let words = "the build id, a digest of the rest of the file, differs with it";
            found.evidence.hint(Cause::new(CauseKind::BuildId, words));
        }
        ".comment" => {
            let words = "`.comment`, where compilers leave their versions, differs";
            found.evidence.hint(Cause::new(CauseKind::Compiler, words));
        }
        _ => found.evidence.bytes(first.bytes, second.bytes),
    }
    found.places.extend(runs(first.bytes, second.bytes, |offset| {
        match one.symbol(first.address + offset as u64) {
            Some(symbol) if first.address > 0 => format!("{name}, symbol `{symbol}`"),
            _ => name.to_owned(),
        }
    }));
}

impl<'a> File<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        let mut sections = BTreeMap::new();
        for section in file.sections() {
            let name = String::from_utf8_lossy(section.name_bytes().ok()?).into_owned();
            let which = (0..).find(|n| !sections.contains_key(&(name.clone(), *n)))?;
            let (address, bytes) = (section.address(), section.data().ok()?);
            sections.insert((name, which), Section { address, bytes });
        }
        let all = file.symbols().chain(file.dynamic_symbols());
        let named = all.filter(|symbol| symbol.is_definition()).filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            Some((symbol.address(), symbol.size(), name.to_owned()))
        });
        let mut symbols: Vec<_> = named.collect();
        symbols.sort();
        symbols.dedup();
        Some(Self { sections, symbols })
    }

    fn sizes(&self) -> Vec<(&Key, usize)> {
        self.sections.iter().map(|(key, section)| (key, section.bytes.len())).collect()
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.symbols.iter().map(|(.., name)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The symbol that covers an address, demangled.
    fn symbol(&self, address: u64) -> Option<String> {
        let end = self.symbols.partition_point(|(start, ..)| *start <= address);
        let covers = |(start, size, _): &&(u64, u64, String)| address - start < *size;
        let (.., name) = self.symbols[..end].iter().rev().take(NEAR).find(covers)?;
        let demangled = cpp_demangle::Symbol::new(name).ok().and_then(|s| s.demangle().ok());
        Some(demangled.unwrap_or_else(|| name.clone()))
    }
}

/// A digest of the rest of the file (ld manual, `--build-id`).
const BUILD_ID: &str = ".note.gnu.build-id";

/// How many symbols before an address may cover it: aliases, and those in larger ones.
const NEAR: usize = 64;
