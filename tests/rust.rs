//! Crates: the fixture `crate`, built for real, and what is said where one cannot be.

use std::ffi::OsString;
use std::path::Path;

use duct::Expression;
use serde_json::Value;

use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, xtask};

fn build_ext(source: &Path, out: &Path) -> Expression {
    let mut words: Vec<OsString> =
        ["build-ext", "--format", "json", "--target", "thor", "--out"].map(Into::into).into();
    words.extend([out.into(), source.into()]);
    xtask(words)
}

fn read(path: &Value) -> Value {
    let text = fs_err::read_to_string(path.as_str().unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_crate_gives_the_targets_library_and_only_what_changed_is_compiled_again() {
    let workplace = Workplace::new("crate");
    let source = workplace.fixture("crate", "crate");
    let out = workplace.path("dist");
    let build = build_ext(&source, &out);
    let product = Run::of(&build).product();
    let library = out.join("thor/libcrosswheel_crate.so");
    assert_eq!(product["wheel"], library.to_str().unwrap());
    // EM_AARCH64, in `e_machine` (ELF for the Arm 64-bit architecture, 5.3).
    assert_eq!(fs_err::read(&library).unwrap()[18..20], [183, 0]);

    let manifest = read(&product["manifest"]);
    assert_conforms(&manifest, "manifest.schema.json");
    assert_eq!(manifest["wheel"]["file"], "libcrosswheel_crate.so");
    let crates = &manifest["resolution"]["rust"]["crates"];
    let locked = crates["cargo-locks"]["Cargo.lock"].as_str().unwrap();
    let named = |name: &str| {
        let crates = crates["crate"].as_array().unwrap();
        let found = crates.iter().find(|artifact| artifact["name"] == name);
        let sha256 = found.unwrap_or_else(|| panic!("no `{name}`: {crates:?}"))["sha256"].clone();
        assert!(locked.contains(sha256.as_str().unwrap()), "{name}");
    };
    ["cc", "cfg-if"].into_iter().for_each(named);
    let labels = |run: &Run| -> Vec<String> {
        let compiled = run.stderr.lines().filter_map(|line| line.trim().strip_prefix("compiled "));
        compiled.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
    };

    let code = source.join("src/lib.rs");
    let text = fs_err::read_to_string(&code).unwrap();
    fs_err::write(&code, text.replace("twice(twice(value))", "twice(value) + twice(value)"))
        .unwrap();
    let edited = Run::of(&build);
    assert_eq!(labels(&edited), ["crosswheel-crate 1.0.0"], "{}", edited.stderr);
    assert_ne!(edited.product()["sha256"], product["sha256"]);

    let verify = xtask(
        ["verify", "--format", "json"]
            .map(OsString::from)
            .into_iter()
            .chain([OsString::from(library)]),
    );
    let verdict = Run::of(&verify);
    assert_eq!(verdict.code, Some(0), "{}", verdict.stderr);
    assert_eq!(verdict.json()["second"]["sha256"], edited.product()["sha256"]);
}

#[test]
fn what_is_wrong_with_crates_is_said_before_anything_is_built() {
    let workplace = Workplace::new("crates-wrong");
    let manifest = |dependencies: &str| {
        format!(
            "[package]\nname = \"wrong\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\n{dependencies}"
        )
    };
    let fails = |name: &str, manifest: &str, lock: Option<&str>, code: u8, says: &[&str]| {
        let mut files = vec![("Cargo.toml", manifest), ("src/lib.rs", "")];
        files.extend(lock.map(|lock| ("Cargo.lock", lock)));
        let source = workplace.source(name, &files);
        Run::of(&build_ext(&source, &workplace.path("dist"))).fails(code, says);
    };
    let none = manifest("");
    let git = "version = 4\n[[package]]\nname = \"wrong\"\nversion = \"1.0.0\"\n\n[[package]]\n\
               name = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/a#01\"\n";
    fails("git", &none, Some(git), 3, &["`a 1.0.0` of `Cargo.lock` comes from `git+", "hint: "]);
    let stale = "version = 4\n[[package]]\nname = \"wrong\"\nversion = \"1.0.0\"\n";
    let more = manifest("cfg-if = \"1\"");
    fails(
        "stale",
        &more,
        Some(stale),
        3,
        &["cargo cannot fetch the crates", "hint: ", "cargo update"],
    );
    fails("broken", &none, Some("package = 1"), 3, &["`Cargo.lock` of the source is not a lock"]);
    let empty = workplace.source("empty", &[("src/lib.rs", "")]);
    let run = Run::of(&build_ext(&empty, &workplace.path("dist")));
    run.fails(3, &["there is no crate and no CMake project at", "hint: name the folder"]);
}
