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

pub use error::UnpackError;
pub use sdist::sdist;
pub use tree::{Limits, Tree};
