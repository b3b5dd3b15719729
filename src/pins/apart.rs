//! What is for other machines than the target: pins in files for other accelerators.

use std::sync::LazyLock;

use regex::Regex;

/// A local version, or a part of a URL, that names a CUDA: `+cu128`, `/whl/cu128`.
static CUDA: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:\+|%2B|/)(?:\w+\.)*cu(\d\d)\d*\b").expect("a constant pattern")
});
/// A local version that names another accelerator than CUDA.
static LOCAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:\+|%2B)(cpu|rocm|xpu|hip|tpu)").expect("a constant pattern"));
/// A word of a file's path that names one.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:^|[^a-z0-9])(cpu|rocm|rock|xpu|hip|tpu|hpu|npu|musa|neuron|mps)\d*(?:[^a-z0-9]|$)",
    )
    .expect("a constant pattern")
});

/// The CUDA major version that a specifier or a URL names.
pub(crate) fn cuda_major(text: &str) -> Option<u32> {
    CUDA.captures(text)?[1].parse().ok()
}

/// The accelerator other than CUDA that a requirement names by its local version.
pub(super) fn accelerator(text: &str) -> Option<&str> {
    Some(LOCAL.captures(text)?.get(1)?.as_str())
}

/// The accelerator other than CUDA that a file is named for.
pub(super) fn accelerator_of_path(path: &str) -> Option<&str> {
    Some(WORD.captures(path)?.get(1)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_addresses_and_paths_tell_their_accelerator() {
        assert_eq!(cuda_major("==2.9.0+cu128"), Some(12));
        assert_eq!(cuda_major("==2.14.0+cu130"), Some(13));
        assert_eq!(
            cuda_major("https://x.example/whl/cu121/torch-2.4.0%2Bcu121-cp311.whl"),
            Some(12)
        );
        assert_eq!(cuda_major("==2.9.0a0+50eac811a6.nv25.09"), None);
        assert_eq!(accelerator("==2.12.0+rocm7.14.0"), Some("rocm"));
        assert_eq!(accelerator("==2.9.1+cpu"), Some("cpu"));
        assert_eq!(accelerator("==2.9.0+cu129"), None);
        for (path, accelerator) in [
            ("requirements/rocm-build.txt", Some("rocm")),
            ("requirements/build/cpu.txt", Some("cpu")),
            ("requirements_xpu.txt", Some("xpu")),
            ("requirements/cuda.txt", None),
            ("requirements/rocket.txt", None),
            ("cpufeature/requirements.txt", None),
        ] {
            assert_eq!(accelerator_of_path(path), accelerator, "{path}");
        }
    }
}
