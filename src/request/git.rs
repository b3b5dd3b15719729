//! `git+URL@COMMIT`, as written.

use std::fmt;
use std::path::Path;

use super::RequestError;

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRequest {
    /// What git clones: a URL, or the absolute path of a local repository.
    pub url: String,
    /// A commit, whole or abbreviated, or a tag.
    pub reference: String,
}

/// The transports that are taken: git knows others, some of which run what the URL says.
const SCHEMES: [&str; 5] = ["file://", "git://", "http://", "https://", "ssh://"];

impl GitRequest {
    /// Reads what follows `git+`; relative paths are relative to `current_dir`.
    pub(super) fn parse(text: &str, rest: &str, current_dir: &Path) -> Result<Self, RequestError> {
        let fail = |reason| RequestError::Git { text: text.to_owned(), reason };
        if rest.contains('#') {
            return Err(fail("a part after `#` is not understood"));
        }
        let scheme = SCHEMES.iter().find(|scheme| rest.starts_with(**scheme));
        // A user's name may stand before an `@` of its own.
        let path = match scheme {
            Some(scheme) => rest[scheme.len()..].find('/').map(|slash| scheme.len() + slash),
            None if rest.contains("://") => return Err(fail("its transport is not one of git's")),
            None => Some(0),
        };
        let path = path.ok_or_else(|| fail("its URL has no path"))?;
        let at = rest[path..].rfind('@').ok_or_else(|| fail("it names no commit"))?;
        let (url, reference) = (&rest[..path + at], &rest[path + at + 1..]);
        let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        if reference.is_empty() || reference.starts_with('-') || reference.contains(odd) {
            return Err(fail("it names no commit"));
        }
        // Locks and manifests keep the URL for all to read.
        if matches!(scheme, Some(&"http://" | &"https://")) && rest[..path].contains('@') {
            return Err(fail("its URL holds a user's name or token"));
        }
        let url = match scheme {
            Some(_) => url.to_owned(),
            None => {
                let missing = |_| RequestError::NoSuchPath { text: url.to_owned() };
                let path = fs_err::canonicalize(current_dir.join(url)).map_err(missing)?;
                path.to_str().ok_or_else(|| fail("its path is not UTF-8"))?.to_owned()
            }
        };
        Ok(Self { url, reference: reference.to_owned() })
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.url)
    }
}

/// Whether the repository of this URL is on this machine.
pub fn is_local(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file://")
}

impl fmt::Display for GitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git+{}@{}", self.url, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text, Path::new("/nowhere"))
    }

    #[test]
    fn the_commit_follows_the_last_at_of_the_path() {
        for (text, url, reference) in [
            ("git+https://example.com/a/b.git@v1.0", "https://example.com/a/b.git", "v1.0"),
            ("git+ssh://git@example.com/b.git@0a1b2c3", "ssh://git@example.com/b.git", "0a1b2c3"),
            ("git+https://example.com/b@release/1.0", "https://example.com/b", "release/1.0"),
            ("git+file:///srv/b.git@v1", "file:///srv/b.git", "v1"),
        ] {
            let Request::Git(git) = parse(text).unwrap() else { panic!("{text}") };
            assert_eq!((git.url.as_str(), git.reference.as_str()), (url, reference));
            assert_eq!(git.to_string(), text);
        }
    }

    #[test]
    fn a_path_is_made_absolute() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("repository")).unwrap();
        let real = fs_err::canonicalize(folder.path().join("repository")).unwrap();
        let Request::Git(git) = Request::parse("git+./repository@v1", folder.path()).unwrap()
        else {
            panic!("not a git request")
        };
        assert_eq!(git.url, real.to_str().unwrap());
        assert!(git.is_local());
    }

    #[test]
    fn what_is_not_one_commit_of_one_repository_is_refused() {
        for (text, reason) in [
            ("git+https://example.com/b.git", "names no commit"),
            ("git+ssh://git@example.com/b.git", "names no commit"),
            ("git+https://example.com/b.git@", "names no commit"),
            ("git+https://example.com/b.git@--upload-pack=x", "names no commit"),
            ("git+https://example.com/b.git@HEAD~1", "names no commit"),
            ("git+https://example.com/b.git@v1#subdirectory=x", "after `#`"),
            ("git+https://token@example.com/b.git@v1", "token"),
            ("git+ext://sh/b@v1", "transport"),
            ("git+https://example.com", "no path"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        assert!(matches!(parse("git+./missing@v1"), Err(RequestError::NoSuchPath { .. })));
    }
}
