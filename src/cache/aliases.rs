//! Names of components that are the same in every store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

/// The folders of relocated components have names that depend on where the store is, since their
/// executables hold it. In entries they have names that do not, of the same length: so text and
/// binaries can be renamed in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Aliases(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Aliases {
    /// Of a folder's name here, and the name that it has in entries.
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let same_length = |(here, common): &(String, String)| here.len() == common.len();
        Self(pairs.into_iter().filter(same_length).collect())
    }
}

impl Aliases {
    /// What renames to common names.
    pub(crate) fn to_common(&self) -> Renamer {
        Renamer::new(self.0.iter().map(|(here, common)| (here.as_str(), common.as_str())))
    }

    /// What renames to the names here.
    pub(crate) fn to_local(&self) -> Renamer {
        Renamer::new(self.0.iter().map(|(here, common)| (common.as_str(), here.as_str())))
    }
}

/// Renames components, one way.
pub(crate) struct Renamer {
    names: BTreeMap<Vec<u8>, Vec<u8>>,
    pattern: Option<Regex>,
}

impl Renamer {
    fn new<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let names: BTreeMap<Vec<u8>, Vec<u8>> =
            pairs.filter(|(from, to)| from != to).map(|(a, b)| (a.into(), b.into())).collect();
        let words = names.keys().map(|name| regex::escape(&String::from_utf8_lossy(name)));
        let words: Vec<String> = words.collect();
        let pattern = Regex::new(&words.join("|")).ok().filter(|_| !words.is_empty());
        Self { names, pattern }
    }

    /// In bytes, whatever they are.
    pub(crate) fn rename(&self, bytes: &mut [u8]) {
        let Some(pattern) = &self.pattern else { return };
        let places: Vec<_> = pattern.find_iter(bytes).map(|found| found.range()).collect();
        for place in places {
            if let Some(name) = self.names.get(&bytes[place.clone()]) {
                bytes[place].copy_from_slice(name);
            }
        }
    }

    /// In a path.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStringExt as _;
        let mut bytes = path.as_os_str().to_owned().into_vec();
        self.rename(&mut bytes);
        std::ffi::OsString::from_vec(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let pairs = [("gcc-0123", "gcc-abcd"), ("cuda-1", "cuda-2"), ("odd", "longer")];
        let aliases: Aliases =
            pairs.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let here = b"\0-I/s/components/gcc-0123/x:cuda-1 odd gcc-0124\xff".to_vec();
        let mut bytes = here.clone();
        aliases.to_common().rename(&mut bytes);
        assert_eq!(bytes, b"\0-I/s/components/gcc-abcd/x:cuda-2 odd gcc-0124\xff");
        aliases.to_local().rename(&mut bytes);
        assert_eq!(bytes, here);
        Aliases::default().to_common().rename(&mut bytes);
        assert_eq!(bytes, here);
    }
}
