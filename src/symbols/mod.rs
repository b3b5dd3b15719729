//! What a link sees of shared libraries that are not there.
//!
//! In: a library's ELF file ([`library`]), or a header that declares what it exports
//! ([`driver`]). Out: a [`index::SymbolIndex`], which keeps the interfaces of many libraries in
//! little space, and stub libraries ([`stub`]), against which a link gives the same bytes as
//! against the real ones. Nothing here knows where libraries come from.

pub mod driver;
pub mod index;
pub mod library;
pub mod stub;

pub use index::{Product, SymbolIndex, SymbolsError};
pub use library::{Library, LibraryError};
pub use stub::write_stub;
