//! Git repositories, as `Cargo.lock` names them (the Cargo Book, "Package ID Specifications").

use std::fmt;

/// A commit of a repository that crates come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GitSource {
    /// What git clones.
    pub(super) url: String,
    /// What a manifest asks for: `rev`, `tag` or `branch`, and its value, as cargo writes it.
    reference: Option<(String, String)>,
    /// The whole name of the commit that it meant when it was locked.
    pub(super) commit: String,
}

impl GitSource {
    /// Reads `git+URL?rev=REFERENCE#COMMIT`; `None` for what is no such thing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (source, commit) = text.strip_prefix("git+")?.split_once('#')?;
        let (url, reference) = match source.rsplit_once('?') {
            Some((url, query)) => (url, Some(query.split_once('=')?)),
            None => (source, None),
        };
        let reference = reference.map(|(kind, value)| (kind.to_owned(), value.to_owned()));
        Some(Self { url: url.to_owned(), reference, commit: commit.to_owned() })
    }

    /// What repositories are called: the last part of the URL.
    pub(super) fn name(&self) -> String {
        let last = self.url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        let last = last.trim_end_matches(".git");
        last.replace(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c), "-")
    }

    /// The table of cargo's configuration that puts another source in its place (the Cargo Book,
    /// "Source Replacement").
    pub(super) fn replaced_by(&self, other: &str) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("git".to_owned(), self.url.clone().into());
        if let Some((kind, value)) = &self.reference {
            table.insert(kind.clone(), decoded(value).into());
        }
        table.insert("replace-with".to_owned(), other.into());
        table
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git+{}", self.url)?;
        if let Some((kind, value)) = &self.reference {
            write!(f, "?{kind}={value}")?;
        }
        write!(f, "#{}", self.commit)
    }
}

/// A value as it is without the escapes of a URL (RFC 3986, 2.1), which version 4 of the file has.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_writes_is_read() {
        for (text, url, name, table) in [
            (
                "git+https://example.com/a/zmq.rs?rev=67dc#67dcba97",
                "https://example.com/a/zmq.rs",
                "zmq.rs",
                "git = \"https://example.com/a/zmq.rs\"\nreplace-with = \"x\"\nrev = \"67dc\"\n",
            ),
            (
                "git+ssh://git@example.com/b.git?branch=a%2Fb#0123",
                "ssh://git@example.com/b.git",
                "b",
                "branch = \"a/b\"\ngit = \"ssh://git@example.com/b.git\"\nreplace-with = \"x\"\n",
            ),
            (
                "git+https://example.com/c#0123",
                "https://example.com/c",
                "c",
                "git = \"https://example.com/c\"\nreplace-with = \"x\"\n",
            ),
        ] {
            let source = GitSource::parse(text).unwrap();
            assert_eq!(source.url, url);
            assert_eq!(source.name(), name);
            assert_eq!(source.to_string(), text);
            assert_eq!(source.replaced_by("x").to_string(), table);
        }
        for text in ["git+https://example.com/a", "registry+https://example.com/a#0"] {
            assert_eq!(GitSource::parse(text), None, "{text}");
        }
    }
}
