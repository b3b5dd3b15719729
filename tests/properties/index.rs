//! Pages of the Python index: HTML (PEP 503) and JSON (PEP 691) of one project say the same.

use crosswheel::artifact::Sha256;
use crosswheel::net::Page;
use crosswheel::registry::{File, simple};
use proptest::prelude::*;
use serde_json::json;

/// A file as an index has it.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    folder: &'static str,
    sha256: Option<Sha256>,
    requires_python: Option<String>,
    /// Empty where no reason is given.
    yanked: Option<String>,
    size: u64,
}

fn entry() -> impl Strategy<Value = Entry> {
    // The last are names that no client may write.
    let name = prop_oneof![
        4 => "[a-z0-9]{1,6}-[0-9.]{1,4}(\\+cu[0-9]{1,3})?(\\.tar\\.gz|-py3-none-any\\.whl)",
        2 => "[a-zé&%#?+<>\"'; =]{1,10}",
        1 => "[-.][a-z]{1,4}",
    ];
    let folder = prop::sample::select(vec!["/f/", "../../f/", "https://files.example/a/", ""]);
    let reason = "[ -~é]{0,12}";
    let specifier = "(>=|<|~=|!=)[0-9.]{1,4}(,<[0-9]{1,2})?";
    let digest = prop::option::of(any::<[u8; 4]>().prop_map(Sha256::of));
    let (yanked, python) = (prop::option::of(reason), prop::option::of(specifier));
    (name, folder, digest, python, yanked, any::<u32>()).prop_map(
        |(name, folder, sha256, requires_python, yanked, size)| Entry {
            name,
            folder,
            sha256,
            requires_python,
            yanked,
            size: size.into(),
        },
    )
}

/// A name as a part of a URL's path: every byte that is not plain as `%` and its number.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().map(encode).collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&#62;");
    text.replace('"', "&quot;").replace('\'', "&#x27;")
}

fn html(entries: &[Entry]) -> String {
    let mut page = "<!DOCTYPE html><html><body><!-- <a href=\"x\"> -->\n".to_owned();
    for entry in entries {
        let digest = entry.sha256.map(|digest| format!("#sha256={digest}")).unwrap_or_default();
        let href = format!("{}{}{digest}", entry.folder, encoded(&entry.name));
        page.push_str(&format!("<a href=\"{}\"", escaped(&href)));
        if let Some(python) = &entry.requires_python {
            page.push_str(&format!(" data-requires-python='{}'", escaped(python)));
        }
        match &entry.yanked {
            Some(reason) if reason.is_empty() => page.push_str(" data-yanked"),
            Some(reason) => page.push_str(&format!(" data-yanked=\"{}\"", escaped(reason))),
            None => {}
        }
        page.push_str(&format!(">{}</a><br/>\n", escaped(&entry.name)));
    }
    page + "</body></html>"
}

fn json(entries: &[Entry]) -> String {
    let file = |entry: &Entry| {
        let hashes = match &entry.sha256 {
            Some(digest) => json!({ "sha256": digest.to_string() }),
            None => json!({}),
        };
        let yanked = match &entry.yanked {
            None => json!(false),
            Some(reason) if reason.is_empty() => json!(true),
            Some(reason) => json!(reason),
        };
        json!({
            "filename": entry.name,
            "url": format!("{}{}", entry.folder, encoded(&entry.name)),
            "hashes": hashes,
            "requires-python": entry.requires_python,
            "yanked": yanked,
            "size": entry.size,
        })
    };
    let files: Vec<_> = entries.iter().map(file).collect();
    json!({ "meta": { "api-version": "1.1" }, "name": "foo", "files": files }).to_string()
}

fn parse(content_type: &str, body: String) -> Vec<File> {
    let url = "https://index.example/simple/foo/".parse().unwrap();
    simple::parse(&Page { url, content_type: content_type.to_owned(), body: body.into() }).unwrap()
}

proptest! {
    #[test]
    fn both_forms_of_a_page_give_the_files_that_it_was_made_of(
        entries in prop::collection::vec(entry(), 0..6),
    ) {
        let from_json = parse("application/vnd.pypi.simple.v1+json", json(&entries));
        let without_sizes: Vec<_> =
            from_json.iter().map(|file| File { size: None, ..file.clone() }).collect();
        prop_assert_eq!(parse("text/html", html(&entries)), without_sizes);

        let wanted: Vec<_> = entries.iter().filter(|e| !e.name.starts_with(['-', '.'])).collect();
        prop_assert_eq!(from_json.len(), wanted.len());
        for (file, entry) in from_json.iter().zip(wanted) {
            prop_assert_eq!(&file.name, &entry.name);
            prop_assert_eq!((file.sha256, file.size), (entry.sha256, Some(entry.size)));
            prop_assert_eq!(&file.requires_python, &entry.requires_python);
            prop_assert_eq!(&file.yanked, &entry.yanked);
            prop_assert!(file.url.ends_with(&format!("/{}", encoded(&entry.name))), "{}", file.url);
        }
    }
}
