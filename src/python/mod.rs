//! Pythons: the one that runs build scripts, and the target's description.
//!
//! In: a source tree, the locked build requirements, a [`crate::toolchain::Toolchain`], the torch
//! SDK. Out: a [`environment::BuildEnvironment`] in which a PEP 517 backend runs as if it were on
//! the target, and what its hooks returned. The target's interpreter is never run. Nothing here
//! downloads, and processes start through the [`launch::Launch`] that the caller gives.

pub mod answers;
pub mod backend;
mod cmake;
pub mod environment;
mod installed;
pub mod launch;
pub mod lock;
mod nvidia_smi;
pub mod pep508;
pub mod programs;
pub mod pyproject;
pub mod requirements;
pub mod requirements_file;
pub mod shim;
pub mod tags;
pub mod undeclared;
pub mod variables;
