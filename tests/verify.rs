//! A second build from a manifest, and what is told where it cannot be or differs.

use std::path::{Path, PathBuf};

use duct::Expression;
use serde_json::Value;

use crate::faults::{PLAIN, plain_with};
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, xtask};

/// Of `cargo xtask verify` the exit code of a wheel that is not reproduced.
const IRREPRODUCIBLE: i32 = 15;

fn verify(subject: &Path, more: &[&str]) -> Expression {
    let words = ["verify", "--format", "json"].into_iter().chain(more.iter().copied());
    xtask(words.map(PathBuf::from).chain([subject.to_owned()]))
}

/// What a verification printed, which must be as its schema says.
#[track_caller]
fn verdict(run: &Run, code: i32) -> Value {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    let verdict = serde_json::from_str(&run.stdout).unwrap();
    assert_conforms(&verdict, "verify.schema.json");
    verdict
}

fn path(product: &Value, key: &str) -> PathBuf {
    product[key].as_str().unwrap().into()
}

#[test]
fn a_wheel_is_reproduced_from_its_manifest_wherever_the_source_lies() {
    let workplace = Workplace::new("verify-plain");
    let source = workplace.source("plain", &PLAIN);
    let build = workplace.build(&source, "dist", &["--jobs", "2"]);
    let product = Run::of(&build.env("CROSSWHEEL_SANDBOX", "off")).product();
    let text = fs_err::read_to_string(path(&product, "manifest")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    assert_eq!(manifest["isolation"]["none"]["reason"], "`CROSSWHEEL_SANDBOX` is `off`");
    let again = verdict(&Run::of(&verify(&path(&product, "wheel"), &["--jobs", "1"])), 0);
    assert_eq!(
        (&again["reproduced"], &again["second"]["sha256"]),
        (&true.into(), &product["sha256"])
    );

    let elsewhere = workplace.source("elsewhere", &PLAIN);
    fs_err::remove_dir_all(&source).unwrap();
    let manifest = path(&product, "manifest");
    let gone = Run::of(&verify(&manifest, &[]));
    gone.fails(5, &["source `", "in the manifest, absent here", "hint: ", "--source"]);
    let (keep, place) = (workplace.path("kept"), elsewhere.to_str().unwrap().to_owned());
    let moved = verify(&manifest, &["--source", &place, "--keep", keep.to_str().unwrap()]);
    let moved = verdict(&Run::of(&moved.env("CROSSWHEEL_SANDBOX", "off")), 0);
    assert_eq!(moved["second"]["sha256"], product["sha256"]);
    assert!(moved["second_isolation"]["none"]["reason"].is_string());
    let note = moved["notes"][0].as_str().unwrap();
    assert!(note.starts_with("both builds ran without a fixed path"), "{note}");
    let kept = fs_err::read(path(&moved, "kept")).unwrap();
    assert_eq!(kept, fs_err::read(path(&product, "wheel")).unwrap());
}

#[test]
fn inputs_that_are_others_now_are_named_before_anything_is_built() {
    let workplace = Workplace::new("verify-inputs");
    let source = workplace.source("plain", &PLAIN);
    let product = Run::of(&workplace.build(&source, "dist", &[])).product();
    let manifest = path(&product, "manifest");
    let text = fs_err::read_to_string(&manifest).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();

    fs_err::write(source.join("plain.c"), "int another;\n").unwrap();
    let was = record["source"]["folder"]["digest"].as_str().unwrap();
    let changed = Run::of(&verify(&manifest, &[]));
    changed.fails(5, &["source `", was, "in the manifest, `"]);
    assert!(!changed.stderr.contains("building"), "{}", changed.stderr);

    // What an older lock would have recorded of a component and one of its files.
    let component = |name: &str| {
        let all = record["components"].as_array().unwrap();
        all.iter().find(|c| c["name"] == name).unwrap()["digest"].as_str().unwrap().to_owned()
    };
    let ninja = component("ninja");
    let wheel = record["toolchain"].as_array().unwrap().iter().find(|f| f["name"] == "ninja");
    let (wheel, other) = (wheel.unwrap(), "0".repeat(64));
    let sha256 = wheel["sha256"].as_str().unwrap();
    let older = text.replace(&ninja, &other).replace(sha256, &"1".repeat(64));
    let older = older.replace("\"crosswheel\": \"0.1.0\"", "\"crosswheel\": \"0.0.9\"");
    fs_err::write(&manifest, older).unwrap();
    let file = format!("file `{}`: `{}`", wheel["file"].as_str().unwrap(), "1".repeat(64));
    Run::of(&verify(&manifest, &[])).fails(
        5,
        &[
            "crosswheel: `0.0.9` in the manifest, `0.1.0` here",
            &format!("component `ninja`: `{other}` in the manifest, `{ninja}` here"),
            &format!("{file} in the manifest, `{sha256}` here"),
            "source `",
        ],
    );

    fs_err::write(&manifest, text).unwrap();
    fs_err::write(path(&product, "wheel"), "something else").unwrap();
    let was = record["wheel"]["sha256"].as_str().unwrap();
    Run::of(&verify(&manifest, &[])).fails(5, &["is not the wheel of its manifest", was]);
}

#[test]
fn what_is_no_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join("a-1-py3-none-any.whl");
    fs_err::write(&wheel, "").unwrap();
    Run::of(&verify(&wheel, &[])).fails(3, &["has no manifest beside it", "hint: "]);
    let manifest = folder.path().join("a-1-py3-none-any.manifest.json");
    fs_err::write(&manifest, "{\"schema_version\": 1}").unwrap();
    let says = ["is not a manifest that a build can be repeated from", "missing field"];
    Run::of(&verify(&manifest, &[])).fails(2, &says);
}

/// Builds a package that gives another wheel each time, and returns what `verify` makes of it.
#[track_caller]
fn irreproducible(test: &str, setup: &'static str) -> Value {
    let workplace = Workplace::new(test);
    let source = workplace.source("plain", &plain_with("setup.py", setup));
    let product = Run::of(&workplace.build(&source, "dist", &[])).product();
    let verdict = verdict(&Run::of(&verify(&path(&product, "wheel"), &[])), IRREPRODUCIBLE);
    assert_eq!(verdict["reproduced"], false);
    assert_ne!(verdict["first"]["sha256"], verdict["second"]["sha256"]);
    verdict
}

#[test]
fn a_number_that_a_script_draws_is_explained() {
    let verdict = irreproducible("verify-random", RANDOM);
    let difference = &verdict["differences"][0];
    let member = difference["member"].as_str().unwrap();
    assert!(member.ends_with(".so"), "{verdict}");
    let part = difference["places"][0]["part"].as_str().unwrap();
    assert!(part.starts_with("section `.rodata`"), "{part}");
    let first = difference["places"][0]["first"].as_str().unwrap();
    assert!(first.starts_with("drawn 1"), "{first}");
    assert_eq!(difference["causes"][0]["kind"], "number", "{verdict}");
}

const RANDOM: &str = r#"
import random

from setuptools import Extension, setup

with open("plain.c") as module:
    text = module.read()
number = random.SystemRandom().randrange(10**17, 2 * 10**17)
with open("drawn.c", "w") as drawn:
    drawn.write(text + f'\n__attribute__((used)) static const char drawn[] = "drawn {number}";\n')
setup(name="plain", version="1.0", ext_modules=[Extension("plain", ["drawn.c"])])
"#;

#[test]
fn a_time_that_a_script_writes_is_explained() {
    let verdict = irreproducible("verify-time", TIME);
    let difference = &verdict["differences"][0];
    assert_eq!(difference["member"], "plain_built.py");
    assert_eq!(difference["places"][0]["part"], "line 1");
    assert_eq!(difference["causes"][0]["kind"], "time", "{verdict}");
}

const TIME: &str = r#"
import datetime

from setuptools import Extension, setup

with open("plain_built.py", "w") as built:
    built.write(f'WHEN = "{datetime.datetime.now().isoformat()}"\n')
setup(
    name="plain",
    version="1.0",
    py_modules=["plain_built"],
    ext_modules=[Extension("plain", ["plain.c"])],
)
"#;

/// Nothing answers on this port (RFC 863's, which is reserved).
const NO_INDEX: &str = "http://127.0.0.1:9/simple";

#[test]
#[ignore = "unpacks a toolchain: cargo xtask test --full"]
fn a_bundle_is_all_that_a_machine_without_a_network_needs() {
    let workplace = Workplace::new("verify-bundle");
    let source = workplace.source("plain", &PLAIN);
    let product = Run::of(&workplace.build(&source, "dist", &[])).product();
    let wheel = path(&product, "wheel");
    let bundles = ["one", "two"].map(|name| workplace.path(name));
    for bundle in &bundles {
        let words = ["fetch".into(), "--manifest".into(), wheel.clone(), "--bundle".into()];
        let run = Run::of(&xtask(words.into_iter().chain([bundle.clone()])));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    let [one, two] = bundles;
    assert_eq!(fs_err::read(&one).unwrap(), fs_err::read(two).unwrap());

    let store = workplace.path("store");
    let from_bundle = ["--bundle", one.to_str().unwrap(), "--store", store.to_str().unwrap()];
    let aside = workplace.path("aside");
    fs_err::rename(&source, &aside).unwrap();
    let again = verify(&wheel, &from_bundle).env("PIP_INDEX_URL", NO_INDEX);
    let again = verdict(&Run::of(&again), 0);
    assert_eq!(again["second"]["sha256"], product["sha256"]);

    fs_err::rename(&aside, &source).unwrap();
    let build = workplace.build(&source, "again", &from_bundle).env("PIP_INDEX_URL", NO_INDEX);
    assert_eq!(Run::of(&build).product()["sha256"], product["sha256"]);
}
