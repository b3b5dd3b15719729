//! Patches in builds: applied before anything looks at the source, recorded, and carried along.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::apply;
use crate::faults::PLAIN;
use crate::releases::sdist;
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, committed, repository, xtask};

const PKG_INFO: (&str, &str) =
    ("PKG-INFO", "Metadata-Version: 2.1\nName: crosswheel-patched\nVersion: 1.0\n");

const PATCH: &str = "diff --git a/setup.py b/setup.py\n--- a/setup.py\n+++ b/setup.py\n\
    @@ -1,4 +1,4 @@\n \n from setuptools import Extension, setup\n \n\
    -setup(name=\"plain\", version=\"1.0\", ext_modules=[Extension(\"plain\", [\"plain.c\"])])\n\
    +setup(name=\"plain\", version=\"1.5\", ext_modules=[Extension(\"plain\", [\"plain.c\"])])\n";

/// A project with a series for an sdist, and that sdist.
fn project(workplace: &Workplace) -> (PathBuf, PathBuf) {
    let files: Vec<_> = PLAIN.into_iter().chain([PKG_INFO]).collect();
    let archive = workplace.source("patched-1.0.tar.gz", &[]);
    fs_err::write(&archive, sdist("patched-1.0", &files)).unwrap();
    let project = workplace.path("project");
    let series = project.join("patches/crosswheel-patched/1.0");
    fs_err::create_dir_all(&series).unwrap();
    std::os::unix::fs::symlink(repository().join("toolchains"), project.join("toolchains"))
        .unwrap();
    fs_err::write(series.join("series.toml"), "when = \"==1.*\"\n").unwrap();
    fs_err::write(series.join("0001-version.patch"), PATCH).unwrap();
    (archive, project)
}

fn build(workplace: &Workplace, archive: &Path, project: &Path) -> Run {
    let own = ["--python", "3.11", "--project", project.to_str().unwrap()];
    Run::of(&workplace.build(archive, "dist", &own))
}

fn manifest(product: &Value) -> Value {
    let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest = serde_json::from_str(&text).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    manifest
}

#[test]
fn a_series_reaches_the_build_its_manifest_and_a_second_build() {
    let workplace = Workplace::new("patched");
    let (archive, project) = project(&workplace);
    let run = build(&workplace, &archive, &project);
    let product = run.product();
    let wheel = product["wheel"].as_str().unwrap();
    assert!(wheel.contains("plain-1.5+"), "{wheel}");
    let patches = manifest(&product)["patches"].clone();
    assert_eq!(patches[0]["path"], "crosswheel-patched/1.0/0001-version.patch");

    // What decides is the patch's content, and not what it is called.
    let patch = project.join("patches/crosswheel-patched/1.0/0001-version.patch");
    fs_err::rename(&patch, patch.with_file_name("0005-version.patch")).unwrap();
    assert_eq!(build(&workplace, &archive, &project).product()["up_to_date"], true);
    let patch = patch.with_file_name("0005-version.patch");
    fs_err::write(&patch, PATCH.replace("1.5", "1.6")).unwrap();
    let other = build(&workplace, &archive, &project).product();
    assert_ne!(other["inputs"], product["inputs"]);
    assert!(other["wheel"].as_str().unwrap().contains("plain-1.6+"));

    // The first wheel's patch is not in the project any more.
    let own = ["--format", "json", "--project", project.to_str().unwrap()];
    let verify = Run::of(&xtask(["verify", wheel].into_iter().chain(own)));
    assert_eq!(verify.json()["reproduced"], true);
    let bundle = workplace.path("inputs.bundle");
    let words = ["fetch", "--manifest", wheel, "--bundle", bundle.to_str().unwrap()];
    assert_eq!(Run::of(&xtask(words.into_iter().chain(own))).code, Some(0));
    let bundle = fs_err::read(bundle).unwrap();
    let text = bundle.windows(PATCH.len()).any(|window| window == PATCH.as_bytes());
    assert!(text, "the bundle has the patch");
}

#[test]
fn a_series_reaches_a_commit_of_a_repository() {
    let workplace = Workplace::new("patched-commit");
    let (_, project) = project(&workplace);
    let files: Vec<_> = PLAIN.into_iter().chain([PKG_INFO]).collect();
    let checkout = workplace.source("repository", &files);
    let request = format!("git+{}@{}", checkout.display(), committed(&checkout));
    let own = ["--out", "dist", "--python", "3.11", "--project", project.to_str().unwrap()];
    let words = ["build-wheels", &request, "--format", "json"].into_iter().chain(own);
    let product = Run::of(&xtask(words).dir(workplace.path(""))).product();
    assert!(product["wheel"].as_str().unwrap().contains("plain-1.5+"), "{product}");
    let patches = manifest(&product)["patches"].clone();
    assert_eq!(patches[0]["path"], "crosswheel-patched/1.0/0001-version.patch");
}

#[test]
fn a_patch_that_does_not_apply_stops_the_build_and_a_folder_is_what_it_is() {
    let workplace = Workplace::new("unpatched");
    let (archive, project) = project(&workplace);
    let patch = project.join("patches/crosswheel-patched/1.0/0001-version.patch");
    let says = "setup(name=\"plain\", version=\"1.0\"";
    fs_err::write(&patch, PATCH.replace("version=\"1.0\"", "version=\"0.9\"")).unwrap();
    let run = build(&workplace, &archive, &project);
    run.fails(
        16,
        &[
            "the patch `crosswheel-patched/1.0/0001-version.patch` does not apply to",
            "in `setup.py`: hunk 1, for line 1, fits nowhere; nearest is line 1: 3 of 4 lines",
            &format!("  |     4 + {says}"),
            "hint: `cargo xtask patch check`",
        ],
    );
    assert!(!workplace.path("dist").exists());
    // A checkout of the same name and version.
    let files: Vec<_> = PLAIN.into_iter().chain([PKG_INFO]).collect();
    let source = workplace.source("checkout", &files);
    apply(&source, PATCH);
    let product = build(&workplace, &source, &project).product();
    assert!(product["wheel"].as_str().unwrap().contains("plain-1.5+"));
    assert_eq!(manifest(&product)["patches"], serde_json::json!([]));
}
