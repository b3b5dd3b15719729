//! Device code inside host ELF files: which GPU architectures, as machine code or PTX.
//!
//! NVIDIA documents `cuobjdump`, not the container; this layout was established by running
//! `ptxas` and `fatbinary` 13.0 on one kernel for every architecture and suffix, and by comparing
//! with `cuobjdump -all -lelf -lptx` 13.5 on PyPI's aarch64 wheels (CUDA 11.8 to 13.2):
//!
//! | offset | container header (little endian) |
//! | --- | --- |
//! | 0 | `u32` magic `0xBA55ED50` |
//! | 4 | `u16` version, 1 |
//! | 6 | `u16` header size, 16 |
//! | 8 | `u64` size of the entries that follow |
//!
//! | offset | entry header |
//! | --- | --- |
//! | 0 | `u16` kind: 1 PTX, 2 ELF (cubin); others are intermediate code for the device linker |
//! | 4 | `u32` header size, 64 or more; the rest are options such as `--compile-only` |
//! | 8 | `u64` payload size as stored, padding included |
//! | 16 | `u32` compressed size without padding, 0 where it is not compressed |
//! | 24 | `u16` minor and `u16` major: the PTX version, or 8.1 (CUDA 13) and 7.1 (before) for cubins |
//! | 28 | `u32` SM number, such as 110 |
//! | 40 | `u64` flags: 0x2000 LZ4, 0x8000 zstd, 0x100000 `a`, 0x200000 `f` |
//! | 56 | `u64` uncompressed size, 0 where it is not compressed |
//!
//! Containers stand in `.nv_fatbin` one after another, each on its alignment with zeros between:
//! one for each object file that was linked. `__nv_relfatbin` holds what a relocatable device link
//! consumed; it is loaded only where there is no `.nv_fatbin`. `.nvFatBinSegment` only points into
//! these, through relocations, so it says nothing more. No payload is decompressed: everything an
//! audit asks is in the headers. (An embedded cubin repeats the SM number in its `e_flags`, in bits
//! 8 to 15 since ELF ABI version 8 of CUDA 13 and in bits 0 to 7 before; they are the same for
//! `sm_100`, `sm_100a` and `sm_100f`, so the suffix is in the entry's flags alone. cuobjdump prints
//! `f` for PTX and not for cubins.)

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::target::Sm;

/// The first bytes of every container.
const MAGIC: u32 = 0xBA55_ED50;
const CONTAINER_HEADER: usize = 16;
const ENTRY_HEADER: usize = 64;
const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;
const FLAG_ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;
const FLAG_FAMILY_SPECIFIC: u64 = 0x20_0000;

/// The section with the device code that the CUDA runtime loads.
pub const EXECUTABLE_SECTION: &str = ".nv_fatbin";
/// The section with the device code that a relocatable device link took in.
pub const RELOCATABLE_SECTION: &str = "__nv_relfatbin";

/// On which other GPUs code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// `sm_110`: later GPUs too, as far as its kind allows.
    Plain,
    /// `sm_110f`: GPUs of the same family only.
    Family,
    /// `sm_110a`: this GPU only.
    Specific,
}

/// A GPU architecture with its variant, such as `sm_110a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GpuArch {
    /// The plain architecture.
    pub sm: Sm,
    /// Its suffix.
    pub variant: Variant,
}

impl fmt::Display for GpuArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.variant {
            Variant::Plain => "",
            Variant::Family => "f",
            Variant::Specific => "a",
        };
        write!(f, "{}{suffix}", self.sm)
    }
}

impl Serialize for GpuArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GpuArch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sm, variant) = match text.as_bytes().last() {
            Some(b'a') => (&text[..text.len() - 1], Variant::Specific),
            Some(b'f') => (&text[..text.len() - 1], Variant::Family),
            _ => (text.as_str(), Variant::Plain),
        };
        Ok(Self { sm: sm.parse().map_err(serde::de::Error::custom)?, variant })
    }
}

/// What form device code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Machine code, in an ELF file of its own (a cubin).
    Sass,
    /// Code for a virtual GPU, which the driver compiles when the program starts.
    Ptx,
    /// Intermediate code for the device linker, which no driver loads.
    Intermediate,
}

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As it is.
    None,
    /// LZ4 (up to CUDA 12.8 or so).
    Lz4,
    /// zstd (later).
    Zstd,
}

/// One piece of device code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its form.
    pub kind: Kind,
    /// What it was compiled for.
    pub arch: GpuArch,
    /// How it is stored.
    pub compression: Compression,
    /// Bytes as stored, padding included.
    pub stored: u64,
    /// Bytes once decompressed.
    pub size: u64,
}

/// The device code of one object file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fatbin {
    /// In the container's order.
    pub entries: Vec<Entry>,
}

/// Bytes that are not device code as this module knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its device code is malformed at offset {offset:#x} of the section: {reason}")]
pub struct FatbinError {
    /// From the section's start, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes_at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes_at(bytes, offset).map(u64::from_le_bytes)
}

/// Reads all containers of a section; only headers are looked at.
pub fn parse_section(section: &[u8]) -> Result<Vec<Fatbin>, FatbinError> {
    let mut fatbins = Vec::new();
    for (start, end) in containers(section)? {
        let entries = parse_entries(section, start, end)?;
        fatbins.push(Fatbin { entries: entries.into_iter().map(|piece| piece.entry).collect() });
    }
    Ok(fatbins)
}

/// An entry with the bytes that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What it is.
    pub entry: Entry,
    /// Its header, with options and, where there is a line table, the source's name.
    pub header: &'a [u8],
    /// Its code as it is stored, without padding.
    pub code: &'a [u8],
}

/// The entries of all containers of a section.
pub fn pieces(section: &[u8]) -> Result<Vec<Piece<'_>>, FatbinError> {
    let mut pieces = Vec::new();
    for (start, end) in containers(section)? {
        pieces.extend(parse_entries(section, start, end)?);
    }
    Ok(pieces)
}

/// Where the entries of each container begin and end.
fn containers(section: &[u8]) -> Result<Vec<(usize, usize)>, FatbinError> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(magic) = u32_at(section, offset) {
        if magic == 0 {
            offset += size_of::<u32>();
            continue;
        }
        let error = |reason| FatbinError { offset, reason };
        if magic != MAGIC {
            return Err(error("no container begins here"));
        }
        let header = u16_at(section, offset + 6).ok_or(error("the container is cut short"))?;
        let size = u64_at(section, offset + 8).ok_or(error("the container is cut short"))?;
        if usize::from(header) < CONTAINER_HEADER {
            return Err(error("the container's header is too short"));
        }
        let start = offset + usize::from(header);
        let entries = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let end = entries.filter(|&end| end <= section.len());
        let end = end.ok_or(error("the container is longer than its section"))?;
        found.push((start, end));
        offset = end;
    }
    Ok(found)
}

fn parse_entries(section: &[u8], start: usize, end: usize) -> Result<Vec<Piece<'_>>, FatbinError> {
    let mut entries = Vec::new();
    let mut offset = start;
    while offset < end {
        let error = |reason| FatbinError { offset, reason };
        let (piece, length) =
            parse_entry(&section[offset..end]).ok_or(error("an entry is cut short"))?;
        entries.push(piece);
        offset += length;
    }
    Ok(entries)
}

/// One entry and its length with header, payload and padding; `None` where it does not fit.
fn parse_entry(bytes: &[u8]) -> Option<(Piece<'_>, usize)> {
    let kind = match u16_at(bytes, 0)? {
        1 => Kind::Ptx,
        2 => Kind::Sass,
        _ => Kind::Intermediate,
    };
    let header = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let stored = u64_at(bytes, 8)?;
    let sm = Sm(u16::try_from(u32_at(bytes, 28)?).ok()?);
    let flags = u64_at(bytes, 40)?;
    let uncompressed = u64_at(bytes, 56)?;
    let length = header.checked_add(usize::try_from(stored).ok()?)?;
    if header < ENTRY_HEADER || length > bytes.len() {
        return None;
    }
    let compression = match (flags & FLAG_LZ4 != 0, flags & FLAG_ZSTD != 0) {
        (_, true) => Compression::Zstd,
        (true, false) => Compression::Lz4,
        (false, false) => Compression::None,
    };
    let variant = match (flags & FLAG_ARCHITECTURE_SPECIFIC != 0, flags & FLAG_FAMILY_SPECIFIC != 0)
    {
        (true, _) => Variant::Specific,
        (false, true) => Variant::Family,
        (false, false) => Variant::Plain,
    };
    let size = if compression == Compression::None { stored } else { uncompressed };
    let entry = Entry { kind, arch: GpuArch { sm, variant }, compression, stored, size };
    let mut code = &bytes[header..length];
    let compressed = usize::try_from(u32_at(bytes, 16)?).ok()?;
    if compression != Compression::None {
        code = code.get(..compressed).unwrap_or(code);
    }
    Some((Piece { entry, header: &bytes[..header], code }, length))
}
