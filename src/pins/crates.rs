//! `Cargo.toml`: requirements on crates, which become what was asked for, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml_edit::{Document, Item};

use super::plan::edited;
use super::site::line_of;
use super::{Pin, PinError, Plan};
use crate::patch::files_of;
use crate::rust::dependencies::{dependencies, krate};

const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";
const ASKED: &str = "asked for";

/// What becomes of requirements on a crate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct CratePin {
    /// The requirement, as cargo writes it; its own where there is none.
    pub version: Option<String>,
    /// Features beside those that are asked for.
    pub features: BTreeSet<String>,
}

/// As recipes and manifests have it: a requirement alone, or a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Version(String),
    Table(Table),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    features: BTreeSet<String>,
}

impl From<Written> for CratePin {
    fn from(written: Written) -> Self {
        match written {
            Written::Version(version) => Self { version: Some(version), ..Self::default() },
            Written::Table(Table { version, features }) => Self { version, features },
        }
    }
}

impl From<CratePin> for Written {
    fn from(CratePin { version, features }: CratePin) -> Self {
        match version {
            Some(version) if features.is_empty() => Self::Version(version),
            version => Self::Table(Table { version, features }),
        }
    }
}

/// Reads `NAME=REQUIREMENT`, `NAME[FEATURE,…]` or both, such as `pyo3=0.29`, `time==0.3.47` or
/// `openssl-sys[vendored]`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_crate(text: &str) -> Result<(String, CratePin), String> {
    let (named, version) = match text.split_once('=') {
        Some((named, version)) => (named, Some(version.trim().to_owned())),
        None => (text, None),
    };
    let (name, features) = match named.trim().strip_suffix(']') {
        Some(named) => named.split_once('[').ok_or("a `[` is expected before `]`")?,
        None => (named, ""),
    };
    let features = features.split(',').map(str::trim).filter(|feature| !feature.is_empty());
    let features: BTreeSet<_> = features.map(str::to_owned).collect();
    let name = name.trim();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(format!("`{name}` is no name of a crate"));
    }
    if version.as_ref().map_or(features.is_empty(), String::is_empty) {
        return Err(format!("`{name}=REQUIREMENT` or `{name}[FEATURE]` is expected"));
    }
    Ok((name.to_owned(), CratePin { version, features }))
}

/// The one version that a requirement takes: `=1.2.3`.
pub(crate) fn exact(requirement: &str) -> Option<&str> {
    let version = requirement.strip_prefix('=')?.trim();
    (version.split('.').count() >= 3 && !version.contains([',', '*'])).then_some(version)
}

/// Looks for these crates in every manifest of a tree. Those that only other crates require can have
/// one version, which `Cargo.lock` gets.
pub(super) fn plan(tree: &Path, rules: &BTreeMap<String, CratePin>) -> Result<Plan, PinError> {
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
    for (name, rule) in rules {
        if plan.pins.iter().any(|pin| same(&pin.name, name)) {
            continue;
        }
        let mut found = Vec::new();
        if let Some(version) = rule.version.as_deref().and_then(exact) {
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
fn of_manifest(text: &str, file: &str, rules: &BTreeMap<String, CratePin>) -> (Vec<Pin>, Edits) {
    let (mut pins, mut edits) = (Vec::new(), Vec::new());
    let Ok(manifest) = Document::parse(text) else { return (pins, edits) };
    for (key, item) in dependencies(&manifest) {
        let name = krate(key, item);
        let Some((_, rule)) = rules.iter().find(|(rule, _)| same(rule, name)) else { continue };
        // What a workspace says stands in its own manifest.
        if item.get("workspace").and_then(Item::as_bool) == Some(true) {
            continue;
        }
        let Some(Changed { at, now, then, edits: more }) = changed(text, key, item, rule) else {
            continue;
        };
        let why = match rule.version.is_some() && item.get("version").is_none() && !item.is_str() {
            true => "it is taken from there, whatever its version".to_owned(),
            false => ASKED.to_owned(),
        };
        let (file, line, name) = (file.to_owned(), line_of(text, at), name.to_owned());
        pins.push(Pin { file, line, name, now, then: Some(then), why });
        edits.extend(more);
    }
    pins.sort_by_key(|pin| pin.line);
    (pins, edits)
}

/// A requirement, as it is and as it will be.
struct Changed {
    at: usize,
    now: String,
    then: String,
    edits: Edits,
}

fn changed(text: &str, key: &str, item: &Item, rule: &CratePin) -> Option<Changed> {
    let shown = |requirement: &str, features: &[&str]| match features {
        [] => requirement.to_owned(),
        features => format!("{requirement} [{}]", features.join(", ")),
    };
    let written = if item.is_str() { Some(item) } else { item.get("version") };
    let place = || ["git", "path"].into_iter().find_map(|key| item.get(key));
    let requirement = written.or_else(place)?;
    let (now, span) = (requirement.as_str()?, requirement.span()?);
    let list = item.get("features").and_then(Item::as_array);
    let has: Vec<_> = list.into_iter().flatten().filter_map(|feature| feature.as_str()).collect();
    let more: Vec<_> =
        rule.features.iter().map(String::as_str).filter(|f| !has.contains(f)).collect();
    let then = rule.version.as_deref().filter(|_| written.is_some()).unwrap_or(now);
    let quoted = |text: &str| toml_edit::Value::from(text).to_string();
    let features = || more.iter().map(|f| quoted(f)).collect::<Vec<_>>().join(", ");
    let mut edits = Edits::new();
    if then != now && (!item.is_str() || more.is_empty()) {
        edits.push((span.clone(), quoted(then)));
    }
    if !more.is_empty() {
        edits.push(match list.and_then(|list| list.span()) {
            // Behind the bracket: a comma may stand before the closing one.
            Some(list) => {
                let comma = if has.is_empty() { "" } else { ", " };
                (list.start + 1..list.start + 1, format!("{}{comma}", features()))
            }
            None if item.is_str() => {
                let table =
                    format!("{{ version = {}, features = [{}] }}", quoted(then), features());
                (span.clone(), table)
            }
            None if item.is_inline_table() => {
                (span.end..span.end, format!(", features = [{}]", features()))
            }
            None => {
                let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at);
                // `name.version = "1"`, or a table of its own.
                let dotted = item.as_table().is_some_and(toml_edit::Table::is_dotted);
                let key = if dotted { format!("{key}.") } else { String::new() };
                (end..end, format!("\n{key}features = [{}]", features()))
            }
        });
    }
    let all: Vec<_> = more.iter().chain(&has).copied().collect();
    let (at, now, then) = (span.start, shown(now, &has), shown(then, &all));
    Some(Changed { at, now, then, edits })
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

    fn rules(rules: &[&str]) -> BTreeMap<String, CratePin> {
        rules.iter().map(|rule| parse_crate(rule).unwrap()).collect()
    }

    #[test]
    fn a_requirement_changes_in_place_wherever_it_stands() {
        let tree = tree(&[(MANIFEST, TEXT)]);
        let plan = plan(tree.path(), &rules(&["pyo3=0.29"])).unwrap();
        let found: Vec<_> = plan
            .pins
            .iter()
            .map(|pin| (pin.line, pin.now.as_str(), pin.then.as_deref().unwrap()))
            .collect();
        let url = "https://example.com/pyo3";
        assert_eq!(found, [(5, "0.28 [abi3]", "0.29 [abi3]"), (9, "0.27", "0.29"), (13, url, url)]);
        let expected = TEXT.replace("'0.28'", "\"0.29\"").replace("\"0.27\"", "\"0.29\"");
        let [(path, content)] = plan.files.iter().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((path.to_str(), content.as_slice()), (Some(MANIFEST), expected.as_bytes()));
        let same = super::plan(tree.path(), &rules(&["libc=0.2"])).unwrap();
        assert!(same.files.is_empty() && !same.pins[0].changes());
    }

    #[test]
    fn features_are_added_in_every_form() {
        for (before, after) in [
            ("a = \"1\" # why\n", "a = { version = \"1\", features = [\"x\", \"y\"] } # why\n"),
            ("a = { version = \"1\" }\n", "a = { version = \"1\", features = [\"x\", \"y\"] }\n"),
            (
                "a = { version = \"1\", features = [\"z\", \"x\",] }\n",
                "a = { version = \"1\", features = [\"y\", \"z\", \"x\",] }\n",
            ),
            (
                "a = { path = \"a\", features = [] }\n",
                "a = { path = \"a\", features = [\"x\", \"y\"] }\n",
            ),
            ("a.version = \"1\"\n", "a.version = \"1\"\na.features = [\"x\", \"y\"]\n"),
        ] {
            let text = format!("[dependencies]\n{before}");
            let tree = tree(&[(MANIFEST, &text)]);
            let plan = plan(tree.path(), &rules(&["a[x,y]"])).unwrap();
            let changed = plan.files.values().next().unwrap();
            assert_eq!(std::str::from_utf8(changed).unwrap(), format!("[dependencies]\n{after}"));
        }
        let table = "[dependencies.a]\nversion = \"1\" # why\noptional = true\n";
        let tree = tree(&[(MANIFEST, table)]);
        let plan = plan(tree.path(), &rules(&["a[x]=2"])).unwrap();
        let changed = plan.files.values().next().unwrap();
        let expected =
            "[dependencies.a]\nversion = \"2\" # why\nfeatures = [\"x\"]\noptional = true\n";
        assert_eq!(std::str::from_utf8(changed).unwrap(), expected);
        assert_eq!(plan.pins[0].then.as_deref(), Some("2 [x]"));
    }

    #[test]
    fn what_others_require_can_have_one_version_only() {
        let lock = "[[package]]\nname = \"time\"\nversion = \"0.3.1\"\nsource = \"registry+x\"\n";
        let tree = tree(&[(MANIFEST, TEXT), (LOCK, lock)]);
        let found = plan(tree.path(), &rules(&["time==0.3.47"])).unwrap();
        assert!(found.files.is_empty());
        assert_eq!((found.pins[0].line, found.pins[0].now.as_str()), (3, "0.3.1"));
        for missing in ["time=0.3.47", "nosuch==1.0.0", "time[std]"] {
            let error = plan(tree.path(), &rules(&[missing])).unwrap_err();
            assert!(matches!(error, PinError::UnmatchedCrate { .. }), "{error}");
        }
    }

    #[test]
    fn rules_are_read() {
        let parsed = |text: &str| {
            let (name, pin) = parse_crate(text).unwrap();
            let json = serde_json::to_string(&pin).unwrap();
            assert_eq!(serde_json::from_str::<CratePin>(&json).unwrap(), pin);
            format!("{name} {json}")
        };
        assert_eq!(parsed("pyo3=0.29"), "pyo3 \"0.29\"");
        assert_eq!(parsed("time==0.3.47"), "time \"=0.3.47\"");
        assert_eq!(parsed("a[x, y]"), "a {\"features\":[\"x\",\"y\"]}");
        assert_eq!(parsed("a[x]=1"), "a {\"version\":\"1\",\"features\":[\"x\"]}");
        for text in ["pyo3", "=1", "py o3=1", "pyo3=", "a[]", "a]=1"] {
            assert!(parse_crate(text).is_err(), "{text}");
        }
        assert_eq!(exact("=1.2.3-rc.1"), Some("1.2.3-rc.1"));
        assert_eq!([exact("1.2.3"), exact("=1.2"), exact("=1.2.3, <2")], [None; 3]);
    }
}
