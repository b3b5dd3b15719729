//! One writer for every wheel.
