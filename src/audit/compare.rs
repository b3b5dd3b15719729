//! Two wheels of one package beside each other: what each has that the other lacks, and the device
//! code of both.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::coverage::{Coverage, coverage, runs_on};
use super::fatbin::{Fatbin, Kind};
use super::report::{FileFacts, Inspection};
use crate::target::Target;

/// How two wheels differ; `docs/schemas/compare.schema.json` describes its JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// File names of the first and of the second.
    pub wheels: [String; 2],
    /// Sizes of both files in bytes.
    pub sizes: [u64; 2],
    /// The target by which device code is judged, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The ELF files of either, those of one name beside each other.
    pub files: Vec<Pair>,
    /// How many other members both have.
    pub common: usize,
    /// Other members that the first has alone, by folder: the outermost of which the second has
    /// nothing, or else the one that they lie in.
    pub only_first: BTreeMap<String, Vec<String>>,
    /// Other members that the second has alone, likewise.
    pub only_second: BTreeMap<String, Vec<String>>,
}

/// An ELF file of one or both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Its path, without what names a Python's ABI.
    pub file: String,
    /// In the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Side>,
    /// In the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Side>,
}

/// An ELF file of one wheel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Its size in bytes.
    pub size: u64,
    /// How many object files with device code were linked into it.
    pub units: usize,
    /// In how many of them there is machine code, by architecture.
    pub sass: BTreeMap<String, usize>,
    /// In how many of them there is PTX, by architecture.
    pub ptx: BTreeMap<String, usize>,
    /// Where there is a target: what becomes of the device code on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_target: Option<OnTarget>,
}

/// The device code of a file on one machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OnTarget {
    /// Object files whose machine code runs on each of its GPUs.
    pub sass: usize,
    /// Object files that the driver compiles for one of its GPUs when the program first starts.
    pub compiled_at_start: usize,
    /// Object files that do not run on one of its GPUs.
    pub missing: usize,
    /// Bytes of device code, as stored, that runs on none of its GPUs.
    pub useless: u64,
}

impl Comparison {
    /// Compares them; device code is judged for a target where there is one.
    pub fn of(first: &Inspection, second: &Inspection, target: Option<&Target>) -> Self {
        let both = [first, second];
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        for (index, inspection) in both.into_iter().enumerate() {
            for facts in &inspection.files {
                let file = without_abi(&facts.path);
                let (first, second) = Default::default();
                let new = Pair { file: file.clone(), first, second };
                let pair = pairs.entry(file).or_insert(new);
                let side = Some(Side::of(facts, target));
                if index == 0 { pair.first = side } else { pair.second = side }
            }
        }
        let [of_first, of_second] = both.map(others);
        Self {
            wheels: both
                .map(|i| i.path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            sizes: both.map(|inspection| inspection.size),
            target: target.map(|target| target.name.clone()),
            files: pairs.into_values().collect(),
            common: of_first.intersection(&of_second).count(),
            only_first: missing(&of_first, &of_second),
            only_second: missing(&of_second, &of_first),
        }
    }
}

impl Side {
    fn of(facts: &FileFacts, target: Option<&Target>) -> Self {
        let count = |kind| {
            let mut counts = BTreeMap::new();
            for code in facts.device_code.iter().filter(|code| code.kind == kind) {
                *counts.entry(code.arch.to_string()).or_default() += code.count;
            }
            counts
        };
        Self {
            size: facts.size,
            units: facts.device_units,
            sass: count(Kind::Sass),
            ptx: count(Kind::Ptx),
            on_target: target.map(|target| OnTarget::of(&facts.fatbins, target)),
        }
    }
}

impl OnTarget {
    fn of(fatbins: &[Fatbin], target: &Target) -> Self {
        let mut found = Self::default();
        for Fatbin { entries, .. } in fatbins.iter().filter(|fatbin| !fatbin.entries.is_empty()) {
            match target.sm.iter().map(|sm| coverage(entries, *sm)).max() {
                None => {}
                Some(Coverage::Sass) => found.sass += 1,
                Some(Coverage::PtxOnly) => found.compiled_at_start += 1,
                Some(Coverage::OtherGpusOnly | Coverage::Missing) => found.missing += 1,
            }
            let runs = |entry| target.sm.iter().any(|sm| runs_on(entry, *sm));
            found.useless += entries.iter().filter(|e| !runs(e)).map(|e| e.stored).sum::<u64>();
        }
        found
    }
}

/// A module's path as it is imported, whichever Python it is for: `a/_C.so` of `a/_C.abi3.so`.
fn without_abi(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let is_abi = |part: &str| part == "abi3" || part.starts_with("cpython-");
    let file: Vec<_> = file.split('.').filter(|part| !is_abi(part)).collect();
    let file = file.join(".");
    if folder.is_empty() { file } else { format!("{folder}/{file}") }
}

/// The members that are no ELF files; what a wheel says of itself is each wheel's own.
fn others(inspection: &Inspection) -> BTreeSet<&str> {
    let elf: BTreeSet<_> = inspection.files.iter().map(|file| file.path.as_str()).collect();
    let paths = inspection.wheel.iter().flat_map(|wheel| &wheel.paths).map(String::as_str);
    paths.filter(|path| !elf.contains(path) && !path.contains(".dist-info/")).collect()
}

/// What one has and the other lacks, by folder.
fn missing(one: &BTreeSet<&str>, other: &BTreeSet<&str>) -> BTreeMap<String, Vec<String>> {
    let ends = |path: &str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
    let shared: BTreeSet<&str> =
        other.iter().flat_map(|path| ends(path).into_iter().map(|at| &path[..at])).collect();
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in one.difference(other) {
        let ends = ends(path);
        let own = ends.iter().copied().find(|at| !shared.contains(&path[..*at]));
        let (folder, file) = match own.or(ends.last().copied()) {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => ("", *path),
        };
        folders.entry(folder.to_owned()).or_default().push(file.to_owned());
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_the_outermost_folder_that_is() {
        let one = BTreeSet::from(["a/b.py", "a/c/d/e.h", "a/c/f.h", "a/g/h.json", "i.py"]);
        let other = BTreeSet::from(["a/g/k.json"]);
        let missing = missing(&one, &other);
        let missing: Vec<_> =
            missing.iter().map(|(f, files)| (f.as_str(), files.join(" "))).collect();
        let want = [("", "i.py"), ("a", "b.py"), ("a/c", "d/e.h f.h"), ("a/g", "h.json")];
        assert_eq!(missing, want.map(|(folder, files)| (folder, files.to_owned())));
    }

    #[test]
    fn modules_are_the_same_for_whichever_python() {
        for path in ["a/_C.abi3.so", "a/_C.cpython-311-aarch64-linux-gnu.so", "a/_C.so"] {
            assert_eq!(without_abi(path), "a/_C.so");
        }
        assert_eq!(without_abi("lib/libx.so.1"), "lib/libx.so.1");
    }
}
