//! A Python to run shims and hooks with, and a launcher without a sandbox.

use std::path::PathBuf;

use crosswheel::environment::Environment;
use crosswheel::python::launch::{Invocation, Outcome};

/// Names the Python that tests run; without it the `python3` of `PATH` is taken.
const VARIABLE: &str = "CROSSWHEEL_TEST_PYTHON";

/// The executable of a Python 3.11 or newer, with no link or version manager before it.
pub fn python() -> PathBuf {
    let named = Environment::from_process().path(VARIABLE);
    // duct takes a `Path` for a file of the working folder, a string for a name to be searched.
    let command = named.map_or_else(|| "python3".into(), PathBuf::into_os_string);
    let script = "import os, sys\n\
                  assert sys.version_info >= (3, 11), sys.version\n\
                  print(os.path.realpath(sys.executable))";
    let found = duct::cmd(&command, ["-I", "-c", script]).read();
    let found = found.unwrap_or_else(|error| {
        let command = command.display();
        panic!("these tests need a Python 3.11 or newer, and `{command}` is none: {error}; set {VARIABLE}")
    });
    PathBuf::from(found)
}

/// Runs a process with its output in its log.
pub fn launch(invocation: &Invocation) -> crosswheel::Result<Outcome> {
    let log = fs_err::OpenOptions::new().create(true).append(true).open(&invocation.log);
    let output = duct::cmd(&invocation.program, &invocation.args)
        .full_env(&invocation.variables)
        .dir(&invocation.dir)
        .stdin_null()
        .stderr_to_stdout()
        .stdout_file(log.unwrap().into_parts().0)
        .unchecked()
        .run()
        .unwrap();
    let text = fs_err::read_to_string(&invocation.log).unwrap();
    let tail = text.lines().map(str::to_owned).collect();
    let code = output.status.code().map_or(128, |code| u8::try_from(code).unwrap());
    Ok(Outcome { code, tail })
}
