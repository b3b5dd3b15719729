//! PEP 508 requirements as people and build backends write them.

use std::str::FromStr as _;

use pep508_rs::{Pep508Error, Pep508ErrorSource, Requirement};
use serde::{Deserialize, Deserializer, de};

/// Reads a requirement.
///
/// The parser panics at a name or an extra that ends in `-`, `_` or `.` where more text follows:
/// here that is an error as any other.
pub fn parse(text: &str) -> Result<Requirement, Box<Pep508Error>> {
    if let Some(at) = unended_name(text) {
        let reason = "A name must end with a letter or digit".to_owned();
        let (message, input) = (Pep508ErrorSource::String(reason), text.to_owned());
        return Err(Box::new(Pep508Error { message, start: at, len: 1, input }));
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
    let start = text.len() - text.trim_start().len();
    let end = start + text[start..].find(|c| !named(c)).unwrap_or(text.len() - start);
    if text[start..end].ends_with(is_separator) {
        return Some(end - 1);
    }
    let open = end + (text[end..].len() - text[end..].trim_start().len());
    let extras = text[open..].strip_prefix('[')?;
    let extras = &extras[..extras.find(']').unwrap_or(extras.len())];
    let mut at = open + 1;
    for extra in extras.split(',') {
        let extra_end = at + extra.trim_end().len();
        if text[at..extra_end].ends_with(is_separator) {
            return Some(extra_end - 1);
        }
        at += extra.len() + 1;
    }
    None
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
    fn names_that_end_in_a_separator_are_errors() {
        for (text, at) in [
            ("a- == 1", 1),
            ("a.é", 1),
            (" a_[x]", 2),
            ("a-", 1),
            ("a[b-]", 3),
            ("a [b, c. ,d]", 7),
            ("a[b_", 3),
        ] {
            assert_eq!(parse(text).unwrap_err().start, at, "{text}");
        }
    }
}
