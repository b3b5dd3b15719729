//! What of torch's interface a wheel is bound to, by what was built.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use pep440_rs::Version;
use regex::Regex;

use super::policy::release_pair;
use super::{Abi, PinError, TargetTorch, script};
use crate::audit::Inspection;
use crate::audit::report::TorchAbi;
use crate::compile::Built;

/// By its files' symbols; where these are of the stable interface alone, by the release that they
/// were compiled for, and by the functions that they use.
pub(super) fn of_wheel(
    built: &Built,
    inspection: &Inspection,
    torch: &TargetTorch,
) -> Result<Abi, PinError> {
    let uses = |abi| inspection.files.iter().any(|file| file.torch_abi == abi);
    if uses(TorchAbi::Full) {
        return Ok(Abi::Minor);
    }
    if !uses(TorchAbi::Stable) {
        return Ok(Abi::Unbound);
    }
    let words = built.actions.iter().flat_map(|action| &action.command);
    let compiled_for = words.filter_map(|word| script::stable_target(word)).max();
    let since = introduced(&built.torch.python_path.join("torch/include"))?;
    let undefined = inspection.files.iter().flat_map(|file| &file.elf.undefined);
    let used = undefined.filter_map(|symbol| since.get(&symbol.name)).max();
    Ok(stable(compiled_for, used, torch))
}

fn stable(compiled_for: Option<Version>, used: Option<&Version>, torch: &TargetTorch) -> Abi {
    match (compiled_for, used) {
        (Some(oldest), Some(used)) if *used > oldest => {
            Abi::Stable(used.clone(), "it has functions that are as new")
        }
        (Some(oldest), _) => Abi::Stable(oldest, "`TORCH_TARGET_VERSION` says so"),
        // The headers compile for their own release then.
        (None, _) => {
            let (major, minor) = release_pair(&torch.version);
            Abi::Stable(
                Version::new([major, minor]),
                "it was compiled without `TORCH_TARGET_VERSION`",
            )
        }
    }
}

/// `#if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_10_0`.
static GUARD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"TORCH_FEATURE_VERSION\s*>=\s*TORCH_VERSION_(\d+)_(\d+)_\d+")
        .expect("a constant pattern")
});
/// A function of the stable interface, where it is declared.
static FUNCTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b((?:aoti_)?torch_\w+)\s*\(").expect("a constant pattern"));

/// The headers of the stable interface's functions, below torch's `include`.
const HEADERS: [&str; 2] = ["torch/csrc/stable/c", "torch/csrc/inductor/aoti_torch"];

/// The functions of the stable interface that came with a release after its first, and which, as
/// torch's own headers say.
fn introduced(include: &Path) -> Result<BTreeMap<String, Version>, PinError> {
    let mut found = BTreeMap::new();
    for folder in HEADERS {
        for entry in walkdir::WalkDir::new(include.join(folder)).sort_by_file_name() {
            // Older ones have not all of these folders.
            let Ok(entry) = entry else { continue };
            if entry.path().extension().is_some_and(|extension| extension == "h") {
                let text = fs_err::read(entry.path())?;
                guarded(&String::from_utf8_lossy(&text), &mut found);
            }
        }
    }
    Ok(found)
}

fn guarded(header: &str, found: &mut BTreeMap<String, Version>) {
    let mut open: Vec<Option<Version>> = Vec::new();
    for line in header.lines() {
        let line = line.trim_start();
        if line.starts_with("#if") {
            let number = |text: &str| text.parse().unwrap_or(0);
            let guard = GUARD.captures(line);
            open.push(guard.map(|g| Version::new([number(&g[1]), number(&g[2])])));
        } else if line.starts_with("#el") {
            open.pop();
            open.push(None);
        } else if line.starts_with("#endif") {
            open.pop();
        } else if let Some(since) = open.iter().flatten().max() {
            for function in FUNCTION.captures_iter(line) {
                found.insert(function[1].to_owned(), since.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_since_when_a_function_is_there() {
        let header = "AOTI_TORCH_EXPORT int aoti_torch_old(int);\n\
             #if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_10_0\n\
             AOTI_TORCH_EXPORT AOTITorchError\ntorch_from_blob(\n  void* data);\n\
             #ifdef USE_CUDA\nint torch_cuda_new(void);\n#endif\n\
             #else\nint torch_other(void);\n#endif // TORCH_FEATURE_VERSION\n\
             int torch_always(void);\n";
        let mut found = BTreeMap::new();
        guarded(header, &mut found);
        let version = Version::new([2, 10]);
        let expected = ["torch_cuda_new", "torch_from_blob"];
        assert_eq!(found, expected.map(|name| (name.to_owned(), version.clone())).into());
    }

    #[test]
    fn what_was_compiled_for_counts_and_newer_functions_raise_it() {
        let torch = TargetTorch::new("2.14.0", "13.0").unwrap();
        let oldest = |compiled: Option<&str>, used: Option<&str>| {
            let version = |text: Option<&str>| text.map(|text| text.parse::<Version>().unwrap());
            match stable(version(compiled), version(used).as_ref(), &torch) {
                Abi::Stable(oldest, _) => oldest.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(oldest(Some("2.11"), Some("2.10")), "2.11");
        assert_eq!(oldest(Some("2.9"), Some("2.10")), "2.10");
        assert_eq!(oldest(None, Some("2.10")), "2.14");
    }
}
