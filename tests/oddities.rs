//! Build scripts and what is odd about them: each folder of `tests/fixtures/oddities`, built for
//! Thor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::xtask::{Run, Workplace, new_comment, xtask};

/// A folder, the wheel's name and version, and its modules.
type Oddity<'a> = (&'a str, &'a str, &'a [&'a str]);

/// Builds them all in one run.
fn build(workplace: &Workplace, oddities: &[Oddity<'_>]) {
    let sources: Vec<_> = oddities
        .iter()
        .map(|(folder, ..)| workplace.fixture(&format!("oddities/{folder}"), folder))
        .collect();
    let before: Vec<_> = sources.iter().map(|source| content(source)).collect();
    let out = workplace.path("dist");
    let options = ["--format", "json", "--target", "thor", "--python", "3.11", "--out"];
    let words = ["build-wheels"].into_iter().chain(options).map(PathBuf::from);
    let run = Run::of(&xtask(words.chain([out]).chain(sources.iter().cloned())));
    let products = run.json();
    let products = products.as_array().unwrap();
    assert_eq!(products.len(), oddities.len());
    for (product, (folder, release, modules)) in products.iter().zip(oddities) {
        let wheel = Path::new(product["wheel"].as_str().unwrap());
        let name = wheel.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{release}+cu130.torch2.14.thor-cp311-")), "{name}");
        assert_eq!(modules_of(wheel), *modules, "{folder}");
        assert_eq!(product["ran"], product["actions"], "{folder}");
    }
    let after: Vec<_> = sources.iter().map(|source| content(source)).collect();
    assert_eq!(before, after, "a user's folder is never written to");
}

/// The extension modules of a wheel, without what Python's version adds to their names.
fn modules_of(wheel: &Path) -> Vec<String> {
    let zip = zip::ZipArchive::new(fs_err::File::open(wheel).unwrap()).unwrap();
    let suffix = ".cpython-311-aarch64-linux-gnu.so";
    let all = zip.file_names().map(|name| name.unwrap());
    let mut names: Vec<_> =
        all.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect();
    names.sort();
    names
}

/// Every file of a folder, with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().to_owned(), fs_err::read(entry.path()).unwrap())).collect()
}

#[test]
fn scripts_of_setuptools_alone() {
    build(
        &Workplace::new("odd-setuptools"),
        &[
            ("setup-only", "setup_only-1.0", &["setup_only"]),
            ("pyproject-only", "pyproject_only-1.2.3", &["pyproject_only/_C"]),
            ("version-file", "version_file-4.5", &["vf"]),
            ("generates", "generates-1.0", &["first", "second"]),
            ("writes-into-tree", "writes_into_tree-1.0", &["writes_into_tree/_C"]),
        ],
    );
}

#[test]
fn scripts_that_import_torch() {
    build(
        &Workplace::new("odd-torch"),
        &[
            ("several", "several-1.0", &["several/_c", "several/_cxx", "several/sub/_torch"]),
            ("without-ninja", "without_ninja-1.0", &["without_ninja"]),
            ("asks-machine", "asks_machine-1.0", &["asks_machine"]),
        ],
    );
}

#[test]
fn scripts_that_need_more_to_be_built() {
    build(
        &Workplace::new("odd-requirements"),
        &[
            ("setup-requires", "setup_requires-1.0", &["setup_requires"]),
            ("imports-numpy", "imports_numpy-1.0", &["imports_numpy"]),
        ],
    );
}

#[test]
fn what_a_script_imports_undeclared_is_added_where_it_is_well_known_or_by_a_recipe() {
    let workplace = Workplace::new("odd-undeclared");
    let source = workplace.fixture("oddities/imports-numpy", "undeclared");
    let pyproject = source.join("pyproject.toml");
    let text = fs_err::read_to_string(&pyproject).unwrap().replace(", \"numpy>=2\"", "");
    fs_err::write(&pyproject, text + &new_comment()).unwrap();
    let run = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    assert_eq!(run.product()["ran"], Value::from(2));
    let note = "the build script imports `numpy` without declaring it: `numpy` is added";
    assert!(run.stderr.contains(note), "{}", run.stderr);

    // What brings other modules is not guessed.
    let setup = source.join("setup.py");
    let script = fs_err::read_to_string(&setup).unwrap();
    fs_err::write(&setup, format!("import markupsafe\n{script}")).unwrap();
    let run = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    let says = ["No module named 'markupsafe'", "--> setup.py:1", "hint: the build script imports"];
    run.fails(9, &says);
    run.fails(9, &["`requires = [\"markupsafe\"]` in `patches/<package>/recipe.toml`"]);

    // The recipe is found by the name, which this setup.py tells only when it is run.
    let recipe = "# Imported by setup.py.\nrequires = [\"markupsafe\"]\n";
    let project = workplace.project("imports-numpy", recipe);
    fs_err::write(source.join("PKG-INFO"), "Metadata-Version: 2.1\nName: imports-numpy\n").unwrap();
    let options = ["--python", "3.11", "--project", project.to_str().unwrap()];
    let product = Run::of(&workplace.build(&source, "dist", &options)).product();
    assert_eq!(product["ran"], Value::from(2));
}
