//! Tool wrappers: what a build sees as nvcc, g++ and ninja.
