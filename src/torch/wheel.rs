//! A torch wheel, of which only a part is read.
//!
//! The wheel may lie on the other side of a network: before members are read, the caller is told
//! their ranges, so that it can fetch them in a few requests.

use std::io::{self, Read, Seek};
use std::ops::Range;

use zip::ZipArchive;
use zip::result::ZipError;

/// The largest member that is taken, in bytes; libtorch_cuda.so is 0.5 GB.
const MEMBER_LIMIT: u64 = 4 << 30;

/// Is told which ranges are read next: sorted, disjoint, in bytes from the start of the wheel.
pub type Prefetch<'a> = dyn FnMut(&[Range<u64>]) -> io::Result<()> + 'a;

/// For a wheel that lies on this machine.
pub fn no_prefetch(_: &[Range<u64>]) -> io::Result<()> {
    Ok(())
}

/// An open wheel.
pub struct TorchWheel<R> {
    archive: ZipArchive<R>,
    members: Vec<Member>,
    /// Where the last member ends.
    end: u64,
}

/// A file in a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, as the wheel has it.
    pub path: String,
    /// Bytes when unpacked.
    pub size: u64,
    index: usize,
    start: u64,
}

/// What reading part of a wheel costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Files.
    pub members: usize,
    /// Bytes of all ranges.
    pub bytes: u64,
    /// Ranges, neighbours joined.
    pub ranges: usize,
}

impl<R: Read + Seek> TorchWheel<R> {
    /// Reads the central directory.
    pub fn open(bytes: R) -> Result<Self, ZipError> {
        let mut archive = ZipArchive::new(bytes)?;
        let end = archive.central_directory_start();
        let mut members = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index)?;
            if !file.is_dir() {
                let (path, size) = (file.name()?.into_owned(), file.size());
                members.push(Member { path, size, index, start: file.header_start() });
            }
        }
        members.sort_by_key(|member| member.start);
        Ok(Self { archive, members, end })
    }

    /// Reads the members that are wanted, in the order in which they lie in the wheel.
    pub fn read<E: From<ZipError> + From<io::Error>>(
        &mut self,
        prefetch: &mut Prefetch<'_>,
        wanted: impl Fn(&str) -> bool,
        mut take: impl FnMut(&str, Vec<u8>) -> Result<(), E>,
    ) -> Result<Cost, E> {
        let (ranges, members) = self.ranges(&wanted);
        prefetch(&ranges)?;
        for member in self.members.iter().filter(|member| wanted(&member.path)) {
            let file = self.archive.by_index(member.index)?;
            let mut content = Vec::with_capacity(member.size.min(MEMBER_LIMIT) as usize);
            file.take(MEMBER_LIMIT).read_to_end(&mut content)?;
            take(&member.path, content)?;
        }
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        Ok(Cost { members, bytes, ranges: ranges.len() })
    }

    /// The ranges of the members that are wanted, and how many those are.
    ///
    /// A member reaches to the next one's start: its local header may be longer than the central
    /// directory says.
    fn ranges(&self, wanted: impl Fn(&str) -> bool) -> (Vec<Range<u64>>, usize) {
        let ends = self.members.iter().skip(1).map(|next| next.start).chain([self.end]);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut count = 0;
        for (member, end) in self.members.iter().zip(ends) {
            if !wanted(&member.path) {
                continue;
            }
            count += 1;
            match ranges.last_mut() {
                Some(last) if last.end == member.start => last.end = end,
                _ => ranges.push(member.start..end),
            }
        }
        (ranges, count)
    }
}
