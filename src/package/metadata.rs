//! The `METADATA` and `WHEEL` files: header fields as in an e-mail.
//!
//! Source: the core metadata specification and the binary distribution format.

use std::borrow::Cow;
use std::ops::Range;

use super::name::WheelTags;

/// One header field, by its place in the bytes.
struct Field<'a> {
    name: &'a str,
    value: &'a str,
    /// Where the value stands, its continuation lines included, its line end excluded.
    place: Range<usize>,
}

/// The fields of the header, which ends at the first empty line. Lines that are no fields are
/// passed over, as e-mail parsers do; undecodable bytes end the header.
fn fields(bytes: &[u8]) -> Vec<Field<'_>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        if content.is_empty() {
            break;
        }
        let end = start + content.len();
        if content.starts_with([' ', '\t']) {
            if let Some(last) = fields.last_mut() {
                last.place.end = end;
            }
        } else if let Some((name, value)) = content.split_once(':') {
            let place = start + name.len() + 1..end;
            fields.push(Field { name, value: value.trim(), place });
        }
        start += line.len();
    }
    fields
}

/// The values of all fields of that name, in order; names do not regard case.
pub fn values<'a>(bytes: &'a [u8], name: &str) -> Vec<&'a str> {
    let wanted = |f: &Field<'_>| f.name.eq_ignore_ascii_case(name);
    fields(bytes).into_iter().filter(wanted).map(|f| f.value).collect()
}

/// Where the values of all fields of that name stand, in bytes, in order.
pub fn places(bytes: &[u8], name: &str) -> Vec<Range<usize>> {
    let wanted = |f: &Field<'_>| f.name.eq_ignore_ascii_case(name);
    fields(bytes).into_iter().filter(wanted).map(|f| f.place).collect()
}

/// The value of the one field of that name; `None` where there is none or more than one.
pub fn value<'a>(bytes: &'a [u8], name: &str) -> Option<&'a str> {
    match values(bytes, name)[..] {
        [value] => Some(value),
        _ => None,
    }
}

/// `METADATA` with another `Version`; every other byte stays. `None` where it does not have
/// exactly one.
pub fn with_version<'a>(bytes: &'a [u8], version: &str) -> Option<Cow<'a, [u8]>> {
    let mut places = fields(bytes).into_iter().filter(|f| f.name.eq_ignore_ascii_case("Version"));
    let (Some(field), None) = (places.next(), places.next()) else { return None };
    if field.value == version {
        return Some(Cow::Borrowed(bytes));
    }
    let mut changed = Vec::with_capacity(bytes.len() + version.len());
    changed.extend_from_slice(&bytes[..field.place.start]);
    changed.push(b' ');
    changed.extend_from_slice(version.as_bytes());
    changed.extend_from_slice(&bytes[field.place.end..]);
    Some(Cow::Owned(changed))
}

/// The `WHEEL` file of a wheel that this version of crosswheel writes.
pub fn wheel_file(tags: &WheelTags, root_is_purelib: bool) -> String {
    let mut text = format!(
        "Wheel-Version: 1.0\nGenerator: crosswheel {}\nRoot-Is-Purelib: {root_is_purelib}\n",
        env!("CARGO_PKG_VERSION"),
    );
    for tag in tags.expanded() {
        text.push_str(&format!("Tag: {tag}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &[u8] =
        b"Metadata-Version: 2.1\r\nName: x\r\nversion:1.0\r\nSummary: a\r\n  b\r\n\r\nVersion: 9\r\n";

    #[test]
    fn the_version_changes_and_every_other_byte_stays() {
        let changed = with_version(METADATA, "1.0+cu130").expect("one version");
        let expected =
            String::from_utf8_lossy(METADATA).replace("version:1.0", "version: 1.0+cu130");
        assert_eq!(String::from_utf8_lossy(&changed), expected);
    }

    #[test]
    fn a_missing_or_repeated_version_is_noticed() {
        assert!(with_version(b"Name: x\n\nVersion: 1\n", "2").is_none());
        assert!(with_version(b"Version: 1\nVersion: 2\n", "3").is_none());
    }

    #[test]
    fn undecodable_bytes_after_the_header_do_no_harm() {
        let mut bytes = b"Version: 1\n\n".to_vec();
        bytes.push(0xff);
        let changed = with_version(&bytes, "2").expect("one version");
        assert_eq!(&changed[..], b"Version: 2\n\n\xff");
    }

    #[test]
    fn a_wheel_file_names_every_tag() {
        let tags = WheelTags::new("cp311", "cp311", "linux_aarch64");
        let text = wheel_file(&tags, false);
        assert_eq!(values(text.as_bytes(), "Tag"), ["cp311-cp311-linux_aarch64"]);
        assert_eq!(value(text.as_bytes(), "root-is-purelib"), Some("false"));
    }
}
