//! What tests share.

pub mod index;
pub mod namespace;
pub mod processes;
pub mod python;
pub mod schema;
pub mod xtask;
