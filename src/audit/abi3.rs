//! Python's stable ABI: what an `abi3` module may use.
//!
//! Source: CPython's `Misc/stable_abi.toml` up to 3.15, as the project abi3info 2026.9.25 has it;
//! `abi3.txt` has a line for each function and variable, with the minor version that added it.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::report::{Code, FileFacts, Inspection, Violation};

static STABLE: LazyLock<HashMap<&str, u32>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let (minor, name) = line.split_once(' ')?;
        Some((name, minor.parse().ok()?))
    };
    include_str!("abi3.txt").lines().filter_map(line).collect()
});

/// Whether a file says that it keeps to the stable ABI.
pub fn is_abi3(path: &str) -> bool {
    path.ends_with(".abi3.so")
}

/// The minor version of Python 3 that brought a symbol into the stable ABI.
pub fn added(symbol: &str) -> Option<u32> {
    STABLE.get(symbol).copied()
}

/// What a module uses that the stable ABI has not, and what came into it after the Python that the
/// wheel's tag promises to install on.
pub(super) fn check(inspection: &Inspection) -> (Vec<Violation>, Vec<Violation>) {
    let oldest = oldest_python(inspection);
    let (mut violations, mut notes) = (Vec::new(), Vec::new());
    for file in inspection.files.iter().filter(|file| is_abi3(&file.path)) {
        let private = used(file).filter(|name| added(name).is_none());
        let private: Vec<String> = private.map(str::to_owned).collect();
        if !private.is_empty() {
            let message = format!(
                "it is named `abi3` and uses what the stable ABI has not: {}",
                super::check::listed(&private)
            );
            let hint = "compile it with `Py_LIMITED_API`, or name it after one Python";
            violations.push(Violation::new(Code::NotAbi3, &file.path, message).hint(hint));
        }
        let Some(oldest) = oldest else { continue };
        let newer = used(file).filter_map(|name| Some((added(name)?, name)));
        let newer: Vec<(u32, &str)> = newer.filter(|(minor, _)| *minor > oldest).collect();
        if let Some(minor) = newer.iter().map(|(minor, _)| *minor).max() {
            let names: Vec<String> = newer.iter().map(|(_, name)| (*name).to_owned()).collect();
            let message = format!(
                "its tag promises Python 3.{oldest}; what it uses is stable from 3.{minor} on: {}",
                super::check::listed(&names)
            );
            notes.push(Violation::new(Code::NotAbi3, &file.path, message));
        }
    }
    (violations, notes)
}

fn used(file: &FileFacts) -> impl Iterator<Item = &str> {
    let strong = file.elf.undefined.iter().filter(|symbol| !symbol.weak);
    strong.map(|s| s.name.as_str()).filter(|n| super::closure::is_python(n))
}

/// 8 for the tags `cp38-abi3`.
fn oldest_python(inspection: &Inspection) -> Option<u32> {
    let tags = &inspection.wheel.as_ref()?.name.as_ref()?.tags;
    if !tags.abi.contains("abi3") {
        return None;
    }
    tags.python.iter().filter_map(|tag| tag.strip_prefix("cp3")?.parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_stable_from_some_python_on() {
        assert_eq!(added("PyArg_ParseTuple"), Some(2));
        assert_eq!(added("PyObject_GetBuffer"), Some(11));
        assert_eq!(added("_Py_Dealloc"), Some(2));
        assert_eq!(added("_PyThreadState_UncheckedGet"), None);
    }
}
