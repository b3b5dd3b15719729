//! Where the target's torch comes from, and what is taken of it.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use pep440_rs::Version;

/// Where a torch says which it is.
pub(crate) const VERSION_PY: &str = "torch/version.py";

/// What to use where a torch has no CUDA.
pub(super) const CPU_ONLY_HINT: &str = "on the Python index torch for aarch64 is CPU-only up to \
     2.10 and has CUDA 13 from 2.11 on; for another, give a wheel, or the folder \
     `site-packages/torch` copied out of a container of the target, with `--torch`";

/// Where the target's torch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TorchSource {
    /// A release of the Python index, as locked.
    Index {
        /// Such as `2.14.0`.
        version: String,
    },
    /// A wheel file.
    Wheel(PathBuf),
    /// An unpacked torch: `site-packages/torch`, or the folder that has it.
    Folder(PathBuf),
}

impl fmt::Display for TorchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { version } => f.write_str(version),
            Self::Wheel(path) | Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// Text that names no torch.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no torch: a version, a `.whl` file or a folder is expected")]
pub struct InvalidSource(String);

impl crate::Diagnose for InvalidSource {
    fn class(&self) -> crate::Class {
        crate::Class::Usage
    }
}

impl TorchSource {
    /// Reads what `--torch` was given: a folder or a wheel that is there, else a version.
    pub fn parse(text: &str, current_dir: &Path) -> Result<Self, InvalidSource> {
        let path = current_dir.join(text);
        if text.ends_with(".whl") && path.is_file() {
            return Ok(Self::Wheel(path));
        }
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        match text.parse::<Version>() {
            Ok(version) => Ok(Self::Index { version: version.to_string() }),
            Err(_) => Err(InvalidSource(text.to_owned())),
        }
    }
}

/// Whether a file of a wheel, or of `site-packages`, is taken whatever the libraries are.
///
/// Of the Python files these are the ones that `utils/cpp_extension.py` imports in any version
/// from 2.9 on, and all of `torch/utils`, from which build scripts take more.
pub fn is_wanted(path: &str) -> bool {
    if !is_plain(path) {
        return false;
    }
    if let Some(folder) = path.strip_suffix(".dist-info/METADATA") {
        return folder.starts_with("torch-") && !folder.contains('/');
    }
    let Some(inner) = path.strip_prefix("torch/") else { return false };
    let python = inner.ends_with(".py");
    inner.starts_with("include/")
        || inner.starts_with("share/cmake/")
        || matches!(
            inner,
            "version.py" | "torch_version.py" | "_appdirs.py" | "_vendor/__init__.py"
        )
        || python && (inner.starts_with("utils/") || inner.starts_with("_vendor/packaging/"))
}

/// Whether a file of `site-packages` tells the version of a package that is installed beside torch,
/// and that a target fixes with it.
pub fn is_companion(path: &str) -> bool {
    let companions = ["torchvision-", "torchaudio-"];
    is_plain(path)
        && companions.iter().any(|name| path.starts_with(name))
        && path.strip_suffix(".dist-info/METADATA").is_some_and(|folder| !folder.contains('/'))
}

/// Whether a file is one of the libraries in `torch/lib`.
pub fn is_library(path: &str) -> bool {
    path.strip_prefix("torch/lib/").is_some_and(|name| {
        let shared = name.ends_with(".so") || name.contains(".so.");
        shared && name.starts_with("lib") && !name.contains('/')
    })
}

/// The last component of a path in a wheel.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a member's path stays below where it is unpacked.
fn is_plain(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_a_build_reads_and_nothing_else() {
        for path in [
            "torch/include/c10/macros/Macros.h",
            "torch/share/cmake/Torch/TorchConfig.cmake",
            "torch/version.py",
            "torch/utils/cpp_extension.py",
            "torch/utils/hipify/hipify_python.py",
            "torch/_vendor/packaging/version.py",
            "torch-2.14.0.dist-info/METADATA",
        ] {
            assert!(is_wanted(path), "{path}");
        }
        for path in [
            "torch/include/../../../.bashrc",
            "torch/__init__.py",
            "torch/_inductor/utils/ir.py",
            "torch/lib/libc10.so",
            "torch/bin/protoc",
            "torch-2.14.0.dist-info/RECORD",
            "torch-2.14.0.dist-info/licenses/torch-1.dist-info/METADATA",
            "torchgen/utils/a.py",
        ] {
            assert!(!is_wanted(path), "{path}");
        }
    }

    #[test]
    fn knows_a_library_by_its_name() {
        assert!(is_library("torch/lib/libgomp.so.1"));
        assert!(is_library("torch/lib/libc10.so"));
        assert!(!is_library("torch/lib/libshm/libshm.h"));
        assert!(!is_library("torch/lib/../libc10.so"));
        assert!(!is_library("torch/_C.cpython-311-aarch64-linux-gnu.so"));
    }

    #[test]
    fn a_source_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs_err::write(here.join("torch-2.14.0-x.whl"), "").unwrap();
        fs_err::create_dir(here.join("torch")).unwrap();
        assert_eq!(
            TorchSource::parse("2.14", here).unwrap(),
            TorchSource::Index { version: "2.14".to_owned() }
        );
        assert_eq!(
            TorchSource::parse("torch-2.14.0-x.whl", here).unwrap(),
            TorchSource::Wheel(here.join("torch-2.14.0-x.whl"))
        );
        assert_eq!(
            TorchSource::parse("torch", here).unwrap(),
            TorchSource::Folder(here.join("torch"))
        );
        let error = TorchSource::parse("other.whl", here).unwrap_err();
        assert!(error.to_string().starts_with("`other.whl` is no torch"));
    }
}
