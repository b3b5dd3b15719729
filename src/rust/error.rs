//! What can go wrong with crates and their compiler.

use std::path::PathBuf;

use crate::error::{Class, Diagnose};

/// Why a package's Rust cannot be locked or fetched.
#[derive(Debug, thiserror::Error)]
pub enum RustError {
    /// A `Cargo.lock` that is none.
    #[error("`{path}` of the source is not a lock of crates")]
    Malformed {
        /// The file, in the source tree.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A crate from neither a registry nor a repository.
    #[error(
        "`{krate}` of `{path}` comes from `{source_url}`, which is neither a registry of crates nor \
         a git repository"
    )]
    NoRegistry {
        /// Name and version.
        krate: String,
        /// As cargo writes it.
        source_url: String,
        /// The file, in the source tree.
        path: PathBuf,
    },
    /// A git repository that crates come from cannot be had.
    #[error("the git repository `{url}` of the crates `{}` cannot be had", crates.join("`, `"))]
    Repository {
        /// The crates.
        crates: Vec<String>,
        /// What git clones.
        url: String,
        /// Why.
        source: Box<crate::Error>,
    },
    /// A repository without the crate that is taken from it.
    #[error("`{repository}` has no crate `{krate}`; it has `{}`", known.join("`, `"))]
    NoSuchCrate {
        /// The crate.
        krate: String,
        /// As `Cargo.lock` names it, or what `crosswheel.toml` has in its place.
        repository: String,
        /// What it has.
        known: Vec<String>,
    },
    /// A lock file of a form from before checksums stood beside the crates.
    #[error("`{krate}` of `{path}` has no checksum")]
    NoChecksum {
        /// Name and version.
        krate: String,
        /// The file, in the source tree.
        path: PathBuf,
    },
    /// A path without a `Cargo.toml`.
    #[error("there is no crate at `{path}`")]
    NoCrate {
        /// As written.
        path: PathBuf,
    },
    /// A source with a backend for Rust and no crate.
    #[error("the source has no `Cargo.toml`, although it is built with maturin or setuptools-rust")]
    NoManifest,
    /// The machine has no cargo.
    #[error("crates cannot be looked up or downloaded: there is no `cargo` on this machine")]
    NoCargo,
    /// The machine has no linker for build scripts and procedural macros, which run here.
    #[error("crates' build scripts cannot be linked: there is no `cc` on this machine")]
    NoLinker,
    /// cargo could not look crates up, or not get them.
    #[error("cargo cannot {what}{}", tail.iter().map(|l| format!("\n  | {l}")).collect::<String>())]
    Cargo {
        /// What it was to do.
        what: &'static str,
        /// What kind of trouble that is.
        trouble: Trouble,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// cargo said that all is there, and it is not.
    #[error("cargo fetched no `{file}` with sha256 `{sha256}`")]
    Missing {
        /// The crate's archive.
        file: String,
        /// From `Cargo.lock`.
        sha256: crate::artifact::Sha256,
    },
    /// A file cannot be read or written.
    #[error("crates cannot be read or written")]
    Io(#[from] std::io::Error),
}

/// What cargo's words tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The registry cannot be reached.
    Network,
    /// The `Cargo.lock` does not fit the `Cargo.toml`.
    Outdated,
    /// A crate, or a version of it, that the registry does not have, or not any more.
    Unknown,
    /// An archive that is not what the `Cargo.lock` says.
    Checksum,
    /// A folder that a manifest names, and that is not in the source.
    Outside,
    /// A manifest that cargo does not take.
    Manifest,
}

impl Trouble {
    /// By cargo's own messages.
    pub(super) fn of(lines: &[String]) -> Self {
        const WORDS: [(Trouble, &[&str]); 5] = [
            (Trouble::Outdated, &["--locked was passed", "lock file version"]),
            (Trouble::Outside, &["nable to update /"]),
            (Trouble::Checksum, &["checksum for", "failed to verify the checksum"]),
            (
                Trouble::Network,
                &[
                    "Could not resolve host",
                    "Couldn't resolve host",
                    "Could not connect",
                    "Couldn't connect",
                    "spurious network error",
                    "network failure",
                    "Timeout was reached",
                    "download of config.json failed",
                    "SSL",
                    "you're using offline mode",
                ],
            ),
            (
                Trouble::Unknown,
                &[
                    "no matching package",
                    "failed to select a version",
                    "is yanked",
                    "failed to download",
                    "failed to get successful HTTP response",
                ],
            ),
        ];
        let tells = |words: &&[&str]| lines.iter().any(|l| words.iter().any(|w| l.contains(w)));
        let found = WORDS.into_iter().find(|(_, words)| tells(words));
        found.map_or(Self::Manifest, |(trouble, _)| trouble)
    }
}

impl Diagnose for RustError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::NoManifest => Class::Request,
            Self::NoRegistry { .. }
            | Self::NoChecksum { .. }
            | Self::NoSuchCrate { .. }
            | Self::NoCrate { .. } => Class::Request,
            Self::Repository { source, .. } => source.class(),
            Self::NoCargo | Self::NoLinker => Class::Toolchain,
            Self::Cargo { trouble, .. } => match trouble {
                Trouble::Network => Class::Network,
                Trouble::Outdated | Trouble::Unknown | Trouble::Outside | Trouble::Manifest => {
                    Class::Request
                }
                Trouble::Checksum => Class::Integrity,
            },
            Self::Missing { .. } => Class::Integrity,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Malformed { .. } | Self::NoChecksum { .. } => {
                "make it anew with `cargo generate-lockfile`, and build from a folder with that one"
            }
            Self::NoRegistry { .. } => {
                "build from a folder that has the crate in it, as a `path` dependency, or that \
                 takes it from the registry"
            }
            Self::Repository { url, source, .. } => {
                return Some(crate::lock::elsewhere(url, source.hint()));
            }
            Self::NoSuchCrate { .. } => {
                "`[sources]` of `crosswheel.toml` has something else in the place of the repository"
            }
            Self::NoCrate { .. } => "name the folder in which its `Cargo.toml` lies",
            Self::NoManifest => return None,
            Self::NoCargo => "install Rust: crosswheel itself is built with it",
            Self::NoLinker => "install a C compiler, such as Debian's `gcc`",
            Self::Cargo { trouble, .. } => match trouble {
                Trouble::Network => {
                    "a mirror is configured as for cargo itself; what was fetched once is built \
                     with `--offline`"
                }
                Trouble::Outdated => {
                    "bring it up to date with `cargo update --workspace`, and build from a folder \
                     with that one"
                }
                Trouble::Unknown => {
                    "the registry, or the mirror that cargo is configured for, does not have it: \
                     `cargo update` takes another version"
                }
                Trouble::Checksum => "the registry's file was changed, or the `Cargo.lock` was",
                Trouble::Outside => {
                    "what a manifest names by `path` has to lie in the folder that is built"
                }
                Trouble::Manifest => return None,
            },
            Self::Missing { .. } => {
                "`[source]` of cargo's configuration may name folders, from which crosswheel cannot \
                 lock crates: let it name a registry"
            }
            Self::Io(_) => return None,
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_words_tell_what_is_wrong() {
        for (line, trouble) in [
            (
                "error: cannot update the lock file a/Cargo.lock because --locked was passed to \
                 prevent this",
                Trouble::Outdated,
            ),
            ("error: no matching package named `nosuch` found", Trouble::Unknown),
            ("  version 1.0.0 is yanked", Trouble::Unknown),
            ("warning: spurious network error (3 tries remaining): [6] x", Trouble::Network),
            ("  Unable to update /work/other", Trouble::Outside),
            ("error: failed to parse manifest at `Cargo.toml`", Trouble::Manifest),
        ] {
            assert_eq!(Trouble::of(&[line.to_owned()]), trouble, "{line}");
        }
    }
}
