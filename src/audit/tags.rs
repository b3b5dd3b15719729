//! The tags that a wheel should have, from what is in it.
//!
//! manylinux tags are PEP 600's. Which libstdc++ and libgcc go with which glibc, and which
//! libraries may be expected, is pypa/auditwheel's `manylinux-policy.json` (as of 6.8.2).

use std::collections::BTreeSet;

use super::closure::is_python;
use super::elf::Elf;
use super::floors::{Needs, SymbolSet, SymbolVersion};
use crate::package::WheelTags;
use crate::target::Arch;

/// One manylinux level: the glibc of its name, and the newest GLIBCXX, CXXABI and GCC versions.
struct Level {
    glibc: &'static str,
    glibcxx: &'static str,
    cxxabi: &'static str,
    gcc: &'static str,
}

const fn level(
    glibc: &'static str,
    glibcxx: &'static str,
    cxxabi: &'static str,
    gcc: &'static str,
) -> Level {
    Level { glibc, glibcxx, cxxabi, gcc }
}

/// Oldest first.
const AARCH64: &[Level] = &[
    level("2.17", "3.4.19", "1.3.7", "4.7.0"),
    level("2.24", "3.4.22", "1.3.10", "4.7.0"),
    level("2.26", "3.4.24", "1.3.11", "7.0.0"),
    level("2.27", "3.4.24", "1.3.11", "7.0.0"),
    level("2.28", "3.4.24", "1.3.11", "7.0.0"),
    level("2.31", "3.4.28", "1.3.12", "7.0.0"),
    level("2.34", "3.4.29", "1.3.13", "11.0"),
    level("2.35", "3.4.30", "1.3.13", "11.0"),
    level("2.36", "3.4.30", "1.3.13", "11.0"),
    level("2.37", "3.4.30", "1.3.13", "11.0"),
    level("2.38", "3.4.30", "1.3.13", "11.0"),
    level("2.39", "3.4.33", "1.3.15", "14.0.0"),
    level("2.40", "3.4.33", "1.3.15", "14.0.0"),
    level("2.41", "3.4.33", "1.3.15", "14.0.0"),
];
const X86_64: &[Level] = &[
    level("2.17", "3.4.19", "1.3.7", "4.8.0"),
    level("2.24", "3.4.22", "1.3.10", "4.8.0"),
    level("2.26", "3.4.22", "1.3.10", "4.8.0"),
    level("2.27", "3.4.24", "1.3.11", "7.0.0"),
    level("2.28", "3.4.24", "1.3.11", "7.0.0"),
    level("2.31", "3.4.28", "1.3.12", "7.0.0"),
    level("2.34", "3.4.29", "1.3.13", "7.0.0"),
    level("2.35", "3.4.30", "1.3.13", "12.0.0"),
    level("2.36", "3.4.30", "1.3.13", "12.0.0"),
    level("2.37", "3.4.30", "1.3.13", "12.0.0"),
    level("2.38", "3.4.30", "1.3.13", "12.0.0"),
    level("2.39", "3.4.33", "1.3.15", "14.0.0"),
    level("2.40", "3.4.33", "1.3.15", "14.0.0"),
    level("2.41", "3.4.33", "1.3.15", "14.0.0"),
];

/// The libraries that every manylinux level of glibc 2.17 or later may expect of a system.
const SYSTEM: &[&str] = &[
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libGL.so.1",
    "libICE.so.6",
    "libSM.so.6",
    "libX11.so.6",
    "libXext.so.6",
    "libXrender.so.1",
    "libanl.so.1",
    "libatomic.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libexpat.so.1",
    "libgcc_s.so.1",
    "libglib-2.0.so.0",
    "libgobject-2.0.so.0",
    "libgthread-2.0.so.0",
    "libm.so.6",
    "libmvec.so.1",
    "libnsl.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libz.so.1",
];

/// What the wheel's dependencies bring: torch, the CUDA libraries, and the driver. The names are
/// followed by more of the name, a version, or both.
const FROM_DEPENDENCIES: &[&str] = &[
    "libc10.",
    "libc10_",
    "libcublas",
    "libcuda.",
    "libcudart.",
    "libcudnn",
    "libcufft",
    "libcufile",
    "libcupti.",
    "libcurand.",
    "libcusolver",
    "libcusparse",
    "libnccl.",
    "libnpp",
    "libnvJitLink.",
    "libnvToolsExt.",
    "libnvblas.",
    "libnvfatbin.",
    "libnvidia-ml.",
    "libnvjpeg.",
    "libnvperf_",
    "libnvrtc",
    "libnvshmem",
    "libnvtx3interop.",
    "libpython3.",
    "libshm.",
    "libtorch.",
    "libtorch_",
];

/// Whether a `NEEDED` library is one of torch, CUDA or Python, which a wheel does not bring along.
pub fn is_from_dependencies(library: &str) -> bool {
    FROM_DEPENDENCIES.iter().any(|start| library.starts_with(start))
}

/// The platform that files of a machine run on: `manylinux_2_X_<arch>` for the oldest level that
/// has the versions and libraries needed, `linux_<arch>` where none has. `provided` are the
/// shared objects in the wheel.
pub fn platform_tag(
    arch: Arch,
    needs: &Needs,
    needed: &BTreeSet<&str>,
    provided: &BTreeSet<String>,
) -> String {
    let expected = |library: &&&str| {
        SYSTEM.contains(library) || provided.contains(**library) || is_from_dependencies(library)
    };
    match manylinux_glibc(arch, needs) {
        Some(glibc) if needed.iter().filter(|l| !expected(l)).count() == 0 => {
            format!("manylinux_{}_{arch}", glibc.replace('.', "_"))
        }
        _ => format!("linux_{arch}"),
    }
}

/// The glibc of the oldest manylinux level that has all these versions.
pub fn manylinux_glibc(arch: Arch, needs: &Needs) -> Option<&'static str> {
    let levels = match arch {
        Arch::Aarch64 => AARCH64,
        Arch::X86_64 => X86_64,
    };
    let has = |level: &Level, set: SymbolSet, needed: &SymbolVersion| {
        let limit = match set {
            SymbolSet::Glibc => level.glibc,
            SymbolSet::Glibcxx => level.glibcxx,
            SymbolSet::Cxxabi => level.cxxabi,
            SymbolSet::Gcc => level.gcc,
        };
        limit.parse::<SymbolVersion>().is_ok_and(|limit| *needed <= limit)
    };
    let fits = |level: &&Level| needs.iter().all(|(set, needed)| has(level, *set, needed));
    levels.iter().find(fits).map(|level| level.glibc)
}

/// What the file name of an extension module says about the Pythons that can import it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModuleAbi {
    /// One minor version: the tag of `EXT_SUFFIX`, such as `cp311`, `cp313t` with free threading.
    Version(String),
    /// The stable ABI.
    Abi3,
    /// The name does not say.
    Unmarked,
}

/// Reads the suffix of an extension module's file name (PEP 3149 and its successors).
pub fn module_abi(path: &str) -> ModuleAbi {
    let file = path.rsplit('/').next().unwrap_or(path);
    let mut parts = file.split('.').skip(1);
    match (parts.next(), parts.next()) {
        (Some("abi3"), Some("so")) => ModuleAbi::Abi3,
        (Some(suffix), Some("so")) => {
            let version = suffix.strip_prefix("cpython-").and_then(|rest| rest.split('-').next());
            let tag = |digits: &str| ModuleAbi::Version(format!("cp{digits}"));
            version.map_or(ModuleAbi::Unmarked, tag)
        }
        _ => ModuleAbi::Unmarked,
    }
}

/// The Python and ABI tags of a wheel with these extension modules. `built` are the tags of the
/// wheel that the backend made, which know the lowest Python of an abi3 module and, for a module
/// whose name does not say, the one it was built for. A library that is no module, but takes symbols
/// from Python, is for the Python that it was built for too. `None` where the modules contradict
/// each other.
pub fn python_tags<'a>(
    modules: impl IntoIterator<Item = (&'a str, &'a Elf)>,
    built: &WheelTags,
) -> Option<(String, String)> {
    let built_for = built.python.iter().find(|tag| tag.starts_with("cp"));
    let takes_from_python = |elf: &Elf| elf.undefined.iter().any(|s| is_python(&s.name));
    let extensions = modules.into_iter().filter(|(_, elf)| {
        elf.python_module.is_some() || built_for.is_some() && takes_from_python(elf)
    });
    let abis: BTreeSet<ModuleAbi> = extensions.map(|(path, _)| module_abi(path)).collect();
    let versions: Vec<&String> = abis
        .iter()
        .filter_map(|abi| match abi {
            ModuleAbi::Version(tag) => Some(tag),
            _ => None,
        })
        .collect();
    match (&versions[..], abis.contains(&ModuleAbi::Unmarked)) {
        ([tag], _) => Some((tag.trim_end_matches('t').to_owned(), (*tag).clone())),
        ([], true) => {
            let python = built_for?;
            let same = |abi: &&String| abi.trim_end_matches('t') == python;
            let abi = built.abi.iter().find(same).unwrap_or(python);
            Some((python.clone(), abi.clone()))
        }
        ([], false) if abis.is_empty() => Some(("py3".to_owned(), "none".to_owned())),
        ([], false) => built_for.map(|python| (python.clone(), "abi3".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::Symbol;
    use super::*;

    fn needs(versions: &[&str]) -> Needs {
        versions.iter().filter_map(|v| SymbolSet::parse(v)).collect()
    }

    fn platform(versions: &[&str], needed: &[&str]) -> String {
        let needed = needed.iter().copied().collect();
        platform_tag(Arch::Aarch64, &needs(versions), &needed, &BTreeSet::new())
    }

    #[test]
    fn the_oldest_level_that_fits_is_taken() {
        assert_eq!(platform(&[], &[]), "manylinux_2_17_aarch64");
        assert_eq!(platform(&["GLIBC_2.32"], &["libc.so.6"]), "manylinux_2_34_aarch64");
        assert_eq!(
            platform(&["GLIBC_2.17", "GLIBCXX_3.4.30"], &["libstdc++.so.6", "libtorch_cpu.so"]),
            "manylinux_2_35_aarch64"
        );
    }

    #[test]
    fn a_library_that_no_one_brings_makes_a_linux_tag() {
        assert_eq!(platform(&["GLIBC_2.17"], &["libnuma.so.1"]), "linux_aarch64");
        assert_eq!(platform(&["GLIBC_2.99"], &[]), "linux_aarch64");
        let provided = BTreeSet::from(["libnuma.so.1".to_owned()]);
        let needed = BTreeSet::from(["libnuma.so.1"]);
        let tag = platform_tag(Arch::X86_64, &needs(&["GLIBC_2.28"]), &needed, &provided);
        assert_eq!(tag, "manylinux_2_28_x86_64");
    }

    #[test]
    fn module_names_say_their_abi() {
        let version = |tag: &str| ModuleAbi::Version(tag.to_owned());
        assert_eq!(module_abi("a/_C.cpython-311-aarch64-linux-gnu.so"), version("cp311"));
        assert_eq!(module_abi("_C.cpython-313t-x86_64-linux-gnu.so"), version("cp313t"));
        assert_eq!(module_abi("_C.abi3.so"), ModuleAbi::Abi3);
        assert_eq!(module_abi("_tiktoken.so"), ModuleAbi::Unmarked);
    }

    fn python(modules: &[(&str, bool)], built: (&str, &str)) -> Option<String> {
        let files: Vec<(&str, Elf)> =
            modules.iter().map(|(path, is)| (*path, Elf::module(is.then_some("m")))).collect();
        let built = WheelTags::new(built.0, built.1, "linux_aarch64");
        let tags = python_tags(files.iter().map(|(path, elf)| (*path, elf)), &built);
        tags.map(|(python, abi)| format!("{python}-{abi}"))
    }

    #[test]
    fn python_tags_come_from_the_modules() {
        let cp311 = ("_C.cpython-311-aarch64-linux-gnu.so", true);
        let cp312 = ("_D.cpython-312-aarch64-linux-gnu.so", true);
        let free_threaded = ("_C.cpython-313t-aarch64-linux-gnu.so", true);
        let (abi3, unmarked, library) = (("_A.abi3.so", true), ("_t.so", true), ("libx.so", false));
        for (modules, built, expected) in [
            (&[cp311, library][..], ("cp311", "cp311"), Some("cp311-cp311")),
            (&[cp311, abi3], ("cp38", "abi3"), Some("cp311-cp311")),
            (&[cp311, cp312], ("cp311", "cp311"), None),
            (&[free_threaded], ("cp313", "cp313t"), Some("cp313-cp313t")),
            (&[abi3], ("cp38", "abi3"), Some("cp38-abi3")),
            (&[abi3], ("cp312", "cp312"), Some("cp312-abi3")),
            (&[abi3], ("py3", "none"), None),
            (&[unmarked, abi3], ("cp312", "cp312"), Some("cp312-cp312")),
            (&[unmarked], ("py3", "none"), None),
            (&[library], ("cp312", "cp312"), Some("py3-none")),
        ] {
            assert_eq!(python(modules, built).as_deref(), expected, "{modules:?} {built:?}");
        }
    }

    #[test]
    fn a_library_that_takes_symbols_from_python_is_for_one_python() {
        let mut library = Elf::module(None);
        library.undefined.push(Symbol {
            name: "_PyThreadState_UncheckedGet".to_owned(),
            version: None,
            library: None,
            weak: false,
        });
        let tags = |python: &str, abi: &str| {
            let built = WheelTags::new(python, abi, "linux_aarch64");
            python_tags([("torch_x/_x_cuda.so", &library)], &built)
        };
        assert_eq!(tags("cp311", "cp311"), Some(("cp311".to_owned(), "cp311".to_owned())));
        assert_eq!(tags("py3", "none"), Some(("py3".to_owned(), "none".to_owned())));
    }
}
