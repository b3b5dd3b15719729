//! A remote file that is read in parts.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use url::Url;

use super::{Http, NetError, parse, redact};

use crate::sync::lock;

/// What is fetched of the end of the file when it is opened: a zip archive's end record and, of
/// most wheels, the whole central directory.
const TAIL: u64 = 128 << 10;
/// What is fetched where a read finds nothing: enough that a sequential reader makes few requests.
const READ_AHEAD: u64 = 512 << 10;
/// Ranges closer than this are fetched as one: a request costs about as much as these bytes.
const GAP: u64 = 32 << 10;
/// The largest single request, so that several connections share a large range.
const PIECE: u64 = 4 << 20;
/// Requests under way at once.
const CONNECTIONS: usize = 6;

/// A remote file, read by range requests. Clones share what was fetched, so that one clone can
/// prefetch while an archive reader owns another.
#[derive(Debug, Clone)]
pub struct RangeReader {
    shared: Arc<Shared>,
    position: u64,
}

#[derive(Debug)]
struct Shared {
    http: Http,
    url: Url,
    length: u64,
    /// Fetched parts by offset; they do not overlap.
    parts: Mutex<BTreeMap<u64, Arc<[u8]>>>,
}

impl RangeReader {
    /// Asks for the file's end, and so learns its size; [`NetError::RangesRefused`] where the
    /// server gives the whole file instead.
    pub fn open(http: &Http, url: &str) -> Result<Self, NetError> {
        let length = http.size(url)?;
        let shared =
            Shared { http: http.clone(), url: parse(url)?, length, parts: Mutex::default() };
        let reader = Self { shared: Arc::new(shared), position: 0 };
        let tail = length.saturating_sub(TAIL)..length;
        reader.prefetch(std::slice::from_ref(&tail), &|_| ())?;
        Ok(reader)
    }

    /// The file's size in bytes.
    pub fn length(&self) -> u64 {
        self.shared.length
    }

    /// Fetches these byte ranges, where they are not there yet: neighbours in one request, several
    /// requests at once. `received` hears the size of each part as it arrives, from any thread.
    pub fn prefetch(
        &self,
        ranges: &[Range<u64>],
        received: &(dyn Fn(u64) + Sync),
    ) -> Result<(), NetError> {
        let pieces = self.shared.missing(&coalesce(ranges, self.shared.length));
        let next = AtomicUsize::new(0);
        let fetch = || {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = self.shared.fetch(piece)?;
                received(bytes.len() as u64);
                self.shared.insert(piece.start, bytes);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..pieces.len().min(CONNECTIONS)).map(|_| scope.spawn(fetch)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
            })
        })
    }

    /// The fetched bytes from the position to the end of their part.
    fn cached(&self) -> Option<(Arc<[u8]>, usize)> {
        let parts = lock(&self.shared.parts);
        let (start, bytes) = parts.range(..=self.position).next_back()?;
        let offset = usize::try_from(self.position - start).ok()?;
        (offset < bytes.len()).then(|| (Arc::clone(bytes), offset))
    }
}

impl Shared {
    /// The pieces of these ranges (sorted, disjoint) that were not fetched yet.
    fn missing(&self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let parts = lock(&self.parts);
        let mut pieces = Vec::new();
        for range in ranges {
            let mut start = range.start;
            let before = parts.range(..=start).next_back();
            let known = before.into_iter().chain(parts.range(start + 1..range.end));
            for (offset, bytes) in known {
                split(start..*offset, &mut pieces);
                start = start.max(offset + bytes.len() as u64);
            }
            split(start..range.end, &mut pieces);
        }
        pieces
    }

    /// One request for a range.
    fn fetch(&self, range: &Range<u64>) -> Result<Arc<[u8]>, NetError> {
        self.http.retry(|| {
            let stream = self.http.open(&self.url, Some((range.start, Some(range.end - 1))))?;
            let url = || redact(self.url.as_str());
            if stream.start != range.start {
                return Err(NetError::RangesRefused { url: url() });
            }
            if let Some(actual) = stream.total.filter(|total| *total != self.length) {
                return Err(NetError::WrongSize { url: url(), expected: self.length, actual });
            }
            let expected = range.end - range.start;
            let mut bytes = Vec::new();
            stream
                .reader
                .take(expected)
                .read_to_end(&mut bytes)
                .map_err(|source| NetError::from_io(self.url.as_str(), source))?;
            let received = bytes.len() as u64;
            if received < expected {
                return Err(NetError::Truncated { url: url(), expected, received });
            }
            Ok(bytes.into())
        })
    }

    fn insert(&self, start: u64, bytes: Arc<[u8]>) {
        lock(&self.parts).insert(start, bytes);
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.position >= self.shared.length {
            return Ok(0);
        }
        if self.cached().is_none() {
            let wanted = READ_AHEAD.max(buffer.len() as u64);
            let end = self.position.saturating_add(wanted).min(self.shared.length);
            let ahead = self.position..end;
            self.prefetch(std::slice::from_ref(&ahead), &|_| ()).map_err(io::Error::other)?;
        }
        let Some((bytes, offset)) = self.cached() else {
            return Err(io::Error::other("a fetched range is not there"));
        };
        let n = buffer.len().min(bytes.len() - offset);
        buffer[..n].copy_from_slice(&bytes[offset..offset + n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.shared.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Sorted, within the file, and joined where they overlap or nearly touch.
fn coalesce(ranges: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .map(|range| range.start..range.end.min(length))
        .filter(|range| range.start < range.end)
        .collect();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// Cuts a range into pieces of at most [`PIECE`] bytes; nothing where it is empty or reversed.
fn split(range: Range<u64>, pieces: &mut Vec<Range<u64>>) {
    let mut start = range.start;
    while start < range.end {
        let end = start.saturating_add(PIECE).min(range.end);
        pieces.push(start..end);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
    fn ranges_join_where_a_request_would_cost_more() {
        let far = 10 + GAP + 1;
        assert_eq!(coalesce(&[far..far + 5, 0..10], 1 << 20), [0..10, far..far + 5]);
        assert_eq!(coalesce(&[10 + GAP..GAP + 20, 0..10], 1 << 20), [0..GAP + 20]);
        assert_eq!(coalesce(&[5..50, 60..60, 70..80], 20), [5..20]);
    }

    #[test]
    fn large_ranges_are_shared_between_connections() {
        let mut pieces = Vec::new();
        split(3..2 * PIECE + 4, &mut pieces);
        assert_eq!(pieces, [3..PIECE + 3, PIECE + 3..2 * PIECE + 3, 2 * PIECE + 3..2 * PIECE + 4]);
    }

    #[test]
    fn a_local_file_reads_like_a_remote_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        fs_err::write(&path, &data).unwrap();
        let http = Http::new(crate::net::Settings::default()).unwrap();
        let url = Url::from_file_path(&path).unwrap();
        let mut reader = RangeReader::open(&http, url.as_str()).unwrap();
        assert_eq!(reader.length(), data.len() as u64);
        reader.prefetch(&[1_000_000..1_000_010, 1_200_000..1_900_000], &|_| ()).unwrap();
        let mut all = Vec::new();
        reader.seek(SeekFrom::Start(999_990)).unwrap();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, data[999_990..]);
        assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
    }
}
