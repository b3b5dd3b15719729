//! The integration tests: one binary, driving the xtask executable and the library.

mod archives;
mod audit;
mod build;
mod cli;
mod cmake;
mod cuda_libraries;
mod disk;
mod distutils;
mod faults;
mod full;
mod oddities;
mod package;
mod patches;
mod properties;
mod prove;
mod python;
mod registry;
mod releases;
mod requests;
mod schemas;
mod scripts;
mod support;
mod symbols;
mod toolchain_lock;
mod verify;
mod wrapper;
