//! What is asked of every reader of foreign bytes, whatever bytes it is given.
//!
//! One function a target: it panics where a reader does, or where what was read breaks a promise.
//! `cargo fuzz` calls them with bytes of its own making, and the integration tests with the seeds.
//! The first byte chooses between the forms that a target has, so that one corpus serves them all.

mod archives;
mod binaries;
mod texts;

pub use archives::{bundle, deb, sdist};
pub use binaries::{elf, fatbin, wheel};
pub use texts::{index_page, metadata, patch, pins, recipe, request};

/// A target: its name, which is that of its file and of its seeds' folder, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 12] = [
    ("bundle", bundle),
    ("deb", deb),
    ("elf", elf),
    ("fatbin", fatbin),
    ("index_page", index_page),
    ("metadata", metadata),
    ("patch", patch),
    ("pins", pins),
    ("recipe", recipe),
    ("request", request),
    ("sdist", sdist),
    ("wheel", wheel),
];

/// The first byte, below `forms`, and the rest.
fn form(data: &[u8], forms: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((first % forms, rest))
}

/// A folder in memory, where the machine has one for that.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}
