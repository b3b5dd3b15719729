//! What a build's cargo and crates' build scripts call, beside the wrappers.

use std::path::{Path, PathBuf};

use super::{RustError, RustTools};
use crate::Result;
use crate::context::Context;
use crate::exec::{View, capture, sandbox};
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

/// The machine's drivers, as builds can start them.
#[derive(Debug)]
pub struct Drivers {
    cc: PathBuf,
    cxx: PathBuf,
}

impl Drivers {
    /// Those on the `PATH`.
    pub fn find(context: &Context) -> Result<Self> {
        let find = |names: [&str; 3]| {
            let found = names.iter().find_map(|name| capture::find(&context.environment, name));
            found.map(|driver| as_builds_see_it(&driver))
        };
        let cc = find(["cc", "gcc", "clang"]).ok_or(RustError::NoLinker)?;
        // Where there is none, what needs it says so.
        let cxx = find(["c++", "g++", "clang++"]).unwrap_or_else(|| "/usr/bin/c++".into());
        Ok(Self { cc, cxx })
    }

    /// Folders that builds have to be shown beside the system's: the drivers' installations, but
    /// never the home folder whole.
    pub fn installations(&self, context: &Context) -> Vec<PathBuf> {
        let home = context.environment.home().unwrap_or_default();
        let hidden = [&self.cc, &self.cxx].into_iter().filter(|driver| !sandbox::shows(driver));
        let mut folders: Vec<_> =
            hidden.filter_map(|driver| installation(driver, &home)).map(Path::to_owned).collect();
        folders.dedup();
        folders
    }
}

/// A driver by the name that it has in a folder of the system's, where links of the user's lead
/// there. It is not followed further: of some, such as ccache, the name tells what they are.
fn as_builds_see_it(driver: &Path) -> PathBuf {
    let next = |path: &PathBuf| Some(path.parent()?.join(fs_err::read_link(path).ok()?));
    let mut names: Vec<_> = std::iter::successors(Some(driver.to_owned()), next).collect();
    match names.iter().position(|path| sandbox::shows(path)) {
        Some(shown) => names.swap_remove(shown),
        None => names.pop().unwrap_or_default(),
    }
}

/// The folder that an installation has its `bin` in.
fn installation<'a>(driver: &'a Path, home: &Path) -> Option<&'a Path> {
    let bin = driver.parent()?;
    Some(bin.parent().filter(|prefix| !home.starts_with(prefix)).unwrap_or(bin))
}

/// Places them in the folder of wrappers. Paths are given as this machine calls them.
pub fn install(
    context: &Context,
    rust: &RustTools,
    drivers: &Drivers,
    tools: &Installed,
    toolchain: &Toolchain,
    view: &View,
) -> Result<()> {
    let perl = capture::find(&context.environment, PERL);
    let place = || {
        if let Some(perl) = &perl {
            fs_err::os::unix::fs::symlink(perl, tools.folder.join(PERL))?;
        }
        let link = tools.folder.join(CARGO);
        fs_err::os::unix::fs::symlink(view.inside(&rust.cargo()), link)?;
        for (name, program) in [(BUILD_CC, &drivers.cc), (BUILD_CXX, &drivers.cxx)] {
            write_script(&tools.folder.join(name), &of_machine(program))?;
        }
        let python = format!("python{}", toolchain.target_python.version);
        write_script(&tools.folder.join(python), TARGET_PYTHON)
    };
    place().map_err(RustError::Io)?;
    Ok(())
}

/// Runs a driver of the machine's, which looks for `as` and `ld` in `PATH`, where a build has the
/// target's.
fn of_machine(driver: &Path) -> String {
    let folder = driver.parent().unwrap_or(Path::new("/usr/bin")).display();
    let driver = driver.display();
    format!("PATH=\"{folder}:/usr/bin:/bin\" exec \"{driver}\" \"$@\"")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_of_the_users_is_followed_to_the_system() {
        let home = tempfile::tempdir().unwrap();
        let [link, real] = ["cc", "real"].map(|name| home.path().join(name));
        symlink("/usr/bin/cc", &link).unwrap();
        assert_eq!(as_builds_see_it(&link), Path::new("/usr/bin/cc"));
        fs_err::write(&real, "").unwrap();
        fs_err::remove_file(&link).unwrap();
        symlink("real", &link).unwrap();
        assert_eq!(as_builds_see_it(&link), real);
        assert_eq!(as_builds_see_it(Path::new("/usr/bin/cc")), Path::new("/usr/bin/cc"));
    }

    #[test]
    fn an_installation_is_shown_and_the_home_folder_is_not() {
        let home = Path::new("/home/u");
        let shown = |driver| installation(Path::new(driver), home).unwrap().to_str().unwrap();
        assert_eq!(shown("/home/u/conda/bin/gcc"), "/home/u/conda");
        assert_eq!(shown("/home/u/bin/gcc"), "/home/u/bin");
        assert_eq!(shown("/home/bin/gcc"), "/home/bin");
    }
}
