//! `cargo xtask prove`: wheels imported by the target's own Python, under emulation. Nothing here
//! requires torch; `full.rs` has one that does.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::faults::{PLAIN, plain_with};
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, xtask};

/// The proof of a wheel: its exit code, and its JSON.
#[track_caller]
pub fn prove(wheel: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let run = run(wheel, more);
    let proofs: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    assert_conforms(&proofs, "prove.schema.json");
    (run.code, proofs[0].clone())
}

fn run(wheel: &Path, more: &[&str]) -> Run {
    let words = ["prove", "--format", "json"].iter().chain(more).map(std::ffi::OsString::from);
    Run::of(&xtask(words.chain([wheel.into()])))
}

/// Builds the fixture of one C file, with this in its place.
#[track_caller]
fn built(workplace: &Workplace, files: &[(&str, &str)]) -> (PathBuf, PathBuf) {
    let source = workplace.source("plain", files);
    let product = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"])).product();
    let path = |key: &str| PathBuf::from(product[key].as_str().unwrap());
    (path("wheel"), path("manifest"))
}

/// The wheel under another name.
fn renamed(wheel: &Path, name: &str) -> PathBuf {
    let path = wheel.with_file_name(name);
    fs_err::copy(wheel, &path).unwrap();
    path
}

#[test]
fn an_extension_module_is_imported_and_its_manifest_says_so() {
    let workplace = Workplace::new("prove");
    let (wheel, manifest) = built(&workplace, &PLAIN);
    let (code, proof) = prove(&wheel, &[]);
    assert_eq!((code, &proof["passed"]), (Some(0), &true.into()), "{proof}");
    assert_eq!(proof["modules"][0]["name"], "plain");
    assert_eq!(proof["modules"][0]["status"], "imported");
    assert!(proof["python"].as_str().unwrap().starts_with("3.11."), "{proof}");
    // What does not require torch gets none.
    assert_eq!(proof.get("torch"), None);
    assert_eq!(proof["requirements"], serde_json::json!([]));

    let read =
        || -> Value { serde_json::from_str(&fs_err::read_to_string(&manifest).unwrap()).unwrap() };
    let attested = read();
    assert_conforms(&attested, "manifest.schema.json");
    assert_eq!(attested["attestations"][0]["kind"], "import");
    assert_eq!(attested["attestations"][0]["modules"], proof["modules"]);
    // The same proof is the same statement.
    prove(&wheel, &[]);
    assert_eq!(read(), attested);
}

#[test]
fn an_undefined_symbol_is_a_failure_that_names_it() {
    let workplace = Workplace::new("prove-undefined");
    let mut files = plain_with("plain.c", UNDEFINED);
    files.push(("PKG-INFO", "Metadata-Version: 2.1\nName: plain\n"));
    let source = workplace.source("plain", &files);
    // The audit finds it before the wheel is handed over, unless it is told not to.
    let refused = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    refused.fails(10, &["undefined-symbol: `plain.cpython-311", "`c10::detail::nowhereElse(int)`"]);
    let project = workplace.project("plain", WAIVER);
    let options = ["--python", "3.11", "--project", project.to_str().unwrap()];
    let product = Run::of(&workplace.build(&source, "dist", &options)).product();
    let [wheel, manifest] =
        ["wheel", "manifest"].map(|key| PathBuf::from(product[key].as_str().unwrap()));
    let (code, proof) = prove(&wheel, &[]);
    assert_eq!((code, &proof["passed"]), (Some(10), &false.into()), "{proof}");
    let fault = &proof["modules"][0]["error"];
    assert_eq!(fault["symbol"], "_ZN3c106detail11nowhereElseEi");
    assert_eq!(fault["demangled"], "c10::detail::nowhereElse(int)");
    assert_eq!(fault["library"], "libc10.so");
    let message = fault["message"].as_str().unwrap();
    assert!(
        message.starts_with("ImportError: plain.cpython-311-aarch64-linux-gnu.so: "),
        "{message}"
    );
    assert!(fault["hint"].as_str().unwrap().contains("`--torch VERSION`"), "{fault}");
    let text = fs_err::read_to_string(manifest).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["attestations"][0]["passed"], false);
}

const WAIVER: &str = r#"
[[waivers]]
code = "undefined-symbol"
file = "*.so"
reason = "to see what an import makes of it"
"#;

/// A module that calls what only another torch would have.
const UNDEFINED: &str = r#"
#include <Python.h>

int _ZN3c106detail11nowhereElseEi(int);

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "plain", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_plain(void) {
    return _ZN3c106detail11nowhereElseEi(1) ? NULL : PyModule_Create(&module);
}
"#;

#[test]
fn a_module_that_kills_its_process_is_blamed_for_it() {
    let workplace = Workplace::new("prove-abort");
    let (wheel, _) = built(&workplace, &plain_with("plain.c", ABORTS));
    let (code, proof) = prove(&wheel, &[]);
    assert_eq!(code, Some(10), "{proof}");
    let message = proof["modules"][0]["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the process aborted\nno way on\n"), "{message}");
}

const ABORTS: &str = r#"
#include <Python.h>
#include <stdio.h>
#include <stdlib.h>

PyMODINIT_FUNC PyInit_plain(void) {
    fprintf(stderr, "no way on\n");
    abort();
}
"#;

#[test]
fn wheels_for_other_machines_and_pythons_are_refused_at_once() {
    let workplace = Workplace::new("prove-refused");
    let (wheel, _) = built(&workplace, &PLAIN);
    run(&wheel, &["--python", "3.13"]).fails(2, &["does not install on Python 3.13", "hint: "]);
    let other = renamed(&wheel, "plain-1.0-cp311-cp311-linux_x86_64.whl");
    run(&other, &[]).fails(2, &["is for linux_x86_64", "`thor` is aarch64", "hint: "]);
    let other = renamed(&wheel, "plain-1.0-cp310-cp310-linux_aarch64.whl");
    run(&other, &[]).fails(2, &["there is no Python 3.10", "hint: there are: 3.11, 3.13"]);
    run(&wheel, &["--target", "x86_64-cuda13"]).fails(2, &["only aarch64 is emulated", "hint: "]);
    run(Path::new("plain.tar.gz"), &[]).fails(2, &["`plain.tar.gz` is not a wheel", "hint: "]);
}
