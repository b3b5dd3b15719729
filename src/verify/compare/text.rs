//! Texts, line by line.

use super::{Found, PLACES, Place, part};

/// Whether bytes are text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// Tells the first lines that differ, once those at the beginning that do not are passed over.
pub(super) fn compare(found: &mut Found, within: &str, first: &[u8], second: &[u8]) {
    found.evidence.bytes(first, second);
    let (one, two) = (String::from_utf8_lossy(first), String::from_utf8_lossy(second));
    let (one, two): (Vec<&str>, Vec<&str>) = (one.lines().collect(), two.lines().collect());
    let mut offset = 0;
    let mut told = 0;
    for index in 0..one.len().max(two.len()) {
        let (a, b) = (one.get(index).copied(), two.get(index).copied());
        if a != b && told < PLACES {
            let line = |line: Option<&str>| line.unwrap_or("(no such line)").to_owned();
            let name = part(within, &format!("line {}", index + 1));
            found.places.push(Place { part: name, offset, first: line(a), second: line(b) });
            told += 1;
        }
        offset += a.map_or(0, |line| line.len() as u64 + 1);
    }
}
