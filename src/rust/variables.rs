//! The variables by which cargo, rustc and crates' build scripts compile for the target.

use std::ffi::OsString;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::tools::{BUILD_CC, BUILD_CXX, CARGO};
use crate::configure::BuildFolder;
use crate::exec::View;
use crate::target::Arch;
use crate::toolchain::Toolchain;
use crate::wrapper::Installed;

/// The variables, in the order in which the manifest lists them. Paths are given as this machine
/// calls them.
pub fn variables(
    folder: &BuildFolder,
    tools: &Installed,
    toolchain: &Toolchain,
    view: &View,
) -> IndexMap<String, OsString> {
    let folder = BuildFolder::new(view.inside(folder.root()));
    let tools = tools.renamed(|path| view.inside(path));
    let toolchain = toolchain.renamed(|path| view.inside(path));
    let target = &toolchain.target;
    let triple = target.arch.rust_triple();
    let gnu = target.arch.gnu_triple();
    let of_target = triple.replace('-', "_");
    let mut variables = IndexMap::new();
    let mut set = |name: &str, value: OsString| variables.insert(name.to_owned(), value);
    let text = |value: &str| OsString::from(value);
    let tool = |name: &str| tools.folder.join(format!("{gnu}-{name}")).into_os_string();

    set("CARGO_HOME", folder.cargo_home().into());
    set("CARGO_TARGET_DIR", folder.cargo_target().into());
    set("CARGO_BUILD_TARGET", text(triple));
    set("CARGO_NET_OFFLINE", text("true"));
    // What is compiled for a wheel is compiled once.
    set("CARGO_INCREMENTAL", text("0"));
    set("CARGO_TERM_COLOR", text("never"));
    set("CARGO", tools.folder.join(CARGO).into());
    set("RUSTC", tools.folder.join("rustc").into());

    // The `cc` crate, for the target and for what runs here.
    for (name, program) in [("CC", "gcc"), ("CXX", "g++"), ("AR", "ar"), ("RANLIB", "ranlib")] {
        set(&format!("{name}_{of_target}"), tool(program));
    }
    set(&format!("NVCC_{of_target}"), tools.cuda.join("bin/nvcc").into());
    if target.arch != toolchain.build {
        for (name, program) in [("CC", BUILD_CC), ("CXX", BUILD_CXX)] {
            set(&of_build(name, toolchain.build), tools.folder.join(program).into());
        }
        // It keeps whatever machine's objects.
        set(&of_build("AR", toolchain.build), tool("ar"));
    }
    // The `cmake` crate.
    set(&format!("CMAKE_TOOLCHAIN_FILE_{of_target}"), folder.toolchain_file().into());
    // The `pkg-config` crate, and pkg-config itself.
    let libraries = toolchain.sysroot.join("usr/lib").join(gnu).join("pkgconfig");
    let shared = toolchain.sysroot.join("usr/share/pkgconfig");
    set("PKG_CONFIG_ALLOW_CROSS", text("1"));
    set("PKG_CONFIG_LIBDIR", join(&[libraries, shared]));
    set("PKG_CONFIG_SYSROOT_DIR", toolchain.sysroot.clone().into());
    // bindgen, where there is a libclang.
    let sysroot = toolchain.sysroot.display();
    let clang = format!("--target={gnu} --sysroot={sysroot}");
    set(&format!("BINDGEN_EXTRA_CLANG_ARGS_{of_target}"), clang.into());

    set("PYO3_CROSS", text("1"));
    set("PYO3_CROSS_PYTHON_VERSION", text(&toolchain.target_python.version));
    // The audit is crosswheel's own. The interpreter is the target's, by its name.
    let python = &toolchain.target_python.version;
    let maturin =
        format!("--auditwheel skip --offline --target {triple} --interpreter python{python}");
    set("MATURIN_PEP517_ARGS", maturin.into());
    set("MATURIN_NO_INSTALL_RUST", text("1"));
    variables
}

fn of_build(name: &str, build: Arch) -> String {
    format!("{name}_{}", build.rust_triple().replace('-', "_"))
}

fn join(paths: &[PathBuf]) -> OsString {
    let paths: Vec<_> = paths.iter().map(|path| path.as_os_str()).collect();
    paths.join(std::ffi::OsStr::new(":"))
}
