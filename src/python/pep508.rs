//! PEP 508 requirements as people and build backends write them.

use std::str::FromStr as _;

use pep508_rs::{Pep508Error, Pep508ErrorSource, Requirement};
use serde::{Deserialize, Deserializer, de};

/// Reads a requirement.
///
/// The parser panics at a name or an extra that ends in `-`, `_` or `.` where more text follows,
/// and within characters that are not ASCII, of which the grammar has none: here these are errors
/// as any other.
pub fn parse(text: &str) -> Result<Requirement, Box<Pep508Error>> {
    let fail = |start, len, reason: &str| {
        let message = Pep508ErrorSource::String(reason.to_owned());
        Err(Box::new(Pep508Error { message, start, len, input: text.to_owned() }))
    };
    if let Some((at, other)) = text.char_indices().find(|(_, c)| !c.is_ascii()) {
        return fail(at, other.len_utf8(), "A requirement has ASCII characters only");
    }
    if let Some(at) = unended_name(text) {
        return fail(at, 1, "A name must end with a letter or digit");
    }
    Requirement::from_str(text).map_err(Box::new)
}

/// For `#[serde(deserialize_with)]`: a list of requirements.
pub(crate) fn deserialize_all<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Requirement>, D::Error> {
    #[derive(Deserialize)]
    struct One(#[serde(deserialize_with = "deserialize")] Requirement);
    Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|one| one.0).collect())
}

fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Requirement, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Where the name, or one of the extras that follow it in brackets, ends in a separator.
fn unended_name(text: &str) -> Option<usize> {
    let named = |c: char| c.is_ascii_alphanumeric() || is_separator(c);
    // The end of the name that begins at or behind a place, and whether it is as it should be.
    let name = |at: usize| {
        let start = text.len() - text[at..].trim_start().len();
        let end = start + text[start..].find(|c| !named(c)).unwrap_or(text.len() - start);
        (end, text[start..end].ends_with(is_separator))
    };
    let (end, unended) = name(0);
    if unended {
        return Some(end - 1);
    }
    let open = text.len() - text[end..].trim_start().len();
    let extras = text[open..].strip_prefix('[')?;
    let extras = &extras[..extras.find(']').unwrap_or(extras.len())];
    let commas = extras.match_indices(',').map(|(at, _)| at + 1);
    let ends = std::iter::once(0).chain(commas).map(|at| name(open + 1 + at));
    ends.filter(|(_, unended)| *unended).map(|(end, _)| end - 1).next()
}

fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read() {
        for text in ["a", " a-b_c.d [x, y-z] >= 1.0 ; python_version < '3'", "a[]", "a@ http://x/"]
        {
            assert_eq!(parse(text).unwrap(), Requirement::from_str(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_the_parser_panics_at_is_an_error() {
        for (text, at) in [
            ("a- == 1", 1),
            ("a.[b]", 1),
            ("a.é", 2),
            ("a; python_version < '' é", 23),
            (" a_[x]", 2),
            ("a-", 1),
            ("a[b-]", 3),
            ("a [b, c. ,d]", 7),
            ("a[b_", 3),
            ("a[b- c]", 3),
        ] {
            assert_eq!(parse(text).unwrap_err().start, at, "{text}");
        }
    }
}
