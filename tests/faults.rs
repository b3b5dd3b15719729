//! What goes wrong, and how the executable tells: exit codes, messages, hints; and what is left
//! when it is stopped.

use std::path::Path;

use crosswheel::artifact::Sha256;
use crosswheel::store::{Components, Key};
use duct::Handle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::processes::{Process, eventually};
use crate::support::xtask::{Run, Workplace, xtask};

const PYPROJECT: &str =
    "[build-system]\nrequires = [\"setuptools>=70\"]\nbuild-backend = \"setuptools.build_meta\"\n";

const SETUP: &str = r#"
from setuptools import Extension, setup

setup(name="plain", version="1.0", ext_modules=[Extension("plain", ["plain.c"])])
"#;

const MODULE: &str = r#"
#include <Python.h>

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "plain", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_plain(void) { return PyModule_Create(&module); }
"#;

/// A package of one C file, which compiles in no time.
pub const PLAIN: [(&str, &str); 3] =
    [("pyproject.toml", PYPROJECT), ("setup.py", SETUP), ("plain.c", MODULE)];

/// [`PLAIN`] with another file in the place of one of that name.
pub fn plain_with(path: &'static str, content: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = PLAIN.into_iter().filter(|(name, _)| *name != path);
    others.chain([(path, content)]).collect()
}

/// A build that starts from an empty store.
fn build_anew(store: &Path, args: &[&str]) -> Run {
    let out = store.join("dist");
    let common = ["build-wheels".as_ref(), "--store".as_ref(), store.as_os_str(), "--out".as_ref()];
    let words = common.into_iter().chain([out.as_os_str()]);
    Run::of(&xtask(words.chain(args.iter().map(|arg| arg.as_ref()))))
}

#[test]
fn a_request_that_names_nothing_is_told_before_anything_is_fetched() {
    let store = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| build_anew(store.path(), args);
    run(&["causal-conv1d", "--target", "orin"]).fails(3, &["`orin`", "hint: ", "thor"]);
    run(&["causal-conv1d>=1.0"]).fails(2, &["`causal-conv1d>=1.0` does not name one version"]);
    run(&["a b c"]).fails(2, &["`a b c` is not a package to build", "hint: "]);
    run(&["./nowhere"]).fails(3, &["there is no folder or sdist at `./nowhere`"]);
    run(&["nowhere-1.0.tar.gz"]).fails(3, &["there is no folder or sdist at `nowhere-1.0.tar.gz`"]);
    run(&["causal-conv1d", "--torch", "nonsense"]).fails(2, &["`nonsense` is no torch"]);
    let offline = run(&["flash-attn==2.8.3", "--offline"]);
    offline
        .fails(4, &["`flash-attn==2.8.3` was not locked before", "cargo xtask fetch flash-attn"]);
    assert_eq!(fs_err::read_dir(store.path().join("downloads")).unwrap().count(), 0);
}

#[test]
fn a_cpu_only_torch_is_refused_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let torch = folder.path().join("torch");
    fs_err::create_dir_all(torch.join("utils")).unwrap();
    fs_err::write(torch.join("__init__.py"), "").unwrap();
    fs_err::write(torch.join("version.py"), "__version__ = '2.10.0+cpu'\ncuda = None\n").unwrap();
    fs_err::write(torch.join("utils/cpp_extension.py"), "CUDA_HOME = None\n").unwrap();
    for (name, content) in PLAIN {
        fs_err::write(folder.path().join(name), content).unwrap();
    }
    let (store, source) = (folder.path().join("store"), folder.path().to_str().unwrap());
    let run = build_anew(&store, &[source, "--torch", torch.to_str().unwrap()]);
    run.fails(8, &["torch 2.10.0+cpu is CPU-only", "hint: on the Python index", "`--torch`"]);
    assert_eq!(fs_err::read_dir(store.join("downloads")).unwrap().count(), 0);
}

#[test]
fn a_folder_without_a_project_is_no_request() {
    let workplace = Workplace::new("no-project");
    let source = workplace.source("notes", &[("notes.txt", "nothing to build\n")]);
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(3, &["pyproject.toml", source.to_str().unwrap()]);
}

#[test]
fn an_output_folder_that_cannot_be_written_is_told_before_the_build() {
    let workplace = Workplace::new("unwritable");
    let source = workplace.source("plain", &PLAIN);
    fs_err::write(workplace.path("file"), "").unwrap();
    let run = Run::of(&workplace.build(&source, "file/dist", &[]));
    run.fails(11, &["file/dist", "cannot be written"]);
    assert!(workplace.builds(&source).is_empty());
}

#[test]
fn a_build_script_that_raises_is_shown_with_its_line_and_its_log() {
    let workplace = Workplace::new("raises");
    let setup = "import sys\n\nprint(\"looking for the moon\")\nif \"bdist_wheel\" in sys.argv:\n    raise RuntimeError(\"no moon tonight\")\n\
                 from setuptools import setup\nsetup(name=\"plain\", version=\"1.0\")\n";
    let source = workplace.source("raises", &plain_with("setup.py", setup));
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    let says = ["RuntimeError: no moon tonight", "--> setup.py:5", "raise RuntimeError"];
    run.fails(9, &says);
    run.fails(9, &["| looking for the moon"]);
    assert!(log_of(&run).contains("Traceback"));
}

#[test]
fn a_build_script_that_raises_while_requirements_are_asked_for_leaves_its_log_too() {
    let workplace = Workplace::new("raises-early");
    let setup = "import left_out_of_pyproject\n";
    let source = workplace.source("raises", &plain_with("setup.py", setup));
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(9, &["No module named 'left_out_of_pyproject'", "--> setup.py:1"]);
    run.fails(
        9,
        &["hint: the build script imports `left_out_of_pyproject`, but no build requirement"],
    );
    let source = workplace.source("exits", &plain_with("setup.py", "raise SystemExit('tired')\n"));
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(9, &["failed: tired", "--> setup.py:1"]);
    assert!(log_of(&run).contains("tired"));
}

#[test]
fn a_compiler_error_is_shown_with_the_log() {
    let workplace = Workplace::new("syntax");
    let source =
        workplace.source("syntax", &plain_with("plain.c", "int broken(void) { return 1 }\n"));
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(9, &["`plain.c` does not compile (exit code 1)\n  | plain.c:1:", "error: expected"]);
    run.fails(9, &["failed plain.o"]);
    assert!(!run.stderr.contains("Traceback"), "{}", run.stderr);
    assert!(log_of(&run).contains("Traceback"));
    // Nothing of the failed build is in the way of the next.
    fs_err::write(source.join("plain.c"), MODULE).unwrap();
    let product = Run::of(&workplace.build(&source, "dist", &[])).product();
    assert_eq!(product["ran"], 2);
}

/// The log that a failed run names, which is there.
#[track_caller]
pub fn log_of(run: &Run) -> String {
    let (_, rest) = run.stderr.rsplit_once("the whole log is in `").expect(&run.stderr);
    let path = rest.split('`').next().unwrap();
    fs_err::read_to_string(path).unwrap()
}

#[test]
fn a_wheel_that_does_not_fit_is_not_handed_over() {
    let workplace = Workplace::new("audit");
    let setup = r#"
from setuptools import Extension, setup

module = Extension("plain", ["plain.c"], extra_link_args=["-Wl,-z,execstack"])
setup(name="plain", version="1.0", ext_modules=[module])
"#;
    let source = workplace.source("execstack", &plain_with("setup.py", setup));
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(10, &["does not fit the target `thor`", "executable-stack: `plain.cpython-31"]);
    assert_eq!(fs_err::read_dir(workplace.path("dist")).unwrap().count(), 0);

    let files = [&PLAIN[..], &[("kernels/forgotten.cu", "__global__ void kernel() {}\n")]].concat();
    let source = workplace.source("forgotten", &files);
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(10, &["no-device-code: "]);
    assert_eq!(fs_err::read_dir(workplace.path("dist")).unwrap().count(), 0);

    // A shared object links all the same.
    let setup = r#"
from setuptools import Extension, setup

module = Extension("plain", ["plain.c", "use.c"])
setup(name="plain", version="1.0", ext_modules=[module])
"#;
    let using = ("use.c", "int left_out(int);\nint use(void) { return left_out(1); }\n");
    let files = [&plain_with("setup.py", setup)[..], &[using]].concat();
    let source = workplace.source("undefined", &files);
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(10, &["undefined-symbol: `plain.cpython-31", "`left_out`", "hint: "]);
    assert_eq!(fs_err::read_dir(workplace.path("dist")).unwrap().count(), 0);
}

#[test]
fn a_changed_file_of_the_store_is_named_and_can_be_made_anew() {
    let store = tempfile::tempdir().unwrap();
    let components = Components::new(store.path());
    let fill = |root: &Path| {
        fs_err::create_dir(root.join("bin")).unwrap();
        fs_err::write(root.join("bin/tool"), "tool").unwrap();
        Ok(())
    };
    let key = Key::new("gcc", Sha256::of("inputs"));
    components.install(&key, fill).unwrap();
    let of_store = |args: &[&str]| {
        let words = ["store", "--store", store.path().to_str().unwrap()];
        Run::of(&xtask(words.iter().chain(args)))
    };
    assert_eq!(of_store(&["verify"]).stdout, format!("{}\tunchanged\n", key.as_str()));
    let tool = components.path(&key).join("bin/tool");
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    fs_err::set_permissions(&tool, mode(0o644)).unwrap();
    fs_err::write(&tool, "loot").unwrap();
    fs_err::set_permissions(&tool, mode(0o444)).unwrap();
    let remedy = format!("hint: `cargo xtask store gc --component {}`", key.as_str());
    of_store(&["verify"]).fails(5, &[tool.to_str().unwrap(), &remedy]);
    assert_eq!(of_store(&["gc", "--component", key.as_str()]).code, Some(0));
    assert!(!tool.exists());
}

/// Two modules; between them the build waits for a file `go` in the source, with a child that has
/// left its session.
const TWO_STEPS: &str = r#"
import os, subprocess, sys
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Wait(build_ext):
    def build_extension(self, extension):
        if extension.name == "second" and not os.path.exists("go"):
            wait = [sys.executable, "-c", "import signal; signal.pause()"]
            child = subprocess.Popen(wait, start_new_session=True)
            open("waiting", "w").close()
            child.wait()
        super().build_extension(extension)


modules = [Extension("first", ["first.c"]), Extension("second", ["second.c"])]
setup(name="steps", version="1.0", ext_modules=modules, cmdclass={"build_ext": Wait})
"#;

fn two_steps(workplace: &Workplace) -> std::path::PathBuf {
    let module = |name| MODULE.replace("plain", name);
    let (first, second) = (module("first"), module("second"));
    let files = [
        ("pyproject.toml", PYPROJECT),
        ("setup.py", TWO_STEPS),
        ("first.c", &first),
        ("second.c", &second),
    ];
    workplace.source("steps", &files)
}

/// Starts the build in a process group of its own, as a shell does, and returns when it waits, with
/// all that runs below it.
fn start_and_wait(workplace: &Workplace, source: &Path, sandbox: &str) -> (Handle, Vec<Process>) {
    let mut words = vec![std::ffi::OsString::from(crate::support::xtask::XTASK)];
    words.extend(workplace.build_words(source, "dist", &[]));
    let command = duct::cmd("setsid", words).env("CROSSWHEEL_SANDBOX", sandbox);
    let command = command.stdin_null();
    let handle = command.stdout_capture().stderr_capture().unchecked().start().unwrap();
    eventually("the build waits", || {
        assert!(handle.try_wait().unwrap().is_none(), "the build ended before it was stopped");
        let builds = workplace.builds(source);
        builds.iter().any(|build| build.join("source/waiting").exists()).then_some(())
    });
    let below = Process::below(handle.pids()[0]);
    // The supervisor, the backend's Python, and its child.
    assert!(below.len() >= 3, "{below:?}");
    (handle, below)
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// crosswheel alone, as from a scheduler.
    Process,
    /// All of its process group, as from a terminal (termios(3), ISIG).
    Group,
}

fn stop(handle: Handle, signal: Signal, to: To) -> Run {
    let pid = i32::try_from(handle.pids()[0]).unwrap();
    let pid = if to == To::Group { -pid } else { pid };
    kill(Pid::from_raw(pid), signal).unwrap();
    Run::ended(&handle.into_output().unwrap())
}

/// Builds on after a stop: what was compiled before is not compiled again.
fn goes_on(workplace: &Workplace, source: &Path, sandbox: &str) {
    fs_err::write(source.join("go"), "").unwrap();
    let build = workplace.build(source, "dist", &[]).env("CROSSWHEEL_SANDBOX", sandbox);
    let run = Run::of(&build);
    let product = run.product();
    // Links are done again, compiles are not.
    assert_eq!((&product["actions"], &product["ran"]), (&4.into(), &3.into()), "{}", run.stderr);
    assert!(!run.stderr.contains("first.o"), "{}", run.stderr);
}

#[test]
fn a_killed_build_leaves_no_processes_and_goes_on() {
    for sandbox in ["", "off"] {
        let workplace = Workplace::new("killed");
        let source = two_steps(&workplace);
        let (handle, below) = start_and_wait(&workplace, &source, sandbox);
        assert_eq!(stop(handle, Signal::SIGKILL, To::Process).code, None);
        eventually("all processes are gone", || (!below.iter().any(Process::lives)).then_some(()));
        goes_on(&workplace, &source, sandbox);
    }
}

#[test]
fn an_interrupted_build_leaves_no_processes_and_goes_on() {
    // By Ctrl-C, by a scheduler, and by a terminal that is closed.
    let cases = [
        ("", Signal::SIGINT, To::Group),
        ("off", Signal::SIGINT, To::Group),
        ("off", Signal::SIGTERM, To::Process),
        ("", Signal::SIGHUP, To::Group),
    ];
    for (sandbox, signal, to) in cases {
        let workplace = Workplace::new("interrupted");
        let source = two_steps(&workplace);
        let (handle, below) = start_and_wait(&workplace, &source, sandbox);
        stop(handle, signal, to).fails(130, &["interrupted"]);
        assert_eq!(fs_err::read_dir(workplace.path("dist")).unwrap().count(), 0);
        let left: Vec<_> = below.iter().filter(|process| process.lives()).collect();
        assert!(left.is_empty(), "{left:?}");
        goes_on(&workplace, &source, sandbox);
    }
}
