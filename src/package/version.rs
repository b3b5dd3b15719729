//! The local version that keeps two products from sharing a name.

use pep440_rs::Version;

/// The local version of a wheel built for this CUDA, torch and target, normalised as PEP 440
/// says, such as `cu130.torch2.14.thor`.
///
/// Two torches that PEP 440 tells apart give two names. A final release loses its trailing zeros
/// beyond two numbers (`2.14.0` is `torch2.14`, `2.14.1` is `torch2.14.1`). A torch's own local
/// version follows the word `local`, without which `2.9+1` would look like `2.9.1`; it is left out
/// where it only repeats the CUDA version (`2.14.0+cu130`). A vendor's `2.9.0a0+50eac811a6.nv25.09`
/// gives `torch2.9.0a0.local.50eac811a6.nv25.9`.
pub fn local_version(cuda: &str, torch: &Version, target: &str) -> String {
    let cuda = format!("cu{}", cuda.replace('.', ""));
    let mut parts = vec![cuda.clone(), format!("torch{}", torch_part(torch))];
    let own: Vec<String> = torch.local().iter().map(ToString::to_string).collect();
    if !own.is_empty() && own != [cuda] {
        parts.push("local".to_owned());
        parts.extend(own);
    }
    parts.push(target.to_owned());
    normalise(&parts.join("."))
}

/// The local version of a wheel that no torch decides: built for this target and, where it has to do
/// with CUDA, this CUDA, such as `cu130.thor`.
pub fn local_version_without_torch(cuda: Option<&str>, target: &str) -> String {
    let cuda = cuda.map(|cuda| format!("cu{}.", cuda.replace('.', "")));
    normalise(&(cuda.unwrap_or_default() + target))
}

/// The public part of torch's version.
fn torch_part(torch: &Version) -> String {
    let public = torch.clone().without_local();
    if torch.any_prerelease() || torch.is_post() || torch.epoch() != 0 {
        // An epoch's `!` may not stand in a local version.
        return public.to_string().replace('!', ".epoch.");
    }
    let mut release = torch.release().to_vec();
    while release.len() > 2 && release.last() == Some(&0) {
        release.pop();
    }
    Version::new(release).to_string()
}

/// Lower case, separators as dots, nothing but letters, digits and single dots.
fn normalise(local: &str) -> String {
    let separated = local.to_lowercase().replace(['-', '_'], ".");
    let segments = separated.split('.').map(|segment| {
        let kept: String = segment.chars().filter(char::is_ascii_alphanumeric).collect();
        // PEP 440 compares, and writes, a segment of digits as a number.
        match kept.parse::<u64>() {
            Ok(number) => number.to_string(),
            Err(_) => kept,
        }
    });
    segments.filter(|s| !s.is_empty()).collect::<Vec<_>>().join(".")
}

/// A wheel's version with this local version appended to the one that upstream may have given it.
pub fn with_local(version: &Version, local: &str) -> Result<Version, pep440_rs::VersionParseError> {
    let own: Vec<String> = version.local().iter().map(ToString::to_string).collect();
    let public = version.clone().without_local();
    let joined: Vec<&str> = own.iter().map(String::as_str).chain([local]).collect();
    format!("{public}+{}", joined.join(".")).parse()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn local(torch: &str) -> String {
        local_version("13.0", &torch.parse().expect("a version"), "thor")
    }

    #[test]
    fn local_versions_are_readable() {
        assert_eq!(local("2.14.0"), "cu130.torch2.14.thor");
        assert_eq!(local("2.14.0+cu130"), "cu130.torch2.14.thor");
        assert_eq!(local("2.14.1"), "cu130.torch2.14.1.thor");
        assert_eq!(
            local("2.9.0a0+50eac811a6.nv25.09"),
            "cu130.torch2.9.0a0.local.50eac811a6.nv25.9.thor"
        );
    }

    #[test]
    fn two_torches_give_two_names() {
        let torches = [
            "2.9",
            "2.9.1",
            "2.9+1",
            "2.9.0a0",
            "2.9.0a0+50eac811a6.nv25.09",
            "2.9.0a0+1",
            "2.10",
            "2.9.0a0+50eac811a6.nv25.10",
            "2.9.0.post1",
            "2.9.0+post1",
            "2.9.0.dev20250901",
            "2.9.0rc1",
            "1!2.9",
            "2.14.0+cu132",
            "2.14.0+cu130.vendor",
            "2.14.0",
        ];
        let names: BTreeMap<String, &str> = torches.iter().map(|t| (local(t), *t)).collect();
        assert_eq!(names.len(), torches.len(), "{names:?}");
    }

    #[test]
    fn without_torch_there_is_the_target_and_cuda_where_it_counts() {
        assert_eq!(local_version_without_torch(None, "thor.sm90"), "thor.sm90");
        let native = local_version_without_torch(Some("13.0"), "x86_64-cuda13");
        assert_eq!(native, "cu130.x86.64.cuda13");
    }

    #[test]
    fn every_local_version_is_normal() {
        for name in [
            local("1!2.9.0rc1+A-b_07"),
            local_version("13.0", &Version::new([2, 14]), "x86_64-cuda13"),
        ] {
            let version = with_local(&Version::new([1, 7, 0]), &name).expect("a version");
            assert_eq!(version.to_string(), format!("1.7.0+{name}"));
        }
    }

    #[test]
    fn an_upstream_local_version_is_kept() {
        let version = "1.0+abc".parse().expect("a version");
        assert_eq!(with_local(&version, "cu130").expect("a version").to_string(), "1.0+abc.cu130");
    }
}
