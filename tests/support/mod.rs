//! What tests share.

pub mod index;
pub mod namespace;
pub mod processes;
pub mod python;
#[cfg(feature = "shared-cache")]
pub mod redis;
pub mod schema;
pub mod xtask;
