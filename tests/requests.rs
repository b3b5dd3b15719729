//! What can be asked for, and how several builds of one run go together.

use std::path::Path;

use serde_json::Value;

use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, repository, xtask};

/// As an sdist tells what it is.
const PKG_INFO: &str = "Metadata-Version: 2.1\nName: crosswheel-saxpy\nVersion: 1.0\n";

/// `build-wheels` with these words, run in the workplace.
fn build_wheels(workplace: &Workplace, words: &[&str]) -> Run {
    let words = ["build-wheels"].iter().chain(words).copied();
    Run::of(&xtask(words).dir(workplace.path("")))
}

#[track_caller]
fn plans(workplace: &Workplace, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> =
        words.iter().chain(&["--dry-run", "--format", "json"]).copied().collect();
    let plans = build_wheels(workplace, &words).json();
    assert_conforms(&plans, "plan.schema.json");
    plans.as_array().unwrap().clone()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_recipe_reaches_the_build_and_its_audit() {
    let workplace = Workplace::new("recipe");
    let source = workplace.saxpy("recipe");
    fs_err::write(source.join("PKG-INFO"), PKG_INFO).unwrap();
    let project = workplace.path("project");
    let recipe = project.join("patches/crosswheel-saxpy/recipe.toml");
    fs_err::create_dir_all(recipe.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(repository().join("toolchains"), project.join("toolchains"))
        .unwrap();
    let environment = "[[version]]\nwhen = \"==1.*\"\nenvironment = { SAXPY = \"recipe\" }\n";
    let build = || {
        let project = project.to_str().unwrap();
        Run::of(&workplace.build(&source, "dist", &["--python", "3.11", "--project", project]))
    };

    fs_err::write(&recipe, format!("contract = [\"nowhere/*.so\"]\n{environment}")).unwrap();
    build().fails(10, &["missing-contract-file", "`nowhere/*.so`"]);

    fs_err::write(&recipe, format!("contract = [\"crosswheel_saxpy/_C*.so\"]\n{environment}"))
        .unwrap();
    let product = build().product();
    // setuptools links anew at every build; nothing is compiled.
    assert_eq!(product["ran"], 1, "what is only asked of the wheel compiles nothing anew");
    let manifest = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    assert_eq!(manifest["environment"]["SAXPY"], "recipe");
    assert_eq!(manifest["recipe"]["environment"]["SAXPY"], "recipe");
    assert_eq!(manifest["recipe"]["contract"][0], "crosswheel_saxpy/_C*.so");
    assert_eq!(build().product()["up_to_date"], true);

    fs_err::write(&recipe, "# why\nskipped = true\n").unwrap();
    build().fails(2, &["recipe.toml` is not a recipe: line 2", "unknown field `skipped`"]);
}

#[test]
fn a_plan_tells_what_would_be_built_and_builds_nothing() {
    let workplace = Workplace::new("plan");
    let source = workplace.saxpy("plan");
    fs_err::write(workplace.path("requirements.txt"), format!("# own\n./{}\n", name(&source)))
        .unwrap();
    let words = "-r requirements.txt --target thor --target sbsa --python 3.11 --python 3.13";
    let words: Vec<&str> = words.split(' ').collect();
    let all = plans(&workplace, &words);
    let of = |plan: &Value| {
        assert_eq!(plan["source"], name(&source));
        (plan["target"].as_str().unwrap().to_owned(), plan["python"].as_str().unwrap().to_owned())
    };
    let pairs: Vec<_> = all.iter().map(of).collect();
    let expected = [("thor", "3.11"), ("thor", "3.13"), ("sbsa", "3.11"), ("sbsa", "3.13")];
    assert_eq!(pairs, expected.map(|(target, python)| (target.to_owned(), python.to_owned())));
    assert!(!workplace.path("dist").exists());
    assert!(workplace.builds(&source).is_empty());

    let source = source.to_str().unwrap();
    let other =
        plans(&workplace, &[source, "--python", "3.11", "--arch", "sm_90", "--arch", "8.7"]);
    assert_eq!(other[0]["target"], "thor.sm87.sm90");
    let own = plans(&workplace, &[source, "--python", "3.11", "--arch", "110"]);
    assert_eq!(own[0]["target"], "thor");
    build_wheels(&workplace, &[source, "--arch", "sm_91"]).fails(3, &["no architecture `sm_91`"]);
}

#[test]
fn two_builds_of_one_wheel_are_refused_before_anything_is_built() {
    let workplace = Workplace::new("same-output");
    let source = workplace.saxpy("same-output");
    fs_err::write(source.join("PKG-INFO"), PKG_INFO).unwrap();
    let twice = format!("./{}", name(&source));
    let path = source.to_str().unwrap();
    let says = ["give the same wheel", "hint: name it once"];
    build_wheels(&workplace, &[path, &twice, "--python", "3.11"]).fails(2, &says);
    let two = ["--target", "thor", "--target", "spark", "--python", "3.11"];
    let words = [&[path, "--local-version", "mine"], &two[..]].concat();
    build_wheels(&workplace, &words).fails(2, &says);
    assert!(workplace.builds(&source).is_empty());
    assert_eq!(plans(&workplace, &[&[path], &two[..]].concat()).len(), 2);
}

/// Waits, when a wheel is built, until another one is too.
const MEETS: &str = r#"
import pathlib, setuptools, sys, time
if "bdist_wheel" in sys.argv:
    folder = pathlib.Path("FOLDER")
    (folder / "OWN").touch()
    end = time.monotonic() + 120
    while not (folder / "OTHER").exists():
        if time.monotonic() > end:
            sys.exit("OWN is alone")
        time.sleep(0.1)
setuptools.setup(name="OWN", version="1", py_modules=[])
"#;

#[test]
fn packages_are_built_beside_each_other() {
    let workplace = Workplace::new("beside");
    let folder = workplace.path("met");
    fs_err::create_dir_all(&folder).unwrap();
    let source = |own: &str, other: &str| {
        let script = MEETS.replace("FOLDER", folder.to_str().unwrap());
        let script = script.replace("OWN", own).replace("OTHER", other);
        workplace.source(own, &[("setup.py", &script)])
    };
    let [one, two] = [source("one", "two"), source("two", "one")];
    let words = [two.to_str().unwrap(), "--jobs", "2"];
    // In a sandbox they would not see each other.
    let build = workplace.build(&one, "dist", &words).env("CROSSWHEEL_SANDBOX", "off");
    let products = Run::of(&build).json();
    let names = products.as_array().unwrap().iter().map(|product| {
        let wheel = Path::new(product["wheel"].as_str().unwrap());
        wheel.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_failure_ends_the_run_unless_the_others_shall_go_on() {
    let workplace = Workplace::new("keep-going");
    let broken = workplace.source("broken", &[("README", "no project")]);
    let source = workplace.saxpy("whole");
    let words = [broken.to_str().unwrap(), source.to_str().unwrap(), "--python", "3.11"];
    let fault = "is not a Python project";
    build_wheels(&workplace, &words).fails(3, &[fault]);
    let words = [&words[..], &["--keep-going", "--format", "json"]].concat();
    let run = build_wheels(&workplace, &words);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains(fault), "{}", run.stderr);
    let entries: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_conforms(&entries, "product.schema.json");
    assert_eq!(entries.as_array().unwrap().len(), 2);
    assert!(Path::new(entries[0]["wheel"].as_str().unwrap()).is_file());
    assert_eq!((&entries[1]["exit_code"], &entries[1]["target"]), (&3.into(), &"thor".into()));
    assert!(entries[1]["request"].as_str().unwrap().ends_with("broken"));

    let planned = build_wheels(&workplace, &[&words[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, Some(3), "{}", planned.stderr);
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_conforms(&planned, "plan.schema.json");
    assert_eq!(planned[0]["up_to_date"], entries[0]["wheel"]);
    assert_eq!(planned[1]["request"], entries[1]["request"]);
    assert_eq!(planned[1]["exit_code"], 3);
}

#[test]
fn what_cannot_be_asked_for_is_told_at_once() {
    let workplace = Workplace::new("refused");
    fs_err::write(workplace.path("r.txt"), "a==1\n--index-url https://example.com\n").unwrap();
    let says = ["line 2 of", "r.txt", "`--index-url https://example.com` is an option"];
    build_wheels(&workplace, &["-r", "r.txt"]).fails(2, &says);
    build_wheels(&workplace, &["git+https://example.com/a.git"]).fails(2, &["names no commit"]);
    fs_err::create_dir_all(workplace.path("empty")).unwrap();
    // A store of its own: what is not there must not leave a repository in the user's.
    let words = ["git+./empty@v1", "--python", "3.11", "--store", "store"];
    build_wheels(&workplace, &words).fails(4, &["cannot be fetched"]);
    let no_git = xtask(["build-wheels"].iter().chain(&words))
        .dir(workplace.path(""))
        .env("PATH", "/nowhere");
    Run::of(&no_git).fails(7, &["there is no `git` on the PATH"]);
}

#[test]
fn a_name_that_a_folder_has_too_is_the_indexs_and_says_so() {
    let workplace = Workplace::new("beside");
    fs_err::create_dir_all(workplace.path("beside")).unwrap();
    let says = ["note `beside` is the index's; the folder here is `./beside`", "no target"];
    build_wheels(&workplace, &["beside", "--target", "nowhere"]).fails(3, &says);
    let other = build_wheels(&workplace, &["elsewhere", "--target", "nowhere"]);
    assert!(!other.stderr.contains("folder"), "{}", other.stderr);
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Run::of(&xtask(["completions", shell]));
        assert_eq!(run.code, Some(0));
        assert!(
            run.stdout.contains("build-wheels") && run.stdout.contains("keep-going"),
            "{shell}"
        );
    }
}
