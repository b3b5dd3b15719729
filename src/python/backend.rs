//! Runs the hooks of a PEP 517 build backend in a build environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::environment::BuildEnvironment;
use super::launch::{Invocation, Launch, tail_block};
use super::pyproject::BuildSystem;
use super::shim;
use crate::error::{Class, Diagnose, FREE_SPACE, tells_full_disk};
use crate::rust::hints::hint;

/// A hook of PEP 517.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `get_requires_for_build_wheel`
    GetRequires,
    /// `prepare_metadata_for_build_wheel`
    PrepareMetadata,
    /// `build_wheel`
    BuildWheel,
}

impl Hook {
    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetRequires => "get_requires_for_build_wheel",
            Self::PrepareMetadata => "prepare_metadata_for_build_wheel",
            Self::BuildWheel => "build_wheel",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line of the package's own scripts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ScriptLine {
    /// The script, relative to the source tree.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: u32,
    /// What stands there.
    pub text: String,
}

/// An exception that a hook raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The hook.
    pub hook: Hook,
    /// The backend.
    pub backend: String,
    /// The exception's class.
    pub kind: String,
    /// The exception's text.
    pub message: String,
    /// The innermost line of the package's own scripts.
    pub script: Option<ScriptLine>,
    /// The last lines that the build printed before.
    pub tail: Vec<String>,
    /// Where all of the build's output is.
    pub log: PathBuf,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}` failed: ", self.hook, self.backend)?;
        match (self.kind.as_str(), self.message.trim()) {
            (kind, "") => f.write_str(kind)?,
            ("SystemExit", message) => f.write_str(message)?,
            (kind, message) => write!(f, "{kind}: {message}")?,
        }
        if let Some(ScriptLine { file, line, text }) = &self.script {
            write!(f, "\n  --> {}:{line}\n  | {text}", file.display())?;
        }
        if !self.tail.is_empty() {
            write!(f, "\nthe build's last lines:{}", tail_block(&self.tail))?;
        }
        Ok(())
    }
}

/// Why a hook did not return.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It raised an exception.
    #[error("{0}")]
    Raised(Box<Exception>),
    /// The process ended without a result: killed, or by `os._exit`.
    #[error(
        "`{hook}` of `{backend}` ended without a result (exit code {code}){}",
        tail_block(tail)
    )]
    Ended {
        /// The hook.
        hook: Hook,
        /// The backend.
        backend: String,
        /// The exit code; 128 + n where signal n ended it.
        code: u8,
        /// The last lines of its output.
        tail: Vec<String>,
        /// Where all of the build's output is.
        log: PathBuf,
    },
    /// The hook returned what PEP 517 does not allow.
    #[error("`{hook}` of `{backend}` returned `{value}`")]
    Value {
        /// The hook.
        hook: Hook,
        /// The backend.
        backend: String,
        /// What it returned.
        value: Value,
    },
    /// Python did not start, or was stopped.
    #[error("`{hook}` of `{backend}` did not come to an end")]
    Launch {
        /// The hook.
        hook: Hook,
        /// The backend.
        backend: String,
        /// Why.
        source: crate::Error,
    },
    /// The request or the result cannot be exchanged.
    #[error("the files of the build environment cannot be read or written")]
    Io(#[from] std::io::Error),
    /// The request cannot be written down.
    #[error("the request to a build hook cannot be written")]
    Request(#[from] serde_json::Error),
}

impl Diagnose for BackendError {
    fn class(&self) -> Class {
        match self {
            Self::Launch { source, .. } => source.class(),
            Self::Io(_) => Class::Io,
            Self::Ended { code: KILLED, .. } => Class::Memory,
            Self::Raised(raised) if raised.kind == "MemoryError" => Class::Memory,
            Self::Raised(raised) if raised.met_full_disk() => Class::DiskFull,
            Self::Ended { tail, .. } if tail.iter().any(|line| tells_full_disk(line)) => {
                Class::DiskFull
            }
            _ => Class::Build,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Raised(_) | Self::Ended { .. } if self.class() == Class::DiskFull => {
                Some(FREE_SPACE.to_owned())
            }
            Self::Raised(raised) => {
                let undeclared = self.missing_module().map(undeclared);
                let known = undeclared.or_else(|| foreign_program(raised));
                let of_cargo =
                    || Some(format!("{}; {}", hint(&raised.tail)?, whole_log(&raised.log)));
                let known = known.or_else(of_cargo);
                Some(known.unwrap_or_else(|| whole_log(&raised.log)))
            }
            Self::Ended { code: KILLED, log, .. } => Some(format!(
                "it was killed, most likely for want of memory: let fewer compilers run at once \
                 with `--jobs`; {}",
                whole_log(log)
            )),
            Self::Ended { log, .. } => Some(whole_log(log)),
            Self::Launch { source, .. } if source.class() == Class::Stalled => Some(format!(
                "a script that works without a word for longer needs `--max-silence`; {}",
                source.hint().unwrap_or_default()
            )),
            Self::Launch { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl BackendError {
    /// The module that a script imports and that is not there: the commonest fault of a package
    /// that was only ever built without isolation.
    pub fn missing_module(&self) -> Option<&str> {
        let Self::Raised(raised) = self else { return None };
        let named = raised.message.strip_prefix("No module named '")?;
        named.split(['\'', '.']).next().filter(|_| raised.kind == "ModuleNotFoundError")
    }
}

/// What the runner prints between the build's output and the traceback (`shim/hook.py`).
const MARKER: &str = "crosswheel: the build hook raised an exception";

/// How many lines of a build's output an error shows.
const TAIL_LINES: usize = 15;

/// The last lines that the build itself printed, without the traceback that follows them.
fn last_lines(log: &[u8]) -> Vec<String> {
    let log = String::from_utf8_lossy(log);
    let Some(end) = log.rfind(MARKER) else { return Vec::new() };
    let lines: Vec<_> = log[..end].lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&line| line.to_owned()).collect()
}

fn whole_log(log: &Path) -> String {
    format!("the whole log is in `{}`", log.display())
}

fn undeclared(module: &str) -> String {
    format!(
        "the build script imports `{module}`, but no build requirement of the package brings it; \
         `requires = [\"{module}\"]` in `patches/<package>/recipe.toml` adds one, by the name that \
         it has on the index"
    )
}

/// A script that runs what it built for the target. The words are strerror(3)'s, by Python
/// (`[Errno 8] Exec format error: './tool'`) or by a shell (`sh: 1: ./tool: Exec format error`).
fn foreign_program(raised: &Exception) -> Option<String> {
    const WORDS: &str = "Exec format error";
    let by_python =
        || Some(raised.message.split_once(&format!("{WORDS}: '"))?.1.split_once('\'')?.0);
    let by_shell = || {
        let before = raised.tail.iter().rev().find_map(|line| line.split_once(WORDS))?.0;
        before.split(": ").filter(|part| part.contains('/')).last()
    };
    let program = by_python().or_else(by_shell)?;
    Some(format!(
        "`{program}` is a program for the target, which cannot run here; what a build makes by \
         running its own programs has to come with the source; {}",
        whole_log(&raised.log)
    ))
}

impl Exception {
    fn met_full_disk(&self) -> bool {
        tells_full_disk(&self.message) || self.tail.iter().any(|line| tells_full_disk(line))
    }
}

/// The exit code of a process that signal 9 ended, as a shell tells it.
const KILLED: u8 = 128 + 9;

/// What the runner writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HookResult {
    Value(Value),
    Error(Raised),
}

#[derive(Debug, Deserialize)]
struct Raised {
    kind: String,
    message: String,
    script: Option<ScriptLine>,
}

/// What the runner reads.
#[derive(Debug, Serialize)]
struct Request<'a> {
    backend: &'a str,
    backend_path: Vec<PathBuf>,
    hook: &'static str,
    arguments: Value,
    source: &'a Path,
}

/// A source tree's backend, in its build environment.
#[derive(Clone, Copy)]
pub struct Backend<'a> {
    /// Where it runs.
    pub environment: &'a BuildEnvironment,
    /// Which it is.
    pub system: &'a BuildSystem,
    /// The copy of the source that it may write to.
    pub source: &'a Path,
    /// PEP 517's `config_settings`.
    pub settings: &'a BTreeMap<String, String>,
    /// Where its output is appended.
    pub log: &'a Path,
    /// How processes are run.
    pub launch: Launch<'a>,
}

impl Backend<'_> {
    /// Further build requirements, which the backend learns from the source.
    pub fn get_requires_for_build_wheel(&self) -> Result<Vec<String>, BackendError> {
        let hook = Hook::GetRequires;
        match self.call(hook, json!({ "config_settings": self.settings }))? {
            Value::Null => Ok(Vec::new()),
            value => serde_json::from_value(value.clone()).map_err(|_| BackendError::Value {
                hook,
                backend: self.backend(),
                value,
            }),
        }
    }

    /// Writes the wheel's metadata into a folder and returns the path of its dist-info; None
    /// where the backend cannot tell it without a build.
    pub fn prepare_metadata_for_build_wheel(
        &self,
        folder: &Path,
    ) -> Result<Option<PathBuf>, BackendError> {
        fs_err::create_dir_all(folder)?;
        let inside = self.environment.view().inside(folder);
        let arguments = json!({ "metadata_directory": inside, "config_settings": self.settings });
        match self.call(Hook::PrepareMetadata, arguments)? {
            Value::Null => Ok(None),
            value => self.entry(Hook::PrepareMetadata, folder, value).map(Some),
        }
    }

    /// Builds the wheel into a folder and returns its path.
    pub fn build_wheel(&self, folder: &Path) -> Result<PathBuf, BackendError> {
        fs_err::create_dir_all(folder)?;
        let inside = self.environment.view().inside(folder);
        let arguments = json!({ "wheel_directory": inside, "config_settings": self.settings });
        let value = self.call(Hook::BuildWheel, arguments)?;
        self.entry(Hook::BuildWheel, folder, value)
    }

    /// A hook's value as the name of something that it wrote.
    fn entry(&self, hook: Hook, folder: &Path, value: Value) -> Result<PathBuf, BackendError> {
        let path = value.as_str().filter(|name| !name.contains('/')).map(|name| folder.join(name));
        path.filter(|path| path.exists()).ok_or_else(|| BackendError::Value {
            hook,
            backend: self.backend(),
            value,
        })
    }

    fn backend(&self) -> String {
        self.system.backend.clone()
    }

    fn call(&self, hook: Hook, arguments: Value) -> Result<Value, BackendError> {
        let exchange = &self.environment.layout().exchange;
        let request = exchange.join(format!("{hook}.json"));
        let result = exchange.join(format!("{hook}.result.json"));
        let source = self.environment.view().inside(self.source);
        let backend_path = self.system.backend_path.iter().map(|p| source.join(p)).collect();
        let content = Request {
            backend: &self.system.backend,
            backend_path,
            hook: hook.name(),
            arguments,
            source: &source,
        };
        fs_err::write(&request, serde_json::to_vec_pretty(&content)?)?;
        if result.exists() {
            fs_err::remove_file(&result)?;
        }
        let outcome = (self.launch)(&self.invocation(&request, &result))
            .map_err(|source| BackendError::Launch { hook, backend: self.backend(), source })?;
        let log = self.log.to_owned();
        // Where the disk is full, it may be there and broken off.
        let written =
            fs_err::read(&result).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(written) = written else {
            let (backend, code, tail) = (self.backend(), outcome.code, outcome.tail);
            return Err(BackendError::Ended { hook, backend, code, tail, log });
        };
        match written {
            HookResult::Value(value) => Ok(value),
            HookResult::Error(Raised { kind, message, script }) => {
                let backend = self.backend();
                let tail = last_lines(&fs_err::read(&log)?);
                let raised = Exception { hook, backend, kind, message, script, tail, log };
                Err(BackendError::Raised(Box::new(raised)))
            }
        }
    }

    /// `-P`: the source tree is on `sys.path` only where the backend puts it there.
    fn invocation(&self, request: &Path, result: &Path) -> Invocation {
        let module = format!("{}.hook", shim::PACKAGE);
        let inside = |path| self.environment.view().inside(path).into();
        Invocation {
            program: self.environment.python().to_owned(),
            args: ["-P".into(), "-m".into(), module.into(), inside(request), inside(result)].into(),
            variables: self.environment.variables().clone(),
            dir: self.source.to_owned(),
            log: self.log.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(kind: &str, message: &str, script: Option<ScriptLine>) -> BackendError {
        BackendError::Raised(Box::new(Exception {
            hook: Hook::BuildWheel,
            backend: "setuptools.build_meta".to_owned(),
            kind: kind.to_owned(),
            message: message.to_owned(),
            script,
            tail: Vec::new(),
            log: PathBuf::from("/build/build.log"),
        }))
    }

    #[test]
    fn an_exception_is_shown_with_the_script_line() {
        let script =
            ScriptLine { file: "setup.py".into(), line: 12, text: "import numpy".to_owned() };
        let error = raised("ModuleNotFoundError", "No module named 'numpy.linalg'", Some(script));
        assert_eq!(
            error.to_string(),
            "`build_wheel` of `setuptools.build_meta` failed: \
             ModuleNotFoundError: No module named 'numpy.linalg'\n  --> setup.py:12\n  | import numpy"
        );
        assert_eq!(
            error.hint().unwrap(),
            "the build script imports `numpy`, but no build requirement of the package brings it; \
             `requires = [\"numpy\"]` in `patches/<package>/recipe.toml` adds one, by the name that \
             it has on the index"
        );
    }

    #[test]
    fn a_program_of_the_target_is_named() {
        let error = raised("OSError", "[Errno 8] Exec format error: './gen'", None);
        assert!(error.hint().unwrap().starts_with("`./gen` is a program for the target"));
        for said in [
            "/bin/sh: 1: ./gen: Exec format error",
            "bash: ./gen: cannot execute binary file: Exec format error",
        ] {
            let mut error = raised("CalledProcessError", "Command './gen' returned 126", None);
            if let BackendError::Raised(raised) = &mut error {
                raised.tail.push(said.to_owned());
            }
            assert!(error.hint().unwrap().starts_with("`./gen` is"), "{said}");
        }
    }

    #[test]
    fn want_of_memory_and_of_space_have_classes_of_their_own() {
        assert_eq!(raised("MemoryError", "", None).class(), Class::Memory);
        let full = raised("OSError", "[Errno 28] No space left on device", None);
        assert_eq!((full.class(), full.hint().as_deref()), (Class::DiskFull, Some(FREE_SPACE)));
        assert_eq!(raised("OSError", "", None).class(), Class::Build);
    }

    #[test]
    fn an_exit_shows_its_message_alone() {
        let error = raised("SystemExit", "error: no compiler", None);
        assert!(error.to_string().ends_with("failed: error: no compiler"));
        assert_eq!(error.hint().unwrap(), "the whole log is in `/build/build.log`");
    }
}
