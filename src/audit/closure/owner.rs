//! Who should have had a symbol that nobody has, and what there is in its place.

use std::fmt;

use cpp_demangle::{DemangleOptions, Symbol as Mangled};

use super::providers::{Origin, Providers};
use crate::audit::elf::{Elf, Symbol};
use crate::audit::report::TorchAbi;

/// Whose symbol it is, by its version, name or namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// torch.
    Torch,
    /// The Python interpreter.
    Python,
    /// A library, by the beginning of its name (`libcublas.so`) or by its whole name, where the
    /// reference tells it.
    Library(String),
    /// Nobody that is known.
    Unknown,
}

/// Beginnings of plain C names, and whose they are; the longer ones first.
const BY_NAME: &[(&str, &str)] = &[
    ("cublasLt", "libcublasLt.so"),
    ("cublas", "libcublas.so"),
    ("cudnn", "libcudnn.so"),
    ("cufft", "libcufft.so"),
    ("curand", "libcurand.so"),
    ("cusolver", "libcusolver.so"),
    ("cusparseLt", "libcusparseLt.so"),
    ("cusparse", "libcusparse.so"),
    ("nccl", "libnccl.so"),
    ("nvrtc", "libnvrtc.so"),
    ("nvJitLink", "libnvJitLink.so"),
    ("nvml", "libnvidia-ml.so"),
    ("__cuda", "libcudart.so"),
    ("cuda", "libcudart.so"),
    ("GOMP_", "libgomp.so"),
    ("omp_", "libgomp.so"),
    ("_Unwind_", "libgcc_s.so"),
    ("__cxa_", "libstdc++.so"),
    ("__gxx_", "libstdc++.so"),
];

/// torch's namespaces, and the beginnings of its plain C names.
const TORCH: &[&str] = &["c10::", "at::", "torch::", "caffe2::", "aoti_torch_", "torch_", "THP"];

/// Whether a name is of Python's C API, private parts included.
pub(in crate::audit) fn is_python(name: &str) -> bool {
    name.starts_with("Py") || name.starts_with("_Py")
}

/// What a file uses of torch: plain C names are its stable interface, C++ ones are not.
pub(in crate::audit) fn torch_abi(elf: &Elf) -> TorchAbi {
    let of_torch = |symbol: &&Symbol| match symbol.name.starts_with("_Z") {
        // Mangled names of torch's have its namespaces in them, each with its length before it.
        true => ["3c10", "2at", "5torch"].iter().any(|part| symbol.name.contains(part)),
        false => true,
    };
    let owned = elf.undefined.iter().filter(of_torch).filter(|s| Owner::of(s) == Owner::Torch);
    owned.fold(TorchAbi::None, |abi, symbol| match (abi, symbol.name.starts_with("_Z")) {
        (_, true) | (TorchAbi::Full, _) => TorchAbi::Full,
        _ => TorchAbi::Stable,
    })
}

impl Owner {
    /// Who should provide a symbol.
    pub fn of(symbol: &Symbol) -> Self {
        if let Some(library) = &symbol.library {
            return Self::Library(library.clone());
        }
        let name = symbol.name.as_str();
        if is_python(name) {
            return Self::Python;
        }
        let readable = demangled(name);
        let subject = subject(&readable);
        if TORCH.iter().any(|start| subject.starts_with(start)) {
            return Self::Torch;
        }
        if subject.starts_with("std::") {
            return Self::Library("libstdc++.so".to_owned());
        }
        if let Some((_, library)) = BY_NAME.iter().find(|(start, _)| name.starts_with(start)) {
            return Self::Library((*library).to_owned());
        }
        let driver = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
        if name.strip_prefix("cu").is_some_and(driver) {
            return Self::Library("libcuda.so".to_owned());
        }
        Self::Unknown
    }

    /// Whether all that the owner has is known, so that what it lacks is nowhere.
    pub fn is_known(&self, providers: &Providers) -> bool {
        match self {
            Self::Torch => providers.torch.is_some(),
            Self::Python => true,
            Self::Library(library) => providers.libraries().any(|(name, provider)| {
                let newer = provider.origin == Origin::Cuda && !providers.same_cuda();
                name.starts_with(library.as_str()) && provider.origin != Origin::Driver && !newer
            }),
            Self::Unknown => false,
        }
    }

    /// Whether a library of this name is the owner, in another release than is known.
    pub fn may_be(&self, library: &str) -> bool {
        match self {
            Self::Library(name) => library.starts_with(name.as_str()),
            Self::Torch | Self::Python | Self::Unknown => false,
        }
    }

    fn has(&self, library: &str, origin: Origin) -> bool {
        match self {
            Self::Torch => origin == Origin::Torch,
            Self::Library(name) => library.starts_with(name.as_str()),
            Self::Python | Self::Unknown => false,
        }
    }

    /// As messages name it.
    pub fn name(&self, providers: &Providers, python: Option<&str>) -> String {
        match self {
            Self::Torch => match &providers.torch {
                Some(torch) => format!("torch {torch}"),
                None => "torch".to_owned(),
            },
            Self::Python => format!("Python {}", python.unwrap_or("3")),
            Self::Library(library) => format!("`{library}`"),
            Self::Unknown => "any library that is known".to_owned(),
        }
    }

    /// What can be done.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Torch => "it was built against another torch: build it for this one",
            Self::Python => "it was built for another Python",
            Self::Library(library) if library.starts_with("libcu") => {
                "it was built against another release of CUDA's libraries"
            }
            Self::Library(_) => "it was built against another release of that library",
            Self::Unknown => "a source file or a library is missing from the link",
        }
    }

    /// What the owner has that is most like a missing symbol: the same function with another
    /// signature, or the same name with another version or suffix.
    pub fn nearest(&self, symbol: &Symbol, providers: &Providers) -> Option<String> {
        let theirs = || providers.libraries().filter(|(name, p)| self.has(name, p.origin));
        if symbol.version.is_some() {
            let versions = theirs().flat_map(|(_, p)| p.versions(&symbol.name)).max()?;
            return Some(format!("{}@{versions}", symbol.name));
        }
        let readable = demangled(&symbol.name);
        if readable == symbol.name {
            let plain = without_suffix(&symbol.name);
            let alike = |name: &&str| without_suffix(name) == plain;
            return theirs().flat_map(|(_, p)| p.names()).filter(alike).min().map(str::to_owned);
        }
        let function = base(&readable);
        let last = function.rsplit("::").next().unwrap_or(function);
        // Mangled names have each identifier with its length before it.
        let part = format!("{}{last}", last.len());
        let names = theirs().flat_map(|(_, p)| p.names()).filter(|name| name.contains(&part));
        let alike = names.map(demangled).filter(|name| base(name) == function);
        alike.min_by_key(|name| (name.len().abs_diff(readable.len()), name.clone()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torch => f.write_str("torch"),
            Self::Python => f.write_str("python"),
            Self::Library(library) => f.write_str(library),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A name as C++ writes it; the name itself where it is not C++'s.
pub fn demangled(name: &str) -> String {
    let options = DemangleOptions::default();
    let symbol = name.starts_with("_Z").then(|| Mangled::new(name).ok()).flatten();
    symbol
        .and_then(|symbol| symbol.demangle_with_options(&options).ok())
        .unwrap_or_else(|| name.to_owned())
}

/// What a readable name is about: `c10::Error` of `typeinfo for c10::Error`, and of a function
/// template, before whose name stands what it returns, the name.
fn subject(readable: &str) -> &str {
    const SPECIAL: [&str; 5] =
        ["typeinfo for ", "typeinfo name for ", "vtable for ", "VTT for ", "guard variable for "];
    if let Some(name) = SPECIAL.iter().find_map(|start| readable.strip_prefix(start)) {
        return name;
    }
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in base(readable).char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    &readable[start..]
}

/// A readable name without its parameters: `c10::cuda::getCurrentCUDAStream`.
fn base(readable: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in readable.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 && !readable[at..].starts_with("(anonymous namespace)") => {
                return &readable[..at];
            }
            _ => {}
        }
    }
    readable
}

/// `cublasCreate` of `cublasCreate_v2`.
fn without_suffix(name: &str) -> &str {
    match name.rsplit_once("_v") {
        Some((plain, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            plain
        }
        _ => name,
    }
}
