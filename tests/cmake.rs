//! Projects that build with CMake, by scikit-build-core or by a setup.py of their own, with the
//! real CMake of the index.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::build::assert_fits_thor_as;
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace};

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
        let workplace = Workplace::new(test);
        let source = workplace.fixture("cmake/drives", "drives");
        let project = workplace.project("crosswheel-drives", recipe);
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
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let words: Vec<_> = who.iter().chain(words).collect();
        duct::cmd("git", words).dir(&mirror).stderr_null().read().unwrap()
    };
    git(&["init", "--quiet"]);
    for (file, content) in ANSWER {
        fs_err::write(mirror.join(file), content).unwrap();
    }
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "a"]);
    let commit = git(&["rev-parse", "HEAD"]);

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
