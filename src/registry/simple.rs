//! Pages of the simple index, in both of their forms: HTML (PEP 503) and JSON (PEP 691).

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::error::RegistryError;
use super::html;
use crate::artifact::Sha256;
use crate::net::{Page, redact};

/// What this client can read, JSON first. A server may answer HTML nevertheless.
pub const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
     application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// One file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Where it is, absolute.
    pub url: String,
    /// Its digest, where the index says it.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, where the index says it: HTML has none.
    pub size: Option<u64>,
    /// The Pythons that it is for (a PEP 440 specifier).
    pub requires_python: Option<String>,
    /// Why it was withdrawn, where it was; may be empty.
    pub yanked: Option<String>,
}

/// Reads a page. Entries that make no sense are left out; a page that is none is an error.
pub fn parse(page: &Page) -> Result<Vec<File>, RegistryError> {
    let text = String::from_utf8_lossy(&page.body);
    let json = page.content_type.ends_with("json")
        || (page.content_type.is_empty() && text.trim_start().starts_with('{'));
    if json { parse_json(&text, &page.url) } else { Ok(parse_html(&text, &page.url)) }
}

/// The JSON form; unknown keys are passed over (PEP 691, "Versioning").
fn parse_json(text: &str, base: &Url) -> Result<Vec<File>, RegistryError> {
    #[derive(Deserialize)]
    struct Project {
        files: Vec<Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Entry {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: Value,
        size: Option<u64>,
        requires_python: Option<String>,
        #[serde(default)]
        yanked: Value,
    }
    let project: Project = serde_json::from_str(text).map_err(|error| {
        RegistryError::MalformedPage { url: redact(base.as_str()), reason: error.to_string() }
    })?;
    let entries = project.files.into_iter().filter_map(|v| Entry::deserialize(v).ok());
    let file = |entry: Entry| {
        Some(File {
            url: absolute(base, &entry.url)?.0,
            name: file_name(&entry.filename)?,
            sha256: entry.hashes.get("sha256").and_then(Value::as_str).and_then(|h| h.parse().ok()),
            size: entry.size,
            requires_python: entry.requires_python,
            yanked: match entry.yanked {
                Value::Bool(true) => Some(String::new()),
                Value::String(reason) => Some(reason),
                _ => None,
            },
        })
    };
    Ok(entries.filter_map(file).collect())
}

/// The HTML form.
fn parse_html(text: &str, page: &Url) -> Vec<File> {
    let mut base = page.clone();
    let mut files = Vec::new();
    for anchor in html::anchors(text) {
        let Some(href) = anchor.attribute("href") else { continue };
        if anchor.tag == "base" {
            // A base from the network cannot make files of this machine of what follows it.
            base = absolute(page, href).and_then(|(url, _)| url.parse().ok()).unwrap_or(base);
            continue;
        }
        let Some((url, fragment)) = absolute(&base, href) else { continue };
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let Some(name) = file_name(&percent_decode_str(last).decode_utf8_lossy()) else { continue };
        let digest = fragment.split('&').find_map(|part| part.strip_prefix("sha256="));
        files.push(File {
            name,
            url,
            sha256: digest.and_then(|digest| digest.parse().ok()),
            size: None,
            requires_python: anchor.attribute("data-requires-python").map(str::to_owned),
            yanked: anchor.attribute("data-yanked").map(str::to_owned),
        });
    }
    files
}

/// A link made absolute, and its fragment. Only what can be fetched is a link to a file, and a
/// page from the network cannot point at local files.
fn absolute(base: &Url, link: &str) -> Option<(String, String)> {
    let mut url = base.join(link.trim()).ok()?;
    let allowed = match url.scheme() {
        "https" | "http" => true,
        "file" => base.scheme() == "file",
        _ => false,
    };
    let fragment = url.fragment().unwrap_or_default().to_owned();
    url.set_fragment(None);
    allowed.then(|| (url.into(), fragment))
}

/// A name that is one component of a path, and neither hidden nor an option.
fn file_name(name: &str) -> Option<String> {
    let plain = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(content_type: &str, body: &str) -> Page {
        Page {
            url: Url::parse("https://index.example/simple/foo/").unwrap(),
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_owned(),
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let digest = Sha256::of("x");
        let html = format!(
            "<a href=\"../../f/foo-1.0%2Bcu130.tar.gz#sha256={digest}\" data-yanked=\"bad\" \
             data-requires-python=\"&gt;=3.9\">foo</a>"
        );
        let json = format!(
            r#"{{"meta": {{"api-version": "1.4"}}, "files": [{{"filename": "foo-1.0+cu130.tar.gz",
            "url": "/f/foo-1.0%2Bcu130.tar.gz", "hashes": {{"sha256": "{digest}"}}, "yanked": "bad",
            "requires-python": ">=3.9", "size": 1, "else": 2}}]}}"#
        );
        let html = parse(&page("text/html", &html)).unwrap();
        let json = parse(&page("application/vnd.pypi.simple.v1+json", &json)).unwrap();
        assert_eq!(json[0].size, Some(1));
        assert_eq!(html, [File { size: None, ..json[0].clone() }]);
        assert_eq!(html[0].name, "foo-1.0+cu130.tar.gz");
        assert_eq!(html[0].url, "https://index.example/f/foo-1.0%2Bcu130.tar.gz");
        assert_eq!((html[0].sha256, html[0].yanked.as_deref()), (Some(digest), Some("bad")));
    }

    #[test]
    fn entries_that_make_no_sense_are_left_out() {
        let json = r#"{"files": [1, {"filename": "../evil", "url": "x"}, {"filename": "a", "url": 3},
            {"filename": "a", "url": "file:///etc/passwd"}, {"filename": "ok", "url": "ok",
            "yanked": false}]}"#;
        let files = parse(&page("application/json", json)).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].name.as_str(), files[0].yanked.as_deref()), ("ok", None));
        assert!(parse(&page("application/json", "<html>")).is_err());
        assert_eq!(parse(&page("text/html", "{ <a href='javascript:x'> <a>")).unwrap(), []);
        let local = "<base href='file:///'><a href='file:etc/a-1.tar.gz'><a href='b-1.tar.gz'>";
        let files = parse(&page("text/html", local)).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].url, "https://index.example/simple/foo/b-1.tar.gz");
    }
}
