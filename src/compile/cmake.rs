//! What CMake says where it cannot configure a project, as an error that a person can act on.

use std::sync::LazyLock;

use regex::Regex;

use crate::Error;
use crate::error::{Class, Diagnose};
use crate::wrapper::CANONICAL_BUILD;

/// Why a project could not be configured. Each has the build's error as its source.
#[derive(Debug, thiserror::Error)]
pub enum CmakeError {
    /// A source that would be fetched.
    #[error("CMake wants the source `{name}` while it is configured, and no recipe names it")]
    MissingSource {
        /// As the project calls it.
        name: String,
        /// The repository and the commit or tag, as far as CMake told them.
        git: Option<(String, String)>,
        /// The folder of the package's recipe.
        package: String,
        /// The build's error.
        source: Error,
    },
    /// A program of the target that would be run.
    #[error(
        "to configure, CMake would run programs for the target, which cannot run here, to learn {}",
        quoted(variables)
    )]
    TryRun {
        /// The cache variables that would hold what it finds.
        variables: Vec<String>,
        /// The folder of the package's recipe.
        package: String,
        /// The build's error.
        source: Error,
    },
    /// FindPython's component of programs that have Python in them.
    #[error(
        "the CMake project wants the library of Python (`Development.Embed` of FindPython), which \
         extension modules do not link to, and which few targets have"
    )]
    Embeds {
        /// The build's error.
        source: Error,
    },
    /// Something else.
    #[error("CMake cannot configure the project: {message}\n  --> {place}")]
    Failed {
        /// Its message.
        message: String,
        /// The file and the line that it came from.
        place: String,
        /// The build's error.
        source: Error,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Diagnose for CmakeError {
    fn class(&self) -> Class {
        match self {
            Self::MissingSource { source, .. }
            | Self::TryRun { source, .. }
            | Self::Embeds { source }
            | Self::Failed { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingSource { name, git: Some((git, commit)), package, .. } => Some(format!(
                "add these lines to `patches/{package}/recipe.toml`:\n\
                 [[source]]\nname = \"{name}\"\ngit = \"{git}\"\ncommit = \"{commit}\""
            )),
            Self::MissingSource { name, package, .. } => Some(format!(
                "name it in `patches/{package}/recipe.toml` by a `[[source]]` with \
                 `name = \"{name}\"`, and `git` and `commit`, `pypi` or `path`"
            )),
            Self::TryRun { variables, package, .. } => {
                let variable = variables.first().map_or("NAME", String::as_str);
                Some(format!(
                    "say in `patches/{package}/recipe.toml` what they would find on the target, \
                     such as `cmake = {{ {variable} = \"0\" }}` for an exit code"
                ))
            }
            Self::Embeds { .. } => Some(
                "ask for `Development.Module` instead, and link modules to `Python::Module`"
                    .to_owned(),
            ),
            Self::Failed { message, source, .. } => {
                let of_compilers = COMPILERS.iter().any(|word| message.contains(word));
                let tell = of_compilers.then_some(SHOW).into_iter().map(str::to_owned);
                let hints: Vec<_> = tell.chain(source.hint()).collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
        }
    }
}

/// A pattern that is known to be one.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
}

/// Words of a complaint about compilers, and who tells what there is.
const COMPILERS: [&str; 6] = ["GCC", "gcc", "G++", "g++", "compiler", "Compiler"];
const SHOW: &str = "`cargo xtask toolchain show` tells the compilers that there are";

/// Of our own `project.cmake`, and of FindPython where only it knows the target that is meant.
const EMBEDS: [&str; 4] = [
    "crosswheel: Python to embed",
    "crosswheel: Python3 to embed",
    "links to: Python::Python but",
    "links to: Python3::Python but",
];

/// What CMake prints last where it gave up, and where it did not.
const GAVE_UP: [&str; 2] =
    ["-- Configuring incomplete, errors occurred!", "CMake Generate step failed."];
const DONE: &str = "-- Build files have been written to";

/// The error of a build that failed, with what CMake said, if it was CMake that failed.
pub(super) fn explain(failed: Error, log: &str, package: &str) -> Error {
    let end = GAVE_UP.iter().filter_map(|words| log.rfind(words)).max();
    let done = log.rfind(DONE);
    if end.is_none() || done > end {
        return failed;
    }
    // Of its standard output and error the one may come after the other.
    let said = &log[done.unwrap_or(0)..];
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let package = package.to_owned();
    if let Some((name, git)) = missing_source(&words) {
        return CmakeError::MissingSource { name, git, package, source: failed }.into();
    }
    let variables = trials(said);
    if !variables.is_empty() {
        return CmakeError::TryRun { variables, package, source: failed }.into();
    }
    if EMBEDS.iter().any(|told| words.contains(told)) {
        return CmakeError::Embeds { source: failed }.into();
    }
    match message(said) {
        Some((message, place)) => CmakeError::Failed { message, place, source: failed }.into(),
        None => failed,
    }
}

/// The name of a source that nobody named and, where CMake told it, its repository and commit.
fn missing_source(words: &str) -> Option<(String, Option<(String, String)>)> {
    // Of our own `project.cmake`, then of CMake's FetchContent.
    static OURS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"crosswheel: missing source \[([^\]]*)\] git \[([^\]]*)\] commit \[([^\]]*)\]")
    });
    static THEIRS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"directory for dependency (\S+) to already be populated|Build step for (\S+) failed",
        )
    });
    if let Some(found) = OURS.captures(words) {
        let git = (found[2].to_owned(), found[3].to_owned());
        return Some((found[1].to_owned(), Some(git).filter(|(git, _)| !git.is_empty())));
    }
    let found = THEIRS.captures(words)?;
    let name = found.get(1).or(found.get(2))?;
    Some((name.as_str().to_owned(), None))
}

/// The variables that try_run was to fill.
fn trials(said: &str) -> Vec<String> {
    const TRIAL: &str = "invoked in cross-compiling mode, please set the following cache variables";
    let mut variables = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if line.contains(TRIAL) {
            let indented = lines.by_ref().take_while(|line| line.starts_with("   "));
            let names = indented.filter_map(|line| line.split_whitespace().next());
            variables.extend(names.map(str::to_owned));
        }
    }
    variables
}

/// The first error that has a place: what CMake says later often follows from it.
fn message(said: &str) -> Option<(String, String)> {
    let start = said.find("CMake Error at ")?;
    let (head, rest) = said[start..].split_once('\n')?;
    let place = head.trim_start_matches("CMake Error at ").split(" (").next()?;
    let body = rest.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    let body = body.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    let place = place.trim_end_matches(':').replace(&format!("{CANONICAL_BUILD}/source/"), "");
    (!body.is_empty()).then_some((body, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the build failed")]
    struct Failed;

    impl Diagnose for Failed {
        fn class(&self) -> Class {
            Class::Build
        }
    }

    fn explained(log: &str) -> Error {
        explain(Failed.into(), &format!("-- x\n{log}\n{}\n", GAVE_UP[0]), "my-package")
    }

    #[test]
    fn a_source_that_nobody_named_is_told_with_the_lines_that_name_it() {
        let error = explained(
            "CMake Error at /crosswheel/build/tools/project.cmake:12 (message):\n  crosswheel: \
             missing source [fmt] git [https://example.com/fmt.git]\n  commit [10.1.0] url []\n",
        );
        assert_eq!(
            error.to_string(),
            "CMake wants the source `fmt` while it is configured, and no recipe names it"
        );
        assert_eq!(
            error.hint().unwrap(),
            "add these lines to `patches/my-package/recipe.toml`:\n[[source]]\nname = \"fmt\"\n\
             git = \"https://example.com/fmt.git\"\ncommit = \"10.1.0\""
        );
        assert_eq!(error.class(), Class::Build);
        for log in [
            "  FETCHCONTENT_FULLY_DISCONNECTED is set to true, which requires the source\n  \
             directory for dependency fmt to already be populated.",
            "CMake Error at FetchContent.cmake:1933 (message):\n  Build step for fmt failed: 1",
        ] {
            let error = explained(log);
            assert!(error.to_string().contains("the source `fmt`"), "{error}");
            assert!(error.hint().unwrap().contains("`name = \"fmt\"`"));
        }
    }

    #[test]
    fn a_program_of_the_target_that_would_run_is_told_by_what_it_would_find() {
        let error = explained(
            "CMake Error: try_run() invoked in cross-compiling mode, please set the following \
             cache variables appropriately:\n   HAVE_A_EXITCODE (advanced)\n   B\nFor details see \
             /b/TryRunResults.cmake",
        );
        assert_eq!(
            error.to_string(),
            "to configure, CMake would run programs for the target, which cannot run here, to \
             learn `HAVE_A_EXITCODE`, `B`"
        );
        assert!(error.hint().unwrap().contains("`cmake = { HAVE_A_EXITCODE = \"0\" }`"));
    }

    #[test]
    fn a_project_that_embeds_python_is_told_what_modules_ask_for() {
        for log in [
            "CMake Error at project.cmake:30 (message):\n  crosswheel: Python to embed\n",
            "CMake Error at CMakeLists.txt:9 (target_link_libraries):\n  Target \"a\" links to:\n\n    \
             Python3::Python\n\n  but the target was not found.\n",
        ] {
            let error = explained(log);
            assert!(error.to_string().contains("`Development.Embed` of FindPython"), "{error}");
            assert!(error.hint().unwrap().contains("`Development.Module`"));
        }
    }

    #[test]
    fn other_errors_are_told_with_their_place() {
        let error = explained(
            "CMake Error at /crosswheel/build/source/CMakeLists.txt:7 (message):\n  GCC is\n  too \
             old\nCall Stack (most recent call first):\n  CMakeLists.txt:1 (x)\n",
        );
        assert_eq!(
            error.to_string(),
            "CMake cannot configure the project: GCC is too old\n  --> CMakeLists.txt:7"
        );
    }

    #[test]
    fn where_cmake_went_on_it_is_not_to_blame() {
        let log = format!("CMake Error at a:1 (m):\n  no\n{}\n{DONE}: b\n", GAVE_UP[1]);
        assert_eq!(explain(Failed.into(), &log, "p").to_string(), "the build failed");
        assert_eq!(explain(Failed.into(), "error: no", "p").to_string(), "the build failed");
    }
}
