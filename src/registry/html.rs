//! The links of an HTML page, as PEP 503 uses them: a tolerant reader of anchors, and no more.

/// An anchor: its attributes in order, names in lower case, entities decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// `base` or `a`.
    pub tag: &'static str,
    attributes: Vec<(String, String)>,
}

impl Anchor {
    /// The first attribute of this name; empty for one without a value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// All `<a …>` and `<base …>` tags of a page, in order; whatever else it holds is skipped.
pub fn anchors(page: &str) -> Vec<Anchor> {
    let mut anchors = Vec::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let name_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_end);
        let tag = ["a", "base"].into_iter().find(|tag| name.eq_ignore_ascii_case(tag));
        let Some(tag) = tag else { continue };
        let (attributes, after) = attributes(after);
        anchors.push(Anchor { tag, attributes });
        rest = after;
    }
    anchors
}

/// Reads attributes up to the tag's `>`; gives them and what follows.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (attributes, after);
        }
        let name_end = rest
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/'))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_end);
        let unspaced = after.trim_ascii_start();
        let (value, after) = match unspaced.strip_prefix('=') {
            Some(value) => attribute_value(value.trim_ascii_start()),
            None => ("", after),
        };
        if name.is_empty() && after.len() == rest.len() {
            // The page ends within a tag.
            return (attributes, "");
        }
        attributes.push((name.to_ascii_lowercase(), decode_entities(value)));
        rest = after;
    }
}

/// A quoted or bare value, and what follows it.
fn attribute_value(rest: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = rest.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len());
    rest.split_at(end)
}

/// The entities that occur in attributes of an index: the five of XML, and numeric ones.
fn decode_entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').and_then(|end| Some((end, entity(&rest[1..end])?)));
        match entity {
            Some((end, character)) => {
                decoded.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_of_odd_pages() {
        let page = r#"<!DOCTYPE html><!-- <a href="no"> --><BASE href='/b/'>
            <abbr href="no"><A class=x HREF = "../f-1.0.tar.gz#sha256=ab"
            data-requires-python="&gt;=3.8,&#60;4" data-yanked >f</A><a href=bare/>"#;
        let found = anchors(page);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].tag, found[0].attribute("href")), ("base", Some("/b/")));
        assert_eq!(found[1].attribute("href"), Some("../f-1.0.tar.gz#sha256=ab"));
        assert_eq!(found[1].attribute("data-requires-python"), Some(">=3.8,<4"));
        assert_eq!(found[1].attribute("data-yanked"), Some(""));
        assert_eq!(found[1].attribute("title"), None);
        assert_eq!(found[2].attribute("href"), Some("bare/"));
    }

    #[test]
    fn pages_that_end_too_soon() {
        for page in ["<", "<a", "<a ", "<a href", "<a href=", "<a href=\"x", "<!--", "<a =", "<a ="]
        {
            anchors(page);
        }
        assert_eq!(anchors("<a href='x").first().and_then(|a| a.attribute("href")), Some("x"));
    }

    #[test]
    fn entities_that_are_none_stay() {
        assert_eq!(
            decode_entities("a&b&amp;c&nope;&#x41;&#xFFFFFFFF;"),
            "a&b&c&nope;A&#xFFFFFFFF;"
        );
    }
}
