//! The torch SDK: the target's torch, importable on the build platform.
//!
//! In: where the torch comes from ([`source::TorchSource`]), the target, and
//! `toolchains/torch.lock` with the symbol indices beside it. Out: a [`sdk::TorchSdk`], a folder
//! with the target's real headers, cmake files, `version.py` and `utils/cpp_extension.py` under
//! crosswheel's own small `torch` package, and libraries to link against: the real ones, or stubs
//! made from the symbol index.
//!
//! Nothing here runs the target's torch, and nothing here talks to the network: a wheel is
//! anything that can be read and sought, and a hook is told which ranges are coming.

mod error;
mod facts;
#[cfg(test)]
mod fixture;
pub mod import;
pub mod lock;
pub mod relock;
pub mod sdk;
pub mod shim;
pub mod source;
pub mod version;
pub mod wheel;

pub use error::TorchError;
pub(crate) use facts::check;
