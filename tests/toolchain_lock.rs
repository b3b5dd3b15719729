//! Locking a component with stubs, against a fake index.

use std::io::{Cursor, Write as _};

use crosswheel::Error;
use crosswheel::environment::Environment;
use crosswheel::net::{Http, Settings};
use crosswheel::registry::Registries;
use crosswheel::report::Silent;
use crosswheel::store::Store;
use crosswheel::symbols::{Library, SymbolIndex, write_stub};
use crosswheel::target::Arch;
use crosswheel::toolchain::lock::ComponentsLock;
use crosswheel::toolchain::relock::{Relock, Relocked};
use crosswheel::toolchain::spec::Components;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::index::{Distribution, Form, Index};

/// A toolkit that is one library, and a library whose headers are fetched when they are wanted.
const COMPONENTS: &str = r#"
[[component]]
name = "cuda"
target = "aarch64"
cuda = "13.0"
wheel = [
    { project = "nvidia-one", version = "==1", arch = "aarch64", members = ["nvidia/cu13/include/**"] },
]
"#;

const CUDA: &str = r#"
[[library]]
name = "one"
cuda = "13.0"
project = "nvidia-one"
version = "==1"

[[library]]
name = "two"
cuda = "13.0"
project = "nvidia-two"
version = ">=2"
root = "nvidia/two"
headers = ["two.h"]
"#;

const ONE: &str = "nvidia_one-1-py3-none-manylinux2014_aarch64.whl";
const TWO: &str = "nvidia_two-2-py3-none-manylinux2014_aarch64.whl";
const TWO_ON_X86: &str = "nvidia_two-2-py3-none-manylinux2014_x86_64.whl";
const NEWER: &str = "nvidia_two-2.1-py3-none-manylinux2014_aarch64.whl";

/// A wheel with a header and a library, `lib<name>.so.1`, below a folder.
fn wheel(file: &'static str, root: &str, name: &str, needed: &str) -> Distribution {
    let soname = format!("lib{name}.so.1");
    let library = Library {
        soname: Some(soname.clone()),
        needed: vec![needed.to_owned()],
        ..Library::default()
    };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in [
        (format!("{root}/include/{name}.h"), b"#pragma once\n".to_vec()),
        (format!("{root}/lib/{soname}"), write_stub(&library, &soname, Arch::Aarch64).unwrap()),
    ] {
        zip.start_file(path, SimpleFileOptions::default()).unwrap();
        zip.write_all(&content).unwrap();
    }
    Distribution { file, content: zip.finish().unwrap().into_inner(), yanked: None }
}

struct Machine {
    index: Index,
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("components.toml"), COMPONENTS).unwrap();
        fs_err::write(folder.path().join("cuda.toml"), CUDA).unwrap();
        let machine = Self { index: Index::start(), folder };
        let one = wheel(ONE, "nvidia/cu13", "one", "libc.so.6");
        machine.index.project("nvidia-one", Form::Json, &[one]);
        machine.release(&[]);
        machine
    }

    /// Puts up what there is of the second library.
    fn release(&self, more: &[Distribution]) {
        let mut two =
            [TWO, TWO_ON_X86].map(|file| wheel(file, "nvidia/two", "two", "libc.so.6")).to_vec();
        two.extend_from_slice(more);
        self.index.project("nvidia-two", Form::Json, &two);
    }

    /// Locks, and writes the indices as the command line does. Each time is another process.
    fn relock(&self, previous: &ComponentsLock) -> Result<Relocked, Error> {
        let folder = self.folder.path();
        let variables = [("PIP_INDEX_URL", self.index.simple())];
        let http = Http::new(Settings::default())?;
        let registries = Registries::new(http, &Environment::new(variables, folder));
        let store = Store::open(folder.join("store"))?;
        let spec = Components::load(folder)?;
        let relock = Relock { folder, registries: &registries, store: &store, reporter: &Silent };
        let relocked = relock.relock(&spec, previous, &[])?;
        for (path, content) in &relocked.indices {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        Ok(relocked)
    }

    fn downloads(&self, file: &str) -> usize {
        self.index.requests(&format!("/files/{file}")).len()
    }
}

/// What the index says that each library needs.
fn needed(relocked: &Relocked) -> Vec<(String, String)> {
    let [packed] = relocked.indices.values().collect::<Vec<_>>()[..] else { panic!("one index") };
    let index = SymbolIndex::from_xz(packed).unwrap();
    let libraries = index.parts.iter().flat_map(|part| index.libraries(part));
    libraries.map(|(file, library)| (file.to_owned(), library.needed.join(" "))).collect()
}

fn pairs(pairs: [(&str, &str); 2]) -> Vec<(String, String)> {
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
}

#[test]
fn each_wheel_is_read_once_and_again_only_where_it_is_another() {
    let machine = Machine::new();
    let first = machine.relock(&ComponentsLock::default()).unwrap();
    let names: Vec<_> = first.lock.component.iter().map(|c| c.key.to_string()).collect();
    assert_eq!(
        names,
        [
            "cuda for aarch64, CUDA 13.0",
            "cuda-two for aarch64, CUDA 13.0",
            "cuda-two for x86_64, CUDA 13.0",
        ]
    );
    assert_eq!(needed(&first), pairs([("libone.so.1", "libc.so.6"), ("libtwo.so.1", "libc.so.6")]));
    assert_eq!([ONE, TWO].map(|file| machine.downloads(file)), [1, 1]);

    let again = machine.relock(&first.lock).unwrap();
    assert_eq!((&again.lock, &again.indices), (&first.lock, &first.indices));
    assert_eq!([ONE, TWO].map(|file| machine.downloads(file)), [1, 1]);

    machine.release(&[wheel(NEWER, "nvidia/two", "two", "libone.so.1")]);
    let newer = machine.relock(&again.lock).unwrap();
    let expected = pairs([("libone.so.1", "libc.so.6"), ("libtwo.so.1", "libone.so.1")]);
    assert_eq!(needed(&newer), expected);
    assert_eq!([ONE, TWO, NEWER].map(|file| machine.downloads(file)), [1, 1, 1]);
    assert_ne!(newer.lock.component[0].symbols, first.lock.component[0].symbols);
}

#[test]
fn a_lost_index_is_made_anew() {
    let machine = Machine::new();
    let first = machine.relock(&ComponentsLock::default()).unwrap();
    for path in first.indices.keys() {
        fs_err::write(path, "damaged").unwrap();
    }
    let again = machine.relock(&first.lock).unwrap();
    assert_eq!((&again.lock, &again.indices), (&first.lock, &first.indices));
}

#[test]
fn a_wheel_without_the_libraries_is_an_error() {
    let machine = Machine::new();
    machine.index.project("nvidia-one", Form::Json, &[wheel(ONE, "other", "one", "libc.so.6")]);
    let text = COMPONENTS.replace("nvidia/cu13/include", "other/include");
    fs_err::write(machine.folder.path().join("components.toml"), text).unwrap();
    let error = machine.relock(&ComponentsLock::default()).unwrap_err();
    assert!(error.to_string().contains("has none of the libraries"), "{error}");
}
