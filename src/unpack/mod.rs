//! Readers of foreign archives.
//!
//! In: bytes that strangers made. Out: files below one folder, and nothing anywhere else. Every
//! reader writes through a [`Tree`], which refuses what could leave the folder, grow without
//! bounds, or come out differently on another machine.

pub mod deb;
pub mod error;
pub mod members;
pub mod sdist;
mod tar;
pub mod tree;
pub mod wheel;

use std::io::Read;

pub use error::UnpackError;
use lzma_rust2::XzReader;
pub use sdist::sdist;
pub use tree::{Limits, Tree};

/// The memory that a stream of xz may ask for, in KiB: four times what `xz -9` needs (xz(1)).
const XZ_MEMORY: u32 = 256 << 10;

/// Decompresses xz.
fn xz<R: Read>(stream: R) -> XzReader<R> {
    XzReader::new_mem_limit(stream, true, XZ_MEMORY)
}
