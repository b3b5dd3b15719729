//! ninja: with crosswheel's job number, and a plan told beforehand.

use std::ffi::{OsStr, OsString};

use super::client::{connect, die_with, label};
use super::cmake::is_trial;
use super::response::split;
use super::{Config, WrapperError};
use crate::actions::protocol::{Request, send};
use crate::environment::Environment;
use crate::exec::{exit_code, read_inheriting, start_inheriting};

/// Options with a value that limit jobs, whose place crosswheel's number takes.
const JOBS: [&str; 2] = ["-j", "-l"];
/// Calls that build nothing.
const QUERIES: [&str; 5] = ["-t", "-n", "--version", "-h", "--help"];

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
    if builds {
        let told = config.socket.as_ref().filter(|_| !is_trial(environment.current_dir()));
        if let Some(socket) = told {
            let stream = connect(socket)?;
            let failed = |source| WrapperError::Server { socket: socket.clone(), source };
            let labels = plan(config, &args).map_err(fail)?;
            send(&stream, &Request::Plan { labels }).map_err(failed)?;
            tie = Some(die_with(stream));
        }
        args.insert(0, format!("-j{}", config.jobs.max(1)).into());
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
fn plan(config: &Config, args: &[OsString]) -> std::io::Result<Vec<String>> {
    let mut dry = vec![OsString::from("-n"), "-v".into()];
    dry.extend(args.iter().filter(|arg| *arg != "--quiet").cloned());
    let output = read_inheriting(&config.tools.ninja, &dry)?;
    Ok(output.lines().filter_map(planned).collect())
}

/// The label of `[3/500] /path/g++ -o out.o …`; of a command without an output, its first word.
fn planned(line: &str) -> Option<String> {
    let (_, command) = line.strip_prefix('[')?.split_once("] ")?;
    let words = split(command);
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
