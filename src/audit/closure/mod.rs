//! Closure: who provides each symbol that the files of a wheel leave to others.
//!
//! In: an [`Inspection`], and the [`Providers`] that the target has. Out: a [`Closure`], which
//! says of each file what nobody has, what somebody has whom the file does not need, and what
//! cannot be known since a library is not known.

mod owner;
mod providers;
mod scope;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use owner::demangled;
pub(super) use owner::{is_python, torch_abi};
pub use providers::{Exported, Origin, Provider, Providers};

use self::owner::Owner;
use self::scope::{Files, Member, Scope};
use super::elf::Symbol;
use super::floors::SymbolSet;
use super::report::{Code, FileFacts, Inspection, Violation};

/// How many symbols are named before the rest is only counted.
pub const NAMED: usize = 5;
/// glibc's own symbols, which the audit reports as such.
const PRIVATE: &str = "GLIBC_PRIVATE";

/// Whether the files of a wheel can be loaded, as far as their symbols tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Imports {
    /// Every symbol is found.
    Yes,
    /// Something is missing.
    No,
    /// What is missing may be in libraries that are not known.
    CannotSay,
}

/// What was found of a wheel's symbols.
#[derive(Debug, Clone, Serialize)]
pub struct Closure {
    /// The torch that it was resolved against.
    pub torch: Option<String>,
    /// The CUDA release whose libraries it was resolved against.
    pub cuda: Option<String>,
    /// The Python that it was resolved against; absent where it is any.
    pub python: Option<String>,
    /// Whether it can be imported.
    pub imports: Imports,
    /// How many symbols were looked up, over all files.
    pub symbols: usize,
    /// How many of them each library provides.
    pub provided: BTreeMap<String, usize>,
    /// What is missing or not known, by file and owner.
    pub open: Vec<Open>,
}

/// Symbols of one file and one owner that are not found in its scope.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    /// Who needs them.
    pub file: String,
    /// What is the matter with them.
    pub finding: Finding,
    /// Who should have them, or has them: a library, `torch`, `python` or `unknown`.
    pub owner: String,
    /// Libraries that may have them, of which nothing is known.
    pub libraries: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub symbols: Vec<OpenSymbol>,
}

/// Why a symbol is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// A library has it that the file does not need, so that it is found by accident only.
    NotNeeded,
    /// A library that is not known may have it.
    Unknown,
    /// Nobody has it.
    Undefined,
}

/// One such symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OpenSymbol {
    /// As the linker sees it.
    pub name: String,
    /// As C++ writes it.
    pub demangled: String,
    /// The version that is needed.
    pub version: Option<String>,
    /// What the owner has that is most like it.
    pub nearest: Option<String>,
}

/// Where a symbol is found, or not; better outcomes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome<'a> {
    Provided(&'a str),
    NotNeeded(String),
    Unknown(Vec<&'a str>),
    Undefined,
}

/// Open symbols by file, finding and owner; with the libraries that may have them.
type Groups<'a> = BTreeMap<(&'a str, Finding, Owner), (BTreeSet<String>, Vec<&'a Symbol>)>;

/// Resolves everything that the files of a wheel leave to others.
pub fn close(inspection: &Inspection, providers: &Providers) -> Closure {
    let resolver = Resolver::new(inspection, providers);
    let (of_file, scopes) = resolver.files.scopes(providers, resolver.with_torch);
    let mut provided: BTreeMap<String, usize> = BTreeMap::new();
    let mut symbols = 0;
    let mut open = Groups::new();
    for (number, file) in inspection.files.iter().enumerate() {
        for symbol in file.elf.undefined.iter().filter(|symbol| !symbol.weak) {
            symbols += 1;
            let outcomes =
                of_file[number].iter().map(|scope| resolver.look_up(symbol, &scopes[*scope]));
            let (finding, owner, libraries) = match outcomes.min().unwrap_or(Outcome::Undefined) {
                Outcome::Provided(library) => {
                    *provided.entry(library.to_owned()).or_default() += 1;
                    continue;
                }
                Outcome::NotNeeded(library) => {
                    (Finding::NotNeeded, Owner::Library(library), Vec::new())
                }
                Outcome::Unknown(libraries) => (Finding::Unknown, Owner::of(symbol), libraries),
                Outcome::Undefined if resolver.is_reported_elsewhere(symbol) => continue,
                Outcome::Undefined => (Finding::Undefined, Owner::of(symbol), Vec::new()),
            };
            let group = open.entry((&file.path, finding, owner)).or_default();
            group.0.extend(libraries.into_iter().map(str::to_owned));
            group.1.push(symbol);
        }
    }
    let open: Vec<Open> = open
        .into_iter()
        .map(|((file, finding, owner), (libraries, symbols))| {
            resolver.open(file, finding, &owner, libraries, &symbols)
        })
        .collect();
    let any = |finding| open.iter().any(|open: &Open| open.finding == finding);
    let imports = if any(Finding::Undefined) || any(Finding::NotNeeded) {
        Imports::No
    } else if any(Finding::Unknown) {
        Imports::CannotSay
    } else {
        Imports::Yes
    };
    let (torch, cuda, python) = (providers.torch.clone(), providers.cuda.clone(), resolver.python);
    Closure { torch, cuda, python, imports, symbols, provided, open }
}

struct Resolver<'a> {
    providers: &'a Providers,
    files: Files<'a>,
    python: Option<String>,
    /// A Python without a global interpreter lock, whose exports differ.
    free_threaded: bool,
    with_torch: bool,
}

impl<'a> Resolver<'a> {
    fn new(inspection: &'a Inspection, providers: &'a Providers) -> Self {
        let (python, free_threaded) = match own_python(inspection) {
            Some((python, free_threaded)) => (Some(python), free_threaded),
            None => (providers.python.clone(), false),
        };
        let files = Files::new(&inspection.files);
        let with_torch = uses_torch(inspection);
        Self { providers, files, python, free_threaded, with_torch }
    }

    fn look_up(&self, symbol: &'a Symbol, scope: &Scope<'a>) -> Outcome<'a> {
        let (name, version) = (symbol.name.as_str(), symbol.version.as_deref());
        for member in &scope.members {
            match member {
                Member::File(number) if self.files.defines(*number, name, version) => {
                    return Outcome::Provided(&self.files.files[*number].path);
                }
                Member::Target(library, provider) if provider.defines(name, version) => {
                    return Outcome::Provided(library);
                }
                _ => {}
            }
        }
        if is_python(name) && symbol.library.is_none() {
            match self.providers.python_exports(self.python.as_deref(), name) {
                Exported::Yes => return Outcome::Provided("python"),
                Exported::Unknown => return Outcome::Unknown(vec!["python"]),
                Exported::No if self.free_threaded => return Outcome::Unknown(vec!["python"]),
                Exported::No => {}
            }
        }
        self.look_outside(symbol, scope)
    }

    /// What nothing in the scope defines.
    fn look_outside(&self, symbol: &'a Symbol, scope: &Scope<'a>) -> Outcome<'a> {
        let (name, version) = (symbol.name.as_str(), symbol.version.as_deref());
        let owner = Owner::of(symbol);
        let other_release = scope.unknown.keys().any(|library| owner.may_be(library));
        let cannot_say = other_release || !owner.is_known(self.providers);
        if cannot_say && !scope.unknown.is_empty() {
            return Outcome::Unknown(scope.unknown.keys().copied().collect());
        }
        let elsewhere = self.providers.libraries().find(|(_, p)| p.defines(name, version));
        if let Some((library, _)) = elsewhere {
            return Outcome::NotNeeded(library.to_owned());
        }
        let sibling = (0..self.files.files.len()).find(|n| self.files.defines(*n, name, version));
        if let Some(number) = sibling {
            return Outcome::NotNeeded(self.files.files[number].path.clone());
        }
        // Headers do not declare everything that a driver has, nor is a newer CUDA known.
        let partial = scope.members.iter().find_map(|member| match member {
            Member::Target(library, p) if self.is_partial(p, &owner, library) => Some(*library),
            _ => None,
        });
        match partial {
            Some(library) => Outcome::Unknown(vec![library]),
            None => Outcome::Undefined,
        }
    }

    fn is_partial(&self, provider: &Provider, owner: &Owner, library: &str) -> bool {
        let Owner::Library(wanted) = owner else { return false };
        let partial = match provider.origin {
            Origin::Driver => true,
            Origin::Cuda => !self.providers.same_cuda(),
            Origin::System | Origin::Torch => false,
        };
        partial && library.starts_with(wanted.as_str())
    }

    /// Floors and private symbols have codes of their own.
    fn is_reported_elsewhere(&self, symbol: &Symbol) -> bool {
        let elsewhere = |v: &str| v == PRIVATE || self.providers.exceeds_floor(v);
        symbol.version.as_deref().is_some_and(elsewhere)
    }

    fn open(
        &self,
        file: &str,
        finding: Finding,
        owner: &Owner,
        libraries: BTreeSet<String>,
        symbols: &[&Symbol],
    ) -> Open {
        let named = symbols.iter().take(NAMED).map(|symbol| OpenSymbol {
            name: symbol.name.clone(),
            demangled: demangled(&symbol.name),
            version: symbol.version.clone(),
            nearest: match finding {
                Finding::Undefined => owner.nearest(symbol, self.providers),
                Finding::NotNeeded | Finding::Unknown => None,
            },
        });
        Open {
            file: file.to_owned(),
            finding,
            owner: owner.to_string(),
            libraries: libraries.into_iter().collect(),
            count: symbols.len(),
            symbols: named.collect(),
        }
    }
}

impl Providers {
    /// Whether the CUDA libraries that are known are those of the torch.
    fn same_cuda(&self) -> bool {
        self.torch_cuda.is_none() || self.torch_cuda == self.cuda
    }
}

impl Inspection {
    /// The Python that the wheel's tags name, such as `3.11`; none where they name none, or the
    /// stable ABI.
    pub fn tagged_python(&self) -> Option<String> {
        own_python(self).map(|(python, _)| python)
    }
}

/// The Python that the tags name, and whether it is free-threaded; none where they name none, or
/// the stable ABI.
fn own_python(inspection: &Inspection) -> Option<(String, bool)> {
    let tags = &inspection.wheel.as_ref()?.name.as_ref()?.tags;
    let abi = tags.abi.iter().find_map(|abi| abi.strip_prefix("cp3"))?;
    let minor = abi.trim_end_matches('t');
    minor.parse::<u32>().ok()?;
    Some((format!("3.{minor}"), abi.ends_with('t')))
}

/// Whether torch is there when the wheel's modules are loaded: they need its libraries, or the
/// wheel requires it.
fn uses_torch(inspection: &Inspection) -> bool {
    let needs = |file: &FileFacts| {
        file.elf.needed.iter().any(|n| n.starts_with("libtorch") || n.starts_with("libc10"))
    };
    let requires = |requirement: &String| {
        let rest = requirement.strip_prefix("torch");
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    let wheel = inspection.wheel.as_ref();
    inspection.files.iter().any(needs) || wheel.is_some_and(|w| w.requires.iter().any(requires))
}

/// Files that export what is libstdc++'s own: what is loaded after them into the same scope takes
/// it from there. What GCC's toolsets for older systems link in besides (`libstdc++_nonshared.a`)
/// is not meant: it is newer than those systems' libstdc++.
pub(super) fn exporting_libstdcxx(
    inspection: &Inspection,
    providers: &Providers,
) -> Vec<Violation> {
    let Some(libstdcxx) = providers.library("libstdc++.so.6") else { return Vec::new() };
    // Of GCC 4.8, on whose system the oldest manylinux of aarch64 is built.
    let oldest = [(SymbolSet::Glibcxx, "3.4.19"), (SymbolSet::Cxxabi, "1.3.7")];
    let oldest = oldest.into_iter().filter_map(|(set, v)| Some((set, v.parse().ok()?))).collect();
    let mut notes = Vec::new();
    for file in &inspection.files {
        let itself = |name: &str| name.starts_with("libstdc++");
        if itself(file.path.rsplit('/').next().unwrap_or_default())
            || file.elf.soname.as_deref().is_some_and(itself)
        {
            continue;
        }
        let defined = file.elf.defined.iter().filter(|symbol| !symbol.weak);
        let own = defined.filter(|symbol| libstdcxx.defined_strongly(&symbol.name, &oldest));
        let names: Vec<String> = own.map(|symbol| demangled(&symbol.name)).collect();
        if !names.is_empty() {
            let message = format!(
                "it exports symbols of a libstdc++ that was linked into it: {}",
                super::check::listed(&names)
            );
            let hint = "link with `-Wl,--exclude-libs,ALL`, or with the shared libstdc++";
            let note = Violation::new(Code::ExportsLibstdcxx, &file.path, message);
            notes.push(note.hint(hint));
        }
    }
    notes
}

impl Closure {
    /// What is wrong, as an audit reports it.
    pub(super) fn violations(&self, providers: &Providers) -> Vec<Violation> {
        self.open.iter().filter_map(|open| open.violation(self, providers)).collect()
    }
}

impl Open {
    fn violation(&self, closure: &Closure, providers: &Providers) -> Option<Violation> {
        let python = closure.python.as_deref();
        match self.finding {
            Finding::Unknown => None,
            Finding::Undefined => {
                let owner = Owner::from(self.owner.as_str());
                let is_are = if self.count == 1 { "symbol is" } else { "symbols are" };
                let (count, name) = (self.count, owner.name(providers, python));
                let message = format!("{count} {is_are} not defined by {name}: {}", self.listed());
                Some(Violation::new(Code::UndefinedSymbol, &self.file, message).hint(owner.hint()))
            }
            Finding::NotNeeded => {
                let message = format!(
                    "it takes {} from `{}`, which it does not need (`NEEDED`): {}",
                    if self.count == 1 {
                        "1 symbol".to_owned()
                    } else {
                        format!("{} symbols", self.count)
                    },
                    self.owner,
                    self.listed()
                );
                let hint = "it works only where something else has loaded that library for all: link to it";
                Some(Violation::new(Code::MissingNeeded, &self.file, message).hint(hint))
            }
        }
    }

    /// The first symbols, each with the nearest that there is, and how many more there are.
    pub fn listed(&self) -> String {
        let one = |symbol: &OpenSymbol| {
            let version = symbol.version.as_ref().map(|v| format!("@{v}")).unwrap_or_default();
            let nearest = symbol.nearest.as_ref().map(|n| format!(" (there is `{n}`)"));
            format!("`{}{version}`{}", symbol.demangled, nearest.unwrap_or_default())
        };
        let named = self.symbols.iter().map(one).collect::<Vec<_>>().join(", ");
        match self.count - self.symbols.len() {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

impl From<&str> for Owner {
    fn from(name: &str) -> Self {
        match name {
            "torch" => Self::Torch,
            "python" => Self::Python,
            "unknown" => Self::Unknown,
            library => Self::Library(library.to_owned()),
        }
    }
}
