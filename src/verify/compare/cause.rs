//! What differing bytes speak of: paths, times, names of temporary files, numbers, order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

/// Why two builds differ, most likely.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cause {
    /// What kind it is.
    pub kind: CauseKind,
    /// What tells so.
    pub evidence: String,
}

/// The causes that are known, the most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// A compiler of another version, or with other options.
    Compiler,
    /// The name of a temporary file.
    TemporaryName,
    /// A time of day or a date.
    Time,
    /// The path of a folder or file.
    Path,
    /// A number: random, a process's, or a counter.
    Number,
    /// The same things in another order.
    Order,
    /// The build id, which differs with the rest.
    BuildId,
}

impl Cause {
    pub(super) fn new(kind: CauseKind, evidence: impl Into<String>) -> Self {
        Self { kind, evidence: evidence.into() }
    }

    /// The kind in words.
    pub fn words(&self) -> &'static str {
        match self.kind {
            CauseKind::Compiler => "another compiler, or other options",
            CauseKind::TemporaryName => "the name of a temporary file",
            CauseKind::Time => "the time of the build",
            CauseKind::Path => "a path of the machine",
            CauseKind::Number => "a number that is another in each build",
            CauseKind::Order => "another order",
            CauseKind::BuildId => "the build id",
        }
    }
}

/// All that was seen of one member.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    causes: BTreeMap<CauseKind, String>,
}

/// The shortest run of printable bytes that counts as a string, as for strings(1).
const SHORTEST: usize = 4;

impl Evidence {
    /// Takes in a cause that something else than the bytes tells.
    pub(super) fn hint(&mut self, cause: Cause) {
        self.causes.entry(cause.kind).or_insert(cause.evidence);
    }

    /// Looks at the strings that only one of two parts has.
    pub(super) fn bytes(&mut self, first: &[u8], second: &[u8]) {
        let (one, two) = (strings(first), strings(second));
        let unique = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
            a.difference(b).cloned().collect()
        };
        let (only_one, only_two) = (unique(&one, &two), unique(&two, &one));
        for text in only_one.iter().chain(&only_two) {
            if let Some(kind) = kind(text) {
                self.hint(Cause::new(kind, format!("`{}`", shortened(text))));
            }
        }
        let same_but_numbers = |a: &str, b: &str| a != b && numberless(a) == numberless(b);
        let pairs = only_one.iter().zip(&only_two);
        if let Some((a, b)) = pairs.into_iter().find(|(a, b)| same_but_numbers(a, b))
            && kind(a).is_none()
        {
            let words = format!("`{}` and `{}`", shortened(a), shortened(b));
            self.hint(Cause::new(CauseKind::Number, words));
        }
        let reordered =
            only_one.is_empty() && only_two.is_empty() && sorted(first) == sorted(second);
        if reordered {
            self.hint(Cause::new(CauseKind::Order, "the same bytes in another order"));
        }
    }

    pub(super) fn causes(self) -> Vec<Cause> {
        self.causes.into_iter().map(|(kind, evidence)| Cause { kind, evidence }).collect()
    }
}

/// What a string that only one of two builds has speaks of.
fn kind(text: &str) -> Option<CauseKind> {
    static PATTERNS: LazyLock<[(CauseKind, Regex); 3]> = LazyLock::new(|| {
        [
            // nvcc's, gcc's and Python's.
            (
                CauseKind::TemporaryName,
                r"tmpxft_[0-9a-f]+|/tmp/[\w.-]+|\bcc[A-Za-z0-9]{6}\.|\btmp[a-z0-9_]{8}\b",
            ),
            // __TIME__, __DATE__ and ISO 8601.
            (
                CauseKind::Time,
                r"\b\d\d:\d\d:\d\d\b|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d{4}|\b20\d\d-\d\d-\d\d",
            ),
            (CauseKind::Path, r"(?:^|[^\w.])/[\w.+-]+/[\w.+/-]+"),
        ]
        .map(|(kind, pattern)| {
            let regex = Regex::new(pattern);
            (kind, regex.unwrap_or_else(|error| unreachable!("a constant pattern: {error}")))
        })
    });
    PATTERNS.iter().find(|(_, pattern)| pattern.is_match(text)).map(|(kind, _)| *kind)
}

/// A text without its digits: what is left is the same where only numbers differ.
fn numberless(text: &str) -> String {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        let regex = Regex::new(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{6,}\b|\d+");
        regex.unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
    });
    NUMBER.replace_all(text, "#").into_owned()
}

fn strings(bytes: &[u8]) -> BTreeSet<String> {
    bytes
        .split(|byte| !(0x20..0x7f).contains(byte))
        .filter(|run| run.len() >= SHORTEST)
        .map(|run| String::from_utf8_lossy(run).into_owned())
        .collect()
}

fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut sorted = bytes.to_vec();
    sorted.sort_unstable();
    sorted
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
