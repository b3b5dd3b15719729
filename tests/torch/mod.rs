//! The torch SDK.

mod symbols;
