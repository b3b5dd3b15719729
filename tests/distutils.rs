//! Extensions that distutils compiles itself: their files go through ninja all the same.

use std::path::Path;

use serde_json::Value;

use crate::support::xtask::{Run, Workplace};

const SETUP: &str = r#"
from setuptools import Extension, setup

flags = ['-DGREETING="a $dollar and a:colon"']
module = Extension("several", ["several.c", "csrc/one.c", "csrc/two.c"], extra_compile_args=flags)
again = Extension("again", ["again.c", "csrc/one.c"])
setup(name="several", version="1.0", ext_modules=[module, again])
"#;

const MODULE: &str = r#"
#include <Python.h>

int one(void);

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "NAME", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_NAME(void) { return one() ? PyModule_Create(&module) : NULL; }
"#;

fn package(workplace: &Workplace) -> std::path::PathBuf {
    let module = |name| MODULE.replace("NAME", name);
    let (several, again) = (module("several"), module("again"));
    let files = [
        ("setup.py", SETUP),
        ("several.c", &several),
        ("again.c", &again),
        ("csrc/one.h", "#define ONE 1\n"),
        ("csrc/one.c", "#include \"one.h\"\nint one(void) { return ONE; }\n"),
        ("csrc/two.c", "const char *two(void) { return GREETING; }\n"),
    ];
    workplace.source("several", &files)
}

#[track_caller]
fn ran(product: &Value) -> u64 {
    product["ran"].as_u64().unwrap()
}

#[test]
fn files_without_ninja_are_planned_and_only_what_changed_is_built_again() {
    let workplace = Workplace::new("several");
    let source = package(&workplace);
    let first = Run::of(&workplace.build(&source, "dist", &[]));
    // Two links, and one file with two commands.
    assert_eq!(ran(&first.product()), 7, "{}", first.stderr);
    // All together, but for the second of those commands.
    assert!(first.stderr.contains("compiling 4 files"), "{}", first.stderr);
    assert!(first.stderr.contains("compiling 1 files"), "{}", first.stderr);

    fs_err::write(source.join("csrc/two.c"), "const char *two(void) { return \"new\"; }\n")
        .unwrap();
    let edited = Run::of(&workplace.build(&source, "dist", &[]));
    assert!(edited.stderr.contains("compiled two.o"), "{}", edited.stderr);
    assert!(!edited.stderr.contains("compiled several.o"), "{}", edited.stderr);

    fs_err::write(source.join("csrc/one.h"), "#define ONE 2\n").unwrap();
    let edited = Run::of(&workplace.build(&source, "dist", &[]));
    assert!(edited.stderr.contains("compiled one.o"), "{}", edited.stderr);
    for other in ["two.o", "several.o", "again.o"] {
        assert!(!edited.stderr.contains(&format!("compiled {other}")), "{}", edited.stderr);
    }
}

#[test]
fn a_file_that_does_not_compile_is_shown() {
    let workplace = Workplace::new("several-broken");
    let source = package(&workplace);
    fs_err::write(source.join("csrc/two.c"), "int two(void) { return }\n").unwrap();
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.fails(9, &["csrc/two.c:1:", "error: expected", "failed two.o"]);
    assert!(Path::new(&workplace.path("dist")).read_dir().unwrap().next().is_none());
}
