//! Modules that build scripts import without saying so.
//!
//! Packages that are only ever built with `--no-build-isolation` find in the user's environment
//! what they never declared. A table of well-known modules says which project brings each: an
//! import's name alone is no reason to run some project of the same name.

/// Modules and what brings them, as PEP 508 requirements.
const PROVIDERS: [(&str, &str); 22] = [
    ("Cython", "cython"),
    ("absl", "absl-py"),
    ("bs4", "beautifulsoup4"),
    ("cpuinfo", "py-cpuinfo"),
    ("distro", "distro"),
    ("einops", "einops"),
    ("git", "gitpython"),
    ("jinja2", "jinja2"),
    ("nanobind", "nanobind"),
    ("numpy", "numpy"),
    ("packaging", "packaging"),
    ("pip", "pip"),
    // setuptools had it up to here.
    ("pkg_resources", "setuptools<81"),
    ("psutil", "psutil"),
    ("pybind11", "pybind11"),
    ("requests", "requests"),
    ("scipy", "scipy"),
    ("setuptools_scm", "setuptools-scm"),
    ("six", "six"),
    ("tqdm", "tqdm"),
    ("wheel", "wheel"),
    ("yaml", "pyyaml"),
];

/// What brings a module, where it is well known.
pub fn provider(module: &str) -> Option<&'static str> {
    let found = PROVIDERS.binary_search_by_key(&module, |(name, _)| name).ok()?;
    Some(PROVIDERS[found].1)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use pep508_rs::{Requirement, VerbatimUrl};

    use super::*;

    #[test]
    fn the_table_can_be_searched_and_names_requirements() {
        assert!(PROVIDERS.is_sorted());
        for (module, requirement) in PROVIDERS {
            assert_eq!(provider(module), Some(requirement));
            Requirement::<VerbatimUrl>::from_str(requirement).unwrap();
        }
        assert_eq!(provider("left_pad"), None);
    }
}
