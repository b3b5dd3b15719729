//! apt's own configuration: `sources.list` and `sources.list.d`.

use std::path::{Path, PathBuf};

use super::deb822::paragraphs;
use super::signature::Keyring;

/// One source of binary packages, as apt's configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The repository's base, as written.
    pub uri: String,
    /// Such as `bookworm` and `bookworm-updates`.
    pub suites: Vec<String>,
    /// Such as `main`.
    pub components: Vec<String>,
    /// Whose signature is asked for, where that is said.
    pub signed_by: Option<Keyring>,
}

/// All enabled binary sources, in apt's order, from the `etc/apt` below `root`.
pub fn load(root: &Path) -> Vec<Source> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs_err::read_dir(apt.join("sources.list.d"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    parts.sort();
    files.append(&mut parts);
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs_err::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(deb822(&text)),
            _ => {}
        }
    }
    for source in &mut sources {
        follow_mirror_list(source, root);
    }
    sources
}

/// `deb [signed-by=…] uri suite component…` (sources.list(5), "one-line-style").
pub fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .and_then(|value| value.split(',').next())
        .map(|path| Keyring::File(PathBuf::from(path)));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by,
    })
}

/// The form of `.sources` files (sources.list(5), "deb822-style").
pub fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for paragraph in paragraphs(text) {
        let disabled = paragraph.get("enabled").is_some_and(|v| v.eq_ignore_ascii_case("no"));
        if disabled || !paragraph.words("types").any(|kind| kind == "deb") {
            continue;
        }
        let signed_by = paragraph.get("signed-by").map(str::trim).and_then(|value| {
            if value.contains("-----BEGIN") {
                Some(Keyring::Inline(value.to_owned()))
            } else {
                value.split_whitespace().next().map(|path| Keyring::File(PathBuf::from(path)))
            }
        });
        sources.extend(paragraph.words("uris").map(|uri| Source {
            uri: uri.to_owned(),
            suites: paragraph.words("suites").map(str::to_owned).collect(),
            components: paragraph.words("components").map(str::to_owned).collect(),
            signed_by: signed_by.clone(),
        }));
    }
    sources
}

/// Cloud images name a file with a list of mirrors (apt-transport-mirror(1)): its first is taken.
fn follow_mirror_list(source: &mut Source, root: &Path) {
    let Some(path) = source.uri.strip_prefix("mirror+file:") else { return };
    let path = root.join(path.trim_start_matches('/'));
    let list = fs_err::read_to_string(path).unwrap_or_default();
    let mut mirrors = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let first = mirrors.find_map(|line| line.split_whitespace().next());
    if let Some(first) = first {
        source.uri = first.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_style() {
        let source = one_line(
            "deb [ arch=amd64 signed-by=/k.gpg ] http://m.example/debian trixie main contrib # x",
        );
        let source = source.unwrap();
        assert_eq!(source.uri, "http://m.example/debian");
        assert_eq!(
            (source.suites, source.components),
            (vec!["trixie".to_owned()], vec!["main".to_owned(), "contrib".to_owned()])
        );
        assert_eq!(source.signed_by, Some(Keyring::File("/k.gpg".into())));
        for line in
            ["", "# deb x y", "deb-src http://m.example/debian trixie main", "deb [", "deb x"]
        {
            assert_eq!(one_line(line), None, "{line}");
        }
    }

    #[test]
    fn deb822_style() {
        let text = "Types: deb deb-src\nURIs: http://a.example http://b.example\nSuites: trixie\n\
                    Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n\n\
                    Types: deb\nEnabled: no\nURIs: http://c.example\nSuites: x\n\n\
                    Types: deb-src\nURIs: http://d.example\nSuites: x\n";
        let sources = deb822(text);
        let uris: Vec<_> = sources.iter().map(|source| source.uri.as_str()).collect();
        assert_eq!(uris, ["http://a.example", "http://b.example"]);
        assert!(
            matches!(&sources[0].signed_by, Some(Keyring::Inline(key)) if key.contains("BEGIN"))
        );
    }

    #[test]
    fn files_are_read_in_order_and_mirror_lists_followed() {
        let folder = tempfile::tempdir().unwrap();
        let apt = folder.path().join("etc/apt");
        fs_err::create_dir_all(apt.join("sources.list.d")).unwrap();
        fs_err::create_dir_all(apt.join("mirrors")).unwrap();
        fs_err::write(apt.join("sources.list"), "deb http://one.example a main\n").unwrap();
        fs_err::write(apt.join("sources.list.d/z.list"), "deb http://three.example c main\n")
            .unwrap();
        let cloud = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: b\n";
        fs_err::write(apt.join("sources.list.d/debian.sources"), cloud).unwrap();
        fs_err::write(apt.join("mirrors/debian.list"), "# x\nhttp://two.example/debian\n").unwrap();
        fs_err::write(apt.join("sources.list.d/old.bak"), "deb http://no.example d main\n")
            .unwrap();
        let uris: Vec<_> = load(folder.path()).into_iter().map(|source| source.uri).collect();
        assert_eq!(
            uris,
            ["http://one.example", "http://two.example/debian", "http://three.example"]
        );
    }
}
