//! CUDA's major version in what a wheel requires: projects of NVIDIA's that carry it in their
//! names, and local versions such as torch's `+cu130`.

use std::sync::LazyLock;

use pep508_rs::VersionOrUrl;
use regex::Regex;

use super::report::{Code, Inspection, Violation};
use crate::python::{pep508, requirements::markers};
use crate::target::Arch;

/// `nvidia-cublas-cu12`, `cupy-cuda12x`, and the local versions `cu130` and `cu12`.
static PROJECT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:nvidia-.*-cu|cupy-cuda)(\d\d)x?$").expect("a constant pattern")
});
static LOCAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\+(?:\w+\.)*cu(\d\d)\d?\b").expect("a constant pattern"));

/// The CUDA major version that a requirement asks for, where it applies on the target.
fn cuda_major(requirement: &str, arch: Arch, python: (u16, u16)) -> Option<u32> {
    let parsed = pep508::parse(requirement).ok()?;
    if !parsed.evaluate_markers(&markers(arch, python).ok()?, &[]) {
        return None;
    }
    let by_name = PROJECT.captures(parsed.name.as_ref());
    let version = match &parsed.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.to_string(),
        Some(VersionOrUrl::Url(url)) => url.to_string(),
        None => String::new(),
    };
    let major = by_name.or_else(|| LOCAL.captures(&version))?[1].parse();
    major.ok()
}

/// Requirements of another CUDA major version than the target's.
pub(super) fn check(
    inspection: &Inspection,
    arch: Arch,
    whose: &str,
    cuda: &str,
) -> Vec<Violation> {
    let major = cuda.split('.').next().and_then(|m| m.parse::<u32>().ok());
    let python = inspection.tagged_python();
    let minor = python.as_deref().and_then(|p| p.strip_prefix("3.")?.parse().ok()).unwrap_or(12);
    let requires = inspection.wheel.iter().flat_map(|wheel| &wheel.requires);
    let other = requires.filter(|requirement| {
        let found = cuda_major(requirement, arch, (3, minor));
        found.is_some() && found != major
    });
    let file = inspection.path.display().to_string();
    other
        .map(|requirement| {
            let message = format!("it requires `{requirement}`; {whose} has CUDA {cuda}");
            let hint = "a pin of the package's; a build for this target can change it";
            Violation::new(Code::CudaMajor, &file, message).hint(hint)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_tell_their_cuda() {
        for (requirement, major) in [
            ("nvidia-cublas-cu12==12.8.4.1", Some(12)),
            ("nvidia-cudnn-cu13>=9", Some(13)),
            ("nvidia-cublas==13.1", None),
            ("cupy-cuda12x", Some(12)),
            ("torch==2.9.0+cu128", Some(12)),
            ("torch==2.14.0+cu130", Some(13)),
            ("torch==2.14.0", None),
            ("nvidia-nccl-cu12; platform_machine == 'x86_64'", None),
            ("nvidia-nccl-cu12; extra == 'cuda12'", None),
            ("nvidia-nccl-cu12 ; platform_system == 'Linux'", Some(12)),
            ("not a requirement", None),
        ] {
            assert_eq!(cuda_major(requirement, Arch::Aarch64, (3, 12)), major, "{requirement}");
        }
    }
}
