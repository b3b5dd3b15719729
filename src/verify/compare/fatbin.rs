//! Device code, entry by entry.

use std::borrow::Cow;
use std::io::Read as _;

use ruzstd::decoding::StreamingDecoder;

use super::{Found, Place, bytes, part, runs};
use crate::audit::fatbin::{Compression, Entry, Kind, Piece, pieces};

/// The largest piece of device code that is decompressed, in bytes.
const LIMIT: u64 = 1 << 30;

/// Bytes of a header before its options, as `audit::fatbin` describes it.
const FIXED_HEADER: usize = 64;

/// Compares two sections of device code. Returns whether both could be read.
pub(super) fn compare(found: &mut Found, within: &str, first: &[u8], second: &[u8]) -> bool {
    let (Ok(one), Ok(two)) = (pieces(first), pieces(second)) else { return false };
    if one.len() != two.len() {
        let count = |entries: &[_]| format!("{} entries", entries.len());
        let (first, second) = (count(&one), count(&two));
        found.places.push(Place { part: within.to_owned(), offset: 0, first, second });
    }
    for (index, (a, b)) in one.iter().zip(&two).enumerate() {
        let name = part(within, &format!("entry {} ({})", index + 1, describe(&a.entry)));
        if a.entry.kind != b.entry.kind || a.entry.arch != b.entry.arch {
            let (first, second) = (describe(&a.entry), describe(&b.entry));
            found.places.push(Place { part: name, offset: 0, first, second });
            continue;
        }
        if a.code != b.code {
            bytes(found, &name, &code(a), &code(b));
        }
        // Its sizes follow from the code's; what follows them is of its own.
        let own = |piece: &Piece<'_>| piece.header.get(FIXED_HEADER..).map(<[u8]>::to_vec);
        let (first, second) = (own(a).unwrap_or_default(), own(b).unwrap_or_default());
        if first != second {
            found.evidence.bytes(&first, &second);
            let name = part(&name, "after its header");
            found.places.extend(runs(&first, &second, |_| name.clone()));
        }
    }
    true
}

fn describe(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Sass => "SASS",
        Kind::Ptx => "PTX",
        Kind::Intermediate => "intermediate code",
    };
    format!("{kind} for {}", entry.arch)
}

/// The code itself; as it is stored, where it cannot be decompressed.
fn code<'a>(piece: &Piece<'a>) -> Cow<'a, [u8]> {
    let (entry, stored) = (&piece.entry, piece.code);
    if entry.compression != Compression::Zstd || entry.size > LIMIT {
        return Cow::Borrowed(stored);
    }
    let mut plain = Vec::new();
    let decoded = StreamingDecoder::new(stored)
        .map(|decoder| decoder.take(entry.size).read_to_end(&mut plain));
    match decoded {
        Ok(Ok(_)) => Cow::Owned(plain),
        _ => Cow::Borrowed(stored),
    }
}
