//! What manifests depend on (the Cargo Book, "Specifying Dependencies").

use toml_edit::{Document, Item, TableLike, TomlError};

/// The tables of dependencies.
pub(super) const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// The dependencies of a manifest, by their keys: those for some targets only too, and those that a
/// workspace has for its members.
pub(crate) fn dependencies<S>(manifest: &Document<S>) -> Vec<(&str, &Item)> {
    let root = manifest.as_table();
    let within = |key: &str| root.get(key).and_then(Item::as_table_like);
    let targets = within("target").into_iter().flat_map(TableLike::iter);
    let targets = targets.filter_map(|(_, target)| target.as_table_like());
    let owners = [root as &dyn TableLike].into_iter().chain(within("workspace")).chain(targets);
    let tables = owners.flat_map(|owner| TABLES.iter().filter_map(|name| owner.get(name)));
    tables.filter_map(Item::as_table_like).flat_map(TableLike::iter).collect()
}

/// The crate that a dependency is of, which may have another key.
pub(crate) fn krate<'a>(key: &'a str, item: &'a Item) -> &'a str {
    item.get("package").and_then(Item::as_str).unwrap_or(key)
}

/// The folders of the crates that a manifest depends on, relative to its own.
pub(super) fn paths(manifest: &str) -> Result<Vec<String>, TomlError> {
    let manifest = Document::parse(manifest)?;
    let paths = dependencies(&manifest).into_iter();
    Ok(paths.filter_map(|(_, item)| Some(item.get("path")?.as_str()?.to_owned())).collect())
}

/// The crates that a manifest takes from a registry that it names, and that name.
pub(super) fn registries(manifest: &str) -> Result<Vec<(String, String)>, TomlError> {
    let manifest = Document::parse(manifest)?;
    let named = dependencies(&manifest).into_iter().filter_map(|(key, item)| {
        let registry = item.get("registry")?.as_str()?;
        Some((krate(key, item).to_owned(), registry.to_owned()))
    });
    Ok(named.collect())
}
