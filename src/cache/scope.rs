//! Which paths can change an action's result.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where things are, as the build sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scope {
    /// The build folder.
    pub build: PathBuf,
    /// Folders for temporary files, beside the build folder; each action knows them for itself.
    #[serde(skip)]
    pub temporary: Vec<PathBuf>,
    /// Streams out of which tools take leave for threads, which decide nothing.
    #[serde(skip)]
    pub tokens: Vec<PathBuf>,
    /// Folders whose content never changes, or changes only with what the key says.
    pub fixed: Vec<PathBuf>,
    /// Folders that belong to the cache itself; each action knows them for itself.
    #[serde(skip)]
    pub own: Vec<PathBuf>,
    /// The socket of the action server, which what stands before nvcc's tools talks to.
    #[serde(skip)]
    pub server: Option<PathBuf>,
    /// Whether `__DATE__` and `__TIME__` are what the key says; each action knows for itself.
    #[serde(skip)]
    pub has_fixed_time: bool,
}

/// Files of the machine that decide nothing: the index of its libraries, the time zone, and the
/// shell that tools start others with.
const NEUTRAL: [&str; 3] = ["/etc/ld.so.cache", "/etc/localtime", "/bin/sh"];

/// Where the machine has what its programs start with: its libraries, and its locales. Compilers come
/// from the store and their results are the same on every machine, whose libraries therefore decide
/// nothing: with them, no machine would find what another made.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
const LOCALES: [&str; 4] =
    ["/usr/lib/locale", "/usr/share/locale", "/usr/share/i18n", "/etc/locale.alias"];

/// Where the kernel tells of itself, and of its devices.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Names in `/proc` and `/dev` by which any file can be had.
const DETOURS: [&str; 6] = ["cwd", "fd", "root", "stdin", "environ", "map_files"];

impl Scope {
    /// Whether a path leads to a stream, or to a file by way of a process.
    pub(super) fn is_special(&self, path: &Path) -> bool {
        KERNEL.iter().any(|root| path.starts_with(root))
            && path.iter().any(|name| DETOURS.iter().any(|detour| name == *detour))
            && !self.tokens.iter().any(|stream| stream == path)
    }

    /// Whether nothing at this path can change what the key does not know.
    pub(super) fn is_fixed(&self, path: &Path) -> bool {
        self.is_machines(path) || self.fixed.iter().any(|root| is_below(path, root))
    }

    /// Whether it belongs to the cache itself.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|root| is_below(path, root))
    }

    /// Whether it is the kernel's, or decides nothing.
    pub(super) fn is_machines(&self, path: &Path) -> bool {
        let below = |roots: &[&str]| roots.iter().any(|root| is_below(path, Path::new(root)));
        let library = is_shared_library(path) && below(&LIBRARIES);
        let neutral = NEUTRAL.iter().any(|neutral| path == Path::new(neutral));
        below(&KERNEL) || below(&LOCALES) || library || neutral
    }

    /// Whether it is a folder for temporary files.
    pub(super) fn is_temporary(&self, path: &Path) -> bool {
        self.temporary.iter().any(|folder| path == folder)
    }

    /// Whether results may be written there.
    pub(crate) fn is_writable(&self, path: &Path) -> bool {
        self.temporary.iter().chain([&self.build]).any(|folder| is_below(path, folder))
    }
}

/// Whether a file is called `lib….so` or `lib….so.1`, as the loader wants it.
fn is_shared_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit());
    stem.ends_with(".so")
}

/// Whether a path stays in a folder, however it goes up and down in it: links in such folders lead
/// nowhere else.
fn is_below(path: &Path, root: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(root) else { return false };
    let mut depth = 0_usize;
    rest.components().all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        Component::CurDir => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            build: "/b".into(),
            temporary: vec!["/tmp".into()],
            tokens: Vec::new(),
            fixed: vec!["/store/components".into(), "/b/tools".into()],
            has_fixed_time: true,
            ..Scope::default()
        }
    }

    #[test]
    fn what_never_changes_is_told_from_what_may() {
        for (path, fixed) in [
            ("/store/components/gcc-1/usr/bin/g++", true),
            ("/store/components/cuda-1/bin/../include/cuda.h", true),
            ("/store/components/../builds/x.h", false),
            ("/store/components/a/../../builds/x.h", false),
            ("/store/builds/x.h", false),
            ("/b/tools/cuda/include/cuda.h", true),
            ("/b/tools/../source/a.h", false),
            ("/b/source/a.h", false),
            ("/usr/include/stdio.h", false),
            ("/proc/self/exe", true),
            ("/etc/ld.so.cache", true),
            ("/lib/x86_64-linux-gnu/libc.so.6", true),
            ("/usr/lib/x86_64-linux-gnu/libm.a", false),
            ("/usr/lib/gcc/x86_64-linux-gnu/14/include/stddef.h", false),
            ("/usr/lib/../../home/a.so", false),
            ("/usr/lib/locale/C.utf8/LC_CTYPE", true),
            ("/bin/sh", true),
        ] {
            assert_eq!(scope().is_fixed(Path::new(path)), fixed, "{path}");
        }
    }

    #[test]
    fn detours_are_seen() {
        for (path, special) in [
            ("/proc/self/cwd/a.h", true),
            ("/proc/12/fd/3", true),
            ("/dev/stdin", true),
            ("/dev/fd/0", true),
            ("/proc/self/exe", false),
            ("/dev/null", false),
            ("/b/source/fd/a.h", false),
        ] {
            assert_eq!(scope().is_special(Path::new(path)), special, "{path}");
        }
    }
}
