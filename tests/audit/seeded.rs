//! A good wheel passes; each fault put into it is found, by its name, and nothing else is.

use std::collections::BTreeSet;

use crosswheel::audit::fatbin::{Kind, Variant};
use crosswheel::audit::{Code, Policy, Report, Waiver, audit, inspect_for};
use crosswheel::target::Sm;

use super::elf_fixture::{container, entry};
use super::thor;
use super::wheel_fixture::WheelFixture;

fn policy() -> Policy {
    Policy {
        expect_device_code: true,
        contract: vec!["demo/_C*.so".to_owned()],
        waivers: Vec::new(),
        own: false,
    }
}

fn audited(fixture: &WheelFixture, policy: &Policy) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    audit(&fixture.write(folder.path()), Some(&thor()), policy).expect("an audit")
}

type Seed = fn(&mut WheelFixture);

const ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;
const FAMILY_SPECIFIC: u64 = 0x20_0000;

const SEEDS: &[(Code, Seed)] = &[
    (Code::WrongMachine, |w| w.elf.machine = 62),
    (Code::CudaMajor, |w| w.elf.needed.push("libcudart.so.12")),
    (Code::CudaMajor, |w| w.elf.needed.push("libcublasLt-0a1b2c3d.so.12")),
    (Code::NoSass, |w| w.elf.device_code = container(&[entry(2, 90, 0)])),
    (Code::NoSass, |w| w.elf.device_code.extend(container(&[entry(2, 100, 0)]))),
    (Code::PtxOnly, |w| w.elf.device_code = container(&[entry(2, 80, 0), entry(1, 80, 0)])),
    (Code::OtherGpusOnly, |w| {
        w.elf.device_code =
            container(&[entry(2, 90, ARCHITECTURE_SPECIFIC), entry(2, 100, FAMILY_SPECIFIC)]);
    }),
    (Code::FloorExceeded, |w| {
        w.elf.undefined.push(("new", "CXXABI_1.3.16", "libstdc++.so.6"));
        retag(w, "linux_aarch64");
    }),
    (Code::FloorExceeded, |w| {
        w.elf.undefined.push(("newer", "GLIBC_2.40", "libc.so.6"));
        retag(w, "manylinux_2_40_aarch64");
    }),
    (Code::PrivateSymbol, |w| w.elf.undefined.push(("__x", "GLIBC_PRIVATE", "libc.so.6"))),
    (Code::ExecutableStack, |w| w.elf.executable_stack = true),
    (Code::TextRelocations, |w| w.elf.text_relocations = true),
    (Code::RunpathNotRelative, |w| w.elf.runpath = Some("$ORIGIN:/build/torch/lib")),
    (Code::RunpathNotRelative, |w| w.elf.runpath = Some("")),
    (Code::RecordHash, |w| w.edit_record = |r| r.replacen("sha256=", "sha256=x", 1)),
    (Code::RecordHash, |w| w.edit_record = |r| r.replacen("sha256=", "md5=", 1)),
    (Code::RecordSize, |w| w.edit_record = |r| r.replacen(",15\n", ",16\n", 1)),
    (Code::RecordMissing, |w| w.edit_record = |r| r.split_once('\n').expect("lines").1.to_owned()),
    (Code::RecordExtra, |w| w.edit_record = |r| format!("ghost.py,sha256=x,1\n{r}")),
    (Code::RecordMalformed, |w| w.edit_record = |r| r + "a line\n"),
    (Code::NameMismatch, |w| w.metadata = w.metadata.replace("Name: demo", "Name: other")),
    (Code::NameMismatch, |w| w.metadata = w.metadata.replace("Version: 1.0", "Version: 1.1")),
    (Code::NameMismatch, |w| w.extra.push(("x-1.dist-info/y".to_owned(), Vec::new()))),
    (Code::TagMismatch, |w| w.wheel = w.wheel.replace("Tag: cp311", "Tag: cp312")),
    (Code::TagMismatch, |w| w.elf_path = "demo/_C.cpython-313-aarch64-linux-gnu.so"),
    (Code::TagTooOld, |w| retag(w, "manylinux_2_28_aarch64")),
    (Code::TagTooOld, |w| retag(w, "manylinux2014_aarch64")),
    (Code::UnsafeMember, |w| w.extra.push(("../evil.py".to_owned(), Vec::new()))),
    (Code::UnsafeMember, |w| w.extra.push(("/etc/evil".to_owned(), Vec::new()))),
    (Code::MalformedElf, |w| {
        w.extra.push(("demo/broken.so".to_owned(), b"\x7fELF\x02\x01\x01".to_vec()))
    }),
    (Code::MalformedDeviceCode, |w| {
        let mut other = w.elf.clone();
        other.defined.clear();
        other.device_code[8] = 0xff;
        w.extra.push(("demo/other.so".to_owned(), other.build()));
    }),
    (Code::NoDeviceCode, |w| w.elf.device_code.clear()),
    (Code::CudaMajor, |w| require(w, "nvidia-cublas-cu12==12.8.4.1")),
    (Code::CudaMajor, |w| require(w, "torch==2.9.0+cu128; platform_machine == 'aarch64'")),
    (Code::NotAbi3, |w| {
        w.elf_path = "demo/_C.abi3.so";
        w.elf.unversioned = vec!["PyArg_ParseTuple", "_PyThreadState_UncheckedGet"];
    }),
    (Code::Secret, |w| w.elf.trailer = format!("\0AKIA{}\0", "Q7".repeat(8)).into_bytes()),
    (Code::MissingContractFile, |w| w.elf_path = "demo/sub/_C.cpython-311-aarch64-linux-gnu.so"),
];

/// Has the wheel require something.
fn require(fixture: &mut WheelFixture, requirement: &str) {
    let line = format!("Version: 1.0\nRequires-Dist: {requirement}\n");
    fixture.metadata = fixture.metadata.replace("Version: 1.0\n", &line);
}

/// Gives the wheel another platform tag, everywhere.
fn retag(fixture: &mut WheelFixture, platform: &str) {
    for text in [&mut fixture.file_name, &mut fixture.wheel] {
        *text = text.replace("manylinux_2_34_aarch64", platform);
    }
}

#[test]
fn a_good_wheel_passes() {
    let report = audited(&WheelFixture::default(), &policy());
    assert_eq!(report.violations, []);
    let file = &report.inspection.files[0];
    assert_eq!(file.elf.python_module.as_deref(), Some("_C"));
    assert_eq!(file.elf.soname.as_deref(), Some("_C.so"));
    assert_eq!(report.inspection.cuda_majors, [13]);
    let wheel = report.inspection.wheel.expect("a wheel");
    assert_eq!(wheel.fitting_platform.as_deref(), Some("manylinux_2_34_aarch64"));
    let code: Vec<(Kind, Sm, Variant, usize)> =
        file.device_code.iter().map(|c| (c.kind, c.arch.sm, c.arch.variant, c.count)).collect();
    assert_eq!(
        code,
        [(Kind::Sass, Sm(110), Variant::Plain, 1), (Kind::Ptx, Sm(110), Variant::Plain, 1)]
    );
}

#[test]
fn every_seeded_fault_is_found_by_its_name_and_nothing_else_is() {
    for (index, (code, seed)) in SEEDS.iter().enumerate() {
        let mut fixture = WheelFixture::default();
        seed(&mut fixture);
        let report = audited(&fixture, &policy());
        let found: BTreeSet<Code> = report.violations.iter().map(|v| v.code).collect();
        assert_eq!(found, BTreeSet::from([*code]), "seed {index}: {:#?}", report.violations);
    }
}

#[test]
fn an_exceeded_floor_names_the_symbol() {
    let mut fixture = WheelFixture::default();
    fixture.elf.undefined.push(("__isoc23_strtol", "GLIBC_2.40", "libc.so.6"));
    retag(&mut fixture, "manylinux_2_40_aarch64");
    let report = audited(&fixture, &policy());
    let message = &report.violations[0].message;
    assert!(message.contains("`__isoc23_strtol@GLIBC_2.40`"), "{message}");
    assert!(message.contains("`thor` has GLIBC_2.39"), "{message}");
}

#[test]
fn a_waiver_moves_a_violation_and_keeps_its_reason() {
    let mut fixture = WheelFixture::default();
    fixture.elf.device_code.extend(container(&[entry(2, 90, ARCHITECTURE_SPECIFIC)]));
    let waiver = |code: &str, file: &str| Waiver {
        code: code.to_owned(),
        file: file.to_owned(),
        reason: "Hopper kernels".to_owned(),
    };
    let with = |waivers| audited(&fixture, &Policy { waivers, ..policy() });
    let report = with(vec![waiver("other-gpus-only", "demo/_C*")]);
    assert_eq!(report.violations, []);
    assert_eq!(report.waived[0].reason, "Hopper kernels");
    assert_eq!(with(vec![waiver("other-gpus-only", "_C*")]).violations.len(), 1);
    assert_eq!(with(vec![waiver("no-sass", "**")]).violations.len(), 1);
}

#[test]
fn a_bare_shared_object_is_judged_alike() {
    let mut fixture = WheelFixture::default();
    fixture.elf.needed.push("libcudart.so.12");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("_C.so");
    fs_err::write(&path, fixture.elf.build()).expect("written");
    let report = audit(&path, Some(&thor()), &Policy::default()).expect("an audit");
    let codes: Vec<Code> = report.violations.iter().map(|v| v.code).collect();
    assert_eq!(codes, [Code::CudaMajor]);
}

#[test]
fn what_the_wheel_brings_along_is_not_asked_of_the_target() {
    let mut fixture = WheelFixture::default();
    fixture.elf.undefined.push(("new", "GLIBCXX_3.4.99", "libstdc++-0a1b2c3d.so.6"));
    let bundled = super::elf_fixture::ElfFixture {
        defined: vec!["new"],
        device_code: Vec::new(),
        ..fixture.elf.clone()
    };
    fixture.extra.push(("demo.libs/libstdc++-0a1b2c3d.so.6".to_owned(), bundled.build()));
    assert_eq!(audited(&fixture, &policy()).violations, []);
}

#[test]
fn a_wheel_that_was_renamed_is_noted() {
    let mut fixture = WheelFixture::default();
    fixture.wheel = fixture.wheel.replace("manylinux_2_34_aarch64", "linux_aarch64");
    let report = audited(&fixture, &policy());
    assert_eq!(report.violations, []);
    assert_eq!(report.notes.iter().map(|note| note.code).collect::<Vec<_>>(), [Code::TagMismatch]);
}

#[test]
fn paths_of_the_build_itself_are_a_violation_and_others_a_note() {
    let mut fixture = WheelFixture::default();
    fixture.elf.trailer = b"\0/home/someone/src/a.cc\0/data/store/builds/x/b.cc\0".to_vec();
    let folder = tempfile::tempdir().expect("a folder");
    let path = fixture.write(folder.path());
    let found = |folders: &[String]| {
        let inspection = inspect_for(&path, folders).expect("an inspection");
        let report = inspection.check(Some(&thor()), &policy()).expect("a report");
        (report.violations, report.notes)
    };
    let (violations, notes) = found(&["/data/store".to_owned()]);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].code, Code::BuildPath);
    assert!(violations[0].message.contains("`/data/store/builds/x/b.cc`"), "{violations:?}");
    assert!(notes[0].message.ends_with(": `/home/someone/src/a.cc`"), "{notes:?}");
    assert_eq!(found(&[]).0, []);
}

#[test]
fn a_private_key_is_a_secret_in_wheels_of_ones_own() {
    let mut fixture = WheelFixture::default();
    let key = format!("-----BEGIN PRIVATE {}-----\n{}\n", "KEY", "Ab1/".repeat(16));
    fixture.elf.trailer = key.into_bytes();
    let report = audited(&fixture, &policy());
    assert_eq!(report.violations, []);
    assert_eq!(report.notes[0].code, Code::Secret);
    let report = audited(&fixture, &Policy { own: true, ..policy() });
    assert_eq!(report.violations[0].code, Code::Secret);
    assert_eq!(report.notes, []);
}

#[test]
fn what_is_stable_later_than_the_tag_promises_is_noted() {
    let mut fixture = WheelFixture { elf_path: "demo/_C.abi3.so", ..WheelFixture::default() };
    for text in [&mut fixture.file_name, &mut fixture.wheel] {
        *text = text.replace("cp311-cp311", "cp38-abi3");
    }
    fixture.elf.unversioned = vec!["PyArg_ParseTuple", "PyObject_GetBuffer"];
    let report = audited(&fixture, &policy());
    assert_eq!(report.violations, []);
    assert_eq!(report.notes[0].code, Code::NotAbi3);
    assert!(report.notes[0].message.contains("from 3.11 on: `PyObject_GetBuffer`"));
}

#[test]
fn what_is_neither_wheel_nor_elf_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    fs_err::write(&path, "hello").expect("written");
    let error = audit(&path, None, &Policy::default()).expect_err("not auditable");
    assert!(error.to_string().contains("neither a wheel nor an ELF file"), "{error}");
}

#[test]
fn the_fitting_tags_come_from_the_contents() {
    let tags = |fixture: &WheelFixture| {
        audited(fixture, &policy()).inspection.fitting_tags().map(|tags| tags.to_string())
    };
    let mut fixture = WheelFixture::default();
    // As a backend tags it, which knows nothing of symbol versions.
    retag(&mut fixture, "linux_aarch64");
    assert_eq!(tags(&fixture).as_deref(), Some("cp311-cp311-manylinux_2_34_aarch64"));
    fixture.elf.needed.push("libnuma.so.1");
    assert_eq!(tags(&fixture).as_deref(), Some("cp311-cp311-linux_aarch64"));
    fixture.elf.defined.retain(|name| !name.starts_with("PyInit_"));
    assert_eq!(tags(&fixture).as_deref(), Some("py3-none-linux_aarch64"));
    let mut mixed = fixture.elf.clone();
    mixed.machine = 62;
    fixture.extra.push(("demo/x86.so".to_owned(), mixed.build()));
    assert_eq!(tags(&fixture), None);
}
