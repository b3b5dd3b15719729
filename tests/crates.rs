//! Registries of crates, on loopback: one beside the one that cargo knows, and what is said where a
//! crate cannot be had, or not be built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crosswheel::artifact::Sha256;
use duct::Expression;
use serde_json::{Value, json};

use crate::support::index::{Fault, Index};
use crate::support::xtask::{Run, Workplace, XTASK, xtask};

fn manifest(more: &str) -> String {
    format!(
        "[package]\nname = \"user\"\nversion = \"1.0.0\"\nedition = \"2021\"\n{more}\n\n[workspace]\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n"
    )
}

fn words(workplace: &Workplace, source: &Path) -> Vec<OsString> {
    let words = ["build-ext", "--format", "json", "--target", "thor", "--out"];
    let words = words.map(OsString::from).into_iter();
    words.chain([workplace.path("dist").into(), source.into()]).collect()
}

fn build_ext(workplace: &Workplace, source: &Path) -> Expression {
    xtask(words(workplace, source))
}

/// A sparse registry (the Cargo Book, "Index Format") with some crates.
struct Registry {
    index: Index,
}

impl Registry {
    fn start() -> Self {
        let index = Index::start();
        index.file("/config.json", json!({ "dl": index.url("/dl") }).to_string());
        Self { index }
    }

    fn url(&self) -> String {
        format!("sparse+{}", self.index.url("/"))
    }

    /// Adds a crate that gives a number; its name has four letters or more.
    fn add(&self, scratch: &Path, name: &str, yanked: bool) -> Sha256 {
        let folder = scratch.join(format!("{name}-1.0.0"));
        fs_err::create_dir_all(folder.join("src")).unwrap();
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
        fs_err::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs_err::write(folder.join("src/lib.rs"), "pub fn number() -> i32 {\n    7\n}\n").unwrap();
        let archive = scratch.join(format!("{name}.crate"));
        let top = format!("{name}-1.0.0");
        duct::cmd!("tar", "czf", &archive, &top).dir(scratch).run().unwrap();
        let content = fs_err::read(archive).unwrap();
        let cksum = Sha256::of(&content);
        self.index.file(&format!("/dl/{name}/1.0.0/download"), content);
        let line = json!({
            "name": name, "vers": "1.0.0", "deps": [], "features": {},
            "cksum": cksum.to_string(), "yanked": yanked,
        });
        self.index.file(&format!("/{}/{}/{name}", &name[..2], &name[2..4]), format!("{line}\n"));
        cksum
    }
}

/// A home of cargo's with a configuration.
fn home(workplace: &Workplace, name: &str, config: &str) -> PathBuf {
    let home = workplace.path(name);
    fs_err::create_dir_all(&home).unwrap();
    fs_err::write(home.join("config.toml"), config).unwrap();
    home
}

#[test]
fn a_crate_may_come_from_a_registry_of_its_own() {
    let workplace = Workplace::new("crate-registry");
    let registry = Registry::start();
    let scratch = workplace.path("scratch");
    let sha256 = registry.add(&scratch, "seven", false);
    let needs = "\n[dependencies]\nseven = { version = \"1\", registry = \"own\" }\n";
    let code = "#[no_mangle]\npub extern \"C\" fn f() -> i32 {\n    seven::number()\n}\n";
    let source = workplace.source("own", &[("Cargo.toml", &manifest(needs)), ("src/lib.rs", code)]);
    let home = home(&workplace, "home", "");
    let build = build_ext(&workplace, &source)
        .env("CARGO_HOME", &home)
        .env("CARGO_REGISTRIES_OWN_INDEX", registry.url());
    let run = Run::of(&build);
    let product = run.product();
    assert!(run.stderr.contains("compiled seven 1.0.0 "), "{}", run.stderr);
    let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let locked = &manifest["resolution"]["rust"]["crates"]["crate"][0];
    assert_eq!(locked["registry"], registry.url());
    assert_eq!(locked["sha256"], sha256.to_string());
}

#[test]
fn what_keeps_a_crate_from_being_had_is_said() {
    let workplace = Workplace::new("crate-missing");
    let registry = Registry::start();
    let scratch = workplace.path("scratch");
    registry.add(&scratch, "yanked", true);
    registry.add(&scratch, "changed", false);
    registry.index.always_fail("/dl/changed/1.0.0/download", Fault::WrongBytes);
    registry.add(&scratch, "gone", false);
    registry.index.remove("/dl/gone/1.0.0/download");
    let replaced = |url: &str| {
        format!(
            "[source.crates-io]\nreplace-with = \"fake\"\n\n[source.fake]\nregistry = \"{url}\"\n\n\
             [net]\nretry = 0\n"
        )
    };
    let there = home(&workplace, "home", &replaced(&registry.url()));
    let nowhere = home(&workplace, "nowhere", &replaced("sparse+http://127.0.0.1:9/"));
    for (name, home, code, says) in [
        ("yanked", &there, 3, ["is yanked", "`cargo update` takes another version"]),
        ("nosuch", &there, 3, ["no matching package named `nosuch`", "does not have it"]),
        ("gone", &there, 3, ["gone", "does not have it"]),
        ("changed", &there, 5, ["checksum", "the registry's file was changed"]),
        ("anything", &nowhere, 4, ["127.0.0.1", "a mirror is configured as for cargo itself"]),
    ] {
        let needs = format!("\n[dependencies]\n{name} = \"1\"\n");
        let files = [("Cargo.toml", manifest(&needs)), ("src/lib.rs", String::new())];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        let source = workplace.source(name, &files);
        let run = Run::of(&build_ext(&workplace, &source).env("CARGO_HOME", home));
        run.fails(code, &["cargo cannot ", says[0], "hint: ", says[1]]);
    }
}

#[test]
fn what_keeps_a_crate_from_being_built_is_said() {
    let workplace = Workplace::new("crate-unbuilt");
    let links = "#[link(name = \"numa\")]\nextern \"C\" {\n    fn numa_available() -> i32;\n}\n\n\
                 #[no_mangle]\npub extern \"C\" fn f() -> i32 {\n    unsafe { numa_available() }\n}\n";
    let runs = "use std::process::Command;\n\nfn main() {\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         let program = format!(\"{out}/program\");\n    \
         let compiler = std::env::var(\"CC_aarch64_unknown_linux_gnu\").unwrap();\n    \
         let made = Command::new(compiler).args([\"-x\", \"c\", \"program.c\", \"-o\", &program]).status();\n    \
         assert!(made.unwrap().success());\n    Command::new(&program).status().unwrap();\n}\n";
    let program = "int main(void) { return 0; }\n";
    for (name, more, files, says) in [
        ("links", "", &[("src/lib.rs", links)][..], ["numa", "`vendored` or `bundled`"]),
        (
            "runs",
            "",
            &[("src/lib.rs", ""), ("build.rs", runs), ("program.c", program)],
            ["Exec format error", "a build script runs a program for the target"],
        ),
        (
            "newer",
            "rust-version = \"1.999\"",
            &[("src/lib.rs", "")],
            ["rustc 1.999", "it needs a newer Rust than the one that builds"],
        ),
    ] {
        let manifest = manifest(more);
        let files: Vec<_> =
            [("Cargo.toml", manifest.as_str())].into_iter().chain(files.to_vec()).collect();
        let source = workplace.source(name, &files);
        let run = Run::of(&build_ext(&workplace, &source));
        run.fails(9, &[says[0], "hint: ", says[1]]);
    }
}

#[test]
fn crates_that_were_compiled_in_another_folder_are_taken_out_of_the_cache() {
    let workplace = Workplace::new("crate-cache");
    let needs = "\n[dependencies]\nhelper = { path = \"helper\" }\n";
    let helper = "[package]\nname = \"helper\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    let code = "#[no_mangle]\npub extern \"C\" fn f() -> i32 {\n    helper::number()\n}\n";
    let number = |number: i32| format!("pub fn number() -> i32 {{\n    {number}\n}}\n");
    let manifest = manifest(needs);
    let source = |name: &str| {
        let (first, number) = (manifest.as_str(), number(1));
        let files = [
            ("Cargo.toml", first),
            ("src/lib.rs", code),
            ("helper/Cargo.toml", helper),
            ("helper/src/lib.rs", number.as_str()),
            ("helper/build.rs", "fn main() {}\n"),
        ];
        workplace.source(name, &files)
    };
    let (one, two, three) = (source("one"), source("two"), source("three"));
    let build = |source: &Path| {
        let run =
            Run::of(&duct::cmd(XTASK, words(&workplace, source)).env("CROSSWHEEL_CACHE", "on"));
        let product = run.product();
        let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let actions = manifest["actions"].as_array().unwrap().clone();
        let restored = actions.iter().filter(|action| action.get("restored").is_some()).count();
        (product["sha256"].clone(), actions.len(), restored)
    };
    let (first, _, _) = build(&one);
    assert_eq!(build(&two), (first.clone(), 3, 3));
    fs_err::write(two.join("helper/src/lib.rs"), number(2)).unwrap();
    fs_err::write(three.join("helper/src/lib.rs"), number(2)).unwrap();
    let (edited, _, _) = build(&two);
    assert_ne!(edited, first);
    let plain = Run::of(&build_ext(&workplace, &three)).product()["sha256"].clone();
    assert_eq!(edited, plain, "without the cache it is the same");
}
