//! The integration tests: one binary, driving the xtask executable and the library.
