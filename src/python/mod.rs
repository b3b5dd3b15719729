//! Pythons: the one that runs build scripts, and the target's description.
