//! `cargo xtask audit` as a command: exit codes, and what goes to standard output.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::wheel_fixture::WheelFixture;
use crate::support::schema::assert_conforms;

#[allow(clippy::disallowed_methods, reason = "a test of the executable itself")]
fn xtask(arguments: &[&str], file: &Path) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("audit").args(arguments).arg(file).output().expect("started")
}

#[test]
fn a_violation_is_exit_code_10_and_json_is_all_there_is_on_stdout() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fixture = WheelFixture::default();
    fixture.elf.needed.push("libcudart.so.12");
    let path = fixture.write(folder.path());
    let output = xtask(&["--target", "thor", "--format", "json"], &path);
    assert_eq!(output.status.code(), Some(10));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value[0]["violations"][0]["code"], "cuda-major");
    assert_eq!(value[0]["fits_targets"], Value::Array(Vec::new()));
}

#[test]
fn a_torch_is_asked_for_by_its_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fixture = WheelFixture::default();
    fixture.elf.unversioned = vec!["_ZN3c105ErrorC1ENS_14SourceLocationEi"];
    let path = fixture.write(folder.path());
    let output = xtask(&["--torch", "2.14.0", "--format", "json"], &path);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{text}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_conforms(&value, "audit.schema.json");
    assert_eq!(value[0]["violations"][0]["code"], "undefined-symbol");
    let closure = &value[0]["closure"];
    assert_eq!((&closure["imports"], &closure["torch"]), (&"no".into(), &"2.14.0".into()));
    let symbol = &closure["open"][0]["symbols"][0];
    assert_eq!(symbol["demangled"], "c10::Error::Error(c10::SourceLocation, int)");
    let nearest = symbol["nearest"].as_str().expect("torch has others");
    assert!(nearest.starts_with("c10::Error::Error("), "{nearest}");

    let output = xtask(&["--torch", "2.14.0", "--format", "sarif"], &path);
    assert_eq!(output.status.code(), Some(10));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["runs"][0]["results"][0]["ruleId"], "undefined-symbol");
    let output = xtask(&["--torch", "no-torch"], &path);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_a_target_the_targets_that_fit_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = xtask(&[], &WheelFixture::default().write(folder.path()));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\n  fits thor\n"), "{text}");
    assert!(text.contains("sm_110×1"), "{text}");
}

#[test]
fn what_cannot_be_audited_is_an_archive_error_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.whl");
    fs_err::write(&path, "PK\x03\x04").expect("written");
    let output = xtask(&[], &path);
    assert_eq!(output.status.code(), Some(6));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(text.contains("is not a readable zip archive") && text.contains("hint: "), "{text}");
}

#[test]
fn two_wheels_are_compared_member_by_member() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for folder in [&ours, &theirs] {
        fs_err::create_dir(folder).expect("a folder");
    }
    let first = WheelFixture::default().write(&ours);
    let mut fixture = WheelFixture { elf_path: "demo/_C.abi3.so", ..WheelFixture::default() };
    fixture.extra.push(("demo/models/small.json".to_owned(), b"{}".to_vec()));
    let second = fixture.write(&theirs);
    let compare = ["--compare", second.to_str().expect("UTF-8"), "--target", "thor"];
    let output = xtask(&[&compare[..], &["--format", "json"]].concat(), &first);
    assert_eq!(output.status.code(), Some(0));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_conforms(&value, "compare.schema.json");
    let compared = &value[0];
    assert_eq!(compared["files"].as_array().expect("pairs").len(), 1, "{compared}");
    let pair = &compared["files"][0];
    assert_eq!((&pair["file"], &pair["first"]), (&"demo/_C.so".into(), &pair["second"]));
    assert_eq!(pair["first"]["on_target"]["missing"], 0);
    assert_eq!((&compared["common"], &compared["only_first"]), (&1.into(), &serde_json::json!({})));
    assert_eq!(compared["only_second"], serde_json::json!({"demo/models": ["small.json"]}));

    let output = xtask(&compare, &first);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("| demo/_C.so | "), "{text}");
    assert!(text.contains("Only 2 has 1:\n\n- `demo/models/`: `small.json`\n"), "{text}");
}
