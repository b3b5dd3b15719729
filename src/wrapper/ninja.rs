//! ninja: with crosswheel's job number, and a plan told beforehand.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::client::{connect, die_with, label};
use super::cmake::is_trial;
use super::response::split;
use super::{Config, Role, WrapperError};
use crate::actions::protocol::{Request, send};
use crate::actions::window;
use crate::environment::Environment;
use crate::exec::{exit_code, read_inheriting, start_inheriting};

/// Options with a value that limit jobs, whose place crosswheel's number takes.
const JOBS: [&str; 2] = ["-j", "-l"];
/// Calls that build nothing.
const QUERIES: [&str; 5] = ["-t", "-n", "--version", "-h", "--help"];

/// What ninja is about to run.
struct Plan {
    labels: Vec<String>,
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
            let plan = plan(config, &args).map_err(fail)?;
            // Other commands wait for no leave: where there are such, ninja itself counts.
            if plan.only_actions {
                jobs = window(jobs);
            }
            send(&stream, &Request::Plan { labels: plan.labels }).map_err(failed)?;
            tie = Some(die_with(stream));
        }
        args.insert(0, format!("-j{jobs}").into());
        if config.keep_going {
            args.insert(0, "-k0".into());
        }
    }
    let handle = start_inheriting(ninja, &args, &[]).map_err(fail)?;
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
fn plan(config: &Config, args: &[OsString]) -> std::io::Result<Plan> {
    let mut dry = vec![OsString::from("-n"), "-v".into()];
    dry.extend(args.iter().filter(|arg| *arg != "--quiet").cloned());
    let output = read_inheriting(&config.tools.ninja, &dry)?;
    Ok(Plan {
        labels: output.lines().filter_map(planned).collect(),
        only_actions: output.lines().filter_map(command).all(|words| is_action(&words)),
    })
}

/// The words of a line of ninja's.
fn command(line: &str) -> Option<Vec<OsString>> {
    let (_, command) = line.strip_prefix('[')?.split_once("] ")?;
    Some(split(command))
}

/// Whether a command is one call of a wrapper, which waits for leave: CMake writes `: && g++ … && :`
/// for a link.
fn is_action(words: &[OsString]) -> bool {
    let mut commands = words.split(|word| word == "&&").filter(|words| *words != [":"]);
    let (Some(command), None) = (commands.next(), commands.next()) else { return false };
    let tool = command.first().and_then(|tool| Path::new(tool).file_name()?.to_str());
    matches!(tool.and_then(Role::of), Some(Role::Nvcc | Role::Host(_)))
}

/// The label of `[3/500] /path/g++ -o out.o …`; of a command without an output, its first word.
fn planned(line: &str) -> Option<String> {
    let words = command(line)?;
    let mut outputs =
        words.windows(2).filter(|pair| pair[0] == "-o").map(|pair| pair[1].as_os_str());
    Some(label(outputs.next_back().or(words.first().map(OsString::as_os_str))))
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
            ("[1/2] /t/nvcc -c x.cu -o x.o", true),
            ("[1/2] : && /t/aarch64-linux-gnu-g++ -shared -o a.so a.o && :", true),
            ("[1/2] : && /t/g++ -o a && strip a", false),
            ("[1/2] python generate.py", false),
            ("[1/2] cd x && /t/g++ -c a.c", false),
        ] {
            assert_eq!(is_action(&command(line).unwrap()), action, "{line}");
        }
    }

    #[test]
    fn planned_commands_are_known_by_what_they_make() {
        for (line, want) in [
            ("[3/500] /t/nvcc -c /b/x.cu -o /b/csrc/x.o -O3", Some("x.o")),
            ("[1/2] : && /t/g++ -shared -o lib/_C.so a.o && :", Some("_C.so")),
            ("[1/1] touch stamp", Some("touch")),
            ("ninja: no work to do.", None),
            ("ninja: Entering directory `x'", None),
        ] {
            assert_eq!(planned(line).as_deref(), want, "{line}");
        }
    }
}
