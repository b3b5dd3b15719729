//! Build scripts that misbehave, and compilers that fail: what is said, with which exit code, and
//! what is left running.

use crate::faults::{PLAIN, log_of, plain_with};
use crate::support::processes::Process;
use crate::support::xtask::{Run, Workplace};

#[test]
fn a_script_that_hangs_is_stopped_and_what_it_waits_for_is_named() {
    let workplace = Workplace::new("hangs");
    let setup = "import subprocess\n\nprint(\"waiting for the moon\", flush=True)\n\
                 subprocess.run([\"sleep\", \"1000\"])\n";
    let source = workplace.source("hangs", &plain_with("setup.py", setup));
    let run = Run::of(&workplace.build(&source, "dist", &["--max-silence", "8s"]));
    run.fails(12, &["did not come to an end", "stopped: for 8 s nothing was printed"]);
    run.fails(12, &["  running: sleep 1000", "| waiting for the moon", "needs `--max-silence`"]);
    assert!(log_of(&run).contains("waiting for the moon"));
    let run = Run::of(&workplace.build(&source, "dist", &["--max-silence", "3"]));
    run.fails(2, &["`90s`, `30m` or `2h` is expected, or `never`"]);
}

/// Leaves a process behind that has left its session and holds its standard output.
const LEAVES: &str = r#"
import os, subprocess, sys
from setuptools import Extension, setup

if "bdist_wheel" in sys.argv and os.fork() == 0:
    os.setsid()
    wait = "import signal; signal.pause()  # MARKER"
    os.execv(sys.executable, [sys.executable, "-c", wait])

setup(name="plain", version="1.0", ext_modules=[Extension("plain", ["plain.c"])])
"#;

#[test]
fn processes_that_a_script_leaves_behind_end_with_the_build() {
    for (index, sandbox) in ["", "off"].into_iter().enumerate() {
        let workplace = Workplace::new("leaves");
        let marker = format!("left-{index}-{}", std::process::id());
        let setup = LEAVES.replace("MARKER", &marker);
        let source = workplace.source("leaves", &PLAIN);
        fs_err::write(source.join("setup.py"), setup).unwrap();
        let build = workplace.build(&source, "dist", &[]).env("CROSSWHEEL_SANDBOX", sandbox);
        assert_eq!(Run::of(&build).product()["ran"], 2);
        let left: Vec<_> = Process::all().into_iter().filter(|p| p.is_called(&marker)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Kills a compiler whenever it runs, as the kernel does when memory runs out: it waits for a header
/// that never comes.
const KILLS: &str = r#"
import contextlib, os, signal, threading
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CUDAExtension


def kill_compilers():
    while True:
        with open("never.h", "w"):  # Opens when the compiler has opened the other end.
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as name:
                    if name.read().strip() == "cc1plus":
                        os.kill(int(pid), signal.SIGKILL)


if not os.path.exists("never.h"):
    os.mkfifo("never.h")
threading.Thread(target=kill_compilers, daemon=True).start()
modules = [CUDAExtension("plain", ["SOURCE"], include_dirs=[os.getcwd()])]
setup(name="plain", version="1.0", ext_modules=modules, cmdclass={"build_ext": BuildExtension})
"#;

#[test]
fn a_compiler_that_is_killed_wants_memory_and_is_no_error_of_the_source() {
    let workplace = Workplace::new("kills");
    // nvcc preprocesses with the C++ compiler.
    for file in ["plain.cpp", "kernel.cu"] {
        let source = workplace.source(file.split('.').next().unwrap(), &PLAIN);
        let setup = KILLS.replace("SOURCE", file);
        fs_err::write(source.join("setup.py"), setup).unwrap();
        fs_err::write(source.join(file), "#include \"never.h\"\n").unwrap();
        let run = Run::of(&workplace.build(&source, "dist", &["--jobs", "3"]));
        let says = format!("`cc1plus` was killed while `{file}` was compiled, most likely for");
        run.fails(13, &[&says, "hint: let fewer compilers run at once: `--jobs` is 3 now"]);
        assert!(log_of(&run).contains("Killed signal terminated program"));
    }
}

/// Builds a program for the target, and runs it.
const RUNS: &str = r#"
import os, subprocess, sys
from setuptools import setup

if "bdist_wheel" in sys.argv:
    subprocess.check_call([os.environ["CC"], "tool.c", "-o", "tool"])
    subprocess.check_call(HOW)
setup(name="plain", version="1.0")
"#;

#[test]
fn a_program_of_the_target_that_a_script_runs_is_named() {
    let workplace = Workplace::new("runs");
    for (name, how) in [("direct", "[\"./tool\"]"), ("shell", "\"./tool\", shell=True")] {
        let source = workplace.source(name, &PLAIN);
        fs_err::write(source.join("setup.py"), RUNS.replace("HOW", how)).unwrap();
        fs_err::write(source.join("tool.c"), "int main(void) { return 0; }\n").unwrap();
        let run = Run::of(&workplace.build(&source, "dist", &[]));
        run.fails(9, &["--> setup.py:7", "hint: `./tool` is a program for the target"]);
        assert!(log_of(&run).contains("Exec format error"));
    }
}

/// A kernel for one architecture that runs on nothing else.
const HOPPER: &str = r#"
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CUDAExtension

flags = {"cxx": [], "nvcc": ["-gencode=arch=compute_90a,code=sm_90a"]}
module = CUDAExtension("plain", ["plain.c", "csrc/hopper.cu"], extra_compile_args=flags)
setup(name="plain", version="1.0", ext_modules=[module], cmdclass={"build_ext": BuildExtension})
"#;

#[test]
fn a_source_with_nothing_for_the_target_is_named_with_what_to_do() {
    let workplace = Workplace::new("hopper");
    let source = workplace.source("hopper", &PLAIN);
    fs_err::write(source.join("setup.py"), HOPPER).unwrap();
    fs_err::create_dir(source.join("csrc")).unwrap();
    fs_err::write(source.join("csrc/hopper.cu"), "__global__ void kernel() {}\n").unwrap();
    let run = Run::of(&workplace.build(&source, "dist", &["--target", "thor"]));
    let says = "csrc/hopper.cu`: nothing that runs on sm_110 can be made: only `sm_90a` was asked";
    run.fails(9, &[says, "hint: have the package build this file for a plain architecture"]);
    assert!(!run.stderr.contains("Traceback"), "{}", run.stderr);
}

#[test]
fn a_compiler_of_device_code_is_quoted_too() {
    let workplace = Workplace::new("device");
    let source = workplace.source("device", &PLAIN);
    fs_err::write(source.join("setup.py"), HOPPER.replace("90a", "90")).unwrap();
    fs_err::create_dir(source.join("csrc")).unwrap();
    let kernel = "__global__ void kernel() { asm volatile(\"moon;\"); }\n";
    fs_err::write(source.join("csrc/hopper.cu"), kernel).unwrap();
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(9, &["`csrc/hopper.cu` does not compile (exit code ", "  | ptxas "]);
    assert!(!run.stderr.contains("Traceback"), "{}", run.stderr);
    assert!(log_of(&run).contains("Traceback"));
}
