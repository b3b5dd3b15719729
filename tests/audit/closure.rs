//! Who provides the symbols of a wheel: faults put into it are found and named, and nothing else is.

use std::path::Path;

use crosswheel::audit::closure::{Finding, Imports, Providers};
use crosswheel::audit::torches::Torch;
use crosswheel::audit::{Code, Policy, Report, inspect, libraries};
use crosswheel::symbols::library::{Binding, Kind, Library, Symbol};
use crosswheel::target::{Arch, Target};
use crosswheel::toolchain::Sources;
use crosswheel::torch::lock::TorchLock;

use super::elf_fixture::ElfFixture;
use super::thor;
use super::wheel_fixture::WheelFixture;

fn toolchains() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../toolchains")
}

/// The system and CUDA of a target, as locked.
fn target(target: &Target) -> Providers {
    let sources = Sources::load(&toolchains()).expect("the components");
    libraries::of_target(&sources, target).expect("indices")
}

/// A torch of one library.
fn with_torch(providers: Providers, version: &str, symbols: &[&str]) -> Providers {
    let symbol = |name: &&str| Symbol {
        kind: Kind::Function,
        binding: Binding::Global,
        other: 0,
        version: None,
        name: (*name).to_owned(),
        size: 0,
    };
    let library = Library {
        soname: Some("libc10.so".to_owned()),
        needed: vec!["libstdc++.so.6".to_owned(), "libc.so.6".to_owned()],
        symbols: symbols.iter().map(symbol).collect(),
    };
    let cuda = Some("13.0".to_owned());
    providers.with_torch(version.to_owned(), cuda, [("libc10.so", &library)].into_iter())
}

/// `c10::detail::fail(char const*)`, `…(char const*, int)` and `c10::newer(int)`.
const FAIL: &str = "_ZN3c106detail4failEPKc";
const OTHER_FAIL: &str = "_ZN3c106detail4failEPKci";
const NEWER: &str = "_ZN3c105newerEi";

fn audited(fixture: &WheelFixture, torch: &[&str]) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let path = fixture.write(folder.path());
    let providers = with_torch(target(&thor()), "2.14.0", torch);
    let inspection = inspect(&path).expect("an inspection");
    inspection.check_with(Some(&thor()), &Policy::default(), Some(&providers)).expect("a report")
}

fn with_symbols(symbols: &[&'static str]) -> WheelFixture {
    let mut fixture = WheelFixture::default();
    fixture.elf.unversioned = symbols.to_vec();
    fixture
}

#[track_caller]
fn one_violation(report: &Report, code: Code) -> &str {
    let codes: Vec<Code> = report.violations.iter().map(|v| v.code).collect();
    assert_eq!(codes, [code], "{:#?}", report.violations);
    assert_eq!(report.closure.as_ref().expect("a closure").imports, Imports::No);
    &report.violations[0].message
}

#[test]
fn what_the_target_has_is_found() {
    let mut fixture = with_symbols(&[FAIL, "PyArg_ParseTuple", "cudaLaunchKernel", "memset"]);
    fixture.elf.weak = vec!["_ITM_registerTMCloneTable", "__gmon_start__"];
    let report = audited(&fixture, &[FAIL]);
    assert_eq!(report.violations, []);
    let closure = report.closure.expect("a closure");
    assert_eq!(closure.imports, Imports::Yes);
    assert_eq!(closure.symbols, 7, "weak ones need nobody");
    assert_eq!(closure.provided["libcudart.so.13"], 1);
    assert_eq!(closure.provided["libc10.so"], 1);
    assert_eq!(closure.provided["python"], 1);
    // `memcpy`, `stat` and `memset`; `std::cout` comes by way of libc10.
    assert_eq!(closure.provided["libc.so.6"], 3);
    assert_eq!(closure.provided["libstdc++.so.6"], 1);
}

#[test]
fn an_undefined_symbol_is_named_with_who_needs_it() {
    let report = audited(&with_symbols(&["_ZN4demo6absentEi"]), &[]);
    let message = one_violation(&report, Code::UndefinedSymbol).to_owned();
    assert!(message.contains("`demo::absent(int)`"), "{message}");
    assert_eq!(report.violations[0].file, "demo/_C.cpython-311-aarch64-linux-gnu.so");
}

#[test]
fn a_symbol_of_a_newer_torch_names_torch_and_the_nearest() {
    let fixture = with_symbols(&[OTHER_FAIL, NEWER]);
    assert_eq!(audited(&fixture, &[FAIL, OTHER_FAIL, NEWER]).violations, []);
    let report = audited(&fixture, &[FAIL]);
    let message = one_violation(&report, Code::UndefinedSymbol);
    assert!(message.starts_with("2 symbols are not defined by torch 2.14.0: "), "{message}");
    let expected =
        "`c10::detail::fail(char const*, int)` (there is `c10::detail::fail(char const*)`)";
    assert!(message.contains(expected), "{message}");
    assert!(message.contains("`c10::newer(int)`"), "{message}");
    let hint = report.violations[0].hint.as_deref();
    assert!(hint.is_some_and(|hint| hint.contains("another torch")), "{hint:?}");
}

#[test]
fn the_first_symbols_are_named_and_the_rest_counted() {
    const MANY: [&str; 7] = [
        "_ZN3c101aEv",
        "_ZN3c101bEv",
        "_ZN3c101cEv",
        "_ZN3c101dEv",
        "_ZN3c101eEv",
        "_ZN3c101fEv",
        "_ZN3c101gEv",
    ];
    let report = audited(&with_symbols(&MANY), &[]);
    let message = one_violation(&report, Code::UndefinedSymbol);
    assert!(message.ends_with("`c10::e()` and 2 more"), "{message}");
}

#[test]
fn owners_are_told_by_name_and_version() {
    for (symbol, owner) in [
        ("_ZN2at4_ops3addEi", "torch 2.14.0"),
        ("aoti_torch_of_later", "torch 2.14.0"),
        ("cudaOfLater", "`libcudart.so`"),
        ("PyOfLater", "Python 3.11"),
    ] {
        let report = audited(&with_symbols(&[symbol]), &[FAIL]);
        let message = one_violation(&report, Code::UndefinedSymbol);
        assert!(message.contains(&format!("not defined by {owner}: ")), "{message}");
    }
    let mut fixture = WheelFixture::default();
    fixture.elf.undefined.push(("memcpy", "GLIBC_2.18", "libc.so.6"));
    let report = audited(&fixture, &[]);
    let message = one_violation(&report, Code::UndefinedSymbol);
    assert!(
        message.contains("`libc.so.6`: `memcpy@GLIBC_2.18` (there is `memcpy@GLIBC_2.17`)"),
        "{message}"
    );
}

#[test]
fn floors_are_reported_as_such_alone() {
    let mut fixture = WheelFixture::default();
    fixture.elf.undefined.push(("newer", "GLIBC_2.40", "libc.so.6"));
    for text in [&mut fixture.file_name, &mut fixture.wheel] {
        *text = text.replace("manylinux_2_34", "manylinux_2_40");
    }
    one_violation(&audited(&fixture, &[]), Code::FloorExceeded);
}

#[test]
fn what_is_not_needed_is_found_by_accident_only() {
    let mut fixture = with_symbols(&[FAIL]);
    fixture.elf.needed.retain(|library| *library != "libc10.so");
    fixture.elf.undefined.retain(|(_, _, library)| *library != "libstdc++.so.6");
    let report = audited(&fixture, &[FAIL]);
    let message = one_violation(&report, Code::MissingNeeded);
    assert!(message.contains("1 symbol from `libc10.so`"), "{message}");
}

/// Another shared object in the wheel, without a module.
fn helper(defined: &'static str) -> ElfFixture {
    ElfFixture {
        needed: vec!["libc.so.6"],
        undefined: Vec::new(),
        defined: vec![defined],
        device_code: Vec::new(),
        ..ElfFixture::default()
    }
}

#[test]
fn a_file_of_the_wheel_counts_where_it_is_needed() {
    let mut fixture = with_symbols(&["_ZN4demo6helperEv"]);
    fixture.extra.push(("demo/libhelper.so".to_owned(), helper("_ZN4demo6helperEv").build()));
    let report = audited(&fixture, &[]);
    let message = one_violation(&report, Code::MissingNeeded);
    assert!(message.contains("from `demo/libhelper.so`"), "{message}");
    fixture.elf.needed.push("libhelper.so");
    assert_eq!(audited(&fixture, &[]).violations, []);
}

#[test]
fn what_is_needed_takes_symbols_from_the_module_that_loads_it() {
    let mut fixture = WheelFixture::default();
    fixture.elf.needed.push("libhelper.so");
    let mut helper = helper("_ZN4demo6helperEv");
    helper.unversioned = vec!["_ZN3foo3barEv"];
    fixture.extra.push(("demo/libhelper.so".to_owned(), helper.build()));
    assert_eq!(audited(&fixture, &[]).violations, []);
}

#[test]
fn a_library_that_nobody_knows_leaves_the_answer_open() {
    let mut fixture = with_symbols(&["numa_available", NEWER]);
    fixture.elf.needed.push("libnuma.so.1");
    for text in [&mut fixture.file_name, &mut fixture.wheel] {
        *text = text.replace("manylinux_2_34_aarch64", "linux_aarch64");
    }
    let report = audited(&fixture, &[NEWER]);
    assert_eq!(report.violations, []);
    let closure = report.closure.expect("a closure");
    assert_eq!(closure.imports, Imports::CannotSay);
    assert_eq!(closure.open.len(), 1);
    assert_eq!(closure.open[0].finding, Finding::Unknown);
    assert_eq!(closure.open[0].libraries, ["libnuma.so.1"]);
    assert_eq!(closure.open[0].symbols[0].name, "numa_available");
    // torch is known: what it lacks is nowhere.
    one_violation(&audited(&fixture, &[]), Code::UndefinedSymbol);
}

#[test]
fn a_python_without_an_index_has_what_its_neighbours_have() {
    let imports = |symbols: &[&'static str]| {
        let mut fixture = with_symbols(symbols);
        fixture.elf_path = "demo/_C.cpython-312-aarch64-linux-gnu.so";
        for text in [&mut fixture.file_name, &mut fixture.wheel] {
            *text = text.replace("cp311", "cp312");
        }
        audited(&fixture, &[]).closure.expect("a closure").imports
    };
    assert_eq!(imports(&["PyArg_ParseTuple"]), Imports::Yes);
    // Of 3.13, and of 3.11 alone.
    assert_eq!(imports(&["PyList_Extend"]), Imports::CannotSay);
    assert_eq!(imports(&["_PyObject_CallMethodIdNoArgs"]), Imports::No);
    assert_eq!(imports(&["PyOfNoPython"]), Imports::No);
}

#[test]
fn symbol_versions_above_the_floor_are_not_there() {
    let mut older = thor();
    older.floors.glibc = "2.28".to_owned();
    for (target, has) in [(target(&thor()), true), (target(&older), false)] {
        let libc = target.library("libc.so.6").expect("glibc");
        assert_eq!(libc.defines("stat", Some("GLIBC_2.33")), has);
        assert!(libc.defines("memcpy", Some("GLIBC_2.17")));
        assert!(!libc.defines("memcpy", Some("GLIBC_2.33")));
    }
}

#[test]
fn every_processor_has_its_system_cuda_and_torch() {
    let sources = Sources::load(&toolchains()).expect("the components");
    for (arch, loader) in
        [(Arch::Aarch64, "ld-linux-aarch64.so.1"), (Arch::X86_64, "ld-linux-x86-64.so.2")]
    {
        let providers = libraries::of_machine(&sources, arch, "13.0", None).expect("indices");
        for (library, symbol) in [
            (loader, "__tls_get_addr"),
            ("libc.so.6", "malloc"),
            ("libm.so.6", "cos"),
            ("libstdc++.so.6", "_ZSt4cout"),
            ("libgcc_s.so.1", "_Unwind_Resume"),
            ("libgomp.so.1", "GOMP_parallel"),
            ("libcuda.so.1", "cuLaunchKernel"),
            ("libnvidia-ml.so.1", "nvmlInit_v2"),
            ("libcudart.so.13", "cudaMalloc"),
            ("libcublas.so.13", "cublasCreate_v2"),
        ] {
            let found = providers.library(library).unwrap_or_else(|| panic!("{library} on {arch}"));
            assert!(found.defines(symbol, None), "{library}: {symbol}");
        }
        let lock = TorchLock::load(&toolchains()).expect("the lock");
        assert!(lock.symbols("2.14.0", arch).is_some());
    }
}

#[test]
fn a_torch_is_read_from_the_lock_or_from_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let torch = folder.path().join("torch");
    fs_err::create_dir_all(torch.join("lib")).expect("a folder");
    let version = "__version__ = '2.99.0a0+git'\ncuda = '13.2'\n";
    fs_err::write(torch.join("version.py"), version).expect("written");
    let library = ElfFixture { defined: vec![FAIL], ..ElfFixture::default() };
    fs_err::write(torch.join("lib/libc10.so"), library.build()).expect("written");
    fs_err::write(torch.join("lib/notes.txt"), "no library").expect("written");
    for path in [folder.path(), &torch] {
        let found = Torch::folder(path, Arch::Aarch64).expect("a torch");
        assert_eq!((found.version.as_str(), found.cuda.as_deref()), ("2.99.0a0+git", Some("13.2")));
        let providers = found.add_to(target(&thor()));
        assert!(providers.library("libc10.so").is_some_and(|library| library.defines(FAIL, None)));
    }
    assert!(Torch::folder(&torch, Arch::X86_64).is_err());
    assert!(Torch::folder(&torch.join("lib"), Arch::Aarch64).is_err());
}
