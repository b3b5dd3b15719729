//! Registries: where a locked artifact can be had.
