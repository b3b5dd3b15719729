//! The network: one HTTP client.
