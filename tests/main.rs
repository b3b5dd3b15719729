//! The integration tests: one binary, driving the xtask executable and the library.

mod audit;
mod build;
mod cli;
mod faults;
mod full;
mod package;
mod properties;
mod python;
mod registry;
mod requests;
mod schemas;
mod support;
mod torch;
mod wrapper;
