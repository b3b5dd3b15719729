//! Whole packages, fresh machines and every target: what takes too long for each run of the tests.
//! `cargo xtask test --full` runs them too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crosswheel::environment::Environment;
use crosswheel::net::PROXY_VARIABLES;
use duct::{Expression, cmd};
use serde_json::Value;
use walkdir::WalkDir;

use crate::build::{assert_fits_thor, assert_fits_thor_as, audit, sass, strings};
use crate::prove::prove;
use crate::support::xtask::{Run, Workplace, XTASK, repository};

/// The upper bound of what a first build for Thor may download.
const FIRST_DOWNLOAD: f64 = 300e6;
/// And of all that a first run downloads, with Rust for the default set's own module.
const WITH_RUST: f64 = 430e6;

/// Variables that say how this machine reaches its registries, beside those of proxies: no build needs
/// another.
const NETWORK: [&str; 6] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "CROSSWHEEL_DEBIAN_MIRROR",
];

/// What a machine with Rust and a C linker has on its `PATH`, and nothing else.
const TOOLS: [&str; 7] = ["cc", "ld", "as", "ar", "sh", "git", "env"];

/// A machine that has nothing but Rust, a C linker and git: a home, a `PATH` and the network.
struct Machine {
    folder: tempfile::TempDir,
    variables: BTreeMap<OsString, OsString>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let environment = Environment::from_process();
        let path = |name: &str| folder.path().join(name);
        for name in ["bin", "home", "cargo"] {
            fs_err::create_dir(path(name)).unwrap();
        }
        let sysroot = PathBuf::from(cmd!("rustc", "--print", "sysroot").read().unwrap());
        for tool in ["cargo", "rustc"] {
            symlink(sysroot.join("bin").join(tool), path("bin").join(tool)).unwrap();
        }
        for tool in TOOLS {
            let real = cmd!("sh", "-c", format!("command -v {tool}")).read().unwrap();
            symlink(real, path("bin").join(tool)).unwrap();
        }
        let cargo_home =
            environment.path("CARGO_HOME").or_else(|| Some(environment.home()?.join(".cargo")));
        let config = cargo_home.map(|home| home.join("config.toml")).filter(|file| file.is_file());
        if let Some(config) = config {
            fs_err::copy(config, path("cargo/config.toml")).unwrap();
        }
        let network = NETWORK.iter().chain(&PROXY_VARIABLES);
        let network = network.filter_map(|name| Some((*name, environment.get(name)?)));
        let mut variables: BTreeMap<OsString, OsString> =
            network.map(|(name, value)| (name.into(), value.to_owned())).collect();
        variables.insert("HOME".into(), path("home").into());
        variables.insert("CARGO_HOME".into(), path("cargo").into());
        variables.insert("PATH".into(), path("bin").into());
        Self { folder, variables }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that sees this machine alone, as `env -i` gives it.
    fn run(&self, program: impl Into<PathBuf>, args: &[OsString], dir: &Path) -> Expression {
        cmd(program.into(), args).full_env(&self.variables).dir(dir)
    }
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

/// Bytes in a line such as `downloaded 248.33 MiB in all`.
#[track_caller]
fn downloaded(stderr: &str) -> f64 {
    let (_, rest) = stderr.rsplit_once("downloaded ").expect(stderr);
    let mut words = rest.split_ascii_whitespace();
    let number: f64 = words.next().unwrap().parse().unwrap();
    let unit = match words.next().unwrap() {
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "KiB" => 1024.0,
        unit => panic!("{unit}"),
    };
    number * unit
}

/// The one wheel in a folder.
#[track_caller]
fn only_wheel(dist: &Path) -> PathBuf {
    let files = fs_err::read_dir(dist).unwrap().map(|entry| entry.unwrap().path());
    let wheels: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "whl")).collect();
    assert_eq!(wheels.len(), 1, "{wheels:?}");
    wheels[0].clone()
}

#[track_caller]
fn assert_is_causal_conv1d(wheel: &Path, python: &str) {
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let start = format!("causal_conv1d-1.7.0+cu130.torch2.14.thor-{python}-{python}-manylinux_2_");
    assert!(name.starts_with(&start) && name.ends_with("_aarch64.whl"), "{name}");
    assert_fits_thor(wheel);
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn a_fresh_clone_builds_its_wheels_with_rust_and_a_linker_alone() {
    let machine = Machine::new();
    let clone = machine.path("clone");
    let args = [words(["clone", "--quiet"]), vec![repository().into(), clone.clone().into()]];
    cmd("git", args.concat()).run().unwrap();
    let cargo = machine.path("bin/cargo");
    let build = |more: &[&str]| {
        let words = words(["xtask", "build-wheels"].into_iter().chain(more.iter().copied()));
        let run = Run::of(&machine.run(&cargo, &words, &clone));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        downloaded(&run.stderr)
    };
    let bytes = build(&["causal-conv1d==1.7.0"]);
    assert_is_causal_conv1d(&only_wheel(&clone.join("dist")), "cp311");
    assert!(bytes < FIRST_DOWNLOAD, "{bytes} bytes");
    // The default set has it too, and finds it there.
    let bytes = bytes + build(&[]);
    assert!(bytes < WITH_RUST, "{bytes} bytes");
    let names: Vec<_> = fs_err::read_dir(clone.join("dist"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".whl"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let native = names.iter().find(|name| name.starts_with("crosswheel_native-")).expect("native");
    // It looks for the driver when it is imported, and has the runtime in it.
    assert_fits_thor_as(&clone.join("dist").join(native), &["libc.so.6"]);
    // Nothing but what the machine's owner asked for is in the home folder.
    let home: Vec<_> =
        fs_err::read_dir(machine.path("home")).unwrap().map(Result::unwrap).collect();
    let names: Vec<_> = home.iter().map(fs_err::DirEntry::file_name).collect();
    assert_eq!(names, [".cache"]);
}

/// Puts a copy of the project's data, and of the executable, where any user may read it.
fn install_for_anyone(machine: &Machine) {
    let project = machine.path("project");
    fs_err::create_dir(&project).unwrap();
    fs_err::copy(repository().join("crosswheel.toml"), project.join("crosswheel.toml")).unwrap();
    for folder in ["native", "toolchains", "tests/fixtures/saxpy"] {
        for entry in WalkDir::new(repository().join(folder)) {
            let entry = entry.unwrap();
            let to = project.join(entry.path().strip_prefix(repository()).unwrap());
            if entry.file_type().is_dir() {
                fs_err::create_dir_all(to).unwrap();
            } else {
                fs_err::copy(entry.path(), to).unwrap();
            }
        }
    }
    fs_err::copy(XTASK, machine.path("bin/xtask")).unwrap();
    // The user's own: the store and the wheels. The home folder is nobody's to write.
    fs_err::create_dir(machine.path("own")).unwrap();
    fs_err::set_permissions(machine.path("own"), PermissionsExt::from_mode(0o777)).unwrap();
    fs_err::set_permissions(machine.path("home"), PermissionsExt::from_mode(0o555)).unwrap();
}

/// Runs a script that ends in `exec "$@"`, and that the command below replaces, as a user without
/// any rights. Where the tests run as such a user already, as that one.
fn as_nobody(machine: &Machine, script: &str, request: &str, out: &str) -> Run {
    let mut args = Vec::new();
    if nix::unistd::geteuid().is_root() {
        args.extend(words(["runuser", "-u", "nobody", "--"]));
    }
    args.extend(words(["/bin/sh", "-c", script, "sh", "/usr/bin/env"]));
    let mut path = OsString::from("PATH=");
    path.push(machine.path("bin"));
    // Each build is to compile for itself.
    args.extend([path, "CROSSWHEEL_CACHE=off".into(), machine.path("bin/xtask").into()]);
    args.extend(words(["build-wheels", request, "--format", "json", "--project"]));
    args.push(machine.path("project").into());
    args.extend(["--store".into(), machine.path("own/store").into()]);
    args.extend(["--out".into(), machine.path("own").join(out).into()]);
    // What takes rights away is no part of the machine.
    args.insert(0, "PATH=/usr/sbin:/usr/bin:/sbin:/bin".into());
    Run::of(&machine.run("/usr/bin/env", &args, &machine.path("project")))
}

/// Allows one more user namespace and takes it: what runs in it is not root and can have no other.
const WITHOUT_NAMESPACES: &str = r#"
exec unshare --user --map-root-user /bin/sh -c '
    echo 1 > /proc/sys/user/max_user_namespaces &&
    exec unshare --user --map-user=1000 --map-group=1000 "$@"' sh "$@"
"#;

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn a_user_without_rights_builds_with_and_without_namespaces() {
    let machine = Machine::new();
    install_for_anyone(&machine);
    let plain = r#"exec "$@""#;
    let product = as_nobody(&machine, plain, "causal-conv1d==1.7.0", "whole").product();
    assert_is_causal_conv1d(Path::new(product["wheel"].as_str().unwrap()), "cp311");

    let saxpy = "tests/fixtures/saxpy";
    let with = as_nobody(&machine, plain, saxpy, "with").product();
    fs_err::remove_dir_all(machine.path("own/store/builds")).unwrap();
    let without = as_nobody(&machine, WITHOUT_NAMESPACES, saxpy, "without").product();
    assert_eq!(with["sha256"], without["sha256"]);
    let isolation = |product: &Value| {
        let text = fs_err::read_to_string(product["manifest"].as_str().unwrap()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["isolation"].clone()
    };
    assert_eq!(isolation(&with)["namespaces"]["network"], true, "{}", isolation(&with));
    assert!(isolation(&without)["none"]["reason"].is_string(), "{}", isolation(&without));
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn another_python_has_its_own_wheel() {
    let workplace = Workplace::new("python");
    let build = workplace.build(Path::new("causal-conv1d==1.7.0"), "dist", &["--python", "3.13"]);
    let product = Run::of(&build).product();
    assert_is_causal_conv1d(Path::new(product["wheel"].as_str().unwrap()), "cp313");
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn stubs_link_as_the_real_libraries_do() {
    let workplace = Workplace::new("full-torch");
    let source = workplace.saxpy("saxpy");
    let stubs = Run::of(&workplace.build(&source, "stubs", &[])).product();
    let real = Run::of(&workplace.build(&source, "real", &["--full-torch"])).product();
    assert_eq!(stubs["sha256"], real["sha256"]);
    assert_ne!(stubs["inputs"], real["inputs"]);
    assert_eq!(real["up_to_date"], false);
}

/// The GPUs that a build of `saxpy` for a target has code for.
fn built_for(target: &str) -> (Value, Vec<String>) {
    let workplace = Workplace::new(target);
    let source = workplace.saxpy("saxpy");
    let build = workplace.build(&source, "dist", &["--target", target]);
    let product = Run::of(&build).product();
    let report = audit(Path::new(product["wheel"].as_str().unwrap()), target);
    assert_eq!(report["files"].as_array().unwrap().len(), 1);
    let sass = sass(&report["files"][0]);
    (report, sass)
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn servers_and_spark_get_code_for_each_of_their_gpus() {
    let (report, found) = built_for("sbsa");
    assert_eq!(found, ["sm_100", "sm_103", "sm_90"]);
    assert!(!strings(&report["fits_targets"]).contains(&"thor"));
    let (_, found) = built_for("spark");
    assert_eq!(found, ["sm_121"]);
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn a_machine_at_hand_is_a_target_like_any_other() {
    let (report, found) = built_for("x86_64-cuda13");
    assert_eq!(found, ["sm_90"]);
    // EM_X86_64 (System V ABI, AMD64 supplement).
    assert_eq!(report["files"][0]["machine"], 62);
    assert!(strings(&report["files"][0]["needed"]).contains(&"libcudart.so.13"));
}

#[test]
#[ignore = "builds whole packages: cargo xtask test --full"]
fn an_operator_is_registered_with_the_real_torch() {
    let workplace = Workplace::new("prove-torch");
    let source = workplace.saxpy("saxpy");
    let product = Run::of(&workplace.build(&source, "dist", &["--python", "3.11"])).product();
    let wheel = Path::new(product["wheel"].as_str().unwrap());
    let (code, proof) = prove(wheel, &[]);
    assert_eq!(code, Some(0), "{proof}");
    assert_eq!(proof["torch"]["version"], "2.14.0+cu130");
    let modules = proof["modules"].as_array().unwrap();
    let names: Vec<_> = modules.iter().map(|module| module["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crosswheel_saxpy", "crosswheel_saxpy._C"]);
    assert!(modules.iter().all(|module| module["status"] == "imported"), "{proof}");
    let schema = "crosswheel_saxpy::saxpy(float a, Tensor x, Tensor y) -> Tensor";
    assert_eq!(proof["operators"][0]["schema"], schema);
    let requirements = proof["requirements"].as_array().unwrap();
    assert!(requirements.iter().any(|wheel| wheel["name"] == "torch"), "{proof}");
}
