//! ninja: with crosswheel's job number, and a plan told beforehand.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::client::{connect, die_with};
use super::cmake::is_trial;
use super::response::split;
use super::{Config, Role, WrapperError};
use crate::actions::protocol::{Request, send};
use crate::actions::{Kind, Planned, window};
use crate::environment::Environment;
use crate::exec::{Difference, exit_code, read_inheriting, start_inheriting};

/// Options with a value that limit jobs, whose place crosswheel's number takes.
const JOBS: [&str; 2] = ["-j", "-l"];
/// Calls that build nothing.
const QUERIES: [&str; 5] = ["-t", "-n", "--version", "-h", "--help"];

/// What ninja is about to run.
struct Plan {
    actions: Vec<Planned>,
    /// Whether all of it asks for leave.
    only_actions: bool,
}

pub(super) fn run(
    config: &Config,
    args: Vec<OsString>,
    environment: &Environment,
) -> Result<u8, WrapperError> {
    let ninja = &config.tools.ninja;
    let fail = |source| WrapperError::Start { tool: ninja.clone(), source };
    let builds = !args.iter().any(|arg| is_query(arg));
    let mut args = without_jobs(args);
    let mut tie = None;
    let mut jobs = config.jobs.max(1);
    if builds {
        let told = config.socket.as_ref().filter(|_| !is_trial(environment.current_dir()));
        if let Some(socket) = told {
            let stream = connect(socket)?;
            let failed = |source| WrapperError::Server { socket: socket.clone(), source };
            let plan = plan(config, &args, environment.current_dir()).map_err(fail)?;
            // Other commands wait for no leave: where there are such, ninja itself counts.
            if plan.only_actions {
                jobs = window(jobs);
            }
            send(&stream, &Request::Plan { actions: plan.actions }).map_err(failed)?;
            tie = Some(die_with(stream));
        }
        args.insert(0, format!("-j{jobs}").into());
        if config.keep_going {
            args.insert(0, "-k0".into());
        }
    }
    let handle = start_inheriting(ninja, &args, &Difference::default()).map_err(fail)?;
    let status = handle.wait().map_err(fail)?.status;
    if let Some(tie) = tie {
        tie.settle();
    }
    Ok(exit_code(status))
}

fn is_query(arg: &OsStr) -> bool {
    QUERIES.iter().any(|query| arg == *query)
        || arg.to_str().is_some_and(|arg| arg.starts_with("-t") && !arg.starts_with("--"))
}

fn without_jobs(args: Vec<OsString>) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if JOBS.iter().any(|option| arg == *option) {
            args.next();
            continue;
        }
        let text = arg.to_string_lossy();
        let joined = JOBS.iter().filter_map(|option| text.strip_prefix(option));
        let number = |rest: &str| rest.trim_start_matches('=').parse::<f64>().is_ok();
        if !joined.into_iter().any(number) {
            kept.push(arg);
        }
    }
    kept
}

/// What ninja is about to run, by a dry run: it reads the build files and looks at times, and
/// starts nothing. What it says against the build, the real run will say again.
fn plan(config: &Config, args: &[OsString], here: &Path) -> std::io::Result<Plan> {
    let mut dry = vec![OsString::from("-n"), "-v".into()];
    dry.extend(manifest(args, here).into_iter().flatten());
    dry.extend(args.iter().filter(|arg| *arg != "--quiet").cloned());
    let output = read_inheriting(&config.tools.ninja, &dry)?;
    Ok(Plan {
        actions: output.lines().filter_map(|line| planned(config, line)).collect(),
        only_actions: output.lines().filter_map(command).all(|words| kind(&words).is_some()),
    })
}

/// The build file by its whole path. By the name that it has in itself, a dry run would tell nothing
/// but that it is to be made anew, as CMake has it wherever a project asks it to look for new files.
fn manifest(args: &[OsString], here: &Path) -> Option<[OsString; 2]> {
    let after = |option: &str| {
        let place = args.iter().position(|arg| arg.to_string_lossy().starts_with(option))?;
        let joined = args[place].to_string_lossy()[option.len()..].to_owned();
        match joined.is_empty() {
            true => args.get(place + 1).map(PathBuf::from),
            false => Some(joined.into()),
        }
    };
    let folder = after("-C").map_or_else(|| here.to_owned(), |folder| here.join(folder));
    let path = folder.join("build.ninja");
    (after("-f").is_none() && path.is_file()).then(|| ["-f".into(), path.into()])
}

/// The words of a line of ninja's.
fn command(line: &str) -> Option<Vec<OsString>> {
    let (_, command) = line.strip_prefix('[')?.split_once("] ")?;
    Some(split(command))
}

/// What a command does, where it is one call of a wrapper, which waits for leave: CMake writes
/// `: && g++ … && :` for a link.
fn kind(words: &[OsString]) -> Option<Kind> {
    let mut commands = words.split(|word| word == "&&").filter(|words| *words != [":"]);
    let (command, None) = (commands.next()?, commands.next()) else { return None };
    let tool = Role::of(Path::new(command.first()?).file_name()?.to_str()?)?;
    let compiles = command.iter().any(|word| word == "-c" || word == "-dc");
    match (tool, compiles) {
        (Role::Nvcc, true) => Some(Kind::CompileCuda),
        (Role::Host(_), true) => Some(Kind::Compile),
        (Role::Nvcc | Role::Host(_), false) => Some(Kind::Link),
        _ => None,
    }
}

/// Of `[3/500] /path/g++ -o out.o …`, what it makes.
fn planned(config: &Config, line: &str) -> Option<Planned> {
    let words = command(line)?;
    let kind = kind(&words)?;
    let output = words.windows(2).rfind(|pair| pair[0] == "-o")?[1].to_string_lossy();
    Some(Planned { output: config.canonical(&output), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_number_is_crosswheels() {
        let args = "-v -j 8 -j4 -l 2.5 -l3 -k 0 -C build -jobs all";
        let args = args.split(' ').map(OsString::from).collect();
        assert_eq!(without_jobs(args), ["-v", "-k", "0", "-C", "build", "-jobs", "all"]);
    }

    #[test]
    fn a_dry_run_makes_no_build_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("out")).unwrap();
        let file = folder.path().join("out/build.ninja");
        let named = |args: &str| {
            let args: Vec<_> = args.split(' ').map(OsString::from).collect();
            manifest(&args, folder.path()).map(|[_, path]| PathBuf::from(path))
        };
        assert_eq!(named("-C out"), None);
        fs_err::write(&file, "").unwrap();
        assert_eq!(named("-v -C out all"), Some(file.clone()));
        assert_eq!(named("-Cout"), Some(file));
        assert_eq!(named("-C out -f other.ninja"), None);
        assert_eq!(named("all"), None);
    }

    #[test]
    fn queries_are_no_builds() {
        for (arg, query) in [
            ("-t", true),
            ("-tclean", true),
            ("-n", true),
            ("--version", true),
            ("-v", false),
            ("test", false),
        ] {
            assert_eq!(is_query(OsStr::new(arg)), query, "{arg}");
        }
    }

    #[test]
    fn what_waits_for_leave_is_told_from_what_does_not() {
        for (line, action) in [
            ("[1/2] /t/nvcc -c x.cu -o x.o", Some(Kind::CompileCuda)),
            ("[1/2] /t/nvcc -x cu -rdc=true -dc x.cu -o x.o", Some(Kind::CompileCuda)),
            ("[1/2] : && /t/aarch64-linux-gnu-g++ -shared -o a.so a.o && :", Some(Kind::Link)),
            ("[1/2] : && /t/g++ -o a && strip a", None),
            ("[1/2] python generate.py", None),
            ("[1/2] cd x && /t/g++ -c a.c", None),
        ] {
            assert_eq!(kind(&command(line).unwrap()), action, "{line}");
        }
    }

    #[test]
    fn planned_actions_are_known_by_what_they_make() {
        let config = super::super::config::tests::config();
        for (line, want) in [
            ("[3/500] /t/nvcc -c /b/x.cu -o csrc/x.o -O3", Some("csrc/x.o")),
            ("[1/2] : && /t/g++ -shared -o lib/_C.so a.o && :", Some("lib/_C.so")),
            ("[1/1] touch stamp", None),
            ("ninja: no work to do.", None),
            ("ninja: Entering directory `x'", None),
        ] {
            let planned = planned(&config, line);
            assert_eq!(planned.map(|action| action.output).as_deref(), want, "{line}");
        }
    }
}
