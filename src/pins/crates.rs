//! `Cargo.toml`: requirements on crates, which become what was asked for, and nothing else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml_edit::{Document, Item};

use super::plan::edited;
use super::site::line_of;
use super::{Pin, PinError, Plan};
use crate::patch::files_of;
use crate::rust::dependencies::{dependencies, krate};

const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";
const ASKED: &str = "asked for";

/// Reads `NAME=REQUIREMENT`, such as `pyo3=0.29` or `time==0.3.47`, where the requirement is cargo's.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_crate(text: &str) -> Result<(String, String), String> {
    let (name, requirement) = text.split_once('=').ok_or("`NAME=REQUIREMENT` is expected")?;
    let (name, requirement) = (name.trim(), requirement.trim());
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    match (!name.is_empty() && name.chars().all(is_name), requirement.is_empty()) {
        (true, false) => Ok((name.to_owned(), requirement.to_owned())),
        (false, _) => Err(format!("`{name}` is no name of a crate")),
        (true, true) => Err(format!("a requirement on `{name}` is expected, such as `0.29`")),
    }
}

/// The one version that a requirement takes: `=1.2.3`.
pub(crate) fn exact(requirement: &str) -> Option<&str> {
    let version = requirement.strip_prefix('=')?.trim();
    (version.split('.').count() >= 3 && !version.contains([',', '*'])).then_some(version)
}

/// Looks for these crates in every manifest of a tree. Those that only other crates require can have
/// one version, which `Cargo.lock` gets.
pub(super) fn plan(tree: &Path, rules: &BTreeMap<String, String>) -> Result<Plan, PinError> {
    let mut plan = Plan::default();
    if rules.is_empty() {
        return Ok(plan);
    }
    let files = files_of(tree)?;
    let named = |name: &'static str| {
        files.iter().filter(move |path| path.file_name().is_some_and(|n| n == name))
    };
    for path in named(MANIFEST) {
        // A crate of a registry that the source brings along is none of its own.
        if tree.join(path).with_file_name(".cargo-checksum.json").exists() {
            continue;
        }
        let text = fs_err::read_to_string(tree.join(path))?;
        let (pins, edits) = of_manifest(&text, &path.display().to_string(), rules);
        plan.pins.extend(pins);
        if !edits.is_empty() {
            plan.files.insert(path.clone(), edited(&text, edits).into_bytes());
        }
    }
    for (name, requirement) in rules {
        if plan.pins.iter().any(|pin| same(&pin.name, name)) {
            continue;
        }
        let mut found = Vec::new();
        if let Some(version) = exact(requirement) {
            for path in named(LOCK) {
                let text = fs_err::read_to_string(tree.join(path))?;
                found.extend(of_lock(&text, &path.display().to_string(), name, version));
            }
        }
        if found.is_empty() {
            return Err(PinError::UnmatchedCrate { name: name.clone() });
        }
        plan.pins.extend(found);
    }
    Ok(plan)
}

/// cargo and its registry take both for one name.
fn same(one: &str, other: &str) -> bool {
    one.replace('_', "-") == other.replace('_', "-")
}

type Edits = Vec<(Range<usize>, String)>;

/// What a manifest that is none requires is cargo's to say.
fn of_manifest(text: &str, file: &str, rules: &BTreeMap<String, String>) -> (Vec<Pin>, Edits) {
    let (mut pins, mut edits) = (Vec::new(), Vec::new());
    let Ok(manifest) = Document::parse(text) else { return (pins, edits) };
    for (key, item) in dependencies(&manifest) {
        let name = krate(key, item);
        let Some((_, requirement)) = rules.iter().find(|(rule, _)| same(rule, name)) else {
            continue;
        };
        let version = match item.is_str() {
            true => Some(item),
            false => item.get("version"),
        };
        let Some((now, span)) = version.and_then(|v| Some((v.as_str()?, v.span()?))) else {
            // What a workspace says stands in its own manifest.
            if item.get("workspace").and_then(Item::as_bool) != Some(true) {
                let place = ["git", "path"].into_iter().find_map(|key| item.get(key)?.as_str());
                let now = place.unwrap_or_default().to_owned();
                let line = item.span().map_or(1, |span| line_of(text, span.start));
                let (file, name, then) = (file.to_owned(), name.to_owned(), Some(now.clone()));
                let why = "it is taken from there, whatever its version".to_owned();
                pins.push(Pin { file, line, name, now, then, why });
            }
            continue;
        };
        pins.push(Pin {
            file: file.to_owned(),
            line: line_of(text, span.start),
            name: name.to_owned(),
            now: now.to_owned(),
            then: Some(requirement.clone()),
            why: ASKED.to_owned(),
        });
        if now != requirement {
            edits.push((span, toml_edit::value(requirement).to_string()));
        }
    }
    pins.sort_by_key(|pin| pin.line);
    (pins, edits)
}

fn of_lock(text: &str, file: &str, name: &str, version: &str) -> Option<Pin> {
    let lock = Document::parse(text).ok()?;
    let mut packages = lock.get("package")?.as_array_of_tables()?.iter();
    let package = packages.find(|package| {
        let found = package.get("name").and_then(Item::as_str);
        found.is_some_and(|found| same(found, name)) && package.contains_key("source")
    })?;
    let now = package.get("version")?;
    Some(Pin {
        file: file.to_owned(),
        line: line_of(text, now.span()?.start),
        name: name.to_owned(),
        now: now.as_str()?.to_owned(),
        then: Some(version.to_owned()),
        why: format!("{ASKED}; only other crates require it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[workspace]\nmembers = [\"a\"]\n\n[workspace.dependencies]\n\
        pyo3 = { version = '0.28', features = [\"abi3\"] } # why\n\n[dependencies]\npyo3.workspace = true\n\
        py = { package = \"pyo3\", version = \"0.27\" }\nlibc = \"0.2\"\n\n\
        [target.'cfg(unix)'.dependencies.pyo3]\ngit = \"https://example.com/pyo3\"\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs_err::write(tree.path().join(file), text).unwrap();
        }
        tree
    }

    fn rules(rules: &[(&str, &str)]) -> BTreeMap<String, String> {
        rules.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn a_requirement_changes_in_place_wherever_it_stands() {
        let tree = tree(&[(MANIFEST, TEXT)]);
        let plan = plan(tree.path(), &rules(&[("pyo3", "0.29")])).unwrap();
        let found: Vec<_> = plan
            .pins
            .iter()
            .map(|pin| (pin.line, pin.now.as_str(), pin.then.as_deref().unwrap()))
            .collect();
        let url = "https://example.com/pyo3";
        assert_eq!(found, [(5, "0.28", "0.29"), (9, "0.27", "0.29"), (12, url, url)]);
        let expected = TEXT.replace("'0.28'", "\"0.29\"").replace("\"0.27\"", "\"0.29\"");
        let [(path, content)] = plan.files.iter().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((path.to_str(), content.as_slice()), (Some(MANIFEST), expected.as_bytes()));
        let same = super::plan(tree.path(), &rules(&[("libc", "0.2")])).unwrap();
        assert!(same.files.is_empty() && !same.pins[0].changes());
    }

    #[test]
    fn what_others_require_can_have_one_version_only() {
        let lock = "[[package]]\nname = \"time\"\nversion = \"0.3.1\"\nsource = \"registry+x\"\n";
        let tree = tree(&[(MANIFEST, TEXT), (LOCK, lock)]);
        let found = plan(tree.path(), &rules(&[("time", "=0.3.47")])).unwrap();
        assert!(found.files.is_empty());
        assert_eq!((found.pins[0].line, found.pins[0].now.as_str()), (3, "0.3.1"));
        for missing in [("time", "0.3.47"), ("nosuch", "=1.0.0")] {
            let error = plan(tree.path(), &rules(&[missing])).unwrap_err();
            assert!(matches!(error, PinError::UnmatchedCrate { .. }), "{error}");
        }
    }

    #[test]
    fn rules_are_read() {
        assert_eq!(parse_crate("pyo3=0.29"), Ok(("pyo3".into(), "0.29".into())));
        assert_eq!(parse_crate("time==0.3.47").unwrap().1, "=0.3.47");
        for text in ["pyo3", "=1", "py o3=1", "pyo3="] {
            assert!(parse_crate(text).is_err(), "{text}");
        }
        assert_eq!(exact("=1.2.3-rc.1"), Some("1.2.3-rc.1"));
        assert_eq!([exact("1.2.3"), exact("=1.2"), exact("=1.2.3, <2")], [None; 3]);
    }
}
