//! Projects that build with CMake, by scikit-build-core or by a setup.py of their own, with the
//! real CMake of the index.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::build::assert_fits_thor_as;
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, committed};

/// What the fixture `drives` fetches of another repository.
const ANSWER: [(&str, &str); 2] = [("answer.h", "#define ANSWER -1\n"), ("table.txt", "1\n")];

/// The members of a product's wheel below its package.
fn members(product: &Value, package: &str) -> Vec<String> {
    let wheel = fs_err::File::open(product["wheel"].as_str().unwrap()).unwrap();
    let zip = zip::ZipArchive::new(wheel).unwrap();
    let all = zip.file_names().map(|name| name.unwrap());
    let mut names: Vec<_> =
        all.filter_map(|name| Some(name.strip_prefix(package)?.to_owned())).collect();
    names.sort();
    names
}

/// The project `drives` and what its recipe and `crosswheel.toml` say.
struct Drives {
    workplace: Workplace,
    source: PathBuf,
    project: PathBuf,
}

impl Drives {
    fn new(test: &str, recipe: &str) -> Self {
        Self::named(test, "crosswheel-drives", recipe)
    }

    /// Under another name, by which what its actions take is known.
    fn named(test: &str, package: &str, recipe: &str) -> Self {
        let workplace = Workplace::new(test);
        let source = workplace.fixture("cmake/drives", "drives");
        let pyproject = source.join("pyproject.toml");
        let text = fs_err::read_to_string(&pyproject).unwrap();
        fs_err::write(pyproject, text.replace("crosswheel-drives", package)).unwrap();
        let project = workplace.project(package, recipe);
        for (file, content) in ANSWER {
            let folder = project.join("answer");
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(folder.join(file), content).unwrap();
        }
        Self { workplace, source, project }
    }

    fn build(&self, more: &[&str]) -> Run {
        let options = ["--python", "3.11", "--project", self.project.to_str().unwrap()];
        let options: Vec<&str> = options.iter().chain(more).copied().collect();
        Run::of(&self.workplace.build(&self.source, "dist", &options))
    }

    /// Says in `crosswheel.toml` what stands in the repository's place.
    fn substitute(&self, with: &str) {
        let text = format!("[sources.\"https://example.com/answer.git\"]\n{with}\n");
        fs_err::write(self.project.join("crosswheel.toml"), text).unwrap();
    }
}

fn manifest(product: &Value) -> Value {
    let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest = serde_json::from_str(&text).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    manifest
}

/// Figures as a store has them: one module is compiled in no time, the other not within a day.
const FIGURES: &str = r#"{"crosswheel-until for thor": {
    "first.c.o": {"kind": "compile", "wall-ms": 1, "cpu-ms": 1, "peak-memory": 1048576},
    "second.c.o": {"kind": "compile", "wall-ms": 90000000, "cpu-ms": 90000000, "peak-memory": 1048576}
}}"#;

#[test]
fn a_build_whose_time_is_up_says_what_is_left_and_goes_on_from_there() {
    let drives = Drives::named(
        "cmake-until",
        "crosswheel-until",
        "[[source]]\nname = \"answer\"\npath = \"../../answer\"\n",
    );
    let store = |words: &[&str]| {
        let words = ["store"].iter().chain(words);
        Run::of(&crate::support::xtask::xtask(words.copied()))
    };
    let figures = drives.workplace.path("figures.json");
    fs_err::write(&figures, "{}{").unwrap();
    let import = ["import-costs", figures.to_str().unwrap()];
    store(&import).fails(2, &["is neither a manifest nor a record of costs", "hint: give the"]);
    fs_err::write(&figures, FIGURES).unwrap();
    assert_eq!(store(&import).code, Some(0));

    // What would not be done in a day does not begin, and with it nothing that follows from it.
    let run = drives.build(&["--until", "24h", "--jobs", "1"]);
    run.fails(17, &["is not finished", "time is up", "hint: the same command goes on from here"]);
    run.fails(17, &["2 compiler calls are left, about 25.0", "of them took before"]);
    assert!(run.stderr.contains("compiled first.c.o"), "{}", run.stderr);
    assert!(!drives.workplace.path("dist").read_dir().unwrap().any(|entry| entry.is_ok()));
    let planned = drives.build(&["--dry-run"]).product();
    assert_eq!(planned["actions"], 4, "{planned}");
    let left = planned["left"].clone();
    assert_eq!(left["actions"], 2);
    // Other builds of the package may have told more.
    assert!(left["known"].as_u64().unwrap() >= 1, "{left}");
    assert!(left["cpu_ms"].as_u64().unwrap() >= 90_000_000, "{left}");

    drives.build(&["--until", "0s"]).fails(17, &["time is up"]);
    let product = drives.build(&[]).product();
    // Its object is there; the links are what is left beside the other.
    assert_eq!((&product["actions"], &product["ran"]), (&4.into(), &2.into()));
    // What it took stands in its manifest, from which another store learns it.
    let other = drives.workplace.path("other-store");
    let manifest = product["manifest"].as_str().unwrap();
    let run = store(&["import-costs", manifest, "--store", other.to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "4 figures\n"), "{}", run.stderr);
    let book = fs_err::read_to_string(other.join("costs.json")).unwrap();
    assert!(book.contains("crosswheel-until for thor") && book.contains("second.c.o"), "{book}");
}

const BY_COMMIT: &str = "[[source]]\nname = \"answer\"\ngit = \"https://example.com/answer.git\"\n\
                         commit = \"0123456789abcdef0123456789abcdef01234567\"\n";

#[test]
fn a_project_of_scikit_build_core_with_a_kernel_is_built_for_thor() {
    let workplace = Workplace::new("cmake-scikit");
    let source = workplace.fixture("cmake/scikit", "scikit");
    let run = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    let product = run.product();
    assert_fits_thor_as(Path::new(product["wheel"].as_str().unwrap()), &["libcudart.so.13"]);
    assert_eq!(
        members(&product, "crosswheel_skbuild/"),
        ["__init__.py", "_skbuild.cpython-311-aarch64-linux-gnu.so"]
    );
    // What CMake tried while it was configured is not what the wheel consists of.
    let actions = manifest(&product)["actions"].clone();
    assert_eq!(actions.as_array().unwrap().len(), 3, "{actions}");

    // What did not change is not compiled again.
    let module = source.join("src/module.cpp");
    let text = fs_err::read_to_string(&module).unwrap();
    fs_err::write(&module, text.replace("nullptr, 0, 1", "nullptr, 0, 2")).unwrap();
    let edited = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"])).product();
    assert_eq!((&edited["actions"], &edited["ran"]), (&3.into(), &2.into()));
}

#[test]
fn a_setup_script_that_drives_cmake_is_built_with_sources_of_a_recipe_and_in_part() {
    let drives = Drives::new("cmake-drives", "");
    drives.build(&[]).fails(
        9,
        &[
            "CMake wants the source `answer` while it is configured, and no recipe names it",
            "add these lines to `patches/crosswheel-drives/recipe.toml`",
            "git = \"https://example.com/answer.git\"",
        ],
    );

    let recipe = drives.project.join("patches/crosswheel-drives/recipe.toml");
    let contract = "contract = [\"crosswheel_drives/second*.so\"]\n";
    let by_path = "[[source]]\nname = \"answer\"\npath = \"../../answer\"\n";
    fs_err::write(&recipe, format!("{contract}{by_path}")).unwrap();
    let only = drives.build(&["--only", "first"]).product();
    let name = only["wheel"].as_str().unwrap();
    assert!(name.contains("+cu130.torch2.14.thor.partial-cp311-"), "{name}");
    let suffix = "cpython-311-aarch64-linux-gnu.so";
    let first = format!("first.{suffix}");
    let of_only = ["__init__.py", &first, "table.txt"];
    assert_eq!(members(&only, "crosswheel_drives/"), of_only);
    assert_eq!(manifest(&only)["resolution"]["only"], serde_json::json!(["first"]));

    let whole = drives.build(&[]).product();
    let second = format!("second.{suffix}");
    assert_eq!(
        members(&whole, "crosswheel_drives/"),
        ["__init__.py", &first, &second, "table.txt"]
    );
    assert_eq!(whole["ran"], 2, "what was built in part is not built again");
    let trees = &manifest(&whole)["resolution"]["trees"];
    assert_eq!(trees[0]["wanted"]["path"], "../../answer");

    // A source that changes is built again, as the package's own.
    fs_err::write(drives.project.join("answer/answer.h"), "#define ANSWER 0\n").unwrap();
    let edited = drives.build(&[]).product();
    assert_ne!(edited["sha256"], whole["sha256"]);
    assert_eq!(edited["ran"], 4);

    drives.build(&["--only", "third"]).fails(
        9,
        &["no target that is compiled is called `third`", "the targets are: first, second"],
    );
    // What CMake remembers of an earlier configuration is not what counts.
    fs_err::write(&recipe, format!("cmake = {{ REFUSE = \"no second module\" }}\n{by_path}"))
        .unwrap();
    drives
        .build(&[])
        .fails(9, &["CMake cannot configure the project: no second module", "--> CMakeLists.txt:"]);
    let older = "cmake = { OLDEST_GCC = \"99\" }\n";
    fs_err::write(&recipe, format!("{older}{by_path}")).unwrap();
    drives.build(&[]).fails(
        9,
        &[
            "CMake cannot configure the project: GCC 99 or newer is required",
            "hint: `cargo xtask toolchain show` tells the compilers that there are",
        ],
    );

    fs_err::write(&recipe, format!("leave-out = [\"second\"]\n{contract}{by_path}")).unwrap();
    drives.build(&[]).fails(10, &["missing-contract-file", "`crosswheel_drives/second*.so`"]);
}

#[test]
fn other_files_are_compiled_where_one_fails_and_the_build_goes_on() {
    let by_path = "[[source]]\nname = \"answer\"\npath = \"../../answer\"\n";
    let drives = Drives::new("cmake-keep-going", by_path);
    // Whichever comes first to ninja: the other is compiled and linked.
    for name in ["first", "second"] {
        let file = drives.source.join(format!("src/{name}.c"));
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, format!("{text}#error {name} is broken\n")).unwrap();
        let run = drives.build(&["--keep-going", "-j1"]);
        assert_eq!(run.code, Some(9), "{}", run.stderr);
        fs_err::write(&file, format!("{text}/* {name} is mended */\n")).unwrap();
        assert_eq!(drives.build(&["-j1"]).product()["ran"], 2, "{name}");
    }
}

#[test]
fn a_commit_comes_from_a_mirror_or_openly_from_elsewhere() {
    let drives = Drives::new("cmake-mirror", BY_COMMIT);
    let mirror = drives.project.join("mirror");
    fs_err::create_dir(&mirror).unwrap();
    for (file, content) in ANSWER {
        fs_err::write(mirror.join(file), content).unwrap();
    }
    let commit = committed(&mirror);

    drives.substitute("git = \"mirror\"");
    drives.build(&[]).fails(
        3,
        &[
            "the source `answer`, which the recipe names, cannot be had",
            "0123456789abcdef0123456789abcdef01234567",
            "another `commit` of it, or a folder with `path",
        ],
    );

    drives.substitute(&format!("git = \"mirror\"\ncommit = \"{commit}\""));
    let product = drives.build(&[]).product();
    let tree = &manifest(&product)["resolution"]["trees"][0];
    assert_eq!(tree["instead"], format!("git+https://example.com/answer.git@{commit}"));
    assert_eq!(tree["source"]["git"]["commit"], commit);
    assert_eq!(tree["wanted"]["commit"], "0123456789abcdef0123456789abcdef01234567");

    drives.substitute("path = \"nowhere\"");
    drives.build(&[]).fails(3, &["the source `answer`", "nowhere"]);
    drives.substitute("path = \"answer\"");
    let product = drives.build(&[]).product();
    let tree = &manifest(&product)["resolution"]["trees"][0];
    assert!(tree["instead"].as_str().unwrap().ends_with("/answer"), "{tree}");
}

#[test]
fn what_a_project_would_run_on_the_target_is_told_and_given_by_the_recipe() {
    let recipe = "[[source]]\nname = \"answer\"\npath = \"../../answer\"\n";
    let drives = Drives::new("cmake-trial", recipe);
    fs_err::write(drives.source.join("src/page_size.c"), "int main(void) { return 0; }\n").unwrap();
    drives.build(&[]).fails(
        9,
        &[
            "to configure, CMake would run programs for the target, which cannot run here",
            "`PAGE_SIZE`",
            "`cmake = { PAGE_SIZE = \"0\" }`",
        ],
    );
    let path = drives.project.join("patches/crosswheel-drives/recipe.toml");
    fs_err::write(path, format!("cmake = {{ PAGE_SIZE = \"0\" }}\n{recipe}")).unwrap();
    drives.build(&[]).product();
}

#[test]
fn a_plain_cmake_project_makes_a_wheel_of_what_it_installs_or_of_its_modules() {
    let workplace = Workplace::new("cmake-plain");
    let source = workplace.fixture("cmake/plain", "plain");
    let build = || Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    let product = build().product();
    let name = product["wheel"].as_str().unwrap();
    assert!(name.contains("crosswheel_plain-1.5+cu130.torch2.14.thor-cp311-"), "{name}");
    let module = "_plain.cpython-311-aarch64-linux-gnu.so";
    let other = "_other.cpython-311-aarch64-linux-gnu.so";
    assert_eq!(members(&product, "crosswheel_plain/"), ["__init__.py", other, module]);
    assert_eq!(members(&product, "share/"), [""; 0]);
    assert_eq!(build().product()["ran"], 0);
    // What is left out is not missed where all is installed at once.
    let only = ["--python", "3.11", "--only", "_other"];
    let part = Run::of(&workplace.build(&source, "dist", &only)).product();
    assert_eq!(members(&part, "crosswheel_plain/"), ["__init__.py", other]);

    let lists = source.join("CMakeLists.txt");
    let text = fs_err::read_to_string(&lists).unwrap();
    let without_install = text.split("install(").next().unwrap();
    fs_err::write(&lists, without_install).unwrap();
    assert_eq!(members(&build().product(), "_plain"), [module.strip_prefix("_plain").unwrap()]);
    let extension = |more: &[&str]| {
        let out = workplace.path("ext");
        let words = ["build-ext", "--format", "json", "--python", "3.11"];
        let words = words.iter().chain(more).map(std::ffi::OsString::from);
        let out = ["--out".into(), out.into_os_string(), source.clone().into()];
        let words = words.chain(out);
        Run::of(&crate::support::xtask::xtask(words))
    };
    let says = "one shared library is wanted, and the project makes `_other.";
    extension(&[]).fails(9, &[says, "`--only` chooses one target"]);
    let library = extension(&["--only", "_plain"]).product();
    let library = library["wheel"].as_str().unwrap();
    assert!(library.ends_with(&format!("ext/thor.partial/{module}")), "{library}");

    fs_err::write(&lists, text.replace("Development)", "Development.Embed)")).unwrap();
    build().fails(9, &["`Development.Embed` of FindPython", "hint: ask for `Development.Module`"]);
}
