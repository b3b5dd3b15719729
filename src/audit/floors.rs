//! The oldest libraries that a file runs with, from the symbol versions that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::elf::Elf;
use crate::target::Floors;

/// A version of a symbol set, such as the 3.4.33 of `GLIBCXX_3.4.33`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SymbolVersion(Vec<u32>);

impl FromStr for SymbolVersion {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('.').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for SymbolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl Serialize for SymbolVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SymbolVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of symbol versions that grows with its library's releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SymbolSet {
    /// glibc's `GLIBC_…`.
    Glibc,
    /// libstdc++'s `GLIBCXX_…`.
    Glibcxx,
    /// The C++ ABI's `CXXABI_…`, of libstdc++ too.
    Cxxabi,
    /// libgcc's `GCC_…`.
    Gcc,
}

impl SymbolSet {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Glibc, Self::Glibcxx, Self::Cxxabi, Self::Gcc];

    /// As the versions begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Glibc => "GLIBC_",
            Self::Glibcxx => "GLIBCXX_",
            Self::Cxxabi => "CXXABI_",
            Self::Gcc => "GCC_",
        }
    }

    /// The set and number of a symbol version; `None` for those that are not counted, such as
    /// `CXXABI_TM_1` and `GLIBC_PRIVATE`.
    pub fn parse(version: &str) -> Option<(Self, SymbolVersion)> {
        // A marker without symbols, which glibc 2.36 introduced with support for DT_RELR.
        if version == "GLIBC_ABI_DT_RELR" {
            return Some((Self::Glibc, SymbolVersion(vec![2, 36])));
        }
        Self::ALL.into_iter().find_map(|set| {
            let number = version.strip_prefix(set.prefix())?;
            Some((set, number.parse().ok()?))
        })
    }
}

/// The floors of one file or of several: the highest number needed of each set.
pub type Needs = BTreeMap<SymbolSet, SymbolVersion>;

/// What a file needs, leaving out what the shared objects `provided` beside it have to give.
pub fn needs(elf: &Elf, provided: &BTreeSet<String>) -> Needs {
    let mut needs = Needs::new();
    for (library, versions) in &elf.needed_versions {
        if provided.contains(library) {
            continue;
        }
        for (set, version) in versions.iter().filter_map(|v| SymbolSet::parse(v)) {
            raise(&mut needs, set, version);
        }
    }
    needs
}

/// Adds a need where it is higher than what is there.
pub fn raise(needs: &mut Needs, set: SymbolSet, version: SymbolVersion) {
    let floor = needs.entry(set).or_insert_with(|| version.clone());
    if *floor < version {
        *floor = version;
    }
}

/// A floor that is higher than what the target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Which set.
    pub set: SymbolSet,
    /// What is needed.
    pub needed: SymbolVersion,
    /// What the target has.
    pub limit: SymbolVersion,
    /// The symbols that need it, each with its version (`__isoc23_strtol@GLIBC_2.38`).
    pub symbols: Vec<String>,
}

/// The target's limits, by set. A number that cannot be read limits nothing.
pub fn limits(floors: &Floors) -> Needs {
    let sets = [
        (SymbolSet::Glibc, &floors.glibc),
        (SymbolSet::Glibcxx, &floors.glibcxx),
        (SymbolSet::Cxxabi, &floors.cxxabi),
    ];
    sets.into_iter().filter_map(|(set, text)| Some((set, text.parse().ok()?))).collect()
}

/// The floors of a file that are above the limits, and the symbols to blame.
pub fn exceeded(elf: &Elf, provided: &BTreeSet<String>, limits: &Needs) -> Vec<Exceeded> {
    let over =
        |set: SymbolSet, version: &SymbolVersion| limits.get(&set).is_some_and(|l| version > l);
    let mut found = Vec::new();
    for (set, needed) in needs(elf, provided) {
        if !over(set, &needed) {
            continue;
        }
        let too_new = |version: &&str| {
            SymbolSet::parse(version).is_some_and(|(s, v)| s == set && over(s, &v))
        };
        let symbols = elf.undefined.iter().filter_map(|symbol| {
            let version = symbol.version.as_deref().filter(too_new)?;
            Some(format!("{}@{version}", symbol.name))
        });
        let (limit, symbols) = (limits[&set].clone(), symbols.collect());
        found.push(Exceeded { set, needed, limit, symbols });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let version = |text: &str| text.parse::<SymbolVersion>().expect("numbers");
        assert!(version("2.9") < version("2.17"));
        assert!(version("3.4") < version("3.4.21"));
        assert_eq!(version("3.4.33").to_string(), "3.4.33");
    }

    #[test]
    fn only_counted_versions_are_parsed() {
        let glibc = SymbolSet::parse("GLIBC_2.34").expect("counted");
        assert_eq!(glibc, (SymbolSet::Glibc, SymbolVersion(vec![2, 34])));
        assert_eq!(
            SymbolSet::parse("GLIBC_ABI_DT_RELR").map(|v| v.1.to_string()),
            Some("2.36".into())
        );
        for name in ["GLIBC_PRIVATE", "CXXABI_TM_1", "CXXABI_FLOAT128", "ZLIB_1.2", "GLIBCXX_", ""]
        {
            assert_eq!(SymbolSet::parse(name), None, "{name}");
        }
    }
}
