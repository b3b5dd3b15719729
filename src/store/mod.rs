//! The store: content-addressed downloads and unpacked, read-only components.
