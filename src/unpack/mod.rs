//! Readers of foreign archives.
