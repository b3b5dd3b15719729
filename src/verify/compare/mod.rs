//! Where two wheels differ, and why that is likely so.
//!
//! In: two wheels of the same inputs. Out: the members that differ; of ELF files the sections and
//! symbols, of device code the entries; and the causes that the differing bytes speak of.

mod cause;
mod elf;
mod fatbin;
mod text;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

pub use cause::{Cause, CauseKind};

use crate::package::PackageError;
use crate::package::archive::WheelArchive;
use cause::Evidence;

/// A member that is not the same in both wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path; the wheel's file name where only the archive around the members differs.
    pub member: String,
    /// In which way.
    pub kind: Kind,
    /// Where in it, as far as could be told; the first few.
    pub places: Vec<Place>,
    /// What the differing bytes speak of, the most telling first.
    pub causes: Vec<Cause>,
}

/// In which way a member differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only the first wheel has it.
    OnlyFirst,
    /// Only the second wheel has it.
    OnlySecond,
    /// Its run bit differs.
    Mode,
    /// Its bytes differ.
    Content,
    /// All members are the same; the archive around them is not.
    Archive,
}

/// Somewhere in a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Such as `` section `.rodata`, symbol `built_at` ``.
    pub part: String,
    /// From the part's beginning, in bytes; of the first that differs.
    pub offset: u64,
    /// What the first wheel has there.
    pub first: String,
    /// What the second wheel has there.
    pub second: String,
}

/// How many places of one part are told.
const PLACES: usize = 4;

/// Compares two wheels, member by member.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<Difference>, PackageError> {
    let (one, two) = (WheelArchive::open(first)?, WheelArchive::open(second)?);
    let paths = |wheel: &WheelArchive| -> BTreeSet<String> {
        wheel.members().iter().map(|member| member.path.clone()).collect()
    };
    let mut found = Vec::new();
    for path in &paths(&one) | &paths(&two) {
        let difference = match (one.member(&path), two.member(&path)) {
            (Some(a), Some(b)) if a.executable != b.executable => bare(&path, Kind::Mode),
            (Some(a), Some(b)) => match member(&path, &one.read(a)?, &two.read(b)?) {
                Some(difference) => difference,
                None => continue,
            },
            (Some(_), None) => bare(&path, Kind::OnlyFirst),
            (None, _) => bare(&path, Kind::OnlySecond),
        };
        found.push(difference);
    }
    // It lists the others' digests.
    if found.len() > 1 {
        found.retain(|difference| !difference.member.ends_with(".dist-info/RECORD"));
    }
    if found.is_empty() {
        let name = second.file_name().unwrap_or_default().to_string_lossy();
        let cause = Cause::new(CauseKind::Order, "the members' order, times or compression");
        found.push(Difference { causes: vec![cause], ..bare(&name, Kind::Archive) });
    }
    Ok(found)
}

fn bare(member: &str, kind: Kind) -> Difference {
    Difference { member: member.to_owned(), kind, places: Vec::new(), causes: Vec::new() }
}

fn member(path: &str, first: &[u8], second: &[u8]) -> Option<Difference> {
    if first == second {
        return None;
    }
    let mut found = Found::default();
    bytes(&mut found, "", first, second);
    let causes = found.evidence.causes();
    Some(Difference { places: found.places, causes, ..bare(path, Kind::Content) })
}

/// What was found so far.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    evidence: Evidence,
}

/// Compares what is an ELF file, text or anything else; `within` is what it is a part of.
fn bytes(found: &mut Found, within: &str, first: &[u8], second: &[u8]) {
    let both = |is: fn(&[u8]) -> bool| is(first) && is(second);
    if both(crate::audit::elf::Elf::is_elf) && elf::compare(found, within, first, second) {
        return;
    }
    if both(text::is_text) {
        return text::compare(found, within, first, second);
    }
    found.evidence.bytes(first, second);
    found.places.extend(runs(first, second, |_| part(within, "")));
}

/// `within` and what is in it.
fn part(within: &str, inner: &str) -> String {
    match (within.is_empty(), inner.is_empty()) {
        (true, _) => inner.to_owned(),
        (_, true) => within.to_owned(),
        _ => format!("{within}, {inner}"),
    }
}

/// The first runs of bytes that differ; `name` says what lies at an offset.
fn runs(first: &[u8], second: &[u8], name: impl Fn(usize) -> String) -> Vec<Place> {
    let shorter = first.len().min(second.len());
    let mut places: Vec<Place> = Vec::new();
    let mut offset = 0;
    while offset < shorter && places.len() < PLACES {
        if first[offset] == second[offset] {
            offset += 1;
            continue;
        }
        let (a, b) = (excerpt(first, offset), excerpt(second, offset));
        let place = Place { part: name(offset), offset: offset as u64, first: a, second: b };
        // What lies close is told by one excerpt.
        let known = places.last().is_some_and(|last| {
            last.part == place.part && last.first == place.first && last.second == place.second
        });
        if !known {
            places.push(place);
        }
        offset += APART;
    }
    if places.is_empty() && first.len() != second.len() {
        let (first, second) = (size(first), size(second));
        places.push(Place { part: name(shorter), offset: shorter as u64, first, second });
    }
    places
}

/// Bytes after a difference in which another one is not told.
const APART: usize = 16;

fn size(bytes: &[u8]) -> String {
    format!("{} bytes in all", bytes.len())
}

/// The text around an offset, or the bytes there in hexadecimal.
fn excerpt(bytes: &[u8], offset: usize) -> String {
    const AROUND: usize = 60;
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    let before = bytes[..offset].iter().rev().take(AROUND).take_while(|b| printable(b)).count();
    let after = bytes[offset..].iter().take(AROUND).take_while(|b| printable(b)).count();
    let text = &bytes[offset - before..offset + after];
    if after > 0 && text.len() >= 4 {
        return String::from_utf8_lossy(text).into_owned();
    }
    let hex = bytes[offset..].iter().take(8).map(|byte| format!("{byte:02x}"));
    hex.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
