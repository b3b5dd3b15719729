//! A package that pins another torch than the target has, as its user meets it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crosswheel::environment::Environment;
use crosswheel::store::{Components, Key, Store};
use crosswheel::symbols::Library;
use crosswheel::target::Arch;
use crosswheel::torch::lock::TorchLock;
use crosswheel::torch::sdk::{SDK_COMPONENT, locked_digest};
use serde_json::Value;

use crate::support::schema::assert_conforms;
use crate::support::xtask::{Run, Workplace, repository, xtask};

/// As NVIDIA's containers carry it.
const VENDOR: &str = "2.9.0a0+50eac811a6.nv25.09";

/// The package: it pins one torch in every kind of place.
const FILES: [(&str, &str); 6] = [
    (
        "pyproject.toml",
        "[build-system]\n# The same as in requirements.txt.\nrequires = [\"setuptools>=70\", 'torch == 2.9.1']\n\
         build-backend = \"setuptools.build_meta\"\n",
    ),
    ("requirements.txt", "-r more.txt\ntorch==2.9.1  # tested with it\n"),
    ("more.txt", "torchvision==0.24.1\n"),
    ("requirements/rocm.txt", "torch==2.9.1\n"),
    (
        "setup.py",
        r##"
from pathlib import Path
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

def read(name):
    for line in Path(name).read_text().splitlines():
        if line.startswith("-r "):
            yield from read(line[3:])
        else:
            yield line.split("#")[0].strip()

setup(
    name="pinned",
    version="1.0",
    install_requires=list(read("requirements.txt")),
    extras_require={"train": ["torch==2.9.1", "torchaudio==2.9.1"]},
    ext_modules=[CppExtension("pinned", ["pinned.cpp"])],
    cmdclass={"build_ext": BuildExtension},
)
"##,
    ),
    (
        "pinned.cpp",
        r##"
#include <Python.h>
#include <string>
namespace c10 { std::string get_backtrace(size_t, size_t, bool); }
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "pinned", nullptr, -1, nullptr};
PyMODINIT_FUNC PyInit_pinned() {
  if (c10::get_backtrace(0, 1, true).size() == 7) return nullptr;
  return PyModule_Create(&module);
}
"##,
    ),
];

/// The SDK of the locked torch, in the store.
fn locked_sdk(workplace: &Workplace) -> PathBuf {
    let lock = TorchLock::load(&repository().join("toolchains")).unwrap();
    let arch = Arch::Aarch64;
    let torch = lock.find("2.14.0", arch, "3.11").unwrap();
    let key = Key::new(SDK_COMPONENT, locked_digest(torch, lock.symbols("2.14.0", arch)));
    let store = Store::default_root(&Environment::from_process()).unwrap();
    let components = Components::new(&store);
    if components.find(&key).unwrap().is_none() {
        let source = workplace.source("first", &[("setup.py", "")]);
        let words = ["fetch", source.to_str().unwrap(), "--target", "thor", "--python", "3.11"];
        assert_eq!(Run::of(&xtask(words)).code, Some(0));
    }
    components.find(&key).unwrap().unwrap().path.join("sdk")
}

/// A `site-packages` with that torch under a vendor's version, and the vendor's torchvision.
fn vendor_torch(workplace: &Workplace) -> PathBuf {
    let sdk = locked_sdk(workplace);
    let site = workplace.path("site-packages");
    let torch = site.join("torch");
    fs_err::create_dir_all(&torch).unwrap();
    for folder in ["include", "lib", "share", "utils", "_vendor", "_appdirs.py", "torch_version.py"]
    {
        std::os::unix::fs::symlink(sdk.join("torch").join(folder), torch.join(folder)).unwrap();
    }
    let version = fs_err::read_to_string(sdk.join("torch/version.py")).unwrap();
    let version = version.replace("2.14.0+cu130", VENDOR);
    fs_err::write(torch.join("version.py"), version).unwrap();
    for (name, version) in [("torch", VENDOR), ("torchvision", "0.24.0a0+98f8b37")] {
        let folder = site.join(format!("{name}-{version}.dist-info"));
        fs_err::create_dir(&folder).unwrap();
        let metadata = format!(
            "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Dist: typing-extensions\n"
        );
        fs_err::write(folder.join("METADATA"), metadata).unwrap();
    }
    site
}

fn rows(pins: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let pins = pins.as_array().unwrap().iter();
    pins.map(|pin| {
        (pin["file"].as_str().unwrap(), pin["now"].as_str().unwrap(), pin["then"].as_str())
    })
    .collect()
}

fn requirements_of(wheel: &Path) -> Vec<String> {
    let mut zip = zip::ZipArchive::new(fs_err::File::open(wheel).unwrap()).unwrap();
    let name = zip.file_names().map(|name| name.unwrap().into_owned());
    let name = name.into_iter().find(|name| name.ends_with("/METADATA")).unwrap();
    let mut metadata = zip.by_name(&name).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut metadata, &mut text).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("Requires-Dist: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_package_that_pins_another_torch_is_built_for_the_vendors() {
    let workplace = Workplace::new("pins");
    let source = workplace.source("pinned", &FILES);
    let site = vendor_torch(&workplace);
    let torch = site.to_str().unwrap();
    let shown = ["pins", source.to_str().unwrap(), "--torch", torch, "--python", "3.11"];
    let table = Run::of(&xtask(shown.iter().chain(&["--format", "json"]))).json();
    assert_conforms(&table, "pins.schema.json");
    let expected = [
        ("more.txt", "torchvision==0.24.1", Some("torchvision>=0.24.0a0,<0.25")),
        ("pyproject.toml", "torch == 2.9.1", Some("torch == 2.9.0a0+50eac811a6.nv25.9")),
        ("requirements.txt", "torch==2.9.1", Some("torch>=2.9.0a0,<2.10")),
        ("requirements/rocm.txt", "torch==2.9.1", Some("torch==2.9.1")),
        ("setup.py", "torch==2.9.1", Some("torch>=2.9.0a0,<2.10")),
        ("setup.py", "torchaudio==2.9.1", Some("torchaudio>=2.9.0a0,<2.10")),
    ];
    assert_eq!(rows(&table), expected);

    let patch = Run::of(&xtask(shown.iter().chain(&["--diff"]))).stdout;
    let removed = patch.lines().filter(|line| line.starts_with('-') && !line.starts_with("---"));
    assert_eq!(removed.count(), 4, "{patch}");

    let run = Run::of(&workplace.build(&source, "dist", &["--python", "3.11", "--torch", torch]));
    let product = run.product();
    let wheel = Path::new(product["wheel"].as_str().unwrap());
    assert_eq!(
        requirements_of(wheel),
        [
            "torchvision<0.25,>=0.24.0a0",
            "torch<2.10,>=2.9.0a0",
            "torch<2.10,>=2.9.0a0; extra == \"train\"",
            "torchaudio<2.10,>=2.9.0a0; extra == \"train\"",
        ]
    );
    let manifest = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_conforms(&manifest, "manifest.schema.json");
    let changed: Vec<_> =
        expected.into_iter().filter(|(_, now, then)| *then != Some(now)).collect();
    assert_eq!(rows(&manifest["pins"]), changed);
    // Every symbol was found in that very torch.
    let closure = &manifest["audit"]["closure"];
    assert_eq!(
        (&closure["torch"], &closure["imports"]),
        (&VENDOR.into(), &"yes".into()),
        "{closure}"
    );

    // A second build changes no file that is as it was, and so compiles nothing.
    fs_err::write(source.join("README"), "more").unwrap();
    let again = Run::of(&workplace.build(&source, "dist", &["--python", "3.11", "--torch", torch]));
    again.product();
    assert!(!again.stderr.contains("pinned.o"), "{}", again.stderr);
    let untouched = fs_err::read_to_string(source.join("requirements.txt")).unwrap();
    assert_eq!(untouched, FILES[1].1, "a user's folder is never written to");

    let asked = [
        "--python",
        "3.11",
        "--torch",
        torch,
        "--pin",
        "torch=target",
        "--pin",
        "torchvision=drop",
    ];
    let product = Run::of(&workplace.build(&source, "asked", &asked)).product();
    let required = requirements_of(Path::new(product["wheel"].as_str().unwrap()));
    assert_eq!(required[0], "torch==2.9.0a0+50eac811a6.nv25.9");
    assert!(!required.iter().any(|line| line.starts_with("torchvision")), "{required:?}");
}

#[test]
fn what_cannot_be_relaxed_is_refused_before_anything_is_built() {
    let workplace = Workplace::new("pins-refused");
    let pyproject = "[build-system]\nrequires = ['setuptools', 'torch==2.9.1+cu128']\n";
    let source = workplace.source("refused", &[("pyproject.toml", pyproject), ("setup.py", "")]);
    let words = ["pins", source.to_str().unwrap(), "--torch", "2.14.0"];
    let line = "pyproject.toml:2: `torch==2.9.1+cu128`: it is for CUDA 12, and the target's torch 2.14.0 has 13.0";
    Run::of(&xtask(words)).fails(8, &[line, "hint: "]);
    let run = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"]));
    run.fails(8, &["could not be built", "pyproject.toml:2"]);
    let nowhere = Run::of(&xtask(words.into_iter().chain(["--pin", "numpy=drop"])));
    nowhere.fails(2, &["the source requires `numpy` nowhere"]);
    Run::of(&xtask(words.into_iter().chain(["--pin", "numpy=target"])))
        .fails(2, &["nothing is known"]);
}

/// What a store has of an imported torch, but for the record of where that is.
fn imported(store: &Path, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = store.join("torches").join(name);
    let files = walkdir::WalkDir::new(&root).into_iter().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().is_file());
    let files = files.filter(|entry| entry.file_name() != "imported.json");
    let inner = |path: &Path| path.strip_prefix(&root).unwrap().to_owned();
    files.map(|entry| (inner(entry.path()), fs_err::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_torch_is_imported_from_the_scripts_archive_as_from_its_folder() {
    let workplace = Workplace::new("torch-import");
    let site = vendor_torch(&workplace);
    let store = workplace.path("store");
    let of_store = |words: &[&str]| {
        let store = ["--store", store.to_str().unwrap()];
        Run::of(&xtask(["torch"].iter().chain(words).chain(&store)))
    };
    let script = Run::of(&xtask(["torch", "script"])).stdout;
    let archive = workplace.path("torch.tar.gz");
    duct::cmd(crate::support::python::python(), ["-"])
        .env("PYTHONPATH", &site)
        .stdin_bytes(script)
        .stdout_path(&archive)
        .stderr_capture()
        .run()
        .unwrap();
    let archive = archive.to_str().unwrap();
    let json = ["--format", "json"];
    let first = of_store(&[&["import", archive][..], &json].concat()).json();
    assert_conforms(&first, "torch.schema.json");
    assert_eq!((&first[0]["name"], &first[0]["version"]), (&VENDOR.into(), &VENDOR.into()));
    assert_eq!(first[0]["companions"]["torchvision"], "0.24.0a0+98f8b37");
    let folder = ["import", site.to_str().unwrap(), "--name", "of-a-folder"];
    let line = of_store(&folder).stdout;
    assert_eq!(
        line,
        format!("of-a-folder: torch {VENDOR}, CUDA 13.0, aarch64, torchvision 0.24.0a0+98f8b37\n")
    );
    let listed = of_store(&[&["list"][..], &json].concat()).json();
    assert_conforms(&listed, "torch.schema.json");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(imported(&store, VENDOR) == imported(&store, "of-a-folder"));

    // A link and an audit see what they see of the torch itself.
    let lib = Path::new("torch/lib/libtorch_cuda.so");
    let read = |bytes: &[u8]| Library::read(bytes, Arch::Aarch64).unwrap();
    let original = fs_err::read(site.join(lib)).unwrap();
    assert_eq!(read(&imported(&store, VENDOR)[lib]), read(&original));

    let pinned =
        workplace.source("named", &[("requirements.txt", "torch==2.9.1\n"), ("setup.py", "")]);
    let words = ["pins", pinned.to_str().unwrap(), "--torch", "of-a-folder", "--python", "3.11"];
    let words = words.into_iter().chain(["--store", store.to_str().unwrap()]).chain(json);
    let table = Run::of(&xtask(words)).json();
    assert_eq!(table[0]["then"], "torch>=2.9.0a0,<2.10");

    fs_err::write(workplace.path("cut.tar.gz"), &fs_err::read(archive).unwrap()[..100_000])
        .unwrap();
    let cut = workplace.path("cut.tar.gz");
    of_store(&["import", cut.to_str().unwrap(), "--name", "of-a-folder"]).fails(6, &["cut.tar.gz"]);
    assert!(imported(&store, VENDOR) == imported(&store, "of-a-folder"), "nothing was lost");
    of_store(&["import", archive, "--name", "../x"])
        .fails(2, &["`../x` cannot be the name of a torch"]);
}

/// The rows of README's example: place, what stands there, what it becomes, and why.
fn readme_rows(readme: &str) -> Vec<Vec<&str>> {
    let (_, example) =
        readme.split_once("$ cargo xtask pins vllm==0.14.0 --torch 2.14.0\n").unwrap();
    let (rows, last) = example.split_once("vllm-0.14.0 for thor").unwrap();
    assert!(last.starts_with(" with torch 2.14.0, CUDA 13.0: "), "{last}");
    rows.lines()
        .map(|line| line.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect())
        .collect()
}

/// README shows what there is, and the patch of it makes of the source what it says.
#[test]
#[ignore = "downloads vLLM's sdist"]
fn the_pins_of_vllm_are_as_the_readme_shows_them() {
    let readme = fs_err::read_to_string(repository().join("README.md")).unwrap();
    let request = ["pins", "vllm==0.14.0", "--torch", "2.14.0", "--target", "thor"];
    let table = Run::of(&xtask(request.iter().chain(&["--format", "json"]))).json();
    assert_conforms(&table, "pins.schema.json");
    let table = table.as_array().unwrap();
    let cells = |pin: &Value| {
        let text = |key: &str| pin[key].as_str().unwrap_or("goes").to_owned();
        let then = if pin["then"] == pin["now"] { "stays".to_owned() } else { text("then") };
        vec![format!("{}:{}", text("file"), pin["line"]), text("now"), then, text("why")]
    };
    let all: Vec<Vec<String>> = table.iter().map(cells).collect();
    let rows = readme_rows(&readme);
    assert!(rows.len() >= 5);
    for row in rows {
        assert!(all.iter().any(|cells| *cells == row), "{row:?} is not of {all:?}");
    }
    let changed = table.iter().filter(|pin| pin["now"] != pin["then"]).count();
    let count = format!("{} pins, {changed} of them change", table.len());
    assert!(readme.contains(&count), "{count}");
    let patch = Run::of(&xtask(request.iter().chain(&["--diff"]))).stdout;
    let lines = |sign: &str, head: &str| {
        patch.lines().filter(|line| line.starts_with(sign) && !line.starts_with(head)).count()
    };
    assert_eq!((lines("-", "--- a/"), lines("+", "+++ b/")), (changed, changed), "{patch}");
}
