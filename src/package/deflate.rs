//! One member of an archive, deflated: a large one in pieces, on all processors.
//!
//! A deflate stream may be cut at a byte: a piece is compressed as if it stood alone, and an empty
//! block fills its last byte. What comes out depends on the bytes alone, whatever the processors.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use zip::{DateTime, ZipArchive, ZipWriter};

use super::archive::into_io;
use super::parallel;

/// The level of every member. With the deflate that `Cargo.lock` pins and the size of a piece it
/// decides the bytes of every wheel; a test holds them by a digest.
const LEVEL: u32 = 6;

/// Bytes of a piece. What stands in an earlier piece is not found again, which makes a library with
/// machine code for GPUs a ten-thousandth larger.
const PIECE: usize = 4 << 20;

/// A member's content, compressed.
pub(super) struct Deflated {
    crc: u32,
    /// Bytes before.
    size: u32,
    bytes: Vec<u8>,
}

/// Compresses a member, which may have up to 4 GiB.
pub(super) fn deflate(bytes: &[u8]) -> io::Result<Deflated> {
    let size = u32::try_from(bytes.len()).map_err(|_| {
        io::Error::new(io::ErrorKind::FileTooLarge, "no member of a wheel may have 4 GiB or more")
    })?;
    // The last piece ends the stream, and may be empty.
    let (whole, last) = bytes.split_at(bytes.len().saturating_sub(1) / PIECE * PIECE);
    let mut pieces: Vec<(&[u8], bool)> = whole.chunks(PIECE).map(|piece| (piece, false)).collect();
    pieces.push((last, true));
    let (mut crc, mut all) = (Crc::new(), Vec::new());
    for piece in parallel::map(&pieces, |(bytes, _)| bytes.len() as u64, deflate_piece) {
        let (of_piece, deflated) = piece?;
        crc.combine(&of_piece);
        all.extend_from_slice(&deflated);
    }
    Ok(Deflated { crc: crc.sum(), size, bytes: all })
}

fn deflate_piece((bytes, last): &(&[u8], bool)) -> io::Result<(Crc, Vec<u8>)> {
    let mut crc = Crc::new();
    crc.update(bytes);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(LEVEL));
    encoder.write_all(bytes)?;
    let deflated = if *last {
        encoder.finish()?
    } else {
        encoder.flush()?;
        std::mem::take(encoder.get_mut())
    };
    Ok((crc, deflated))
}

impl Deflated {
    /// Adds the member to an archive, under its path there.
    pub(super) fn add_to<W: Write + io::Seek>(
        &self,
        zip: &mut ZipWriter<W>,
        path: &str,
        time: DateTime,
        mode: u32,
    ) -> io::Result<()> {
        let mut alone =
            ZipArchive::new(io::Cursor::new(self.alone(time, mode)?)).map_err(into_io)?;
        zip.raw_copy_file_rename(alone.by_index_raw(0).map_err(into_io)?, path).map_err(into_io)
    }

    /// An archive of nothing but this member: the zip crate takes what is compressed already only
    /// out of an archive.
    fn alone(&self, time: DateTime, mode: u32) -> io::Result<Vec<u8>> {
        const NAME: u8 = b'm';
        const VERSION: [u8; 2] = 20_u16.to_le_bytes();
        const MADE_ON_UNIX: [u8; 2] = (3_u16 << 8 | 20).to_le_bytes();
        let compressed = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;

        // From the version that is needed to the length of the extra field: both headers have it.
        let mut facts = VERSION.to_vec();
        for word in [0, 8, time.timepart(), time.datepart()] {
            facts.extend(u16::to_le_bytes(word)); // no flags, deflated
        }
        for word in [self.crc, compressed, self.size] {
            facts.extend(u32::to_le_bytes(word));
        }
        facts.extend([1, 0, 0, 0]);

        let mut archive = b"PK\x03\x04".to_vec();
        archive.extend(&facts);
        archive.push(NAME);
        archive.extend(&self.bytes);

        let directory = archive.len();
        archive.extend(b"PK\x01\x02");
        archive.extend(MADE_ON_UNIX);
        archive.extend(&facts);
        archive.extend([0; 6]); // no comment, one disk, no internal attributes
        archive.extend(((0o100_000 | mode) << 16).to_le_bytes());
        archive.extend([0; 4]); // where the member begins
        archive.push(NAME);

        let length = (archive.len() - directory) as u32;
        archive.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        archive.extend(length.to_le_bytes());
        archive.extend(u32::try_from(directory).map_err(io::Error::other)?.to_le_bytes());
        archive.extend([0; 2]);
        Ok(archive)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;
    use crate::artifact::Sha256;

    #[test]
    fn pieces_are_one_stream_with_the_same_bytes_everywhere() {
        // Hardly compressible, like machine code, and not a whole number of pieces.
        let mut state = 1_u32;
        let bytes: Vec<u8> = (0..2 * PIECE + 12_345)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 27) as u8
            })
            .collect();
        for bytes in [&bytes[..], &bytes[..PIECE], &bytes[..1], &[]] {
            let deflated = deflate(bytes).unwrap();
            let mut back = Vec::new();
            DeflateDecoder::new(&deflated.bytes[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
            let mut crc = Crc::new();
            crc.update(bytes);
            assert_eq!((deflated.crc, deflated.size as usize), (crc.sum(), bytes.len()));
        }
        let golden = "7ed6f852c96892dff1d722b04d70a097b2361202185abe68b7300172782f7681";
        assert_eq!(Sha256::of(&deflate(&bytes).unwrap().bytes).to_string(), golden);
    }
}
