//! Pins, in every spelling and file: changed once is changed for good, and nothing else is.

use std::path::Path;

use crosswheel::pins::{Plan, Setting, TargetTorch, plan};
use crosswheel::python::requirements::markers;
use crosswheel::target::Arch;
use proptest::prelude::*;

/// A requirement on something, and whether it is looked at.
fn requirement() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["torch", "Torch", "torchvision", "torchaudio", "numpy"]);
    let extras = prop::sample::select(vec!["", "[opt]", " [a, b-c]"]);
    let clause = (
        prop::sample::select(vec!["==", "~=", ">=", "<=", "<", ">", "!="]),
        prop::sample::select(vec!["", " "]),
        "[0-3]\\.[0-9]{1,2}(\\.[0-9])?((a|rc)[0-9])?",
    );
    let clause = clause.prop_map(|(operator, gap, version)| format!("{operator}{gap}{version}"));
    let version = prop_oneof![
        4 => prop::collection::vec(clause, 1..4).prop_map(|clauses| clauses.join(",")),
        1 => Just(String::new()),
        1 => Just("@ https://files.example/torch-2.9.1.whl".to_owned()),
    ];
    let marker = prop::sample::select(vec![
        "",
        " ; python_version >= '3.8'",
        " ; platform_machine == 'x86_64'",
        " ; sys_platform == 'linux' or extra == 'x'",
    ]);
    (name, extras, "[ ]?", version, marker).prop_map(|(name, extras, gap, version, marker)| {
        format!("{name}{extras}{gap}{version}{marker}")
    })
}

fn torch() -> impl Strategy<Value = TargetTorch> {
    let versions =
        vec!["2.9.0a0+50eac811a6.nv25.09", "2.9.1", "2.14.0", "2.16.0.dev1+cu134", "2.11.0rc2"];
    prop::sample::select(versions).prop_map(|version| TargetTorch::new(version, "13.0").unwrap())
}

/// A file of such requirements, each on a line of its own.
fn file(kind: usize, requirements: &[String]) -> (&'static str, String) {
    let lines = |start: &str, end: &str| -> String {
        requirements.iter().map(|text| format!("{start}{text}{end}\n")).collect()
    };
    match kind {
        0 => ("requirements.txt", lines("", "  # why")),
        1 => (
            "pyproject.toml",
            format!("[project]\ndependencies = [\n{}]\n", lines("  \"", "\", # why")),
        ),
        2 => {
            ("setup.py", format!("setup(install_requires=[\n{}])\n", lines("    \"", "\",  # why")))
        }
        3 => ("setup.cfg", format!("[options]\ninstall_requires =\n{}", lines("    ", ""))),
        _ => ("PKG-INFO", format!("Name: x\n{}\ntext\n", lines("Requires-Dist: ", ""))),
    }
}

fn planned(tree: &Path, torch: &TargetTorch) -> Plan {
    let markers = markers(Arch::Aarch64, (3, 12)).unwrap();
    plan(tree, &Setting { torch, rules: &[], markers: &markers }).unwrap()
}

proptest! {
    #[test]
    fn applying_twice_is_the_same_as_once(
        kind in 0_usize..5, requirements in prop::collection::vec(requirement(), 1..6), torch in torch(),
    ) {
        let tree = tempfile::tempdir().unwrap();
        let (name, before) = file(kind, &requirements);
        fs_err::write(tree.path().join(name), &before).unwrap();
        let first = planned(tree.path(), &torch);
        let changes = first.changes();
        prop_assert_eq!(first.files.is_empty(), changes.is_empty());
        let Some(content) = first.files.get(Path::new(name)) else { return Ok(()) };
        let after = String::from_utf8(content.clone()).unwrap();
        fs_err::write(tree.path().join(name), &after).unwrap();
        let again = planned(tree.path(), &torch);
        prop_assert!(again.files.is_empty(), "{:?} {}", again.changes(), after);
        prop_assert_eq!(again.pins.len(), first.pins.len());
        // Line by line: what is told to change does, and all else stays byte for byte.
        let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
        prop_assert_eq!(old.len(), new.len());
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            match changes.iter().find(|pin| pin.line == index + 1) {
                Some(pin) => {
                    let expected = old.replacen(&pin.now, pin.then.as_deref().unwrap(), 1);
                    prop_assert_eq!(*new, expected);
                }
                None => prop_assert_eq!(old, new),
            }
        }
    }
}
