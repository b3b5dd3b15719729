//! Real compiles of the fixture `saxpy`, through the executable.

use std::path::Path;

use serde_json::Value;

use crate::faults::{PLAIN, plain_with};
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, new_comment, xtask};

/// The audit of one wheel by the executable.
#[track_caller]
pub fn audit(wheel: &Path, target: &str) -> Value {
    let args = ["audit", "--format", "json", "--target", target].map(std::ffi::OsString::from);
    let reports = Run::of(&xtask(args.into_iter().chain([wheel.into()]))).json();
    assert_conforms(&reports, "audit.schema.json");
    reports[0].clone()
}

/// The strings of a JSON array.
pub fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The machine code in a file of a report, such as `sm_110`; panics where there is PTX.
pub fn sass(file: &Value) -> Vec<String> {
    let code = file["device_code"].as_array().unwrap();
    assert!(code.iter().all(|code| code["kind"] == "sass"), "{code:?}");
    let mut archs: Vec<_> = code.iter().map(|c| c["arch"].as_str().unwrap().to_owned()).collect();
    archs.sort();
    archs.dedup();
    archs
}

/// Asserts what every wheel for Thor must be: one module, for its processor and GPU alone.
#[track_caller]
pub fn assert_fits_thor(wheel: &Path) {
    assert_fits_thor_as(wheel, &["libcudart.so.13", "libc10.so"]);
}

/// The same of a module that needs these libraries.
#[track_caller]
pub fn assert_fits_thor_as(wheel: &Path, libraries: &[&str]) {
    let report = audit(wheel, "thor");
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    // EM_AARCH64 (ELF for the Arm 64-bit architecture, 5.3).
    assert_eq!(files[0]["machine"], 183);
    assert_eq!(sass(&files[0]), ["sm_110"]);
    let needed = strings(&files[0]["needed"]);
    assert!(libraries.iter().all(|library| needed.contains(library)), "{needed:?}");
    assert!(strings(&report["fits_targets"]).contains(&"thor"), "{}", report["fits_targets"]);
}

#[track_caller]
fn manifest(product: &Value) -> (String, Value) {
    let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest = serde_json::from_str(&text).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    (text, manifest)
}

#[test]
fn a_kernel_is_built_for_thor_and_only_what_changed_is_built_again() {
    let workplace = Workplace::new("thor");
    let source = workplace.saxpy("saxpy");
    // Which has nvcc call files by other names than their own.
    with_lines(&source);
    let build = workplace.build(&source, "dist", &["--python", "3.11"]);

    let first = Run::of(&build);
    let product = first.product();
    assert_conforms(&first.json(), "product.schema.json");
    let wheel = Path::new(product["wheel"].as_str().unwrap());
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let start = "crosswheel_saxpy-1.0+cu130.torch2.14.thor-cp311-cp311-manylinux_2_";
    assert!(name.starts_with(start) && name.ends_with("_aarch64.whl"), "{name}");
    assert_fits_thor(wheel);
    assert_eq!((&product["actions"], &product["ran"]), (&3.into(), &3.into()));
    assert_eq!(product["up_to_date"], false);
    actions_are_recorded(&product, &source);

    let again = Run::of(&build);
    let same = again.product();
    assert_eq!((&same["up_to_date"], &same["ran"]), (&true.into(), &0.into()));
    assert_eq!(same["sha256"], product["sha256"]);
    assert!(!again.stderr.contains("compil"), "{}", again.stderr);

    let kernel = source.join("csrc/saxpy.cu");
    let text = fs_err::read_to_string(&kernel).unwrap();
    fs_err::write(&kernel, text.replace("threads = 256", "threads = 128")).unwrap();
    let edited = Run::of(&build);
    let product = edited.product();
    assert_eq!((&product["actions"], &product["ran"]), (&3.into(), &2.into()), "{}", edited.stderr);
    assert!(edited.stderr.contains("compiled saxpy.o"), "{}", edited.stderr);
    assert!(!edited.stderr.contains("operator.o"), "{}", edited.stderr);
    let resolves = "resolving build requirements";
    assert!(!edited.stderr.contains(resolves), "{}", edited.stderr);
    assert_ne!(product["sha256"], same["sha256"]);
    actions_are_recorded(&product, &source);

    let operator = source.join("csrc/operator.cpp");
    let text = fs_err::read_to_string(&operator).unwrap();
    fs_err::write(&operator, format!("{text}\nint another = 1;\n")).unwrap();
    let edited = Run::of(&build);
    assert_eq!(edited.product()["ran"], 2, "{}", edited.stderr);
    assert!(!edited.stderr.contains("saxpy.o"), "{}", edited.stderr);

    let script = source.join("setup.py");
    let text = fs_err::read_to_string(&script).unwrap();
    fs_err::write(&script, text + &new_comment()).unwrap();
    let edited = Run::of(&build);
    assert!(edited.stderr.contains(resolves), "{}", edited.stderr);
}

/// Has the fixture ask for `-lineinfo`.
fn with_lines(source: &Path) {
    let setup = source.join("setup.py");
    let script = fs_err::read_to_string(&setup).unwrap();
    let lines = script.replace("\"nvcc\": [", "\"nvcc\": [\"-lineinfo\",");
    assert_ne!(lines, script);
    fs_err::write(setup, lines).unwrap();
}

/// Three compiler calls, measured, with the code that they made, and no path of this machine.
#[track_caller]
fn actions_are_recorded(product: &Value, source: &Path) {
    let (text, manifest) = manifest(product);
    let actions = manifest["actions"].as_array().unwrap();
    let mut kinds: Vec<_> = actions.iter().map(|action| action["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["compile", "compile-cuda", "link"]);
    for action in actions {
        assert!(action["cpu_ms"].as_u64() > Some(0), "{action}");
        assert!(action["peak_memory"].as_u64() > Some(1 << 20), "{action}");
        if action["kind"] == "compile-cuda" {
            assert_eq!(action["sms"], serde_json::json!(["sm_110"]));
            assert_eq!(action["source"], "/crosswheel/build/source/csrc/saxpy.cu");
        }
    }
    assert_eq!(manifest["source"]["folder"]["path"], source.to_str().unwrap());
    let ours = source.parent().unwrap().to_str().unwrap();
    // Of the request and the source; nothing else names the machine's folders.
    assert_eq!(text.matches(ours).count(), 2, "{text}");
    let store = Run::of(&xtask(["store", "path"])).stdout;
    assert!(!text.contains(store.trim()), "the store's path is in the manifest");
}

/// With `-lineinfo`, device code names its sources, and with them when they were last changed.
#[test]
fn the_bytes_depend_neither_on_folder_time_and_jobs_nor_on_the_sandbox() {
    let workplace = Workplace::new("bytes");
    let saxpy = |name: &str| {
        let source = workplace.saxpy(name);
        with_lines(&source);
        source
    };
    let build = workplace.build(&saxpy("one"), "one", &["--jobs", "2"]);
    let shielded = Run::of(&build).product();
    let another = saxpy("another");
    let subject = shielded["wheel"].as_str().unwrap();
    let words = ["verify", "--format", "json", "--jobs", "1", subject, "--source"];
    let verify = xtask(words.into_iter().map(Into::into).chain([another.into_os_string()]));
    let bare = Run::of(&verify.env("CROSSWHEEL_SANDBOX", "off"));
    assert_eq!(bare.code, Some(0), "{}{}", bare.stdout, bare.stderr);
    let verdict = bare.json();
    assert_conforms(&verdict, "verify.schema.json");
    assert_eq!(verdict["second"]["sha256"], shielded["sha256"]);
    assert!(verdict["second_isolation"]["none"].is_object(), "{verdict}");
    let (_, manifest) = manifest(&shielded);
    let calls = manifest["actions"].as_array().unwrap();
    let cuda = calls.iter().find(|action| action["kind"] == "compile-cuda").unwrap();
    assert!(strings(&cuda["command"]).contains(&"-lineinfo"), "{cuda}");
}

#[test]
fn two_builds_at_once_share_the_work() {
    let workplace = Workplace::new("twins");
    let source = workplace.saxpy("twins");
    let start = |out| {
        let command = workplace.build(&source, out, &[]);
        command.stdin_null().stdout_capture().stderr_capture().unchecked().start().unwrap()
    };
    let twins = [start("one"), start("two")];
    let twins = twins.map(|twin| Run::ended(&twin.into_output().unwrap()));
    let [one, two] = [twins[0].product(), twins[1].product()];
    assert_eq!(one["sha256"], two["sha256"]);
    assert_ne!(one["wheel"], two["wheel"]);
    // The second waits, and finds the first one's objects.
    for object in ["saxpy.o", "operator.o"] {
        let compiled = twins.iter().filter(|twin| twin.stderr.contains(object)).count();
        assert_eq!(compiled, 1, "{object} {twins:?}");
    }
}

#[test]
fn a_backend_is_told_what_the_recipe_says() {
    let workplace = Workplace::new("told");
    let setup = "from setuptools import Extension, setup\n\nsetup(ext_modules=[Extension(\"plain\", \
                 [\"plain.c\"], py_limited_api=True,\n    define_macros=[(\"Py_LIMITED_API\", \
                 \"0x03090000\")])])\n";
    let project = "[project]\nname = \"crosswheel-told\"\nversion = \"1.0\"\n";
    let files = plain_with("setup.py", setup);
    let source = workplace.source("told", &files);
    let pyproject = fs_err::read_to_string(source.join("pyproject.toml")).unwrap();
    fs_err::write(source.join("pyproject.toml"), pyproject + project).unwrap();
    let settings = "[config-settings]\n\"--build-option\" = \"--py-limited-api=cp39\"\n";
    let own = workplace.project("crosswheel-told", settings);
    let words = ["--python", "3.11", "--project", own.to_str().unwrap()];
    let product = Run::of(&workplace.build(&source, "dist", &words)).product();
    assert!(product["wheel"].as_str().unwrap().contains("-cp39-abi3-"), "{product}");
    let (_, manifest) = manifest(&product);
    let told = serde_json::json!({ "--build-option": "--py-limited-api=cp39" });
    assert_eq!(manifest["recipe"]["config-settings"], told);
}

#[test]
fn a_spelling_of_a_folder_is_no_other_build() {
    let workplace = Workplace::new("spelling");
    let source = workplace.source("plain", &PLAIN);
    let first = Run::of(&workplace.build(&source, "dist", &[])).product();
    let dotted = workplace.path(".").join(source.file_name().unwrap());
    let again = Run::of(&workplace.build(&dotted, "dist", &[])).product();
    assert_eq!(again["up_to_date"], true);
    assert_eq!(again["inputs"], first["inputs"]);
}

#[test]
fn a_timeline_shows_what_compiled_and_what_failed() {
    let workplace = Workplace::new("timeline");
    let source = workplace.source("plain", &PLAIN);
    let build = |page: &Path| {
        let more = ["--timeline", page.to_str().unwrap()];
        Run::of(&workplace.build(&source, "dist", &more))
    };
    build(&workplace.path("nowhere/page.html")).fails(11, &["page.html` cannot be written"]);
    build(&workplace.path("")).fails(11, &["cannot be written", "is a directory"]);
    assert!(workplace.builds(&source).is_empty());

    let page = workplace.path("page.html");
    let shows = |class: &str, name: &str| {
        let text = fs_err::read_to_string(&page).unwrap();
        let bar = text.split("<i ").find(|bar| bar.contains(&format!(">{name}</i>")));
        let bar = bar.unwrap_or_else(|| panic!("`{name}` is not in {text}"));
        assert!(bar.starts_with(&format!("class=\"{class}")), "{bar}");
    };
    build(&page).product();
    shows("compile", "plain.o");
    let folder = source.file_name().unwrap().to_str().unwrap();
    shows("step", &format!("building {folder}"));
    fs_err::write(source.join("plain.c"), "int broken(void) { return 1 }\n").unwrap();
    build(&page).fails(9, &["plain.c"]);
    shows("failed", "plain.o");
    assert_eq!(fs_err::read_dir(workplace.path("")).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn a_change_is_measured_and_the_file_given_back() {
    let workplace = Workplace::new("rebuild");
    let source = workplace.source("plain", &PLAIN);
    let before = fs_err::read(source.join("plain.c")).unwrap();
    let words = ["bench", "rebuild", "--edit", "plain.c", "--runs", "2", "--format", "json"];
    let measured = Run::of(&xtask(
        words.map(std::ffi::OsString::from).into_iter().chain([source.clone().into()]),
    ));
    let measured = measured.json();
    assert_conforms(&measured, "bench-rebuild.schema.json");
    assert_eq!((&measured["ran"], &measured["actions"]), (&2.into(), &2.into()));
    assert_eq!(fs_err::read(source.join("plain.c")).unwrap(), before);
}
