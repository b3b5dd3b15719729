//! What should not be in a binary that is given away: paths of the machine that built it, and
//! secrets.
//!
//! Only the bytes outside of device code are looked at. A secret is never kept: only its kind.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};
use serde::{Deserialize, Serialize};

/// How many paths are kept of a file.
const KEPT: usize = 3;
/// The longest path that is kept, in bytes.
const LONGEST: usize = 300;

/// What was found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Paths of the build that is audited: the first few.
    pub known_paths: Vec<String>,
    /// Paths below folders where people and their machines build: the first few.
    pub paths: Vec<String>,
    /// Kinds of secrets, such as `a GitHub token`.
    pub secrets: BTreeSet<String>,
}

/// Folders that are no part of a target, and in which builds run. A path below them has at least
/// two components more.
const FOLDERS: &str = "/home/|/root/|/tmp/|/build/|/project/|/workspace/|/Users/|/__w/";

/// What a private key is called.
pub(super) const PRIVATE_KEY: &str = "a private key";

/// Kinds of secrets and their patterns, as their issuers document them.
const SECRETS: [(&str, &str); 6] = [
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{82})\b"),
    ("a Hugging Face token", r"\bhf_[A-Za-z]{34}\b"),
    ("a PyPI token", r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}"),
    ("a Slack token", r"\bxox[baprs]-[0-9]{10,}-[0-9A-Za-z-]{10,}"),
    (PRIVATE_KEY, r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\\n|\r?\n)[0-9A-Za-z+/=]{60,}"),
];

static SECRET: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = SECRETS.map(|(_, pattern)| format!("(?-u){pattern}"));
    RegexSet::new(patterns).expect("constant patterns")
});
/// What every secret begins with: most files have none of it, and are done.
static SECRET_START: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?-u)AKIA|ASIA|gh[pousr]_|github_pat_|hf_|pypi-Ag|xox[baprs]-|PRIVATE KEY-----")
        .expect("a constant pattern")
});

/// Looks for traces of builds.
#[derive(Debug, Clone)]
pub struct Scanner {
    folders: Regex,
    known: Vec<String>,
}

impl Scanner {
    /// One that also looks for paths below these folders.
    pub fn new(known: &[String]) -> Self {
        let escaped = known.iter().map(|path| regex::escape(path));
        let folders: Vec<String> = std::iter::once(FOLDERS.to_owned()).chain(escaped).collect();
        let folders = Regex::new(&format!("(?-u){}", folders.join("|")));
        Self { folders: folders.expect("literals only"), known: known.to_vec() }
    }

    /// Looks at a file, but for these parts of it.
    pub fn scan(&self, bytes: &[u8], but: &[Range<usize>]) -> Traces {
        let mut traces = Traces::default();
        let mut start = 0;
        let end = bytes.len()..bytes.len();
        for hole in but.iter().chain(std::iter::once(&end)) {
            self.scan_part(bytes.get(start..hole.start).unwrap_or_default(), &mut traces);
            start = start.max(hole.end);
        }
        traces
    }

    fn scan_part(&self, part: &[u8], traces: &mut Traces) {
        for found in self.folders.find_iter(part) {
            if traces.known_paths.len() >= KEPT
                || self.known.is_empty() && traces.paths.len() >= KEPT
            {
                break;
            }
            let rest = &part[found.start()..];
            let length = rest.iter().take(LONGEST).take_while(|b| is_path(**b)).count();
            let path = String::from_utf8_lossy(&rest[..length]).into_owned();
            let before = found.start().checked_sub(1).map(|at| part[at]);
            if self.known.iter().any(|known| path.starts_with(known.as_str())) {
                keep(&mut traces.known_paths, path);
            } else if !before.is_some_and(is_path) && path.matches('/').count() >= 3 {
                keep(&mut traces.paths, path);
            }
        }
        if SECRET_START.is_match(part) {
            let found = SECRET.matches(part).into_iter().map(|kind| SECRETS[kind].0.to_owned());
            traces.secrets.extend(found);
        }
    }
}

fn keep(paths: &mut Vec<String>, path: String) {
    if paths.len() < KEPT && !paths.contains(&path) {
        paths.push(path);
    }
}

fn is_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._+-@~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Traces {
        Scanner::new(&["/data/store".to_owned()]).scan(bytes, &[])
    }

    #[test]
    fn paths_of_builds_are_told_from_others() {
        let traces = scan(
            b"\0/home/me/x/a.cc\0/usr/share/home/me/x\0/tmp/socket\0see /root/.cache/y/b.h:12 \0/data/store/builds/z\0",
        );
        assert_eq!(traces.paths, ["/home/me/x/a.cc", "/root/.cache/y/b.h"]);
        assert_eq!(traces.known_paths, ["/data/store/builds/z"]);
        assert!(traces.secrets.is_empty());
    }

    #[test]
    fn secrets_are_told_by_kind_and_never_kept() {
        // Put together here, so that this source holds none.
        let token = format!("x=ghp_{}\0", "a1".repeat(18));
        let key = format!("-----BEGIN RSA PRIVATE {}-----\n{}\n", "KEY", "Ab1/".repeat(16));
        let aws = format!("AKIA{} ", "Q7".repeat(8));
        for (secret, kind) in
            [(&token, "a GitHub token"), (&key, "a private key"), (&aws, "an AWS access key")]
        {
            let traces = scan(secret.as_bytes());
            assert_eq!(traces.secrets.iter().map(String::as_str).collect::<Vec<_>>(), [kind]);
            assert!(!format!("{traces:?}").contains(&secret[8..20]), "{traces:?}");
        }
        // What reads keys has their headers in it.
        assert!(
            scan(b"-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0ghp_short\0")
                .secrets
                .is_empty()
        );
    }

    #[test]
    fn holes_are_not_looked_at() {
        let bytes = b"/home/me/x/a /home/me/x/b /home/me/x/c";
        let traces = Scanner::new(&[]).scan(bytes, &[0..13, 26..bytes.len()]);
        assert_eq!(traces.paths, ["/home/me/x/b"]);
    }
}
