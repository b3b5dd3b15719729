//! The object cache, with the real compilers.

mod hits;
mod place;
mod shared;
mod stale;
mod steps;
