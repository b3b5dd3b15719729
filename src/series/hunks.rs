//! Where the hunks of a patch go: every line of context must be there, as `git apply` has it.

use std::fmt;

use diffy::patch_set::PatchKind;
use diffy::{Hunk, Line};
use serde::Serialize;

/// A hunk that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Which hunk of its file, counted from 1.
    pub hunk: usize,
    /// The line at which its patch has it, counted from 1.
    pub line: usize,
    /// What was found.
    #[serde(flatten)]
    pub place: Place,
}

/// Where a hunk goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Place {
    /// Where its patch has it.
    Exact,
    /// At the one other line where its context is.
    Moved {
        /// That line, counted from 1.
        to: usize,
    },
    /// Its context is at several other lines, and nothing tells which is meant.
    Ambiguous {
        /// These lines, counted from 1.
        at: Vec<usize>,
    },
    /// Its context is nowhere.
    Missing {
        /// Where most of it is, if any is.
        #[serde(skip_serializing_if = "Option::is_none")]
        nearest: Option<Nearest>,
    },
}

impl Place {
    /// Whether the hunk can be applied.
    pub fn fits(&self) -> bool {
        matches!(self, Self::Exact | Self::Moved { .. })
    }
}

/// The lines of a file that are most like a hunk's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The first of them, counted from 1.
    pub line: usize,
    /// How many are the same.
    pub same: usize,
    /// How many the hunk has.
    pub of: usize,
    /// Each of the hunk's lines, and what stands in its place.
    pub lines: Vec<Compared>,
}

/// A line of a hunk and of the file, without their line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What the hunk expects.
    pub expected: String,
    /// What the file has; nothing behind its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nearest is line {}: {} of {} lines are there", self.line, self.same, self.of)?;
        if self.same == self.of {
            f.write_str(", but not where the file begins or ends, as in the patch")?;
        }
        for (number, Compared { expected, found }) in (self.line..).zip(&self.lines) {
            match found {
                Some(found) if found == expected => write!(f, "\n  | {number:5}   {found}")?,
                found => {
                    write!(f, "\n  | {number:5} - {expected}")?;
                    if let Some(found) = found {
                        write!(f, "\n  | {number:5} + {found}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a file becomes by those of the hunks that fit, and where each goes.
pub(super) fn apply(original: &[u8], hunks: &[Hunk<'_, [u8]>]) -> (Vec<u8>, Vec<Placed>) {
    let image: Vec<&[u8]> = original.split_inclusive(|byte| *byte == b'\n').collect();
    let mut patched = Vec::with_capacity(original.len());
    let mut placed = Vec::new();
    // The first line that is not patched yet, and how far the last hunk was from its place.
    let (mut next, mut drift) = (0, 0);
    for (number, hunk) in (1..).zip(hunks) {
        let wanted = Wanted::new(hunk);
        let expected = wanted.index.saturating_add_signed(drift);
        let (place, at) = wanted.find(&image, next, expected);
        if let Some(at) = at {
            patched.extend(image[next..at].concat());
            patched.extend(after(hunk));
            next = at + wanted.lines.len();
            drift = at.cast_signed() - wanted.index.cast_signed();
        }
        placed.push(Placed { hunk: number, line: wanted.index + 1, place });
    }
    patched.extend(image[next..].concat());
    (patched, placed)
}

/// The hunks of a text patch; a patch that changes no content has none.
pub(super) fn of<'p>(kind: &'p PatchKind<'_, [u8]>) -> &'p [Hunk<'p, [u8]>] {
    kind.as_text().map(|patch| patch.hunks()).unwrap_or_default()
}

fn after(hunk: &Hunk<'_, [u8]>) -> Vec<u8> {
    let line = |line: &Line<'_, [u8]>| match line {
        Line::Context(line) | Line::Insert(line) => line.to_vec(),
        Line::Delete(_) => Vec::new(),
    };
    hunk.lines().iter().flat_map(line).collect()
}

/// What a hunk wants to find.
struct Wanted<'a> {
    /// Where its patch has it, counted from 0.
    index: usize,
    lines: Vec<&'a [u8]>,
    /// Whether it begins, or ends, where the file does: nothing of the file is shown before, or
    /// after, its changes (git's apply.c, `match_beginning` and `match_end`).
    at_start: bool,
    at_end: bool,
}

impl<'a> Wanted<'a> {
    fn new(hunk: &Hunk<'a, [u8]>) -> Self {
        let lines: Vec<_> = hunk
            .lines()
            .iter()
            .filter_map(|line| match line {
                Line::Context(line) | Line::Delete(line) => Some(*line),
                Line::Insert(_) => None,
            })
            .collect();
        let start = hunk.old_range().start();
        // A hunk without old lines stands behind the line that it names.
        let index = if lines.is_empty() { start } else { start.saturating_sub(1) };
        let at_end = !matches!(hunk.lines().last(), Some(Line::Context(_)));
        Self { index, lines, at_start: start <= 1, at_end }
    }

    fn fits(&self, image: &[&[u8]], at: usize) -> bool {
        let end = at + self.lines.len();
        (!self.at_start || at == 0)
            && (!self.at_end || end == image.len())
            && image.get(at..end).is_some_and(|found| found == self.lines)
    }

    fn find(&self, image: &[&[u8]], next: usize, expected: usize) -> (Place, Option<usize>) {
        let place = |at| if at == self.index { Place::Exact } else { Place::Moved { to: at + 1 } };
        if expected >= next && self.fits(image, expected) {
            return (place(expected), Some(expected));
        }
        let all: Vec<usize> = (next..=image.len()).filter(|at| self.fits(image, *at)).collect();
        match all[..] {
            [at] => (place(at), Some(at)),
            [] => (Place::Missing { nearest: self.nearest(image, next, expected) }, None),
            _ => (Place::Ambiguous { at: all.iter().map(|at| at + 1).collect() }, None),
        }
    }

    fn nearest(&self, image: &[&[u8]], next: usize, expected: usize) -> Option<Nearest> {
        let pairs = |at: usize| image[at..].iter().zip(&self.lines);
        let likeness = |at: usize| pairs(at).map(|(a, b)| alike(a, b)).sum::<usize>();
        let best = (next..image.len())
            .map(|at| (likeness(at), std::cmp::Reverse(at.abs_diff(expected)), at))
            .max()
            .filter(|(likeness, ..)| *likeness > 0);
        let (.., at) = best?;
        let same = pairs(at).filter(|(a, b)| a == b).count();
        let compare = |(line, expected): (usize, &&[u8])| Compared {
            expected: shown(expected),
            found: image.get(line).map(|found| shown(found)),
        };
        let lines = (at..).zip(&self.lines).map(compare).collect();
        Some(Nearest { line: at + 1, same, of: self.lines.len(), lines })
    }
}

/// How much two lines have in common, in bytes: nothing where they are blank, or where most of one
/// is not in the other.
fn alike(one: &[u8], other: &[u8]) -> usize {
    let (one, other) = (one.trim_ascii(), other.trim_ascii());
    let most = one.len().max(other.len());
    let common = |a: &mut dyn Iterator<Item = (&u8, &u8)>| a.take_while(|(a, b)| a == b).count();
    let start = common(&mut one.iter().zip(other));
    let end = common(&mut one[start..].iter().rev().zip(other[start..].iter().rev()));
    if one == other { 2 * most } else { Some(start + end).filter(|n| 2 * n > most).unwrap_or(0) }
}

/// A line as it can be printed: what differs only by its end must be seen to differ.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).replace('\r', "\\r");
    match text.strip_suffix('\n') {
        Some(whole) => whole.to_owned(),
        None => text + " (no line break at its end)",
    }
}

#[cfg(test)]
mod tests {
    use diffy::Patch;

    use super::*;

    /// What ten numbered lines become, and where each hunk went.
    fn patch(original: &str, hunks: &str) -> (String, Vec<Place>) {
        let text = format!("--- a/x\n+++ b/x\n{hunks}");
        let patch = Patch::from_bytes(text.as_bytes()).unwrap();
        let (patched, placed) = apply(original.as_bytes(), patch.hunks());
        let places = placed.into_iter().map(|placed| placed.place).collect();
        (String::from_utf8(patched).unwrap(), places)
    }

    fn lines(range: std::ops::RangeInclusive<usize>) -> String {
        range.map(|n| format!("{n}\n")).collect()
    }

    const FIVE: &str = "@@ -4,3 +4,3 @@\n 4\n-5\n+five\n 6\n";

    #[test]
    fn a_hunk_goes_where_its_lines_are() {
        let ten = lines(1..=10);
        let five = ten.replace("5\n", "five\n");
        assert_eq!(patch(&ten, FIVE), (five.clone(), vec![Place::Exact]));
        let moved = patch(&format!("new\n{ten}"), FIVE);
        assert_eq!(moved, (format!("new\n{five}"), vec![Place::Moved { to: 5 }]));
    }

    #[test]
    fn where_lines_are_twice_only_the_place_of_the_patch_is_clear() {
        let twice = format!("{0}{0}", lines(1..=10));
        let (patched, places) = patch(&twice, FIVE);
        assert_eq!(places, [Place::Exact]);
        assert_eq!(patched.find("five"), lines(1..=10).find("5"));
        let (patched, places) = patch(&format!("new\n{twice}"), FIVE);
        assert_eq!(places, [Place::Ambiguous { at: vec![5, 15] }]);
        assert_eq!(patched, format!("new\n{twice}"));
        // The first hunk tells how far the second is.
        let both = "@@ -2,3 +2,3 @@\n 2\n-only\n+once\n 3\n@@ -5,3 +5,3 @@\n 4\n-5\n+five\n 6\n";
        let twice = twice.replacen("2\n", "2\nonly\n", 1);
        let (_, places) = patch(&format!("new\n{twice}"), both);
        assert_eq!(places, [Place::Moved { to: 3 }, Place::Moved { to: 6 }]);
    }

    #[test]
    fn no_line_of_context_is_left_out_of_account() {
        let (patched, places) = patch(&lines(1..=10).replace("6\n", "six\n"), FIVE);
        let [Place::Missing { nearest: Some(nearest) }] = &places[..] else { panic!("{places:?}") };
        assert_eq!((nearest.line, nearest.same, nearest.of), (4, 2, 3));
        assert!(patched.contains("5\nsix"));
        let told = nearest.to_string();
        assert!(told.ends_with("\n  |     4   4\n  |     5   5\n  |     6 - 6\n  |     6 + six"));
        for unlike in ["", "\n\n\n", "a\n\nb\n"] {
            let (_, places) = patch(unlike, FIVE);
            assert_eq!(places, [Place::Missing { nearest: None }], "{unlike:?}");
        }
    }

    #[test]
    fn what_begins_or_ends_a_file_does_so_in_another() {
        let first = "@@ -1,2 +1,3 @@\n+0\n 1\n 2\n";
        assert_eq!(patch("1\n2\n3\n", first).0, "0\n1\n2\n3\n");
        assert!(matches!(patch("x\n1\n2\n3\n", first).1[..], [Place::Missing { .. }]));
        let (_, places) = patch("x\n1\n2\n3\n", first);
        let [Place::Missing { nearest: Some(nearest) }] = &places[..] else { panic!("{places:?}") };
        assert!(
            nearest.to_string().contains("2 of 2 lines are there, but not where the file begins")
        );
        let last = "@@ -2,2 +2,3 @@\n 2\n 3\n+4\n";
        assert_eq!(patch("1\n2\n3\n", last).0, "1\n2\n3\n4\n");
        assert!(matches!(patch("1\n2\n3\nx\n", last).1[..], [Place::Missing { .. }]));
    }

    #[test]
    fn line_breaks_are_part_of_lines() {
        let crlf = "@@ -1,2 +1,2 @@\n-a\r\n+b\r\n c\r\n";
        assert_eq!(patch("a\r\nc\r\n", crlf).0, "b\r\nc\r\n");
        let (_, places) = patch("a\nc\n", crlf);
        let [Place::Missing { nearest: Some(nearest) }] = &places[..] else { panic!("{places:?}") };
        assert!(nearest.to_string().contains("0 of 2 lines are there\n  |     1 - a\\r\n"));
        let ends = "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n";
        assert_eq!(patch("a\nb", ends).0, "a\nb\n");
        let (_, places) = patch("a\nb\n", ends);
        let [Place::Missing { nearest: Some(nearest) }] = &places[..] else { panic!("{places:?}") };
        assert!(nearest.to_string().contains("- b (no line break at its end)"), "{nearest}");
    }

    #[test]
    fn hunks_that_fit_are_told_beside_those_that_do_not() {
        let both = "@@ -2,3 +2,3 @@\n 2\n-gone\n+back\n 3\n@@ -5,3 +5,3 @@\n 4\n-5\n+five\n 6\n";
        let (patched, places) = patch(&lines(1..=10), both);
        assert!(!places[0].fits() && places[1].fits(), "{places:?}");
        assert!(patched.contains("4\nfive\n6"));
    }
}
