//! A plain CMake project, which is built by a backend of crosswheel's own.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::pyproject::{BuildSystem, Project};

/// What makes a folder one.
pub(super) const FILE: &str = "CMakeLists.txt";

/// What `project(…)` says, as far as it says it literally.
static PROJECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"(?im)^\s*project\s*\(\s*"?([\w.-]+)"?(?:[^)]*\bVERSION\s+"?(\d[\w.]*))?"#)
});

/// Libraries whose CMake files come with their Python packages.
static BINDINGS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?im)^\s*find_package\s*\(\s*(pybind11|nanobind)\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
}

/// Reads a tree's `CMakeLists.txt`.
pub(super) fn read(tree: &Path) -> std::io::Result<Project> {
    let text = fs_err::read_to_string(tree.join(FILE))?;
    let mut requires = vec!["cmake>=3.24".to_owned()];
    requires.extend(BINDINGS.captures_iter(&text).map(|found| found[1].to_lowercase()));
    let named = PROJECT.captures(&text);
    let part = |index| Some(named.as_ref()?.get(index)?.as_str().to_owned());
    let build_system = BuildSystem::own(requires, "cmake");
    Ok(Project { build_system, name: part(1), version: part(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Project {
        let tree = tempfile::tempdir().unwrap();
        fs_err::write(tree.path().join(FILE), text).unwrap();
        read(tree.path()).unwrap()
    }

    #[test]
    fn a_project_is_called_what_it_calls_itself() {
        for (text, name, version) in [
            ("project(a)", Some("a"), None),
            (
                "# project(b)\nPROJECT( \"a-b\"\n VERSION 1.2.3\n LANGUAGES CXX)",
                Some("a-b"),
                Some("1.2.3"),
            ),
            ("project(a LANGUAGES CXX)\nset(VERSION 2)", Some("a"), None),
            ("project(${NAME})", None, None),
        ] {
            let project = read_text(text);
            assert_eq!((project.name.as_deref(), project.version.as_deref()), (name, version));
        }
    }

    #[test]
    fn what_python_packages_bring_is_required() {
        let text =
            "find_package(pybind11 CONFIG REQUIRED)\n  Find_Package( nanobind)\n#find_package(x)";
        let requires = read_text(text).build_system.requires;
        assert_eq!(requires, ["cmake>=3.24", "pybind11", "nanobind"]);
    }
}
