//! The torch SDK: the target's torch, importable on the build platform.
