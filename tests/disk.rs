//! Full disks at every stage, and a store that somebody changed.

use std::path::{Path, PathBuf};

use crosswheel::artifact::Sha256;
use crosswheel::store::Store;

use crate::faults::PLAIN;
use crate::releases::{own_index, sdist};
use crate::support::index::{Distribution, Form, Index};
use crate::support::namespace::Changed;
use crate::support::xtask::{Run, Workplace, xtask};

/// Room for the tools and the Python environment of a build, and for little else.
fn bench() -> String {
    let xtask = fs_err::metadata(crate::support::xtask::XTASK).unwrap().len();
    format!("{}m", (xtask >> 20) + 120)
}

fn store() -> PathBuf {
    PathBuf::from(Run::of(&xtask(["store", "path"])).stdout.trim())
}

/// Builds a source where a folder is small, and returns what is said; the last line tells what is
/// left in the output folder.
fn build(workplace: &Workplace, source: &Path, folder: &Path, size: &str) -> Run {
    let out = workplace.path("dist");
    fs_err::create_dir_all(&out).unwrap();
    let words = ["build-wheels", source.to_str().unwrap(), "--out", out.to_str().unwrap()];
    Run::of(&Changed::new().small(folder, size).xtask(&words, &out))
}

#[test]
fn a_disk_that_is_full_when_a_wheel_is_handed_over_gets_no_part_of_it() {
    let workplace = Workplace::new("full-out");
    let source = workplace.source("plain", &PLAIN);
    let run = build(&workplace, &source, &workplace.path("dist"), "4k");
    run.fails(14, &["cannot be written", "No space left on device", "hint: free some space"]);
    assert!(run.stderr.ends_with("left: \n"), "{}", run.stderr);
    // What was compiled is kept for the next try.
    let run = Run::of(&workplace.build(&source, "dist", &[]));
    run.product();
    assert!(!run.stderr.contains("plain.o"), "{}", run.stderr);
}

#[test]
fn a_disk_that_is_full_while_a_wheel_is_packaged_keeps_what_was_compiled() {
    let workplace = Workplace::new("full-package");
    let setup = "from setuptools import Extension, setup\n\n\
                 modules = [Extension(\"plain\", [\"plain.c\"])]\n\
                 setup(name=\"plain\", version=\"1.0\", py_modules=[\"noise\"], ext_modules=modules)\n";
    let source = workplace.source("noisy", &PLAIN);
    fs_err::write(source.join("setup.py"), setup).unwrap();
    fs_err::write(source.join("noise.py"), "").unwrap();
    Run::of(&workplace.build(&source, "dist", &[])).product();
    // It does not shrink below a page.
    let noise: String = (0..1000).map(|i| Sha256::of(i.to_string()).to_string()).collect();
    fs_err::write(source.join("noise.py"), format!("NOISE = \"{noise}\"\n")).unwrap();
    let [folder] = &workplace.builds(&source)[..] else { panic!("one folder was built in") };
    fs_err::remove_dir_all(workplace.path("dist")).unwrap();
    for small in [folder.join("packaged"), workplace.path("dist")] {
        let run = build(&workplace, &source, &small, "4k");
        run.fails(14, &[".whl` cannot be written", "No space left on device", "hint: free some"]);
        assert!(run.stderr.ends_with("left: \n"), "{}", run.stderr);
        assert!(!run.stderr.contains("plain.o"), "{}", run.stderr);
    }
}

#[test]
fn a_disk_that_is_full_while_it_is_built_is_no_error_of_the_package() {
    let workplace = Workplace::new("full-build");
    let builds = store().join("builds");
    let writes = "import sys\nfrom setuptools import setup\n\n\
                  if \"bdist_wheel\" in sys.argv:\n    with open(\"big\", \"wb\") as file:\n        \
                  for _ in range(1024):\n            file.write(bytes(1 << 20))\n\
                  setup(name=\"plain\", version=\"1.0\")\n";
    let source = workplace.source("script", &PLAIN);
    fs_err::write(source.join("setup.py"), writes).unwrap();
    let run = build(&workplace, &source, &builds, &bench());
    run.fails(14, &["No space left on device", "hint: free some space"]);
    assert!(run.stderr.ends_with("left: \n"), "{}", run.stderr);

    let source = workplace.source("compiler", &PLAIN);
    fs_err::write(source.join("plain.c"), "char big[1 << 29] = {1};\n").unwrap();
    let run = build(&workplace, &source, &builds, &bench());
    run.fails(14, &["`plain.c` does not compile", "No space left on device", "hint: free some"]);
    assert!(run.stderr.ends_with("left: \n"), "{}", run.stderr);
}

#[test]
fn a_disk_that_is_full_while_an_archive_is_unpacked_or_a_tool_is_placed_is_told() {
    let workplace = Workplace::new("full-unpack");
    let builds = store().join("builds");
    let big = "x\n".repeat(4 << 20);
    let files = [("setup.py", ""), ("big.txt", big.as_str())];
    let archive = workplace.path("plain-1.0.tar.gz");
    fs_err::write(&archive, sdist("plain-1.0", &files)).unwrap();
    for (size, says) in [("4m", "an unpacked file cannot be written"), ("12m", "cannot be written")]
    {
        let run = build(&workplace, &archive, &builds, size);
        run.fails(14, &[says, "No space left on device", "hint: free some space"]);
    }
}

#[test]
fn a_disk_that_is_full_while_a_file_is_downloaded_is_told_with_what_is_missing() {
    let index = Index::start();
    index.send_on(&own_index());
    let store = Store::open(store()).unwrap();
    // In a folder of the store that no other file is in: the small disk hides it.
    let (content, blob) = (0..)
        .map(|nonce: u32| {
            let noise = (0..4000).map(|i| Sha256::of(format!("{nonce} {i}")).to_string());
            let content = sdist("crosswheel_full-1.0", &[("setup.py", &noise.collect::<String>())]);
            let blob = store.blob_path(&Sha256::of(&content));
            (content, blob)
        })
        .find(|(_, blob)| !blob.parent().unwrap().exists())
        .unwrap();
    let file = "crosswheel_full-1.0.tar.gz";
    index.project("crosswheel-full", Form::Json, &[Distribution { file, content, yanked: None }]);
    let folder = blob.parent().unwrap();
    let out = tempfile::tempdir().unwrap();
    let words = ["build-wheels", "crosswheel-full", "--out", out.path().to_str().unwrap()];
    let command = Changed::new().small(folder, "64k").xtask(&words, folder);
    let run = Run::of(&command.env("PIP_INDEX_URL", index.simple()));
    // Unless another build has put something there meanwhile.
    let _ = fs_err::remove_dir(folder);
    run.fails(14, &["no space is left for `", "hint: free at least 1 MiB"]);
    // The next run goes on from there.
    let left = format!("left: {}.partial\n", blob.file_name().unwrap().to_str().unwrap());
    assert!(run.stderr.ends_with(&left), "{}", run.stderr);
    assert_eq!(fs_err::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn standard_output_on_a_full_disk_is_an_error_at_the_end() {
    let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let list = xtask(["toolchain", "list"]).stdout_file(full.into_parts().0);
    let output = list.stderr_capture().unchecked().run().unwrap();
    let run = Run::ended(&output);
    run.fails(14, &["error: standard output cannot be written", "No space left on device"]);
}

#[test]
fn a_changed_component_is_named_before_anything_is_built_with_it() {
    let workplace = Workplace::new("changed");
    let source = workplace.source("plain", &PLAIN);
    // The toolchain is there.
    Run::of(&workplace.build(&source, "first", &[])).product();
    let loot = workplace.path("loot");
    fs_err::write(&loot, "#!/bin/sh\necho loot\n").unwrap();
    let components = fs_err::read_dir(store().join("components")).unwrap().flatten();
    let ninjas: Vec<_> = components
        .map(|entry| entry.path().join("bin/ninja"))
        .filter(|ninja| ninja.is_file())
        .collect();
    let out = workplace.path("dist");
    fs_err::create_dir(&out).unwrap();
    let words = ["build-wheels", source.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let changed = ninjas.iter().fold(Changed::new(), |c, ninja| c.instead(ninja, &loot));
    let run = Run::of(&changed.xtask(&words, &out));
    let says = ["/bin/ninja` in the store was changed", "hint: `cargo xtask store gc --component"];
    run.fails(5, &says);
    assert!(run.stderr.ends_with("left: \n"), "{}", run.stderr);
}
