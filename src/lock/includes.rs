//! What a source tree includes, and so which CUDA libraries' headers it wants.
//!
//! Sources are only read, never preprocessed: an include below an `#if` counts, since a header that
//! is not used costs little and one that is missing stops the build.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::artifact::Sha256;
use crate::toolchain::cuda::Detector;

/// The CUDA libraries that a source wants the headers of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CudaHeaders {
    /// The digest of the descriptions that the source was held against.
    pub described: Sha256,
    /// Their names.
    pub libraries: BTreeSet<String>,
}

/// What C, C++ and CUDA sources are called.
const SOURCES: [&str; 19] = [
    "c", "cc", "cpp", "cxx", "c++", "C", "h", "hh", "hpp", "hxx", "h++", "cu", "cuh", "inl", "inc",
    "ipp", "tpp", "ixx", "cppm",
];
/// What scripts are called that look for headers.
const SCRIPTS: [&str; 3] = ["py", "cmake", "in"];
/// Such a script without an extension of its own.
const CMAKE: &str = "CMakeLists.txt";

/// Whether compilers alone read a file: nothing of it decides what a build requires, but for the
/// headers that it includes.
pub(super) fn is_for_compilers(path: &Path) -> bool {
    SOURCES.contains(&extension(path))
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// The largest file that is read, in bytes: beyond it are tables, which include nothing.
const LIMIT: u64 = 8 << 20;

/// Looks through a tree for what the detector knows. Links are not followed.
pub(super) fn scan(tree: &Path, detector: &Detector) -> io::Result<BTreeSet<String>> {
    let mut libraries = BTreeSet::new();
    for entry in WalkDir::new(tree).sort_by_file_name() {
        let entry = entry?;
        let Some(pattern) = pattern(entry.path()) else { continue };
        if !entry.file_type().is_file() || entry.metadata()?.len() > LIMIT {
            continue;
        }
        let content = fs_err::read(entry.path())?;
        let named =
            |found: regex::bytes::Captures<'_>| found.get(1).or(found.get(2)).map(|m| m.range());
        for range in pattern.captures_iter(&content).filter_map(named) {
            if let Ok(name) = std::str::from_utf8(&content[range]) {
                libraries.extend(detector.libraries(name).map(str::to_owned));
            }
        }
    }
    Ok(libraries)
}

/// What names a header in a file; `None` for files that name none.
fn pattern(path: &Path) -> Option<&'static Regex> {
    static INCLUDE: LazyLock<Regex> = LazyLock::new(|| {
        let directive = r#"(?m)^[ \t]*#[ \t]*include(?:_next)?[ \t]*[<"]([^>"\r\n]+)[>"]"#;
        constant(&format!(r#"{directive}|__has_include[ \t]*\([ \t]*[<"]([^>"\r\n]+)[>"]"#))
    });
    static WORD: LazyLock<Regex> =
        LazyLock::new(|| constant(r"([A-Za-z0-9_][\w/+-]*\.h(?:pp)?)\b"));
    if is_for_compilers(path) {
        Some(&INCLUDE)
    } else if SCRIPTS.contains(&extension(path))
        || path.file_name().is_some_and(|name| name == CMAKE)
    {
        Some(&WORD)
    } else {
        None
    }
}

fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::cuda::CudaLibraries;

    /// What a tree with this one file wants.
    fn wanted(path: &str, content: &[u8]) -> Vec<String> {
        let toolchains = Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains");
        let detector = CudaLibraries::load(&toolchains).unwrap().detector().unwrap();
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        scan(tree.path(), &detector).unwrap().into_iter().collect()
    }

    #[test]
    fn includes_are_found_in_sources() {
        for source in [
            "#include <cudnn.h>",
            "int a;\n  #  include \"cudnn.h\" // why\n",
            "#ifdef X\n#include <other.h>\n#include\t<cudnn_v9.h>\n#endif",
            "#if __has_include(<cudnn.h>)\n#endif",
            "#include <ATen/cudnn/Handle.h>\r\n",
        ] {
            for path in ["a.cpp", "csrc/deep/er/b.cuh", "c.in.h"] {
                assert_eq!(wanted(path, source.as_bytes()), ["cudnn"], "{path}: {source}");
            }
        }
    }

    #[test]
    fn what_includes_nothing_wants_nothing() {
        for source in ["// #include <cudnn.h>", "// uses cudnn.h", "#include <my/cudnn.h>", ""] {
            assert!(wanted("a.cpp", source.as_bytes()).is_empty(), "{source}");
        }
        assert!(wanted("README.md", b"#include <cudnn.h>").is_empty());
    }

    #[test]
    fn scripts_name_the_headers_that_they_look_for() {
        let script =
            b"if not os.path.exists(os.path.join(CUDA_HOME, 'include/x', 'nccl.h')): raise";
        assert_eq!(wanted("setup.py", script), ["nccl"]);
        let cmake = b"find_path(CUDNN_INCLUDE_DIR cudnn.h)\nfind_path(F NAMES \"cufft.h\")";
        for path in ["CMakeLists.txt", "cmake/FindThem.cmake"] {
            assert_eq!(wanted(path, cmake), ["cudnn", "cufft"], "{path}");
        }
    }

    #[test]
    fn other_encodings_and_large_files_do_not_matter() {
        assert_eq!(wanted("a.cpp", b"// caf\xe9\n#include <nvjpeg.h>\n"), ["nvjpeg"]);
        let mut large = b"#include <nvjpeg.h>\n".to_vec();
        large.resize(LIMIT as usize + 1, b'0');
        assert!(wanted("table.inc", &large).is_empty());
    }
}
