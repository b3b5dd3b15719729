//! Whether ld.so finds the libraries that a wheel brings for itself.
//!
//! Source: `ld.so(8)`: `DT_RUNPATH` serves the file that has it; `DT_RPATH` also what that file
//! loads, so that here the RPATH of any file counts for all.

use std::collections::BTreeSet;

use super::elf::Elf;
use super::report::{Code, Violation};

/// Files that need a library of the wheel, to whose folder no RUNPATH leads. A package may load it
/// first, by path, after which its SONAME is known: no violation, then.
pub(super) fn notes(files: &[(&str, &Elf)]) -> Vec<Violation> {
    let rpaths: BTreeSet<String> =
        files.iter().flat_map(|(path, elf)| folders(path, &elf.rpath)).collect();
    let mut notes = Vec::new();
    for (path, elf) in files {
        let searched: BTreeSet<String> =
            folders(path, &elf.runpath).chain(rpaths.iter().cloned()).collect();
        for needed in &elf.needed {
            let own = files.iter().filter(|(path, elf)| is_named(path, elf, needed));
            let there: BTreeSet<&str> = own.map(|(path, _)| folder(path)).collect();
            if there.is_empty() || there.iter().any(|folder| searched.contains(*folder)) {
                continue;
            }
            let there = there.into_iter().map(|folder| format!("`{folder}/{needed}`"));
            let message = format!(
                "it needs {}, and its RUNPATH does not lead there",
                there.collect::<Vec<_>>().join(" or ")
            );
            let hint = "set `$ORIGIN` with the way from one to the other, or have the package load \
                        the library first";
            notes.push(Violation::new(Code::RunpathLacks, path, message).hint(hint));
        }
    }
    notes
}

/// Whether ld.so looks for a file under this name.
fn is_named(path: &str, elf: &Elf, name: &str) -> bool {
    path.rsplit('/').next() == Some(name) || elf.soname.as_deref() == Some(name)
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Folders of the wheel that entries of a RUNPATH mean.
fn folders<'a>(path: &'a str, entries: &'a [String]) -> impl Iterator<Item = String> + 'a {
    entries.iter().filter_map(|entry| {
        let below = entry.strip_prefix("$ORIGIN").or_else(|| entry.strip_prefix("${ORIGIN}"))?;
        let mut parts: Vec<&str> = folder(path).split('/').filter(|p| !p.is_empty()).collect();
        for part in below.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        Some(parts.join("/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a module that needs a library in `a.libs`.
    fn missed(path: &str, rpath: &[&str], runpath: &[&str]) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut module = Elf::module(Some("m"));
        module.needed = owned(&["libb-1.so.2", "libc.so.6"]);
        module.rpath = owned(rpath);
        module.runpath = owned(runpath);
        let files = [(path, &module), ("a.libs/libb-1.so.2", &Elf::module(None))];
        notes(&files).into_iter().map(|note| note.message).collect()
    }

    #[test]
    fn a_library_is_found_through_either_tag() {
        let way = ["$ORIGIN/../../x/../a.libs/."];
        for (path, rpath, runpath) in [
            ("p/sub/m.so", &[][..], &way[..]),
            ("p/sub/m.so", &way, &[]),
            ("a.libs/m.so", &[], &["${ORIGIN}"]),
        ] {
            assert_eq!(missed(path, rpath, runpath), [""; 0]);
        }
    }

    #[test]
    fn one_that_is_elsewhere_is_named_with_its_folder() {
        let expected = "it needs `a.libs/libb-1.so.2`, and its RUNPATH does not lead there";
        assert_eq!(missed("p/m.so", &[], &[]), [expected]);
        assert_eq!(missed("p/m.so", &[], &["$ORIGIN", "/a.libs"]), [expected]);
    }
}
