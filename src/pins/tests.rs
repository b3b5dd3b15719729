use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::wheel::decided;
use super::*;
use crate::error::{Class, Diagnose as _};
use crate::python::requirements::markers;
use crate::target::Arch;

const VENDOR: &str = "2.9.0a0+50eac811a6.nv25.09";

fn rules(texts: &[&str]) -> Vec<PinRule> {
    texts.iter().map(|text| PinRule::parse(text).unwrap()).collect()
}

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = tree.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    tree
}

fn planned(tree: &Path, torch: &str, rules: &[PinRule]) -> Result<Plan, PinError> {
    let torch = TargetTorch::new(torch, "13.0").unwrap();
    let markers = markers(Arch::Aarch64, (3, 12)).unwrap();
    plan(tree, &Setting { torch: &torch, rules, markers: &markers })
}

/// What each file becomes, those that stay left out.
fn changed(files: &[(&str, &str)], torch: &str, asked: &[&str]) -> BTreeMap<PathBuf, String> {
    let plan = planned(tree(files).path(), torch, &rules(asked)).unwrap();
    let text = |(path, content)| (path, String::from_utf8(content).unwrap());
    plan.files.into_iter().map(text).collect()
}

#[track_caller]
fn becomes(file: &str, before: &str, torch: &str, asked: &[&str], after: &str) {
    let changed = changed(&[(file, before)], torch, asked);
    let found = changed.get(Path::new(file)).map_or(before, String::as_str);
    assert_eq!(found, after);
}

#[test]
fn a_pyproject_keeps_its_format() {
    let before = "# head\r\n[build-system]\r\nrequires = [\r\n  'torch == 2.9.1', # why\r\n  \"wheel\",\r\n]\r\n\
                  [project]\r\ndependencies = [\"torch~=2.9.1; python_version > \\\"3\\\"\", 'torchvision==0.24.1']\r\n";
    let after = before
        .replace("torch == 2.9.1", "torch == 2.14.0")
        .replace("torch~=2.9.1", "torch>=2.14,<2.15")
        .replace("torchvision==0.24.1", "torchvision>=0.29,<0.30");
    becomes("pyproject.toml", before, "2.14.0", &[], &after);
}

#[test]
fn every_spelling_is_rewritten_for_a_vendor_torch() {
    for (now, then) in [
        ("torch==2.9.1", "torch>=2.9.0a0,<2.10"),
        ("torch == 2.9.1", "torch >= 2.9.0a0, < 2.10"),
        ("torch~=2.9", "torch>=2.9.0a0,<2.10"),
        ("torch>=2.7,<2.8", "torch>=2.9.0a0,<2.10"),
        ("torch===2.9.0", "torch>=2.9.0a0,<2.10"),
        (
            "torch[opt]==2.9.*; sys_platform == 'linux'",
            "torch[opt]>=2.9.0a0,<2.10; sys_platform == 'linux'",
        ),
        ("torch @ https://x.example/torch-2.9.1.whl", "torch>=2.9.0a0,<2.10"),
        ("torchvision==0.24.1", "torchvision>=0.24.0a0,<0.25"),
        ("torchaudio==2.9.1", "torchaudio>=2.9.0a0,<2.10"),
    ] {
        becomes("requirements.txt", now, VENDOR, &[], then);
    }
}

#[test]
fn what_is_right_or_not_for_the_target_is_left_alone() {
    for (file, text) in [
        (
            "requirements.txt",
            "torch==2.14.0\ntorch>=2.4\ntorchvision==0.29.0\ntorchvision>=0.29.1\nnumpy==1\n",
        ),
        ("requirements.txt", "torch==2.9.1; platform_machine == 'x86_64'\ntorch\n"),
        ("requirements.txt", "torch==2.9.1+cpu\ntorchvision==0.24.1\n"),
        ("requirements.txt", "torch==2.9.1+cu128\n"),
        ("requirements/rocm.txt", "torch==2.9.1\n"),
        ("PKG-INFO", "Name: x\nRequires-Dist: torch==2.9.1+cu128; extra == 'cu12'\n"),
        ("setup.py", "x = \"torch==2.9.1 is needed\"\ny = f'torch=={version}'\n"),
        ("docs/torch.txt", "torch==2.9.1\n"),
    ] {
        becomes(file, text, "2.14.0", &[], text);
    }
}

#[test]
fn requirements_files_are_followed_and_hashes_of_other_files_go() {
    let files = [
        ("setup.py", "requires = read('deps/main.in')"),
        (
            "deps/main.in",
            "-r ../base.lock\ntorch==2.9.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb  # two\nnumpy==1 --hash=sha256:cc\n",
        ),
        (
            "base.lock",
            "torchvision \\\n  ==0.24.1\n-r /etc/passwd\n-r ../../outside.txt\n-r deps/main.in\n",
        ),
    ];
    let changed = changed(&files, "2.14.0", &[]);
    assert_eq!(
        changed[Path::new("deps/main.in")],
        "-r ../base.lock\ntorch>=2.14,<2.15  # two\nnumpy==1 --hash=sha256:cc\n"
    );
    assert!(changed[Path::new("base.lock")].starts_with("torchvision   >=0.29,<0.30\n"));
}

#[test]
fn setup_cfg_scripts_and_cmake_are_rewritten() {
    becomes(
        "setup.cfg",
        "[options]\ninstall_requires =\n    numpy\n    torch==2.9.1 ; python_version > '3'\nsetup_requires = wheel; torch == 2.9.1\n",
        "2.14.0",
        &[],
        "[options]\ninstall_requires =\n    numpy\n    torch>=2.14,<2.15 ; python_version > '3'\nsetup_requires = wheel; torch == 2.14.0\n",
    );
    becomes(
        "setup.py",
        "setup(install_requires=['torch==2.9.1', \"numpy\"])  # torch==2.9.1\n",
        "2.14.0",
        &[],
        "setup(install_requires=['torch>=2.14,<2.15', \"numpy\"])  # torch==2.9.1\n",
    );
    becomes(
        "CMakeLists.txt",
        "find_package(Torch 2.9.1 EXACT)\nfind_package(Torch 2.0 REQUIRED)\n",
        VENDOR,
        &[],
        "find_package(Torch 2.9.0 EXACT)\nfind_package(Torch 2.0 REQUIRED)\n",
    );
}

#[test]
fn what_was_asked_for_wins() {
    let before = "[project]\ndependencies = [\n  \"numpy\",\n  \"torch==2.9.1\", # pinned\n  \"triton==3.5\",\n]\n";
    let with = |now: &str, then: &str| before.replace(now, then);
    let ask = |asked: &str, after: &str| becomes("pyproject.toml", before, VENDOR, &[asked], after);
    ask("torch=target", &with("torch==2.9.1", "torch==2.9.0a0+50eac811a6.nv25.9"));
    ask("torch=>=2.9.0a0", &with("torch==2.9.1", "torch>=2.9.0a0"));
    ask("torch=drop", &with("  \"torch==2.9.1\", # pinned\n", ""));
    let relaxed = with("torch==2.9.1", "torch>=2.9.0a0,<2.10");
    ask("torch=compatible", &relaxed);
    ask("triton=>=3", &relaxed.replace("triton==3.5", "triton>=3"));
    ask("numpy=drop", &relaxed.replace("  \"numpy\",\n", ""));
    ask("numpy=<2", &relaxed.replace("\"numpy\"", "\"numpy<2\""));
}

#[test]
fn what_cannot_be_satisfied_is_refused_with_its_lines() {
    let refused = |files: &[(&str, &str)], torch: &str, asked: &[&str]| {
        planned(tree(files).path(), torch, &rules(asked)).unwrap_err()
    };
    let cuda = [("pyproject.toml", "[project]\ndependencies = ['torch==2.9.1+cu128']\n")];
    let error = refused(&cuda, "2.14.0", &[]);
    assert_eq!(
        error.to_string(),
        "pins that the target does not satisfy cannot be relaxed\n  \
         | pyproject.toml:2: `torch==2.9.1+cu128`: it is for CUDA 12, and the target's torch 2.14.0 has 13.0"
    );
    assert_eq!(error.class(), Class::Torch);
    assert!(planned(tree(&cuda).path(), "2.14.0", &rules(&["torch=compatible"])).is_ok());
    let stable = [("setup.py", "flags = ['-DTORCH_TARGET_VERSION=0x020b000000000000']")];
    assert!(refused(&stable, "2.10.0", &[]).to_string().contains("setup.py:1"));
    let error = refused(&[("setup.py", "x = ['torch==1']")], VENDOR, &["torch=>=2.10"]);
    assert!(error.to_string().contains("`>=2.10` was asked for"), "{error}");
    let error = refused(&[("setup.py", "x = 'torch==1'\n")], VENDOR, &["torch=drop"]);
    assert!(matches!(error, PinError::NoItem { line: 1, .. }), "{error}");
    let error = refused(&[("setup.py", "")], VENDOR, &["numpy=drop"]);
    assert!(matches!(error, PinError::Unmatched { .. }), "{error}");
}

#[test]
fn literals_match_as_often_as_the_recipe_says() {
    let literal = |pattern: &str, matches| PinRule {
        name: "torch".parse().unwrap(),
        policy: None,
        literals: vec![LiteralRule {
            file: "CMakeLists.txt".to_owned(),
            pattern: pattern.to_owned(),
            matches,
        }],
    };
    let text = "set(TORCH_CUDA \"2.9.1\")\nset(TORCH_ROCM \"2.9.1\")\n# torch==2.9.1\n";
    let tree = tree(&[("CMakeLists.txt", text)]);
    let apply = |pattern: &str, matches| {
        let plan = planned(tree.path(), "2.14.0", &[literal(pattern, matches)])?;
        Ok(String::from_utf8(plan.files[Path::new("CMakeLists.txt")].clone()).unwrap())
    };
    let version = r#"TORCH_CUDA "(?<version>[^"]+)""#;
    assert_eq!(apply(version, 1).unwrap(), text.replacen("2.9.1", "2.14.0", 1));
    let requirement = "# (?<requirement>torch.*)";
    let expected = text.replace("torch==2.9.1", "torch>=2.14,<2.15");
    assert_eq!(apply(requirement, 1).unwrap(), expected);
    let error: PinError = apply(r#"TORCH_\w+ "(?<version>[^"]+)""#, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pattern for `torch` matches 2 times in `CMakeLists.txt`, and 1 are expected\n  \
         | CMakeLists.txt:1: set(TORCH_CUDA \"2.9.1\")\n  | CMakeLists.txt:2: set(TORCH_ROCM \"2.9.1\")"
    );
    assert!(matches!(apply("nothing (?<version>x)", 1), Err(PinError::Matches { .. })));
    assert!(matches!(apply(r"set\((?<version>\w+)", 2), Err(PinError::Literal { line: 1, .. })));
}

#[test]
fn a_link_out_of_the_tree_is_not_followed() {
    let outside = tree(&[("requirements.txt", "torch==2.9.1\n")]);
    let tree = tree(&[("setup.py", "")]);
    let link = tree.path().join("requirements.txt");
    std::os::unix::fs::symlink(outside.path().join("requirements.txt"), link).unwrap();
    assert_eq!(planned(tree.path(), "2.14.0", &[]).unwrap(), Plan::default());
}

/// What a wheel's requirements become.
fn wheel(requires: &str, torch: &str, abi: Abi, earlier: &[Pin]) -> Result<String, PinError> {
    let torch = TargetTorch::new(torch, "13.0").unwrap();
    let markers = markers(Arch::Aarch64, (3, 12)).unwrap();
    let setting = Setting { torch: &torch, rules: &[], markers: &markers };
    let metadata =
        format!("Name: x\nRequires-Dist: {requires}\nVersion: 1\n\nRequires-Dist: torch==1\n");
    let (changed, pins) = decided(metadata.as_bytes(), &setting, &Moment::Wheel(abi), earlier)?;
    let changed = String::from_utf8(changed).unwrap();
    assert_eq!(pins.is_empty(), changed == metadata);
    let (field, rest) = changed.split_once("\nVersion").unwrap();
    assert_eq!(rest, ": 1\n\nRequires-Dist: torch==1\n");
    Ok(field.strip_prefix("Name: x\nRequires-Dist: ").unwrap_or_default().to_owned())
}

#[test]
fn a_wheel_requires_what_its_abi_needs() {
    let stable = || Abi::Stable("2.11".parse().unwrap(), "of a test");
    for (requires, torch, abi, expected) in [
        ("torch==2.9.1", "2.14.0", Abi::Minor, "torch>=2.14,<2.15"),
        ("torch", "2.14.0", Abi::Minor, "torch>=2.14,<2.15"),
        ("torch (>=2.4)", "2.14.0", Abi::Minor, "torch (>=2.14,<2.15)"),
        ("torch==2.14.0", "2.14.0", Abi::Minor, "torch==2.14.0"),
        ("torch~=2.14.0", "2.14.0", Abi::Minor, "torch~=2.14.0"),
        ("torch==2.9.*", VENDOR, Abi::Minor, "torch>=2.9.0a0,<2.10"),
        (
            "torch==2.9.0; extra == 'gpu'",
            VENDOR,
            Abi::Minor,
            "torch>=2.9.0a0,<2.10; extra == 'gpu'",
        ),
        ("torch==2.9.1", "2.14.0", stable(), "torch>=2.11"),
        ("torch", "2.14.0", stable(), "torch>=2.11"),
        ("torch>=2.11,<3", "2.14.0", stable(), "torch>=2.11,<3"),
        ("torch==2.11.1", "2.11.0a0+c0ffee.nv26.02", stable(), "torch>=2.11.0a0"),
        ("torch==2.9.1", "2.16.0.dev20261009+cu134", Abi::Minor, "torch>=2.16.0.dev0,<2.17"),
        ("torch>=2.4", "2.14.0", Abi::Unbound, "torch>=2.4"),
        ("torch<2.10", "2.14.0", Abi::Unbound, "torch>=2.14"),
        (
            "torch==2.9.1; sys_platform == 'win32'",
            "2.14.0",
            Abi::Minor,
            "torch==2.9.1; sys_platform == 'win32'",
        ),
        (
            "torch==2.12.0+cu126; extra == 'cu12'",
            "2.14.0",
            Abi::Minor,
            "torch==2.12.0+cu126; extra == 'cu12'",
        ),
        ("torchvision==0.24.1", "2.9.0", Abi::Minor, "torchvision>=0.24,<0.25"),
        ("torchvision", "2.9.0", Abi::Minor, "torchvision"),
    ] {
        assert_eq!(wheel(requires, torch, abi, &[]).unwrap(), expected, "{requires} {torch}");
    }
    let error = wheel("torch", "2.10.0", stable(), &[]).unwrap_err();
    assert!(error.to_string().contains("torch 2.11"), "{error}");
    assert!(wheel("torch==2.9.1+cu128", "2.14.0", Abi::Minor, &[]).is_err());
}

#[test]
fn what_the_source_was_changed_to_is_decided_anew_by_what_was_built() {
    let earlier = Pin {
        file: "setup.py".to_owned(),
        line: 1,
        name: "torch".to_owned(),
        now: "torch==2.9.1".to_owned(),
        then: Some("torch>=2.14,<2.15".to_owned()),
        why: String::new(),
    };
    let stable = Abi::Stable("2.11".parse().unwrap(), "of a test");
    let earlier = [earlier];
    // As setuptools writes it.
    let written = "torch<2.15,>=2.14";
    assert_eq!(wheel(written, "2.14.0", stable.clone(), &earlier).unwrap(), "torch>=2.11");
    assert_eq!(wheel(written, "2.14.0", stable, &[]).unwrap(), written);
    assert_eq!(wheel(written, "2.14.0", Abi::Minor, &earlier).unwrap(), written);
}

#[test]
fn every_requirement_that_is_written_is_satisfied_by_the_very_torch() {
    for torch in [
        "2.9.0",
        "2.9.1",
        VENDOR,
        "2.11.0a0+c0ffee.nv26.02",
        "2.16.0.dev20261009+cu134",
        "2.14.0rc1",
        "2.14.0.post1",
        "2.10.1a0+x",
        "3.0.0",
    ] {
        let version: pep440_rs::Version = torch.parse().unwrap();
        let stable = |text: &str| Abi::Stable(text.parse().unwrap(), "");
        for abi in [Abi::Minor, stable("2.9"), stable("2.0"), Abi::Unbound] {
            let written = wheel("torch==1.0", torch, abi, &[]).unwrap();
            let parsed = crate::python::pep508::parse(&written).unwrap();
            let Some(pep508_rs::VersionOrUrl::VersionSpecifier(specifiers)) = parsed.version_or_url
            else {
                panic!("{written}")
            };
            assert!(policy::admits(&specifiers, &version), "{written} {torch}");
        }
    }
}
