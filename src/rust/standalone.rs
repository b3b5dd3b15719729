//! Manifests that take nothing from a workspace: cargo looks for none above a crate that it finds
//! in a folder of crates.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, TomlError, Value};

use super::dependencies::TABLES;

/// What names files that stay with the workspace, and that no build reads.
const FILES: [&str; 2] = ["readme", "license-file"];

/// The manifest of the crate in the folder `member` of a workspace, with what it takes from there
/// written out.
pub(super) fn standalone(
    manifest: &str,
    workspace: &str,
    member: &Path,
) -> Result<String, TomlError> {
    let mut manifest: DocumentMut = manifest.parse()?;
    let workspace: DocumentMut = workspace.parse()?;
    let from = |name: &str| workspace.get("workspace").and_then(|table| table.get(name));
    if let Some(package) = manifest.get_mut("package").and_then(Item::as_table_like_mut) {
        for (key, item) in package.iter_mut() {
            let given = from("package").and_then(|table| table.get(key.get()));
            if let Some(given) = given.filter(|_| inherits(item)) {
                *item = given.clone();
            }
        }
        FILES.iter().for_each(|key| drop(package.remove(key)));
    }
    if manifest.get("lints").is_some_and(inherits) {
        manifest.remove("lints");
    }
    let up: PathBuf = member.iter().map(|_| "..").collect();
    each_table(&mut manifest, &mut |dependencies| {
        for (name, item) in dependencies.iter_mut() {
            let given = from("dependencies").and_then(|table| table.get(name.get()));
            if let Some(given) = given.filter(|_| inherits(item)) {
                let given = merged(given, item, &up);
                *item = Item::Value(Value::InlineTable(given));
            }
        }
    });
    Ok(manifest.to_string())
}

/// Calls a function with every table of dependencies, those for some targets only too.
fn each_table(manifest: &mut DocumentMut, with: &mut impl FnMut(&mut dyn TableLike)) {
    let mut tables = |owner: &mut dyn TableLike| {
        for name in TABLES {
            if let Some(table) = owner.get_mut(name).and_then(Item::as_table_like_mut) {
                with(table);
            }
        }
    };
    tables(manifest.as_table_mut());
    if let Some(targets) = manifest.get_mut("target").and_then(Item::as_table_like_mut) {
        for (_, target) in targets.iter_mut() {
            if let Some(target) = target.as_table_like_mut() {
                tables(target);
            }
        }
    }
}

fn inherits(item: &Item) -> bool {
    item.get("workspace").and_then(Item::as_bool).unwrap_or(false)
}

/// A workspace's dependency with what its member says of it: more features, whether it is optional,
/// and the default features where the workspace does without ("Inheriting a dependency from a
/// workspace").
fn merged(given: &Item, member: &Item, up: &Path) -> InlineTable {
    let mut table = match given.as_str() {
        Some(version) => InlineTable::from_iter([("version", version)]),
        None => given.clone().into_table().map(|t| t.into_inline_table()).unwrap_or_default(),
    };
    if let Some(path) = table.get("path").and_then(Value::as_str) {
        let path = up.join(path).display().to_string();
        table.insert("path", path.into());
    }
    let features = member.get("features").and_then(Item::as_array);
    if let Some(features) = features {
        let all = table.entry("features").or_insert(Value::Array(Default::default()));
        if let Some(all) = all.as_array_mut() {
            features.iter().for_each(|feature| all.push(feature.clone()));
        }
    }
    if member.get("default-features").and_then(Item::as_bool) == Some(true) {
        table.remove("default-features");
    }
    if let Some(optional) = member.get("optional").and_then(Item::as_bool) {
        table.insert("optional", optional.into());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::dependencies::paths;
    use super::*;

    #[test]
    fn what_a_workspace_gives_is_written_out() {
        let workspace = "[workspace]\nmembers = [\"crates/*\"]\n\n[workspace.package]\n\
             version = \"1.2.0\"\nedition = \"2024\"\nreadme = \"README.md\"\n\n\
             [workspace.dependencies]\nlibc = \"0.2\"\nown = { path = \"crates/own\" }\n\
             serde = { version = \"1\", default-features = false, features = [\"derive\"] }\n";
        let manifest = "# Kept.\n[package]\nname = \"a\"\nversion.workspace = true\n\
             edition = { workspace = true }\nreadme.workspace = true\n\n[lints]\nworkspace = true\n\n\
             [dependencies]\nown.workspace = true\nother = \"2\"\n\
             serde = { workspace = true, features = [\"rc\"], optional = true }\n\n\
             [target.'cfg(unix)'.dependencies]\nlibc = { workspace = true }\n";
        let text = standalone(manifest, workspace, Path::new("crates/a")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let package = table["package"].as_table().unwrap();
        assert_eq!(package["version"].as_str(), Some("1.2.0"));
        assert_eq!(package["edition"].as_str(), Some("2024"));
        assert!(!package.contains_key("readme") && !table.contains_key("lints"), "{text}");
        let dependencies = &table["dependencies"];
        assert_eq!(dependencies["own"]["path"].as_str(), Some("../../crates/own"));
        assert_eq!(dependencies["other"].as_str(), Some("2"));
        let serde = &dependencies["serde"];
        assert_eq!(serde["features"].as_array().unwrap().len(), 2);
        assert_eq!(serde["optional"].as_bool(), Some(true));
        assert_eq!(serde["default-features"].as_bool(), Some(false));
        let libc = &table["target"]["cfg(unix)"]["dependencies"]["libc"];
        assert_eq!(libc["version"].as_str(), Some("0.2"));
        assert!(text.starts_with("# Kept.\n"), "{text}");
        assert_eq!(paths(&text).unwrap(), ["../../crates/own"]);
    }

    #[test]
    fn a_manifest_that_takes_nothing_stays_as_it_is() {
        let manifest =
            "[package]\nname = \"a\"\nversion = \"1.0.0\"\n\n[dependencies]\nb = \"1\"\n";
        assert_eq!(standalone(manifest, "[workspace]\n", Path::new("a")).unwrap(), manifest);
    }
}
