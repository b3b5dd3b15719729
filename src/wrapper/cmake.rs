//! cmake: asked for its targets, of which some may be left out of the build.
//!
//! How a project is configured for the target is the toolchain file's to say, which CMake takes
//! from the environment; what is built and installed goes through here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::config::Selection;
use super::graph::{self, Graph};
use super::{Config, WrapperError};
use crate::exec::{Difference, exit_code, start_inheriting};

/// What cmake is called for (cmake(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// To generate a build folder, where the call tells it.
    Configure(PathBuf),
    /// To build in this folder.
    Build(PathBuf),
    /// To install from this folder.
    Install(PathBuf),
    /// To do something else.
    Other,
}

impl Mode {
    fn of(args: &[OsString]) -> Self {
        let folder = || PathBuf::from(args.get(1).map_or(OsStr::new("."), OsString::as_os_str));
        match args.first().and_then(|arg| arg.to_str()) {
            Some("--build") => Self::Build(folder()),
            Some("--install") => Self::Install(folder()),
            Some(first) if is_other(first) => Self::Other,
            _ if args.iter().any(|arg| arg == "-P" || arg == "-E") => Self::Other,
            _ => Self::Configure(build_folder(args)),
        }
    }
}

fn is_other(first: &str) -> bool {
    const OTHER: [&str; 6] =
        ["--open", "--workflow", "--find-package", "--version", "-version", "-h"];
    OTHER.contains(&first) || first.starts_with("--help") || first == "-V"
}

/// `-B FOLDER`; without it a build folder that is named, or else the one that cmake runs in.
fn build_folder(args: &[OsString]) -> PathBuf {
    for (index, arg) in args.iter().enumerate() {
        let text = arg.to_string_lossy();
        match text.strip_prefix("-B") {
            Some("") => return args.get(index + 1).map_or_else(PathBuf::new, PathBuf::from),
            Some(folder) => return folder.into(),
            None => {}
        }
    }
    let named = args.iter().filter(|arg| !arg.to_string_lossy().starts_with('-'));
    let named = named.map(PathBuf::from).find(|path| path.join("CMakeCache.txt").is_file());
    named.unwrap_or_else(|| ".".into())
}

/// `project` is what CMake reads at the start of each project.
pub(super) fn run(
    config: &Config,
    project: &Path,
    args: Vec<OsString>,
) -> Result<u8, WrapperError> {
    let Some(cmake) = &config.tools.cmake else { return Err(WrapperError::NoCmake) };
    let args = match Mode::of(&args) {
        Mode::Configure(build) => {
            graph::ask(&build)?;
            Some(configured(project, &config.entries, args))
        }
        Mode::Build(build) if config.targets.selects() => {
            let graph = Graph::read(&build)?;
            config.targets.check(&graph)?;
            built(&config.targets, &graph, args)
        }
        Mode::Install(build) if config.targets.selects() => {
            let graph = Graph::read(&build)?;
            graph::allow_absent(&build)?;
            config.targets.remove_left_out(&graph)?;
            installed(&config.targets, &graph, args)
        }
        _ => Some(args),
    };
    let Some(args) = args else { return Ok(0) };
    run_real(cmake, &args)
}

fn run_real(cmake: &Path, args: &[OsString]) -> Result<u8, WrapperError> {
    let fail = |source| WrapperError::Start { tool: cmake.to_owned(), source };
    let handle = start_inheriting(cmake, args, &Difference::default()).map_err(fail)?;
    Ok(exit_code(handle.wait().map_err(fail)?.status))
}

impl Selection {
    /// Whether anything is left out.
    fn selects(&self) -> bool {
        !self.only.is_empty() || !self.without.is_empty()
    }

    /// Whether a target is built. What compiles nothing costs nothing, and other parts of a build
    /// may count on it.
    fn wants(&self, graph: &Graph, target: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == target);
        let out = named(&self.without) || !self.only.is_empty() && !named(&self.only);
        !(graph.works(target) && out)
    }

    /// Removes modules that an earlier build has made and that this one leaves out, lest they be
    /// installed.
    fn remove_left_out(&self, graph: &Graph) -> std::io::Result<()> {
        let left_out = graph.compiled().filter(|target| !self.wants(graph, target));
        for module in left_out.flat_map(|target| graph.modules(target)) {
            match fs_err::remove_file(module) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses names that no target has. What a recipe leaves out may be absent: a package has
    /// other targets for other machines.
    fn check(&self, graph: &Graph) -> Result<(), WrapperError> {
        let Some(name) = self.only.iter().find(|name| !graph.works(name)) else {
            return Ok(());
        };
        let known = graph.compiled().map(str::to_owned).collect();
        Err(WrapperError::NoTarget { name: name.clone(), known })
    }
}

/// The call with one file more that CMake reads at the start of each project, and with entries of
/// its cache, over which those of the call win. A project may ask for these before it reads any file.
fn configured(
    project: &Path,
    entries: &BTreeMap<String, String>,
    mut args: Vec<OsString>,
) -> Vec<OsString> {
    const OPTION: &str = "-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES";
    let given = args.iter().position(|arg| arg.to_string_lossy().starts_with(OPTION));
    let given = given.map(|index| args.remove(index).to_string_lossy().into_owned());
    let given = given.as_ref().and_then(|arg| arg.split_once('='));
    let mut option = OsString::from(format!("{OPTION}:STRING="));
    option.push(project);
    if let Some((_, files)) = given {
        option.push(format!(";{files}"));
    }
    let entries = entries.iter().map(|(name, value)| format!("-D{name}={value}").into());
    std::iter::once(option).chain(entries).chain(args).collect()
}

/// Whether a folder is one in which CMake tries what compilers can: what is run there makes nothing
/// of what is built, and may fail.
pub(super) fn is_trial(folder: &Path) -> bool {
    let mut names = folder.iter().skip_while(|name| *name != "CMakeFiles").skip(1);
    names.any(|name| {
        let name = name.to_string_lossy();
        name == "CMakeScratch" || name == "CMakeTmp" || name.starts_with("CompilerId")
    })
}

/// `cmake --build` of what is wanted; `None` where nothing of it is.
fn built(targets: &Selection, graph: &Graph, args: Vec<OsString>) -> Option<Vec<OsString>> {
    // What follows `--` is the build tool's.
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (ours, tools) = args.split_at(end);
    let mut kept = Vec::new();
    let mut asked = Vec::new();
    let mut words = ours.iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if let Some(target) = text.strip_prefix("--target=") {
            asked.push(target.to_owned());
        } else if text == "--target" || text == "-t" {
            // One option may be followed by several targets.
            while let Some(target) = words.next_if(|next| !next.to_string_lossy().starts_with('-'))
            {
                asked.push(target.to_string_lossy().into_owned());
            }
        } else {
            kept.push(word.clone());
        }
    }
    if asked.is_empty() {
        asked = graph.compiled().map(str::to_owned).collect();
    }
    asked.retain(|target| targets.wants(graph, target));
    if asked.is_empty() {
        return None;
    }
    kept.push("--target".into());
    kept.extend(asked.into_iter().map(OsString::from));
    kept.extend(tools.iter().cloned());
    Some(kept)
}

/// `cmake --install`, unless it is for a component that is called like a target left out.
fn installed(targets: &Selection, graph: &Graph, args: Vec<OsString>) -> Option<Vec<OsString>> {
    let after = args.windows(2).find(|pair| pair[0] == "--component").map(|pair| &pair[1]);
    let joined = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("--component="));
    let component = after.map(|word| word.to_string_lossy()).or(joined.map(Into::into));
    let wanted = component.is_none_or(|component| targets.wants(graph, &component));
    wanted.then_some(args)
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::answer;
    use super::*;
    use crate::error::Diagnose as _;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn graph() -> Graph {
        let build = tempfile::tempdir().unwrap();
        let targets = [("a", "MODULE_LIBRARY"), ("b", "SHARED_LIBRARY"), ("files", "UTILITY")];
        answer(build.path(), &targets);
        Graph::read(build.path()).unwrap()
    }

    fn selection(only: &[&str], without: &[&str]) -> Selection {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selection { only: list(only), without: list(without) }
    }

    #[test]
    fn calls_are_told_apart() {
        for (args, mode) in [
            ("-S . -B out -G Ninja", Mode::Configure("out".into())),
            ("-Bout ..", Mode::Configure("out".into())),
            ("/src -G Ninja -DX=1", Mode::Configure(".".into())),
            ("--build out --target a", Mode::Build("out".into())),
            ("--install . --prefix p", Mode::Install(".".into())),
            ("-E capabilities", Mode::Other),
            ("-DX=1 -P script.cmake", Mode::Other),
            ("--version", Mode::Other),
            ("--help-module-list", Mode::Other),
        ] {
            assert_eq!(Mode::of(&words(args)), mode, "{args}");
        }
    }

    #[test]
    fn our_file_stands_beside_those_that_are_given() {
        let call = |args: &str| {
            let entries = BTreeMap::from([("USE_CUDA".to_owned(), "ON".to_owned())]);
            let args = configured(Path::new("/t/project.cmake"), &entries, words(args));
            args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let option = "-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES:STRING=/t/project.cmake";
        assert_eq!(call("-S . -B out"), format!("{option} -DUSE_CUDA=ON -S . -B out"));
        let given = "-S . -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=a.cmake -B out";
        assert_eq!(call(given), format!("{option};a.cmake -DUSE_CUDA=ON -S . -B out"));
    }

    #[test]
    fn trials_are_known_by_their_folders() {
        for (folder, trial) in [
            ("/b/CMakeFiles/CMakeScratch/TryCompile-a1", true),
            ("/b/CMakeFiles/4.4.5/CompilerIdCUDA/tmp", true),
            ("/b/sub/CMakeFiles/CMakeTmp", true),
            ("/b/CMakeFiles/_C.dir", false),
            ("/b/CMakeScratch", false),
        ] {
            assert_eq!(is_trial(Path::new(folder)), trial, "{folder}");
        }
    }

    #[test]
    fn targets_are_built_as_far_as_they_are_wanted() {
        let graph = graph();
        let case = |selection: &Selection, args: &str| {
            let args = built(selection, &graph, words(args))?;
            let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
            Some(args.join(" "))
        };
        let only = selection(&["a"], &[]);
        for (args, want) in [
            ("--build . -j 4", Some("--build . -j 4 --target a")),
            ("--build . --target a b --config R", Some("--build . --config R --target a")),
            ("--build . --target=b --target=files", Some("--build . --target files")),
            ("--build . -t a -- -v", Some("--build . --target a -- -v")),
            ("--build . --target b", None),
        ] {
            assert_eq!(case(&only, args).as_deref(), want, "{args}");
        }
        let without = selection(&[], &["b"]);
        assert_eq!(case(&without, "--build .").as_deref(), Some("--build . --target a"));
        assert_eq!(
            case(&without, "--build . --target files a").as_deref(),
            Some("--build . --target files a")
        );
    }

    #[test]
    fn components_that_are_called_like_targets_are_installed_with_them() {
        let (graph, only) = (graph(), selection(&["a"], &[]));
        for (args, runs) in [
            ("--install . --component a", true),
            ("--install . --component=b", false),
            ("--install . --component files", true),
            ("--install . --component headers", true),
            ("--install .", true),
        ] {
            assert_eq!(installed(&only, &graph, words(args)).is_some(), runs, "{args}");
        }
    }

    #[test]
    fn a_name_that_no_target_has_is_refused_with_those_that_there_are() {
        let error = selection(&["c"], &[]).check(&graph()).unwrap_err();
        assert_eq!(error.to_string(), "no target that is compiled is called `c`");
        assert_eq!(error.hint().unwrap(), "the targets are: a, b");
        selection(&[], &["c"]).check(&graph()).unwrap();
    }
}
