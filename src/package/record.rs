//! `RECORD`: every file of a wheel with its digest and size, as CSV.
//!
//! Source: "Recording installed projects" of the Python packaging specifications; the digest is
//! unpadded URL-safe base64.

use std::collections::BTreeMap;

use crate::artifact::Sha256;

/// One line of `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// `sha256=` and the digest; another algorithm as it stands; empty for `RECORD` itself.
    pub hash: String,
    /// The size in bytes, where it is given.
    pub size: Option<u64>,
}

/// Text that is not a `RECORD`.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not CSV, or not UTF-8.
    #[error("`RECORD` is not readable as CSV")]
    Csv(#[from] csv::Error),
    /// A line that does not have path, digest and size.
    #[error("line {line} of `RECORD` does not have three fields of path, digest and size")]
    Fields {
        /// From 1.
        line: u64,
    },
    /// One path, twice.
    #[error("`RECORD` lists `{0}` twice")]
    Duplicate(String),
}

/// The digest as `RECORD` writes it: `sha256=` and unpadded URL-safe base64 (RFC 4648, section 5).
pub fn hash_field(digest: &Sha256) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut field = String::from("sha256=");
    for group in digest.as_bytes().chunks(3) {
        let word =
            group.iter().enumerate().fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..=group.len() {
            field.push(char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    field
}

/// Reads a `RECORD`, by path.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, RecordEntry>, RecordError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut entries = BTreeMap::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(path), Some(hash), Some(size), None) =
            (record.get(0), record.get(1), record.get(2), record.get(3))
        else {
            return Err(RecordError::Fields { line });
        };
        let size = match size {
            "" => None,
            digits => Some(digits.parse().map_err(|_| RecordError::Fields { line })?),
        };
        let entry = RecordEntry { hash: hash.to_owned(), size };
        if entries.insert(path.to_owned(), entry).is_some() {
            return Err(RecordError::Duplicate(path.to_owned()));
        }
    }
    Ok(entries)
}

/// Writes a `RECORD`: the members in the order given, then `RECORD` itself, which has no digest.
pub fn write<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a Sha256, u64)>,
    record_path: &str,
) -> Result<Vec<u8>, RecordError> {
    let terminator = csv::Terminator::Any(b'\n');
    let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
    for (path, digest, size) in members {
        writer.write_record([path, &hash_field(digest), &size.to_string()])?;
    }
    writer.write_record([record_path, "", ""])?;
    writer.into_inner().map_err(|error| RecordError::Csv(error.into_error().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_unpadded_url_safe_base64() {
        // sha256 of the empty string, as pip writes it for an empty `__init__.py`.
        let expected = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(hash_field(&Sha256::of(b"")), expected);
    }

    #[test]
    fn paths_with_commas_and_quotes_survive() {
        let digest = Sha256::of(b"x");
        let paths = ["a,b.py", "say \"hi\".py", "plain.py"];
        let text = write(paths.map(|p| (p, &digest, 1)), "x-1.dist-info/RECORD").expect("written");
        let read = parse(&text).expect("read");
        assert_eq!(read.len(), 4);
        for path in paths {
            assert_eq!(read[path], RecordEntry { hash: hash_field(&digest), size: Some(1) });
        }
        assert_eq!(read["x-1.dist-info/RECORD"].size, None);
    }

    #[test]
    fn malformed_records_are_refused() {
        assert!(matches!(parse(b"a.py,sha256=x\n"), Err(RecordError::Fields { line: 1 })));
        assert!(matches!(parse(b"a.py,,many\n"), Err(RecordError::Fields { .. })));
        assert!(matches!(parse(b"a,,1\na,,1\n"), Err(RecordError::Duplicate(_))));
        assert!(matches!(parse(b"\xff,,1\n"), Err(RecordError::Csv(_))));
    }
}
