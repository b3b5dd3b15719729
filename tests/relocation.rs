//! Executables that run with the store's own libraries, and never with the machine's.

use std::path::{Path, PathBuf};

use crosswheel::toolchain::relocate::Relocation;
use serde_json::Value;

use crate::support::xtask::{Run, xtask};

/// Where the store keeps one of the toolchain's components.
fn component(toolchain: &Value, name: &str) -> PathBuf {
    let components = toolchain["components"].as_array().unwrap();
    let found = components.iter().find(|component| component["name"] == name).unwrap();
    let folder = format!("{name}-{}", &found["digest"].as_str().unwrap()[..16]);
    // The linker lies in a component's `usr/bin`.
    let beside = Path::new(toolchain["cc"].as_str().unwrap()).ancestors().nth(3).unwrap();
    beside.with_file_name(folder)
}

/// Compiles one file with the machine's own compiler.
fn compile(code: &str, output: &Path, options: &[&str]) {
    let source = output.with_extension("c");
    fs_err::create_dir_all(output.parent().unwrap()).unwrap();
    fs_err::write(&source, code).unwrap();
    let (source, output) = (source.to_str().unwrap(), output.to_str().unwrap());
    let words = [&["-o", output, source], options].concat();
    duct::cmd("cc", words).run().unwrap();
}

/// A library with a `DT_RUNPATH` is looked up for by that alone (ld.so(8)), so that what it needs
/// would have to be the machine's.
#[test]
fn a_library_finds_what_it_needs_beside_itself_whatever_its_run_path_says() {
    let toolchain = Run::of(&xtask(["toolchain", "show", "--target", "thor", "--format", "json"]));
    let toolchain = toolchain.json();
    let relocation = Relocation {
        patchelf: component(&toolchain, "patchelf").join("bin/patchelf"),
        runtime: component(&toolchain, "runtime"),
        build: serde_json::from_value(toolchain["build"].clone()).unwrap(),
    };
    let root = tempfile::tempdir().unwrap();
    let triple = relocation.build.gnu_triple();
    let [low, high] = ["lib", "usr/lib"].map(|folder| root.path().join(folder).join(triple));
    compile("int low(void) { return 3; }", &low.join("liblow.so"), &["-shared", "-fPIC"]);
    let (low_folder, high_folder) =
        (format!("-L{}", low.display()), format!("-L{}", high.display()));
    compile(
        "int low(void); int high(void) { return low(); }",
        &high.join("libhigh.so"),
        &[
            "-shared",
            "-fPIC",
            &low_folder,
            "-llow",
            "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../nowhere",
        ],
    );
    let program = root.path().join("usr/bin/program");
    let linked = format!("-Wl,-rpath-link,{}", low.display());
    compile(
        "int high(void); int main(void) { return high(); }",
        &program,
        &[&high_folder, "-lhigh", &linked],
    );
    let exit = || {
        let run = duct::cmd!(&program).full_env::<[(&str, &str); 0], _, _>([]).stderr_null();
        run.unchecked().run().unwrap().status.code()
    };
    assert_eq!(exit(), Some(127));
    relocation.apply(root.path(), root.path()).unwrap();
    assert_eq!(exit(), Some(3));
}
