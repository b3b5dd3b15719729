//! Whether the data of a binary patch is whole, which is asked before it is unpacked: what reads it
//! waits for ever for the end of a stream that has none.

use std::io::{self, Read as _};

use diffy::binary::{BinaryBlock, BinaryPatch};

/// Digits of git's base 85 (`base85.c`).
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Whether both ways of a patch are zlib streams with an end, of the size that they say.
pub(super) fn is_whole(patch: &BinaryPatch<'_>) -> bool {
    match patch {
        BinaryPatch::Full { forward, reverse } => {
            [forward, reverse].into_iter().all(|block| ends(block) == Some(true))
        }
        BinaryPatch::Marker => true,
    }
}

fn ends(block: &BinaryBlock<'_>) -> Option<bool> {
    let packed = decode(block.data.data)?;
    let limit = block.data.size.checked_add(1)?;
    let stream = flate2::read::ZlibDecoder::new(&packed[..]);
    let size = io::copy(&mut stream.take(limit), &mut io::sink()).ok()?;
    Some(size == block.data.size)
}

/// Lines of which each says how many bytes it has, `A` to `Z` and then `a` to `z`, and has five digits
/// for every four of them.
fn decode(lines: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((count, digits)) = line.split_first() else { continue };
        let count = match count {
            b'A'..=b'Z' => count - b'A' + 1,
            b'a'..=b'z' => count - b'a' + 27,
            _ => return None,
        };
        let end = bytes.len() + usize::from(count);
        for group in digits.chunks(5) {
            let value = group.iter().try_fold(0u64, |value, digit| {
                let digit = DIGITS.iter().position(|known| known == digit)?;
                Some(value * 85 + digit as u64)
            })?;
            bytes.extend(u32::try_from(value).ok()?.to_be_bytes());
        }
        if bytes.len() < end {
            return None;
        }
        bytes.truncate(end);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use diffy::patch_set::{ParseOptions, PatchSet};

    use super::*;

    /// Of diffy's own example, with another last line.
    fn whole(forward: &str) -> bool {
        let text = format!(
            "diff --git a/blob b/blob\nindex e69de29..0000000 100644\nGIT binary patch\nliteral 10\n\
             {forward}\n\nliteral 0\nKcmV+b0RR6000031\n\n"
        );
        let mut patches = PatchSet::parse_bytes(text.as_bytes(), ParseOptions::gitdiff());
        let patch = patches.next().unwrap().unwrap();
        is_whole(patch.patch().as_binary().unwrap())
    }

    #[test]
    fn a_stream_without_an_end_is_found() {
        assert!(whole("UcmV+l0QLU>0RjUA1qKHQ2>`DEE&u=k"));
        assert!(!whole("PcmV+l0QLU>0RjUA1qKHQ2>`D"));
        assert!(!whole("UcmV+l0QLU>0RjUA1qKHQ2>`DE"));
    }
}
