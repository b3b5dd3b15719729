//! One requirement as it is written, and the same with another version part: name, extras, marker
//! and spacing stay.

use std::ops::Range;

use pep440_rs::VersionSpecifiers;

/// The parts of a requirement's text.
struct Parts {
    /// Where name and extras end.
    named: usize,
    /// The version part or `@ URL`, from the end of what is named to the end of the version's text;
    /// empty where there is none.
    version: Range<usize>,
}

/// Takes apart what PEP 508's parser has taken: only ends are to be found.
fn parts(text: &str) -> Parts {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let start = text.len() - text.trim_start().len();
    let after = |at: usize, end: Option<usize>| end.map_or(text.len(), |end| at + end);
    let mut named = after(start, text[start..].find(|c| !is_name(c)));
    let behind = text[named..].trim_start();
    if behind.starts_with('[') {
        named = after(named, text[named..].find(']').map(|at| at + 1));
    }
    let rest = &text[named..];
    let end = match rest.trim_start().starts_with('@') {
        // A URL may have a semicolon: only one behind white space begins the marker.
        true => [" ;", "\t;"].iter().filter_map(|end| rest.find(end)).min(),
        false => rest.find(';'),
    };
    let end = rest[..end.unwrap_or(rest.len())].trim_end().len();
    Parts { named, version: named..named + end }
}

/// The requirement with this version part instead of its own.
pub(super) fn with_specifier(text: &str, specifiers: &VersionSpecifiers) -> String {
    let Parts { named, version } = parts(text);
    let old = &text[version.clone()];
    let trimmed = old.trim_start();
    let (lead, open, close, inner) = match trimmed.strip_prefix('(') {
        Some(inner) => (&old[..old.len() - trimmed.len()], "(", ")", inner),
        None if trimmed.starts_with('@') => ("", "", "", ""),
        None => (&old[..old.len() - trimmed.len()], "", "", trimmed),
    };
    let operator = inner.trim_start().trim_start_matches(['=', '<', '>', '~', '!']);
    let gap = if operator.starts_with(char::is_whitespace) { " " } else { "" };
    let new = specifier_text(specifiers, gap);
    format!("{}{lead}{open}{new}{close}{}", &text[..named], &text[version.end..])
}

/// Clauses in a row; `gap` stands between an operator and its version, and between clauses.
pub(super) fn specifier_text(specifiers: &VersionSpecifiers, gap: &str) -> String {
    let clause = |clause: &pep440_rs::VersionSpecifier| {
        let text = clause.to_string();
        let version = text.trim_start_matches(['=', '<', '>', '~', '!']);
        format!("{}{gap}{version}", &text[..text.len() - version.len()])
    };
    specifiers.iter().map(clause).collect::<Vec<_>>().join(&format!(",{gap}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::pep508;

    #[test]
    fn only_the_version_part_changes() {
        for (before, after) in [
            ("torch==2.9.1", "torch>=2.14,<2.15"),
            ("torch == 2.9.1", "torch >= 2.14, < 2.15"),
            ("torch ~=2.9", "torch >=2.14,<2.15"),
            ("Torch[opt-einsum] (>=2.7,<2.8)", "Torch[opt-einsum] (>=2.14,<2.15)"),
            (
                "torch>=2.7, <2.8 ; python_version < '3.13'",
                "torch>=2.14,<2.15 ; python_version < '3.13'",
            ),
            ("torch;python_version<'4'", "torch>=2.14,<2.15;python_version<'4'"),
            (
                "torch @ https://x.example/a;b.whl ; sys_platform == 'linux'",
                "torch>=2.14,<2.15 ; sys_platform == 'linux'",
            ),
            (" torch ", " torch>=2.14,<2.15 "),
        ] {
            let specifiers = ">=2.14,<2.15".parse().unwrap();
            assert_eq!(with_specifier(before, &specifiers), after);
            assert!(pep508::parse(after).is_ok(), "{after}");
        }
    }
}
