//! What each verb prints for programs, held to `docs/schemas`.

use std::collections::BTreeSet;
use std::path::Path;

use crosswheel::artifact::Sha256;
use crosswheel::store::{Components, Key};
use serde_json::Value;

use crate::support::index::{Distribution, Form, Index};
use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, repository, xtask};

/// The verbs that have `--format`, and what describes their JSON.
const VERBS: [(&str, &[&str]); 34] = [
    ("audit", &["audit", "compare"]),
    ("bench cache", &["bench-cache"]),
    ("bench emulated", &["bench-emulated"]),
    ("bench memory", &["bench-memory"]),
    ("bench narrowing", &["bench-narrowing"]),
    ("bench overhead", &["bench"]),
    ("bench pip", &["bench-pip"]),
    ("bench rebuild", &["bench-rebuild"]),
    ("bench stale", &["bench-stale"]),
    ("build-ext", &["product"]),
    ("build-wheels", &["product", "plan"]),
    ("cache gc", &["cache"]),
    ("cache stats", &["cache"]),
    ("cache verify", &["cache"]),
    ("fetch", &["fetch"]),
    ("lock", &["lock"]),
    ("patch check", &["patch-check"]),
    ("patch list", &["patch-list"]),
    ("patch refresh", &["patch-refresh"]),
    ("patch status", &["patch-status"]),
    ("pins", &["pins"]),
    ("prove", &["prove"]),
    ("store gc", &["store"]),
    ("store import-costs", &["store"]),
    ("store path", &["store"]),
    ("store size", &["store"]),
    ("store verify", &["store"]),
    ("toolchain env", &["toolchain-env"]),
    ("toolchain list", &["toolchain-list"]),
    ("toolchain lock", &["toolchain-lock"]),
    ("toolchain show", &["toolchain-show"]),
    ("torch import", &["torch"]),
    ("torch list", &["torch"]),
    ("verify", &["verify"]),
];

/// The verbs below this one that have none of their own, and have `--format`.
fn verbs_with_a_format(verb: &str) -> BTreeSet<String> {
    let help = Run::of(&xtask(verb.split_whitespace().chain(["--help"])));
    assert_eq!(help.code, Some(0), "{verb}");
    let mut lines = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1).peekable();
    if lines.peek().is_none() {
        let has = help.stdout.contains("--format <FORMAT>");
        return has.then(|| verb.trim().to_owned()).into_iter().collect();
    }
    let named = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    let below = lines.take_while(|line| !line.is_empty()).filter_map(named);
    let below = below.filter(|name| !name.is_empty() && name != "help");
    below.flat_map(|name| verbs_with_a_format(&format!("{verb} {name}"))).collect()
}

#[test]
fn every_verb_with_a_format_has_a_schema() {
    let listed: BTreeSet<_> = VERBS.iter().map(|(verb, _)| (*verb).to_owned()).collect();
    assert_eq!(verbs_with_a_format(""), listed);
}

#[test]
fn every_schema_is_some_verbs_and_describes_every_property() {
    // A manifest is a file beside a wheel.
    let mut listed: BTreeSet<_> = VERBS.iter().flat_map(|(_, schemas)| *schemas).copied().collect();
    listed.insert("manifest");
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir(repository().join("docs/schemas")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".schema.json").expect("a schema's name").to_owned();
        let schema = schema(&name);
        assert!(schema["description"].is_string(), "{name}");
        assert_described(&schema, &name);
        found.insert(name);
    }
    assert_eq!(found, listed.into_iter().map(str::to_owned).collect());
}

fn schema(name: &str) -> Value {
    let path = repository().join(format!("docs/schemas/{name}.schema.json"));
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

/// Asserts that each property says what it is, or is a part that has a name of its own.
fn assert_described(schema: &Value, at: &str) {
    let parts = |key| schema.get(key).and_then(Value::as_object).into_iter().flatten();
    for (key, property) in parts("properties") {
        let described = property["description"].is_string() || property["$ref"].is_string();
        assert!(described, "{at}/{key} is not described");
    }
    for (key, part) in parts("properties").chain(parts("$defs")) {
        assert_described(part, &format!("{at}/{key}"));
    }
    for part in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        assert_described(part, at);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(part) = schema.get(key) {
            assert_described(part, at);
        }
    }
}

/// What a verb prints with `--format json`, which must be as its schema says.
#[track_caller]
fn json(words: &[&str]) -> Value {
    json_of(words, Path::new("/"), &Index::start())
}

#[track_caller]
fn json_of(words: &[&str], folder: &Path, index: &Index) -> Value {
    let command = xtask(words.iter().chain(&["--format", "json"])).dir(folder);
    let command = match words[..2] {
        ["toolchain", "lock"] => command.env("PIP_INDEX_URL", index.simple()),
        _ => command,
    };
    let printed = Run::of(&command).json();
    let of = |(verb, schemas): &(&str, &[&'static str])| {
        let verb: Vec<_> = verb.split(' ').collect();
        words.starts_with(&verb).then(|| schemas[0])
    };
    let schema = VERBS.iter().find_map(of).expect("a verb with a schema");
    assert_conforms(&printed, &format!("{schema}.schema.json"));
    printed
}

#[test]
fn toolchains_are_told_as_their_schemas_say() {
    let targets = json(&["toolchain", "list"]);
    assert!(targets.as_array().unwrap().iter().any(|target| target["name"] == "thor"));
    let toolchain = json(&["toolchain", "show", "--target", "thor", "--python", "3.11"]);
    assert_eq!(toolchain["target"]["name"], "thor");
    let environment = json(&["toolchain", "env", "--target", "thor", "--python", "3.11"]);
    assert!(environment["variables"]["CXX"].is_string(), "{environment}");
    let bench = ["bench", "overhead", "--actions", "2", "--runs", "1", "--jobs", "1"];
    assert_eq!(json(&bench)["actions"], 2);
    let few = ["--large", "1", "--small", "1", "--classes", "24", "--jobs", "1"];
    let bench = json(&[&["bench", "memory"][..], &few].concat());
    let builds = bench["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 3);
    assert!(builds.iter().all(|build| build["wall_ms"].is_u64()), "{bench}");
    assert!(builds[2]["peak_memory"].as_u64() > Some(1 << 20), "{bench}");
    let bench = json(&["bench", "cache", "--files", "2", "--runs", "1", "--jobs", "1"]);
    let hits: Vec<_> = bench["builds"].as_array().unwrap().iter().map(|b| &b["hits"]).collect();
    assert_eq!(hits[..3], [&0, &0, &3]);
}

#[test]
fn the_store_is_told_as_its_schema_says() {
    let store = tempfile::tempdir().unwrap();
    let key = Key::new("gcc", Sha256::of("inputs"));
    let fill = |root: &Path| {
        fs_err::write(root.join("tool"), "tool").unwrap();
        Ok(())
    };
    Components::new(store.path()).install(&key, fill).unwrap();
    let path = store.path().to_str().unwrap();
    let of_store = |words: &[&str]| json(&[&["store"], words, &["--store", path]].concat());
    assert_eq!(of_store(&["path"])["path"], path);
    let costs = store.path().join("elsewhere.json");
    let figures = r#"{"a for thor":{"a.o":{"wall-ms":1,"cpu-ms":1,"peak-memory":1}}}"#;
    fs_err::write(&costs, figures).unwrap();
    assert_eq!(of_store(&["import-costs", costs.to_str().unwrap()])["imported"], 1);
    let size = of_store(&["size"])["size"].clone();
    assert_eq!(size["entries"][0], serde_json::json!({ "name": key.as_str(), "size": 4 }));
    let sizes = size["entries"].as_array().unwrap().iter().map(|entry| entry["size"].as_u64());
    assert_eq!(size["total"].as_u64(), sizes.sum());
    assert_eq!(of_store(&["verify"])["unchanged"], serde_json::json!([key.as_str()]));
    let removed = of_store(&["gc", "--component", "gcc", "--builds"])["removed"].clone();
    let names = removed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), [key.as_str(), "builds"]);
    assert_eq!(of_store(&["verify"])["unchanged"], serde_json::json!([]));
}

#[test]
fn the_cache_is_told_as_its_schema_says() {
    let store = tempfile::tempdir().unwrap();
    let results = store.path().join("objects/results/ab");
    fs_err::create_dir_all(&results).unwrap();
    fs_err::write(results.join(Sha256::of("right").to_string()), "wrong").unwrap();
    fs_err::write(results.join(Sha256::of("used").to_string()), "used").unwrap();
    let path = store.path().to_str().unwrap();
    let of_cache = |words: &[&str]| json(&[&["cache"], words, &["--store", path]].concat());
    let stats = of_cache(&["stats"])["stats"].clone();
    assert_eq!((&stats["results"], &stats["size"]), (&2.into(), &9.into()));
    let removed = |results: u64, size: u64| serde_json::json!({ "results": results, "actions": 0, "size": size });
    assert_eq!(of_cache(&["verify"])["verified"], removed(1, 5));
    assert_eq!(of_cache(&["gc", "--limit", "1K"])["removed"], removed(0, 0));
    assert_eq!(of_cache(&["gc", "--limit", "3"])["removed"], removed(1, 4));
}

#[test]
fn what_is_locked_and_fetched_is_told_as_the_schemas_say() {
    let workplace = Workplace::new("schemas");
    let source = workplace.saxpy("schemas");
    let project = workplace.path("project");
    fs_err::create_dir_all(&project).unwrap();
    let toolchains = project.join("toolchains");
    std::os::unix::fs::symlink(repository().join("toolchains"), toolchains).unwrap();
    let packages = format!("packages = [{:?}]\n", source.to_str().unwrap());
    fs_err::write(project.join("crosswheel.toml"), packages).unwrap();
    let words = |verb| [verb, "--python", "3.11", "--project", project.to_str().unwrap()];
    let locked = json(&words("lock"));
    assert_eq!(locked[0]["source"]["folder"]["path"], source.to_str().unwrap());
    let lock = fs_err::read_to_string(project.join("crosswheel.lock")).unwrap();
    let requirements = locked[0]["requirement"].as_array().unwrap();
    assert!(!requirements.is_empty());
    assert_eq!(lock.matches("[[package.requirement]]").count(), requirements.len());
    let fetched = json(&words("fetch"));
    assert_eq!(fetched.as_array().unwrap().len(), 1);
    assert_eq!(fetched[0]["target"], "thor");
}

#[test]
fn a_locked_toolchain_is_told_as_its_schema_says() {
    let index = Index::start();
    let file = "ninja-1.13.0-py3-none-manylinux1_x86_64.whl";
    let wheel = Distribution { file, content: b"wheel".to_vec(), yanked: None };
    index.project("ninja", Form::Json, &[wheel]);
    let project = tempfile::tempdir().unwrap();
    let toolchains = project.path().join("toolchains");
    fs_err::create_dir(&toolchains).unwrap();
    let components = "[[component]]\nname = \"ninja\"\nbuild = \"x86_64\"\n\
         wheel = [{ project = \"ninja\", version = \">=1.13\", arch = \"x86_64\" }]\n\
         [[component]]\nname = \"other\"\nbuild = \"x86_64\"\n\
         apt = [{ registry = \"elsewhere\", suite = \"s\", arch = \"x86_64\", packages = [\"a\"] }]\n";
    fs_err::write(toolchains.join("components.toml"), components).unwrap();
    let store = project.path().join("store");
    let (root, store) = (project.path().to_str().unwrap(), store.to_str().unwrap());
    let words = ["toolchain", "lock", "--project", root, "--store", store];
    let locked = json_of(&words, project.path(), &index);
    assert_eq!(locked["changes"][0]["package"], "ninja");
    assert_eq!(locked["changes"][0]["after"], serde_json::json!(["1.13.0"]));
    assert_eq!(locked["skipped"][0]["registry"], "elsewhere");
    let again = json_of(&words, project.path(), &index);
    assert_eq!(again["changes"], serde_json::json!([]));
}
