//! What an SDK's torch is, gathered while its files go by.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::python::pep508;
use regex::bytes::Regex;

use super::error::TorchError;
use super::shim::Facts;
use super::source::{VERSION_PY, is_companion};
use super::version::VersionFile;
use crate::package::metadata;
use crate::symbols::Library;
use crate::target::{Arch, Target};

/// The distributions that the SDK's Python files import: cpp_extension and hipify do.
const IMPORTED: [&str; 2] = ["setuptools", "typing-extensions"];

/// The name under which pybind11 before 3.0 shares its types, as it stands in libtorch_python:
/// compiler, standard library and ABI.
static PYBIND11: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"__pybind11_internals_v[0-9]+(_gcc|_clang)(_libstdcpp|_libcpp)(_cxxabi[0-9]+)")
        .expect("a constant pattern")
});

/// The oldest C++ standard that headers take, as the year's last two digits: `ATen/ATen.h` refuses
/// older ones by `__cplusplus`, which has the year and month of the standard. One that asks for
/// nothing is taken for 17, which torch has needed since 2.1.
pub(super) fn cxx_standard(aten_header: &str) -> u16 {
    let asked = aten_header.split_once("__cplusplus < 20").map(|(_, rest)| rest);
    asked.and_then(|rest| rest.get(..2)?.parse().ok()).unwrap_or(17)
}

/// Looks at every file of a torch.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    version: Option<VersionFile>,
    cxx11_abi: Option<bool>,
    openmp: bool,
    cudnn: bool,
    pybind11: Option<[String; 3]>,
    build_requirements: Vec<String>,
    companions: BTreeMap<String, String>,
}

impl Inspector {
    /// Looks at a header, a cmake or a Python file; refuses a torch that cannot serve the target.
    pub fn file(&mut self, path: &str, content: &[u8], target: &Target) -> Result<(), TorchError> {
        if path == VERSION_PY {
            let version = VersionFile::parse(&String::from_utf8_lossy(content))?;
            check(&version, target)?;
            self.version = Some(version);
        } else if is_companion(path) {
            let field = |name| metadata::value(content, name).map(str::to_owned);
            if let (Some(name), Some(version)) = (field("Name"), field("Version")) {
                self.companions.insert(name.to_ascii_lowercase(), version);
            }
        } else if path.ends_with("/METADATA") {
            self.build_requirements = requirements(&String::from_utf8_lossy(content));
        }
        Ok(())
    }

    /// Looks at the interface of a library.
    pub fn library(&mut self, file: &str, library: &Library) {
        let needs = |prefixes: &[&str]| {
            let mut needed = library.needed.iter();
            needed.any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        };
        match file {
            // `std::string` in a signature is `std::__cxx11::basic_string` in the new ABI.
            "libc10.so" => {
                let new =
                    |symbol: &crate::symbols::library::Symbol| symbol.name.contains("7__cxx11");
                self.cxx11_abi = Some(library.symbols.iter().any(new));
            }
            "libtorch_cpu.so" => self.openmp = needs(&["libgomp", "libomp", "libiomp"]),
            "libtorch_cuda.so" => self.cudnn = needs(&["libcudnn"]),
            _ => {}
        }
    }

    /// Looks into a real library.
    pub fn library_bytes(&mut self, file: &str, content: &[u8]) {
        if file == "libtorch_python.so"
            && let Some(found) = PYBIND11.captures(content)
        {
            let part = |index: usize| String::from_utf8_lossy(&found[index]).into_owned();
            self.pybind11 = Some([part(1), part(2), part(3)]);
        }
    }

    /// What was seen; an error where it is no whole torch.
    pub fn facts(&self, arch: Arch) -> Result<Facts, TorchError> {
        let version = self.version.as_ref().ok_or(TorchError::Incomplete(VERSION_PY))?;
        let cuda = version.cuda.clone().ok_or(TorchError::Incomplete(VERSION_PY))?;
        Ok(Facts {
            version: version.version.clone(),
            cuda,
            arch,
            cxx11_abi: self.cxx11_abi.ok_or(TorchError::Incomplete("torch/lib/libc10.so"))?,
            openmp: self.openmp,
            cudnn: self.cudnn,
            pybind11: self.pybind11.clone(),
            build_requirements: self.build_requirements.clone(),
            companions: self.companions.clone(),
        })
    }
}

/// Refuses a torch without CUDA, or with another major version than the target's.
pub(crate) fn check(version: &VersionFile, target: &Target) -> Result<(), TorchError> {
    let Some(cuda) = &version.cuda else {
        return Err(TorchError::CpuOnly { version: version.version.clone() });
    };
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    if major(cuda) != major(&target.cuda) {
        return Err(TorchError::OtherCuda {
            version: version.version.clone(),
            cuda: cuda.clone(),
            target: target.name.clone(),
            expected: target.cuda.clone(),
        });
    }
    Ok(())
}

/// Those of a METADATA's requirements that the SDK's Python files import.
fn requirements(metadata: &str) -> Vec<String> {
    let header = metadata.split("\n\n").next().unwrap_or_default();
    header
        .lines()
        .filter_map(|line| line.strip_prefix("Requires-Dist:"))
        .filter(|text| {
            let parsed = pep508::parse(text.trim());
            parsed.is_ok_and(|requirement| IMPORTED.contains(&requirement.name.as_ref()))
        })
        .map(|text| text.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_tell_the_standard() {
        let asks =
            |value: &str| format!("#if !defined(_MSC_VER) && __cplusplus < {value}L\n#error");
        assert_eq!(cxx_standard(&asks("202002")), 20);
        assert_eq!(cxx_standard(&asks("201703")), 17);
        assert_eq!(cxx_standard("#pragma once"), 17);
    }
}
