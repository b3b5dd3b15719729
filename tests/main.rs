//! The integration tests: one binary, driving the xtask executable and the library.

mod audit;
mod build;
mod cli;
mod cuda_libraries;
mod faults;
mod full;
mod package;
mod python;
mod registry;
mod requests;
mod support;
mod symbols;
mod toolchain_lock;
mod wrapper;
