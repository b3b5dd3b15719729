//! Requirements files as pip reads them: logical lines, comments, options.

use std::ops::Range;

/// A line, with those that continue it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number, counted from 1, of the line that it begins on.
    pub number: usize,
    /// Where it stands in the file, in bytes, line breaks and comment excluded.
    pub span: Range<usize>,
    /// What it says: continuations joined, no comment, no white space around.
    pub text: String,
}

/// The logical lines of a file that say something.
pub fn lines(file: &str) -> Vec<Line> {
    let mut logical = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    let mut start = file.len() - file.trim_start_matches('\u{feff}').len();
    for (index, whole) in file[start..].split_inclusive('\n').enumerate() {
        let content = whole.strip_suffix('\n').unwrap_or(whole);
        let content = content.strip_suffix('\r').unwrap_or(content);
        let (number, begin) = *open.get_or_insert((index + 1, start));
        // As pip does: a line that is a comment does not end in a continuation.
        let is_comment = content.trim_start().starts_with('#');
        if !content.ends_with('\\') || is_comment {
            logical.extend(line(file, number, begin..start + content.len()));
            open = None;
        }
        start += whole.len();
    }
    if let Some((number, begin)) = open {
        logical.extend(line(file, number, begin..file.len()));
    }
    logical
}

fn line(file: &str, number: usize, span: Range<usize>) -> Option<Line> {
    let raw = &file[span.clone()];
    // A comment begins a line, or follows white space: a URL may have a `#`.
    let begins =
        |(at, _): &(usize, &str)| raw[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let end = raw.match_indices('#').find(begins).map_or(raw.len(), |(at, _)| at);
    let joined = raw[..end].replace("\\\r\n", "").replace("\\\n", "");
    // The backslash of a last line that nothing continues.
    let joined = joined.trim_end_matches(['\r', '\n']);
    let text = joined.strip_suffix('\\').unwrap_or(joined).trim().to_owned();
    (!text.is_empty()).then(|| Line { number, span: span.start..span.start + end, text })
}

/// The file of `-r FILE`, `-rFILE`, `--requirement FILE` or `--requirement=FILE`.
pub fn included(line: &str) -> Option<&str> {
    option(line, "-r", "--requirement")
}

/// The file of `-c FILE` and its other spellings.
pub fn constrained(line: &str) -> Option<&str> {
    option(line, "-c", "--constraint")
}

fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let file = match line.strip_prefix(long) {
        Some(rest) if rest.starts_with(['=', ' ', '\t']) => &rest[1..],
        Some(_) => return None,
        None => line.strip_prefix(short)?,
    };
    Some(file.trim()).filter(|file| !file.is_empty())
}

/// Whether a line is an option, or ends in one, such as `--hash=…`.
pub fn has_option(line: &str) -> bool {
    line.starts_with('-') || line.split_whitespace().any(|word| word.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuations_are_joined_and_comments_left_out() {
        let file = "\u{feff}a # x\r\nb \\\r\n == 1 # y\n\n # only \\\nc \\\n# in between\nd\\";
        let found = lines(file);
        let texts: Vec<_> = found.iter().map(|line| (line.number, line.text.as_str())).collect();
        assert_eq!(texts, [(1, "a"), (2, "b  == 1"), (6, "c"), (8, "d")]);
        assert_eq!(&file[found[1].span.clone()], "b \\\r\n == 1 ");
    }

    #[test]
    fn options_are_told() {
        assert_eq!(included("-rx.txt"), Some("x.txt"));
        assert_eq!(included("--requirement=a/x.txt"), Some("a/x.txt"));
        assert_eq!(included("--requirements x"), None);
        assert_eq!(constrained("-c ../c.txt"), Some("../c.txt"));
        assert!(has_option("a==1 --hash=sha256:00") && !has_option("a-b==1"));
    }
}
