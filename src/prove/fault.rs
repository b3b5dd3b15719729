//! Why something did not import, in the loader's words, and what is behind them.

use cpp_demangle::Symbol;
use regex::Regex;
use serde::Serialize;

use super::Torch;

/// Why a module did not import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The error, and what it was raised from, each on a line of its own.
    pub message: String,
    /// The symbol that nothing defines, as the linker sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The same for people, where it is C++.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demangled: Option<String>,
    /// The library that is missing, or that would have to define the symbol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether it only says that there is no GPU.
    #[serde(skip)]
    pub needs_gpu: bool,
}

/// What CUDA, torch and Triton say where there is no GPU.
const NO_GPU: [&str; 8] = [
    "NVIDIA driver",
    "no CUDA-capable device",
    "No CUDA GPUs",
    "CUDA driver initialization failed",
    "no NVIDIA GPU",
    "CUDA is not available",
    "cudaErrorNoDevice",
    "active drivers ([])",
];

/// Libraries by how the names of their functions begin; the first that fits.
const PROVIDERS: [(&str, &str); 20] = [
    ("c10::cuda::", "libc10_cuda.so"),
    ("c10::impl::cuda", "libc10_cuda.so"),
    ("c10::", "libc10.so"),
    ("at::cuda::", "libtorch_cuda.so"),
    ("at::", "libtorch_cpu.so"),
    ("torch::", "libtorch_cpu.so"),
    ("caffe2::", "libtorch_cpu.so"),
    ("aoti_torch_", "libtorch_cpu.so"),
    ("THP", "libtorch_python.so"),
    ("cublasLt", "libcublasLt.so.13"),
    ("cublas", "libcublas.so.13"),
    ("cudnn", "libcudnn.so.9"),
    ("cufft", "libcufft.so.12"),
    ("curand", "libcurand.so.10"),
    ("cusolver", "libcusolver.so.12"),
    ("cusparse", "libcusparse.so.12"),
    ("nvrtc", "libnvrtc.so.13"),
    ("nccl", "libnccl.so.2"),
    ("cuda", "libcudart.so.13"),
    ("__cuda", "libcudart.so.13"),
];

/// Finds out what an error is about. `lines` are the error and those that it was raised from.
pub fn explain(lines: &[String], torch: Option<&Torch>) -> Fault {
    let message = lines.iter().map(|line| without_folders(line)).collect::<Vec<_>>().join("\n");
    let mut fault =
        Fault { needs_gpu: NO_GPU.iter().any(|t| message.contains(t)), ..Fault::default() };
    let symbol = capture(&message, r"undefined symbol: ([^\s,]+)");
    let missing = capture(&message, r"([^\s/:]+): cannot open shared object file");
    let version = capture(&message, r"([^\s/:]+): version `[^']+' not found");
    let module = capture(&message, r"No module named '([^']+)'");
    if let Some(symbol) = symbol {
        fault.demangled = demangle(&symbol);
        let readable = fault.demangled.as_ref().unwrap_or(&symbol);
        fault.library = provider(readable).map(str::to_owned);
        fault.hint = Some(symbol_hint(readable, fault.library.as_deref(), torch));
        fault.symbol = Some(symbol);
    } else if let Some(library) = missing {
        fault.hint = Some(library_hint(&library, torch));
        fault.library = Some(library);
    } else if let Some(library) = version {
        fault.library = Some(library);
        fault.hint = Some(
            "it was linked against a newer system than Debian 13: build it with `cargo xtask \
             build-wheels`, whose sysroot sets the floor"
                .to_owned(),
        );
    } else if let Some(module) = module {
        fault.hint = Some(match module.split('.').next() {
            Some("torch") => {
                "the wheel does not require torch: `--torch VERSION` adds it".to_owned()
            }
            top => format!(
                "the wheel does not require what brings `{}`: `--with NAME` adds it",
                top.unwrap_or(&module)
            ),
        });
    }
    Fault { message, ..fault }
}

fn capture(text: &str, pattern: &str) -> Option<String> {
    let regex = Regex::new(pattern).expect("the patterns are constants");
    Some(regex.captures(text)?.get(1)?.as_str().to_owned())
}

/// The folders of the proof are of no interest, and differ from one to the next.
fn without_folders(line: &str) -> String {
    let regex = Regex::new(r"/[^\s'`]*?/(?:torch-)?site/").expect("the pattern is a constant");
    regex.replace_all(line, "").into_owned()
}

/// A C++ name for people; `None` for what is not one.
fn demangle(symbol: &str) -> Option<String> {
    symbol.starts_with("_Z").then(|| Symbol::new(symbol).ok()?.demangle().ok())?
}

/// The library that a function of this name is one of.
fn provider(readable: &str) -> Option<&'static str> {
    // `vtable for c10::Error`, `typeinfo for at::Tensor`.
    let name = readable.rsplit_once(" for ").map_or(readable, |(_, name)| name);
    if name.starts_with("cu") && name[2..].starts_with(|c: char| c.is_ascii_uppercase()) {
        return Some("libcuda.so.1");
    }
    let found = PROVIDERS.iter().find(|(start, _)| name.starts_with(start));
    found.map(|(_, library)| *library)
}

fn symbol_hint(readable: &str, library: Option<&str>, torch: Option<&Torch>) -> String {
    let of_torch = |library: &str| library.starts_with("libtorch") || library.starts_with("libc10");
    match (library, torch) {
        (Some(library), Some(torch)) if of_torch(library) => format!(
            "`{library}` of torch {} does not define it: the wheel was built for another torch; \
             build it for this one, or give that one with `--torch`",
            torch.version
        ),
        (Some(library), None) if of_torch(library) => format!(
            "`{library}` is torch's, which the wheel does not require: `--torch VERSION` adds it"
        ),
        (Some(library), _) => {
            format!("`{library}` was not loaded, or does not define it: link the extension with it")
        }
        (None, _) if readable.starts_with("Py") || readable.starts_with("_Py") => {
            "this Python does not have it: build the wheel for this Python".to_owned()
        }
        (None, _) => "no library that the wheel was linked with defines it: a source file or a \
                      library is missing from the build"
            .to_owned(),
    }
}

fn library_hint(library: &str, torch: Option<&Torch>) -> String {
    let of_torch = library.starts_with("libtorch") || library.starts_with("libc10");
    let cuda_12 = ["libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libnvrtc.so.12"];
    if cuda_12.contains(&library) {
        return "the wheel was built for CUDA 12: build it for CUDA 13".to_owned();
    }
    let of_cuda = ["libcu", "libnv", "libnccl", "libc10_cuda", "libtorch_cuda"];
    match torch {
        Some(torch) if torch.cuda.is_empty() && of_cuda.iter().any(|s| library.starts_with(s)) => {
            format!(
                "torch {} has no CUDA, and brings none of its libraries: give one that has with \
                 `--torch`",
                torch.version
            )
        }
        None if of_torch => {
            "it is torch's, which the wheel does not require: `--torch VERSION` adds it".to_owned()
        }
        _ => "no package that the wheel requires brings it: `--with NAME` adds one that does, and \
              `Requires-Dist` should name it"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torch() -> Torch {
        Torch { version: "2.14.0+cu130".to_owned(), cuda: "13.0".to_owned() }
    }

    fn fault(line: &str) -> Fault {
        explain(&[line.to_owned()], Some(&torch()))
    }

    #[test]
    fn an_undefined_symbol_is_named_for_people_with_its_library() {
        let fault = fault(
            "ImportError: /crosswheel/build/site/a/_C.so: undefined symbol: \
             _ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
        );
        assert!(fault.message.starts_with("ImportError: a/_C.so: undefined"), "{}", fault.message);
        assert!(fault.demangled.unwrap().starts_with("c10::detail::torchCheckFail("));
        assert_eq!(fault.library.as_deref(), Some("libc10.so"));
        assert!(fault.hint.unwrap().contains("torch 2.14.0+cu130 does not define it"));
    }

    #[test]
    fn a_missing_library_is_named() {
        let missing = ": cannot open shared object file: No such file or directory";
        let cuda_12 = fault(&format!("ImportError: libcudart.so.12{missing}"));
        assert_eq!(cuda_12.library.as_deref(), Some("libcudart.so.12"));
        assert!(cuda_12.hint.unwrap().contains("CUDA 12"));
        let cpu_only = Torch { version: "2.10.0+cpu".to_owned(), cuda: String::new() };
        let line = format!("ImportError: libcudart.so.13{missing}");
        let hint = explain(&[line], Some(&cpu_only)).hint.unwrap();
        assert!(hint.starts_with("torch 2.10.0+cpu has no CUDA"), "{hint}");
        let own = fault(&format!("OSError: libnuma.so.1{missing}"));
        assert_eq!(own.library.as_deref(), Some("libnuma.so.1"));
        let newer = fault(
            "ImportError: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.42' not found \
             (required by /crosswheel/build/site/a.so)",
        );
        assert_eq!(newer.library.as_deref(), Some("libc.so.6"));
    }

    #[test]
    fn providers_are_known_by_names() {
        for (name, library) in [
            ("cuMemAlloc_v2", Some("libcuda.so.1")),
            ("cudaMalloc", Some("libcudart.so.13")),
            ("cublasLtMatmul", Some("libcublasLt.so.13")),
            ("vtable for c10::Error", Some("libc10.so")),
            ("at::cuda::getCurrentDeviceProperties()", Some("libtorch_cuda.so")),
            ("custom_function", None),
            ("cu", None),
        ] {
            assert_eq!(provider(name), library, "{name}");
        }
    }

    #[test]
    fn a_missing_gpu_is_no_fault_of_the_wheel() {
        assert!(fault("RuntimeError: Found no NVIDIA driver on your system").needs_gpu);
        assert!(!fault("ImportError: a.so: undefined symbol: f").needs_gpu);
    }

    #[test]
    fn a_missing_module_says_how_to_add_it() {
        let module = |name: &str| format!("ModuleNotFoundError: No module named '{name}'");
        assert!(fault(&module("torch.nn")).hint.unwrap().contains("--torch VERSION"));
        assert!(fault(&module("einops")).hint.unwrap().contains("`einops`"));
    }
}
