//! The object cache: what a compiler made of the same inputs is not made again.
//!
//! In: an action's key, and what the kernel says of the files that it looked at
//! (`exec/trace.rs`). Out: its outputs and what it said, byte for byte. A key (`key.rs`) holds
//! tool, arguments, folder and environment. Beside it stands what the action found at every path
//! that it asked for, in every pass of every of its processes: contents, folders, and paths at
//! which nothing was (`input.rs`). A result is used only where all of that is so again.
//!
//! It holds nothing that cannot be made again, and no action depends on it: what goes wrong here
//! costs a compile.
//!
//! Actions run in a sandbox, which may read the entries and not write them. What is to be kept is
//! left in the build folder, and the action server, outside, moves it in.

mod aliases;
mod input;
mod key;
mod layers;
mod objects;
mod outcome;
mod scope;
mod settings;
pub mod shared;
mod watch;

pub use aliases::Aliases;
pub(crate) use aliases::Renamer;
pub use input::{Input, State};
pub(crate) use key::{KeyBuilder, is_of_crates};
pub use layers::{Layers, Uses};
pub(crate) use objects::Found;
pub use objects::{Objects, Removed, Stats};
pub use outcome::Saved;
pub(crate) use outcome::{Outcome, Output};
pub use scope::Scope;
pub use settings::{Limit, Settings};
pub(crate) use watch::Watch;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::artifact::Sha256;
use crate::error::{Class, Diagnose};

/// The cache's folder in a store.
pub const FOLDER: &str = "objects";

/// What tool wrappers know of the cache. All paths are as the build sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Caching {
    /// The entries, which the build only reads.
    pub objects: PathBuf,
    /// Where it leaves what is to be kept.
    pub incoming: PathBuf,
    /// crosswheel under the name `trace`.
    pub tracer: PathBuf,
    /// What entries call the components.
    pub aliases: Aliases,
    /// Which cudafe++, cicc and ptxas there are, wherever the store is and whatever is built for.
    pub compilers: Sha256,
    /// Which torch SDK it is that stands at the path that all have.
    pub torch: PathBuf,
    /// Which files matter.
    pub scope: Scope,
    /// Whether the action server can ask another machine's for entries.
    pub shared: bool,
}

/// A result that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kept {
    /// The action's key.
    pub key: Sha256,
    /// What its result depends on.
    pub inputs: Vec<Input>,
    /// The result's file name among the incoming.
    pub file: String,
}

/// Why the cache cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A variable has a value that means nothing.
    #[error("`{name}`: {reason}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A password where it can be read by all.
    #[error("the `remote` of `crosswheel.toml` has a password in it")]
    PasswordInFile,
    /// A server that nothing here can speak to.
    #[error("`{remote}` cannot be a shared cache: {reason}")]
    Remote {
        /// The server.
        remote: String,
        /// What is wrong.
        reason: String,
    },
    /// crosswheel was built without the part that speaks to servers.
    #[error("this crosswheel was built without the feature `shared-cache`")]
    NotBuilt,
    /// The entries cannot be read or written.
    #[error("the object cache cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for CacheError {
    fn class(&self) -> Class {
        match self {
            Self::Io(_) => Class::Io,
            _ => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PasswordInFile => {
                Some("set `CROSSWHEEL_CACHE_REMOTE_PASSWORD` instead".to_owned())
            }
            Self::NotBuilt => Some("`cargo xtask-shared` is `cargo xtask` with it".to_owned()),
            _ => None,
        }
    }
}
