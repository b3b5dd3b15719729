//! crosswheel builds aarch64 CUDA 13 wheels of torch extensions on an x86_64 Linux machine.
//!
//! A build is a chain of stages; each takes what the one before returned:
//!
//! | stage | module | from → to |
//! | --- | --- | --- |
//! | resolve | [`resolve`] | request, recipe, target → `Resolved` |
//! | lock | [`lock`] | `Resolved` → `Locked` (every input by name and sha256) |
//! | fetch | [`fetch`] | `Locked` → `Fetched` (every input on disk, verified) |
//! | patch | [`patch`] | `Fetched` → `Patched` (a copy of the source to build in) |
//! | configure | [`configure`] | `Patched` → `Configured` (the build environment) |
//! | compile | [`compile`] | `Configured` → `Built` (what the backend made, and its actions) |
//! | package | [`package`] | `Built` → `Packaged` (one deterministic wheel) |
//! | audit | [`audit`] | `Packaged` → `Audited` (what the wheel needs and holds) |
//! | manifest | [`manifest`] | `Audited` → the record from which the build can be repeated |
//!
//! The library prints nothing: it tells a [`report::Reporter`]. One module reads the process
//! environment ([`environment`]), one starts processes ([`exec`]), one talks to the network
//! ([`net`]).

pub mod actions;
pub mod artifact;
mod atomic;
pub mod audit;
pub mod blame;
pub mod bundle;
pub mod cache;
pub mod compile;
pub mod configure;
pub mod context;
pub mod environment;
pub mod error;
pub mod exec;
pub mod extension;
pub mod fetch;
pub mod git;
pub mod lock;
pub mod manifest;
pub mod net;
pub mod outputs;
pub mod package;
pub mod patch;
pub mod pins;
pub mod pipeline;
pub mod plan;
pub mod project;
pub mod prove;
pub mod python;
pub mod recipe;
pub mod registry;
pub mod report;
pub mod request;
pub mod resolve;
pub mod rust;
pub mod series;
pub mod store;
pub mod symbols;
pub mod sync;
pub mod target;
pub mod toolchain;
pub mod torch;
pub mod unpack;
pub mod verify;
pub mod wrapper;

pub use error::{Class, Diagnose, Error, Result};
