//! The object cache, with the real compilers.

mod hits;
mod place;
mod stale;
