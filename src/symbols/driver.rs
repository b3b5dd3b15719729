//! The driver's libraries, which no package carries: their interfaces, out of the headers that
//! declare them.

use std::collections::BTreeSet;

use super::library::{Binding, Kind, Library, Symbol};

/// What makes the interface of a driver's library out of the header of this name.
pub fn of_header(file: &str) -> Option<fn(&str) -> Library> {
    match file {
        "cuda.h" => Some(libcuda),
        "nvml.h" => Some(libnvidia_ml),
        _ => None,
    }
}

/// The interface of `libcuda.so.1`: the functions that `cuda.h` declares, under their plain names,
/// which the driver exports too, and under those that its macros give them (`_v2`; `_ptds` and
/// `_ptsz` for per-thread default streams).
pub fn libcuda(header: &str) -> Library {
    let mut names = BTreeSet::new();
    // A few names stand on a line of their own, below what they return.
    let header = header.replace("CUDAAPI\n", "CUDAAPI ");
    for line in header.lines() {
        let mut words = line
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty());
        match words.next() {
            // `CUresult CUDAAPI cuInit(unsigned int Flags);`
            Some("CUresult") if words.next() == Some("CUDAAPI") => {
                names.extend(
                    words.next().filter(|word| is_driver_function(word)).map(str::to_owned),
                );
            }
            // `#define cuMemAlloc cuMemAlloc_v2`, `#define cuMemcpy __CUDA_API_PTDS(cuMemcpy)`
            Some("define") if words.next().is_some_and(is_driver_function) => {
                let suffix = match words.clone().next() {
                    Some("__CUDA_API_PTDS") => words.next().map(|_| "_ptds"),
                    Some("__CUDA_API_PTSZ") => words.next().map(|_| "_ptsz"),
                    _ => None,
                };
                let Some(name) = words.next().filter(|word| is_driver_function(word)) else {
                    continue;
                };
                names.extend(suffix.map(|suffix| format!("{name}{suffix}")));
                names.insert(name.to_owned());
            }
            _ => {}
        }
    }
    library("libcuda.so.1", names)
}

/// `cuInit`, but not `cuda_ptr`, `cu` or `CUDA_VERSION`.
fn is_driver_function(word: &str) -> bool {
    word.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// The interface of `libnvidia-ml.so.1`: the functions that `nvml.h` declares, under their plain
/// names and under those that its macros give them (`_v2`).
pub fn libnvidia_ml(header: &str) -> Library {
    let mut names = BTreeSet::new();
    for line in header.lines() {
        let words: Vec<&str> = line
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect();
        match words[..] {
            // `#define nvmlInit nvmlInit_v2`
            ["define", plain, versioned]
                if is_nvml_function(plain) && is_nvml_function(versioned) =>
            {
                names.extend([plain.to_owned(), versioned.to_owned()]);
            }
            // `nvmlReturn_t DECLDIR nvmlShutdown(void);`, `const DECLDIR char* nvmlErrorString(…`
            [first, ..] if first != "define" && words.contains(&"DECLDIR") => {
                let name = words.iter().find(|word| is_nvml_function(word));
                names.extend(name.map(|name| (*name).to_owned()));
            }
            _ => {}
        }
    }
    library("libnvidia-ml.so.1", names)
}

/// `nvmlInit`, but not `nvmlReturn_t` or `nvml`.
fn is_nvml_function(word: &str) -> bool {
    let rest = word.strip_prefix("nvml").filter(|rest| !rest.ends_with("_t"));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

fn library(soname: &str, names: BTreeSet<String>) -> Library {
    let function = |name| Symbol {
        kind: Kind::Function,
        binding: Binding::Global,
        other: 0,
        version: None,
        name,
        size: 0,
    };
    let symbols = names.into_iter().map(function).collect();
    Library { soname: Some(soname.to_owned()), needed: Vec::new(), symbols }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(library: &Library) -> Vec<&str> {
        library.symbols.iter().map(|symbol| symbol.name.as_str()).collect()
    }

    #[test]
    fn libcuda_has_the_functions_of_its_header() {
        let header = "\
#define CUDA_VERSION 13000
#define cuMemAlloc                          cuMemAlloc_v2
    #define cuMemcpy                        __CUDA_API_PTDS(cuMemcpy)
    #define cuMemPrefetchAsync              __CUDA_API_PTSZ(cuMemPrefetchAsync_v2)
    #define __CUDA_API_PTDS(api) api ## _ptds
typedef CUresult (CUDAAPI *PFN_cuOther)(int);
CUresult CUDAAPI cuInit(unsigned int Flags);
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize);
CUresult CUDAAPI cuMemFree(CUdeviceptr cuPointer);
CUresult CUDAAPI
cuLinkComplete(CUlinkState state, void **cubinOut, size_t *sizeOut);
";
        let library = libcuda(header);
        assert_eq!(
            names(&library),
            [
                "cuInit",
                "cuLinkComplete",
                "cuMemAlloc",
                "cuMemAlloc_v2",
                "cuMemFree",
                "cuMemPrefetchAsync_v2",
                "cuMemPrefetchAsync_v2_ptsz",
                "cuMemcpy",
                "cuMemcpy_ptds",
            ]
        );
        assert_eq!(library.soname.as_deref(), Some("libcuda.so.1"));
    }

    #[test]
    fn libnvidia_ml_has_the_functions_of_its_header() {
        let header = "\
    #define nvmlInit                    nvmlInit_v2
    #define nvmlBlacklistDeviceInfo_t   nvmlExcludedDeviceInfo_t
#define nvmlFlagDefault     0x00
#define nvmlMemory_v2 NVML_STRUCT_VERSION(Memory, 2)
        #define DECLDIR __declspec(dllexport)
} nvmlReturn_t;
nvmlReturn_t DECLDIR nvmlInit_v2(void);
nvmlReturn_t DECLDIR nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length);
const DECLDIR char* nvmlErrorString(nvmlReturn_t result);
";
        let library = libnvidia_ml(header);
        let expected = ["nvmlDeviceGetName", "nvmlErrorString", "nvmlInit", "nvmlInit_v2"];
        assert_eq!(names(&library), expected);
        assert_eq!(library.soname.as_deref(), Some("libnvidia-ml.so.1"));
    }
}
