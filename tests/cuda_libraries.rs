//! Packages that include and link to CUDA libraries, through the executable.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::build::{audit, strings};
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, repository, xtask};

/// The components of the toolchain that a product was built with.
#[track_caller]
fn components(product: &Value) -> Vec<String> {
    let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    let components = manifest["components"].as_array().unwrap();
    components.iter().map(|component| component["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_package_gets_the_headers_that_it_includes_and_links_to_what_it_names() {
    let workplace = Workplace::new("cuda-links");
    let source = workplace.fixture("cuda-links", "links");
    let fetch = Run::of(&xtask(["fetch".as_ref(), source.as_os_str()]));
    assert_eq!(fetch.code, Some(0), "{}", fetch.stderr);

    let product = Run::of(&workplace.build(&source, "dist", &["--offline"])).product();
    let report = audit(Path::new(product["wheel"].as_str().unwrap()), "thor");
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    let needed = strings(&files[0]["needed"]);
    for library in ["libcudnn.so.9", "libcublas.so.13", "libcuda.so.1", "libnvidia-ml.so.1"] {
        assert!(needed.contains(&library), "{needed:?}");
    }
    assert!(strings(&report["fits_targets"]).contains(&"thor"), "{}", report["fits_targets"]);
    let components = components(&product);
    let libraries: Vec<_> = components.iter().filter(|name| name.starts_with("cuda-")).collect();
    assert_eq!(libraries, ["cuda-cudnn"]);

    // A lock that was written before anybody looked for includes.
    let lock = workplace.lock(&source);
    let written = fs_err::read_to_string(&lock).unwrap();
    let [before, cuda, after] = lock_parts(&written);
    assert!(cuda.ends_with("libraries = [\"cudnn\"]\n\n"), "{written}");
    fs_err::write(&lock, format!("{before}{after}")).unwrap();
    let again = Run::of(&workplace.build(&source, "dist", &["--offline"])).product();
    assert_eq!((&again["up_to_date"], &again["inputs"]), (&true.into(), &product["inputs"]));
    assert_eq!(fs_err::read_to_string(&lock).unwrap(), written);
}

/// A lock's text: what is before the table of CUDA libraries, that table, and what is after it.
fn lock_parts(lock: &str) -> [&str; 3] {
    let start = lock.find("[package.cuda]").unwrap();
    let length = lock[start..].find("\n\n").unwrap() + 2;
    [&lock[..start], &lock[start..start + length], &lock[start + length..]]
}

/// What the text of a source does not tell.
const HIDDEN: &str = r#"
#define HEADER <cufft.h>
#include HEADER

extern "C" void *PyInit_crosswheel_cuda_links() {
    static cufftHandle plan;
    return cufftCreate(&plan) == CUFFT_SUCCESS ? &plan : nullptr;
}
"#;

#[test]
fn a_recipe_brings_what_the_source_does_not_tell() {
    let workplace = Workplace::new("cuda-recipe");
    let source = workplace.fixture("cuda-links", "recipe");
    fs_err::write(source.join("csrc/links.cpp"), HIDDEN).unwrap();
    let setup = fs_err::read_to_string(source.join("setup.py")).unwrap();
    fs_err::write(source.join("setup.py"), setup.replace("\"cudnn\"", "\"cufft\"")).unwrap();
    let without = Run::of(&workplace.build(&source, "dist", &[]));
    without.fails(9, &["fatal error: cufft.h", "hint: `cufft.h` is of", "`cuda = [\"cufft\"]`"]);

    let project = workplace.path("project");
    let recipes = project.join("patches/crosswheel-cuda-links");
    fs_err::create_dir_all(&recipes).unwrap();
    symlink(repository().join("toolchains"), project.join("toolchains")).unwrap();
    let build = |recipe: &str| {
        fs_err::write(recipes.join("recipe.toml"), recipe).unwrap();
        let project = project.to_str().unwrap();
        Run::of(&workplace.build(&source, "dist", &["--project", project]))
    };
    build("cuda = [\"cuft\"]")
        .fails(2, &["no CUDA library `cuft`", "hint: there are: cudnn, cufft"]);
    let product = build("cuda = [\"cufft\"]").product();
    assert!(components(&product).contains(&"cuda-cufft".to_owned()));
    let report = audit(Path::new(product["wheel"].as_str().unwrap()), "thor");
    assert!(strings(&report["files"][0]["needed"]).contains(&"libcufft.so.12"), "{report}");
}
