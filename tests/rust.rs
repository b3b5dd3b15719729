//! Crates: the fixture `crate`, built for real, and what is said where one cannot be.

use std::ffi::OsString;
use std::path::Path;

use duct::Expression;
use serde_json::Value;

use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, committed, xtask};

fn build_ext(source: &Path, out: &Path) -> Expression {
    let mut words: Vec<OsString> =
        ["build-ext", "--format", "json", "--target", "thor", "--out"].map(Into::into).into();
    words.extend([out.into(), source.into()]);
    xtask(words)
}

fn read(path: &Value) -> Value {
    let text = fs_err::read_to_string(path.as_str().unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_crate_gives_the_targets_library_and_only_what_changed_is_compiled_again() {
    let workplace = Workplace::new("crate");
    let source = workplace.fixture("crate", "crate");
    let out = workplace.path("dist");
    let build = build_ext(&source, &out);
    let product = Run::of(&build).product();
    let library = out.join("thor/libcrosswheel_crate.so");
    assert_eq!(product["wheel"], library.to_str().unwrap());
    // EM_AARCH64, in `e_machine` (ELF for the Arm 64-bit architecture, 5.3).
    assert_eq!(fs_err::read(&library).unwrap()[18..20], [183, 0]);

    let manifest = read(&product["manifest"]);
    assert_conforms(&manifest, "manifest.schema.json");
    assert_eq!(manifest["wheel"]["file"], "libcrosswheel_crate.so");
    let crates = &manifest["resolution"]["rust"]["crates"];
    let locked = crates["cargo-locks"]["Cargo.lock"].as_str().unwrap();
    let named = |name: &str| {
        let crates = crates["crate"].as_array().unwrap();
        let found = crates.iter().find(|artifact| artifact["name"] == name);
        let sha256 = found.unwrap_or_else(|| panic!("no `{name}`: {crates:?}"))["sha256"].clone();
        assert!(locked.contains(sha256.as_str().unwrap()), "{name}");
    };
    ["cc", "cfg-if"].into_iter().for_each(named);
    let labels = |run: &Run| -> Vec<String> {
        let compiled = run.stderr.lines().filter_map(|line| line.trim().strip_prefix("compiled "));
        compiled.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
    };

    let code = source.join("src/lib.rs");
    let text = fs_err::read_to_string(&code).unwrap();
    fs_err::write(&code, text.replace("twice(twice(value))", "twice(value) + twice(value)"))
        .unwrap();
    let edited = Run::of(&build);
    assert_eq!(labels(&edited), ["crosswheel-crate 1.0.0"], "{}", edited.stderr);
    assert_ne!(edited.product()["sha256"], product["sha256"]);

    let verify = xtask(
        ["verify", "--format", "json"]
            .map(OsString::from)
            .into_iter()
            .chain([OsString::from(library)]),
    );
    let verdict = Run::of(&verify);
    assert_eq!(verdict.code, Some(0), "{}", verdict.stderr);
    assert_eq!(verdict.json()["second"]["sha256"], edited.product()["sha256"]);
}

/// Where nothing is.
const REPOSITORY: &str = "https://example.com/numbers.git";

/// A git repository with a workspace, of which `twice` needs `base`; returns its commit.
fn numbers(folder: &Path) -> String {
    for (path, text) in [
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"twice\", \"base\"]\nresolver = \"2\"\n\n[workspace.package]\n\
             version = \"1.2.3\"\nedition = \"2021\"\n\n[workspace.dependencies]\n\
             base = { path = \"base\" }\n",
        ),
        (
            "twice/Cargo.toml",
            "[package]\nname = \"twice\"\nversion.workspace = true\nedition.workspace = true\n\n\
             [dependencies]\nbase.workspace = true\n",
        ),
        ("twice/src/lib.rs", "pub fn twice(value: i32) -> i32 {\n    base::add(value, value)\n}\n"),
        (
            "base/Cargo.toml",
            "[package]\nname = \"base\"\nversion.workspace = true\nedition.workspace = true\n",
        ),
        ("base/src/lib.rs", "pub fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n"),
    ] {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    committed(folder)
}

#[test]
fn crates_come_from_git_repositories_and_from_what_is_in_their_place() {
    let workplace = Workplace::new("crate-git");
    let repository = workplace.path("numbers");
    let commit = numbers(&repository);
    let manifest = format!(
        "[package]\nname = \"user\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n[lib]\n\
         crate-type = [\"cdylib\"]\n\n[dependencies]\n\
         twice = {{ git = \"{REPOSITORY}\", rev = \"{commit}\" }}\n"
    );
    let code =
        "#[no_mangle]\npub extern \"C\" fn f(value: i32) -> i32 {\n    twice::twice(value)\n}\n";
    let source = workplace.source("git", &[("Cargo.toml", &manifest), ("src/lib.rs", code)]);
    let project = workplace.project("user", "");
    let config = |with: &str| {
        let text = format!("[sources.\"{REPOSITORY}\"]\n{with}\n");
        fs_err::write(project.join("crosswheel.toml"), text).unwrap();
    };
    let out = workplace.path("dist");
    let run = || {
        let words = ["build-ext", "--format", "json", "--target", "thor", "--project"];
        let words = words.map(OsString::from).into_iter();
        let paths = [project.as_os_str(), "--out".as_ref(), out.as_os_str(), source.as_os_str()];
        Run::of(&xtask(words.chain(paths.map(OsString::from))))
    };
    let repositories = |run: &Run| {
        let manifest = read(&run.product()["manifest"]);
        assert_conforms(&manifest, "manifest.schema.json");
        manifest["resolution"]["rust"]["crates"]["repository"].clone()
    };

    // cargo itself looks the commit up, as there is no `Cargo.lock`.
    config("git = \"../numbers\"");
    let first = run();
    let locked = repositories(&first);
    assert_eq!(locked.as_array().unwrap().len(), 1);
    let wanted = format!("git+{REPOSITORY}?rev={commit}#{commit}");
    assert_eq!(locked[0]["wanted"], wanted);
    assert_eq!(locked[0]["crates"], serde_json::json!(["base", "twice"]));
    assert_eq!(locked[0]["source"]["git"]["commit"], commit);
    assert_eq!(locked[0]["instead"], Value::Null);
    let lock = fs_err::read_to_string(first.product()["manifest"].as_str().unwrap()).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let lock = &lock["resolution"]["rust"]["crates"]["cargo-locks"]["Cargo.lock"];
    fs_err::write(source.join("Cargo.lock"), lock.as_str().unwrap()).unwrap();

    // A folder of another version, which needs another crate of a registry.
    let manifest = repository.join("base/Cargo.toml");
    let text = fs_err::read_to_string(&manifest).unwrap();
    fs_err::write(&manifest, format!("{text}\n[dependencies]\ncfg-if = \"1\"\n")).unwrap();
    let root = repository.join("Cargo.toml");
    let text = fs_err::read_to_string(&root).unwrap();
    fs_err::write(&root, text.replace("1.2.3", "1.3.0")).unwrap();
    config("path = \"../numbers\"");
    let second = run();
    let locked = repositories(&second);
    assert_eq!(locked[0]["wanted"], wanted);
    assert!(locked[0]["instead"].as_str().unwrap().ends_with("/numbers"), "{locked}");
    let compiled = |run: &Run, name: &str| run.stderr.contains(&format!("compiled {name} "));
    assert!(compiled(&second, "twice 1.3.0") && compiled(&second, "cfg-if"), "{}", second.stderr);

    // An edit of it is seen, and what does not need it is not compiled.
    let code = repository.join("base/src/lib.rs");
    fs_err::write(&code, "pub fn add(a: i32, b: i32) -> i32 {\n    b + a + 1\n}\n").unwrap();
    let third = run();
    assert_ne!(third.product()["sha256"], second.product()["sha256"]);
    assert!(compiled(&third, "base 1.3.0") && !compiled(&third, "cfg-if"), "{}", third.stderr);

    config("path = \"../nowhere\"");
    run()
        .fails(3, &["of the crates `base`, `twice` cannot be had", "there is no folder", "hint: "]);
    config("path = \"../project\"");
    run().fails(3, &["has no crate `base`", "hint: "]);
}

#[test]
fn a_member_of_a_workspace_is_built_with_the_crates_that_are_asked_for() {
    let workplace = Workplace::new("crate-workspace");
    let member = |name: &str, needs: &str| {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[lib]\n\
             crate-type = [\"cdylib\"]\n\n[dependencies]\n{needs}\n"
        );
        let code = format!("#[no_mangle]\npub extern \"C\" fn {name}() -> i32 {{\n    1\n}}\n");
        (manifest, code)
    };
    let (one, two) = (member("one", "cfg-if.workspace = true"), member("two", "fnv = \"1\""));
    let root = |cfg_if: &str| {
        format!(
            "[workspace]\nmembers = [\"one\", \"two\"]\nresolver = \"2\"\n\n[workspace.dependencies]\n\
             cfg-if = {{ version = \"{cfg_if}\" }} # kept\n\n[patch.crates-io]\n\
             fnv = {{ path = \"own/fnv\" }}\n"
        )
    };
    let fnv = "[package]\nname = \"fnv\"\nversion = \"1.0.99\"\nedition = \"2021\"\n";
    let source = workplace.source(
        "workspace",
        &[
            ("Cargo.toml", &root("=1.0.0")),
            ("one/Cargo.toml", &one.0),
            ("one/src/lib.rs", &one.1),
            ("two/Cargo.toml", &two.0),
            ("two/src/lib.rs", &two.1),
            ("own/fnv/Cargo.toml", fnv),
            ("own/fnv/src/lib.rs", ""),
        ],
    );
    let out = workplace.path("dist");
    let run = |source: &Path, more: &[&str]| {
        Run::of(&build_ext(source, &out).before_spawn({
            let more: Vec<OsString> = more.iter().map(OsString::from).collect();
            move |command| {
                command.args(&more);
                Ok(())
            }
        }))
    };
    let version = |run: &Run, name: &str| {
        let manifest = read(&run.product()["manifest"]);
        assert_conforms(&manifest, "manifest.schema.json");
        let crates = manifest["resolution"]["rust"]["crates"]["crate"].as_array().unwrap().clone();
        let found = crates.into_iter().find(|artifact| artifact["name"] == name);
        found.map(|artifact| artifact["version"].as_str().unwrap().to_owned())
    };

    run(&source, &[]).fails(9, &["(`one`, `two`)", "`--package` chooses one"]);
    let two = run(&source.join("two"), &[]);
    assert_eq!(two.product()["wheel"], out.join("thor/libtwo.so").to_str().unwrap());
    assert!(two.stderr.contains("compiled fnv 1.0.99 "), "{}", two.stderr);
    assert!(!two.stderr.contains("compiled cfg-if"), "{}", two.stderr);

    let one = run(&source, &["--package", "one"]);
    let library = out.join("thor/libone.so");
    assert_eq!(one.product()["wheel"], library.to_str().unwrap());
    assert_eq!(version(&one, "cfg-if").as_deref(), Some("1.0.0"));
    // What was looked up once stays as long as it fits.
    fs_err::write(source.join("Cargo.toml"), root("1")).unwrap();
    let one = run(&source, &["--package", "one"]);
    assert_eq!(version(&one, "cfg-if").as_deref(), Some("1.0.0"));
    let pinned = run(&source, &["--package", "one", "--pin-crate", "cfg-if==1.0.1"]);
    assert_eq!(version(&pinned, "cfg-if").as_deref(), Some("1.0.1"));
    let pins = &read(&pinned.product()["manifest"])["pins"];
    assert_eq!(pins[0]["file"], "Cargo.toml");
    assert_eq!((&pins[0]["line"], &pins[0]["now"]), (&6.into(), &"1".into()), "{pins}");
    assert_eq!(pins[0]["then"], "=1.0.1");
    let verdict = Run::of(&xtask(["verify", library.to_str().unwrap()]));
    assert_eq!(verdict.code, Some(0), "{}", verdict.stderr);
    run(&source, &["--package", "one", "--pin-crate", "nosuch=1"])
        .fails(2, &["require the crate `nosuch` nowhere", "hint: "]);
    run(&source, &["--package", "three"]).fails(9, &["`three`"]);
}

#[test]
fn what_is_wrong_with_crates_is_said_before_anything_is_built() {
    let workplace = Workplace::new("crates-wrong");
    let manifest = |dependencies: &str| {
        format!(
            "[package]\nname = \"wrong\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\n{dependencies}"
        )
    };
    let fails = |name: &str, manifest: &str, lock: Option<&str>, code: u8, says: &[&str]| {
        let mut files = vec![("Cargo.toml", manifest), ("src/lib.rs", "")];
        files.extend(lock.map(|lock| ("Cargo.lock", lock)));
        let source = workplace.source(name, &files);
        Run::of(&build_ext(&source, &workplace.path("dist"))).fails(code, says);
    };
    let none = manifest("");
    let git = "version = 4\n[[package]]\nname = \"wrong\"\nversion = \"1.0.0\"\n\n[[package]]\n\
               name = \"a\"\nversion = \"1.0.0\"\nsource = \"git+file:///nowhere/a#0123456\"\n";
    fails("git", &none, Some(git), 4, &["of the crates `a` cannot be had", "[sources.\"file:///"]);
    let stale = "version = 4\n[[package]]\nname = \"wrong\"\nversion = \"1.0.0\"\n";
    let more = manifest("cfg-if = \"1\"");
    fails(
        "stale",
        &more,
        Some(stale),
        3,
        &["cargo cannot fetch the crates", "hint: ", "cargo update"],
    );
    fails("broken", &none, Some("package = 1"), 3, &["`Cargo.lock` of the source is not a lock"]);
    let empty = workplace.source("empty", &[("src/lib.rs", "")]);
    let run = Run::of(&build_ext(&empty, &workplace.path("dist")));
    run.fails(3, &["there is no crate at", "hint: name the folder"]);
}
