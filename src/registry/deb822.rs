//! Paragraphs of fields, as Debian's Release, Packages and `.sources` files have them (deb822).

use std::collections::BTreeMap;

/// One paragraph: field names in lower case, to values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph(BTreeMap<String, String>);

impl Paragraph {
    /// A field; the lines of one with several are joined by line feeds, each trimmed.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// A field's words.
    pub fn words(&self, field: &str) -> impl Iterator<Item = &str> {
        self.get(field).unwrap_or_default().split_whitespace()
    }
}

/// The paragraphs of a text, one at a time, since a Packages file has tens of thousands.
///
/// Lines that are no field are passed over; so are comments.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph> + '_ {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = Paragraph::default();
        let mut field: Option<String> = None;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if paragraph.0.is_empty() {
                    continue;
                }
                return Some(paragraph);
            }
            if line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                if let Some(value) = field.as_ref().and_then(|field| paragraph.0.get_mut(field)) {
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                let name = name.trim().to_ascii_lowercase();
                paragraph.0.insert(name.clone(), value.trim().to_owned());
                field = Some(name);
            }
        }
        (!paragraph.0.is_empty()).then_some(paragraph)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_of_an_odd_file() {
        let text = "\n\n# x\nPackage: a\nDepends: b,\n c\nnonsense\n \n stray\nPACKAGE: d\n";
        let found: Vec<_> = paragraphs(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("package"), Some("a"));
        assert_eq!(found[0].get("depends"), Some("b,\nc"));
        assert_eq!(found[1].get("package"), Some("d"));
    }
}
