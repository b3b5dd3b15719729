//! Short helper processes: run to the end, output captured.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// What a process said and how it ended.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Whether it exited with status 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

/// Finds a program on the `PATH` of this environment.
pub fn find(environment: &Environment, program: &str) -> Option<PathBuf> {
    which::which_in(program, environment.get("PATH"), environment.current_dir()).ok()
}

/// Runs a program with nothing on its standard input, and waits for it.
pub fn capture<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> io::Result<Captured> {
    let arguments = arguments.into_iter().map(|a| a.as_ref().to_owned());
    let output = duct::cmd(program, arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()?;
    Ok(Captured {
        success: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept_apart() {
        let shell = Path::new("/bin/sh");
        let said = capture(shell, ["-c", "echo out; echo err >&2; exit 3"]).unwrap();
        assert_eq!((said.success, said.stdout.as_slice()), (false, b"out\n".as_slice()));
        assert_eq!(said.stderr, "err\n");
        assert!(capture(Path::new("/nonexistent"), [""; 0]).is_err());
    }

    #[test]
    fn programs_are_found_on_the_given_path_only() {
        let nowhere = Environment::new([("PATH", "/nonexistent")], Path::new("/"));
        assert_eq!(find(&nowhere, "sh"), None);
        let somewhere = Environment::new([("PATH", "/bin")], Path::new("/"));
        assert_eq!(find(&somewhere, "sh"), Some(PathBuf::from("/bin/sh")));
    }
}
