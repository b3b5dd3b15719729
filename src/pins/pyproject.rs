//! `pyproject.toml`: the requirements in its tables (PEP 518, PEP 621, PEP 735).

use std::collections::BTreeSet;
use std::ops::Range;

use pep508_rs::PackageName;
use toml_edit::{Array, Document, Item, TableLike, Value};

use super::site::{Form, Place, Site, item_with_separator};

/// What a `pyproject.toml` says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Requirements.
    pub(super) sites: Vec<Site>,
    /// Requirements files from which setuptools takes dependencies.
    pub(super) files: Vec<String>,
}

/// Looks for requirements on packages of these names. A file that is no TOML has none: that is for
/// others to say.
pub(super) fn find(text: &str, names: &BTreeSet<PackageName>) -> Found {
    let Ok(document) = Document::parse(text) else { return Found::default() };
    let root = document.as_table();
    let mut found = Found::default();
    let mut list = |item: Option<&Item>, place| {
        if let Some(array) = item.and_then(Item::as_array) {
            found.sites.extend(sites(text, array, place, names));
        }
    };
    list(at(root, &["build-system", "requires"]), Place::Build);
    list(at(root, &["project", "dependencies"]), Place::Run);
    for group in [&["project", "optional-dependencies"][..], &["dependency-groups"]] {
        for (_, item) in table(root, group).into_iter().flat_map(TableLike::iter) {
            list(Some(item), Place::Perhaps);
        }
    }
    let dynamic = ["tool", "setuptools", "dynamic"];
    let named = |keys: &[&str]| at(root, &[&dynamic[..], keys, &["file"]].concat());
    found.files.extend(named(&["dependencies"]).into_iter().flat_map(strings));
    let groups = table(root, &[&dynamic[..], &["optional-dependencies"]].concat());
    for (group, _) in groups.into_iter().flat_map(TableLike::iter) {
        let files = named(&["optional-dependencies", group]);
        found.files.extend(files.into_iter().flat_map(strings));
    }
    found
}

fn at<'a>(root: &'a dyn TableLike, path: &[&str]) -> Option<&'a Item> {
    let (last, path) = path.split_last()?;
    table(root, path)?.get(last)
}

fn table<'a>(root: &'a dyn TableLike, path: &[&str]) -> Option<&'a dyn TableLike> {
    path.iter().try_fold(root, |table, key| table.get(key)?.as_table_like())
}

/// A string, or a list of them.
fn strings(item: &Item) -> Vec<String> {
    match item.as_array() {
        Some(array) => array.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => item.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn sites<'a>(
    text: &'a str,
    array: &'a Array,
    place: Place,
    names: &'a BTreeSet<PackageName>,
) -> impl Iterator<Item = Site> + 'a {
    array.iter().filter_map(move |value| {
        let (value, literal) = (value.as_str()?, value.span()?);
        let (inner, escaped) = inside(text, literal.clone(), value)?;
        let mut site = Site::requirement(value.to_owned(), inner, place, names)?
            .within(item_with_separator(text, literal));
        if let Form::Requirement { escaped: form, .. } = &mut site.form {
            *form = escaped;
        }
        Some(site)
    })
}

/// Where a string's content stands, and whether it is written with escapes.
fn inside(text: &str, literal: Range<usize>, value: &str) -> Option<(Range<usize>, bool)> {
    let raw = text.get(literal.clone())?;
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes))?;
    let inner = literal.start + quotes.len()..literal.end - quotes.len();
    let escaped = text.get(inner.clone())? != value;
    // Only a basic string has escapes; a longer one may also begin with a line break, and then
    // what stands there is not the value.
    (!escaped || quotes == "\"").then_some((inner, escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[build-system]
requires = ["setuptools", "torch == 2.9.1", # pinned
    'torch[opt]~=2.9; python_version < "3.13"']
[project]
dependencies = ["torch>=2.7,<2.8", "Torch ; sys_platform == \"linux\"", "numpy"]
optional-dependencies = { vision = ["torchvision==0.24.1"] }
[dependency-groups]
test = [{ include-group = "x" }, "torchaudio @ https://x.example/a.whl"]
[tool.setuptools.dynamic]
dependencies = { file = ["requirements/run.txt"] }
optional-dependencies.dev = { file = "requirements/dev.txt" }
"#;

    #[test]
    fn every_table_is_read() {
        let names = crate::pins::scan::family();
        let found = find(TEXT, &names);
        let texts: Vec<_> = found.sites.iter().map(|s| (s.text.as_str(), s.place)).collect();
        assert_eq!(
            texts,
            [
                ("torch == 2.9.1", Place::Build),
                ("torch[opt]~=2.9; python_version < \"3.13\"", Place::Build),
                ("torch>=2.7,<2.8", Place::Run),
                ("Torch ; sys_platform == \"linux\"", Place::Run),
                ("torchvision==0.24.1", Place::Perhaps),
                ("torchaudio @ https://x.example/a.whl", Place::Perhaps),
            ]
        );
        for site in &found.sites {
            let Form::Requirement { escaped, .. } = site.form else { panic!("{site:?}") };
            assert_eq!(TEXT[site.span.clone()] == site.text, !escaped);
        }
        assert_eq!(found.files, ["requirements/run.txt", "requirements/dev.txt"]);
        assert!(find("[build-system", &names).sites.is_empty());
    }
}
