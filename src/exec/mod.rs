//! Processes: the one module that starts them.
