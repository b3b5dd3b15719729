//! What tests share.

pub mod index;
pub mod python;
