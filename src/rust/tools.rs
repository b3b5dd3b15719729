//! What a build's cargo and crates' build scripts call, beside the wrappers.

use std::path::Path;

use super::{RustError, RustTools};
use crate::Result;
use crate::context::Context;
use crate::exec::{View, capture};
use crate::python::programs::write_script;
use crate::toolchain::Toolchain;
use crate::wrapper::Installed;

/// The machine's interpreter that builds OpenSSL (its `INSTALL.md`, "Prerequisites"), for crates that
/// bring it along.
const PERL: &str = "perl";
/// The real cargo.
pub(super) const CARGO: &str = "cargo";
/// The machine's C compiler driver, which links what runs here.
pub(super) const BUILD_CC: &str = crate::wrapper::BUILD_CC;
/// The machine's C++ compiler driver.
pub(super) const BUILD_CXX: &str = "build-c++";

/// The build's Python under the target's name, by which maturin looks for it and asks for its version.
/// For another machine than this one it knows what such a Python is like, and runs none.
const TARGET_PYTHON: &str = "exec \"${0%/*}/../environment/bin/python3\" \"$@\"";

/// Places them in the folder of wrappers. Paths are given as this machine calls them.
pub fn install(
    context: &Context,
    rust: &RustTools,
    tools: &Installed,
    toolchain: &Toolchain,
    view: &View,
) -> Result<()> {
    let cc = find(context, &["cc", "gcc", "clang"]).ok_or(RustError::NoLinker)?;
    // Where there is none, what needs it says so.
    let cxx = find(context, &["c++", "g++", "clang++"]).unwrap_or_else(|| "c++".into());
    let perl = find(context, &[PERL]);
    let place = || {
        if let Some(perl) = &perl {
            fs_err::os::unix::fs::symlink(perl, tools.folder.join(PERL))?;
        }
        let link = tools.folder.join(CARGO);
        fs_err::os::unix::fs::symlink(view.inside(&rust.cargo()), link)?;
        for (name, program) in [(BUILD_CC, &cc), (BUILD_CXX, &cxx)] {
            write_script(&tools.folder.join(name), &of_machine(program))?;
        }
        let python = format!("python{}", toolchain.target_python.version);
        write_script(&tools.folder.join(python), TARGET_PYTHON)
    };
    place().map_err(RustError::Io)?;
    Ok(())
}

fn find(context: &Context, names: &[&str]) -> Option<std::path::PathBuf> {
    names.iter().find_map(|name| capture::find(&context.environment, name))
}

/// Runs a driver of the machine's, which looks for `as` and `ld` in `PATH`, where a build has the
/// target's.
fn of_machine(driver: &Path) -> String {
    let folder = driver.parent().unwrap_or(Path::new("/usr/bin")).display();
    let driver = driver.display();
    format!("PATH=\"{folder}:/usr/bin:/bin\" exec \"{driver}\" \"$@\"")
}
