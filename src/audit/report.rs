//! What an audit found, as data; `docs/schemas/audit.schema.json` describes its JSON.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::closure::Closure;
use super::coverage::DeviceCode;
use super::elf::Elf;
use super::fatbin::{Fatbin, GpuArch, Kind};
use super::floors::Needs;
use super::traces::Traces;
use crate::artifact::Sha256;
use crate::package::WheelName;
use crate::target::Sm;

/// The version of the JSON form; raised when a reader could misread it.
pub const SCHEMA_VERSION: u32 = 1;

/// What stands in a wheel or shared object, judged by nothing but itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The wheel's own account of itself; `None` for a bare shared object.
    pub wheel: Option<WheelFacts>,
    /// The ELF files, by path.
    pub files: Vec<FileFacts>,
    /// The CUDA major versions that the files' libraries belong to.
    pub cuda_majors: Vec<u32>,
    /// The highest symbol versions needed by any file.
    pub floors: Needs,
    /// Faults in the file itself, whatever the target.
    #[serde(skip)]
    pub faults: Vec<Violation>,
    /// What is odd about the file itself, and harms nobody.
    #[serde(skip)]
    pub notes: Vec<Violation>,
}

impl Inspection {
    /// What there is machine code for.
    pub fn machine_code(&self) -> BTreeSet<GpuArch> {
        let code = self.files.iter().flat_map(|file| &file.device_code);
        code.filter(|code| code.kind == Kind::Sass).map(|code| code.arch).collect()
    }
}

/// What a wheel says of itself, and what it should say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WheelFacts {
    /// The file name, taken apart; `None` where it is not a wheel's.
    pub name: Option<WheelName>,
    /// `Name` of `METADATA`.
    pub distribution: Option<String>,
    /// `Version` of `METADATA`.
    pub version: Option<String>,
    /// Each `Requires-Dist` of its `METADATA`.
    pub requires: Vec<String>,
    /// How many members it has.
    pub members: usize,
    /// The platform tag that its contents deserve; `None` without ELF files or with several
    /// machines.
    pub fitting_platform: Option<String>,
    /// Paths of all members.
    #[serde(skip)]
    pub paths: Vec<String>,
}

/// One ELF file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileFacts {
    /// In the wheel, or as it was named.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// What the ELF tables say.
    #[serde(flatten)]
    pub elf: Elf,
    /// What it uses of torch.
    pub torch_abi: TorchAbi,
    /// Paths and secrets of the machine that built it.
    pub traces: Traces,
    /// The highest symbol versions needed of what the wheel does not bring.
    pub floors: Needs,
    /// How many object files with device code were linked into it.
    pub device_units: usize,
    /// Its device code by form and architecture.
    pub device_code: Vec<DeviceCode>,
    /// The device code of each object file.
    #[serde(skip)]
    pub fatbins: Vec<Fatbin>,
}

/// What a file uses of torch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TorchAbi {
    /// Nothing.
    None,
    /// Its stable C interface only, which later releases keep (`torch/csrc/stable`,
    /// `torch/csrc/inductor/aoti_torch/c/shim.h`).
    Stable,
    /// C++ symbols, which fit one release.
    Full,
}

/// How the device code of one file serves one GPU: numbers of object files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuCoverage {
    /// The file.
    pub file: String,
    /// The GPU.
    pub sm: Sm,
    /// With machine code that runs on it.
    pub sass: usize,
    /// With PTX only, which the driver compiles when the program first starts.
    pub ptx_only: usize,
    /// With nothing but code that is specific to other GPUs or their families.
    pub other_gpus_only: usize,
    /// With nothing that runs on it.
    pub missing: usize,
}

/// What rule is violated; the names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Built for another processor than the target's or the platform tag's.
    WrongMachine,
    /// Needs another CUDA major version's library.
    CudaMajor,
    /// A GPU of the target has no code that runs on it.
    NoSass,
    /// A GPU of the target is served by PTX alone.
    PtxOnly,
    /// Device code for other GPUs alone: kernels that cannot run on the target.
    OtherGpusOnly,
    /// Needs newer symbol versions than the target has.
    FloorExceeded,
    /// Needs symbols that glibc keeps to itself.
    PrivateSymbol,
    /// Makes the process's stack executable.
    ExecutableStack,
    /// Relocations write into code.
    TextRelocations,
    /// Looks for libraries in folders that do not move with it.
    RunpathNotRelative,
    /// Needs a library of its own wheel that its folders do not lead to.
    RunpathLacks,
    /// A member's digest is not what `RECORD` says.
    RecordHash,
    /// A member's size is not what `RECORD` says.
    RecordSize,
    /// A member that `RECORD` does not list.
    RecordMissing,
    /// A line of `RECORD` without a member.
    RecordExtra,
    /// `RECORD` is missing or malformed.
    RecordMalformed,
    /// File name, `METADATA` and `.dist-info` disagree on name or version.
    NameMismatch,
    /// File name, `WHEEL` and contents disagree on tags.
    TagMismatch,
    /// The platform tag promises an older system than the contents need.
    TagTooOld,
    /// A member's path or kind is not safe to unpack.
    UnsafeMember,
    /// A path stands in the archive twice.
    DuplicateMember,
    /// A member that looks like ELF and is not readable as such.
    MalformedElf,
    /// Device code that cannot be read.
    MalformedDeviceCode,
    /// The sources have device code and the wheel has none.
    NoDeviceCode,
    /// A file that the contract asks for is missing.
    MissingContractFile,
    /// Uses symbols that nobody has.
    UndefinedSymbol,
    /// Uses symbols of a library that it does not need.
    MissingNeeded,
    /// Named for the stable ABI, and uses what that has not.
    NotAbi3,
    /// Holds paths of the machine that built it.
    BuildPath,
    /// Holds what looks like a secret.
    Secret,
    /// Exports libstdc++'s own symbols, so that other files may take them from it.
    ExportsLibstdcxx,
}

impl Code {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::WrongMachine,
        Self::CudaMajor,
        Self::NoSass,
        Self::PtxOnly,
        Self::OtherGpusOnly,
        Self::FloorExceeded,
        Self::PrivateSymbol,
        Self::ExecutableStack,
        Self::TextRelocations,
        Self::RunpathNotRelative,
        Self::RunpathLacks,
        Self::RecordHash,
        Self::RecordSize,
        Self::RecordMissing,
        Self::RecordExtra,
        Self::RecordMalformed,
        Self::NameMismatch,
        Self::TagMismatch,
        Self::TagTooOld,
        Self::UnsafeMember,
        Self::DuplicateMember,
        Self::MalformedElf,
        Self::MalformedDeviceCode,
        Self::NoDeviceCode,
        Self::MissingContractFile,
        Self::UndefinedSymbol,
        Self::MissingNeeded,
        Self::NotAbi3,
        Self::BuildPath,
        Self::Secret,
        Self::ExportsLibstdcxx,
    ];

    /// Whether ld.so refuses to load a file that has it.
    pub fn prevents_loading(self) -> bool {
        matches!(
            self,
            Self::WrongMachine | Self::CudaMajor | Self::FloorExceeded | Self::PrivateSymbol
        )
    }

    /// As JSON and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongMachine => "wrong-machine",
            Self::CudaMajor => "cuda-major",
            Self::NoSass => "no-sass",
            Self::PtxOnly => "ptx-only",
            Self::OtherGpusOnly => "other-gpus-only",
            Self::FloorExceeded => "floor-exceeded",
            Self::PrivateSymbol => "private-symbol",
            Self::ExecutableStack => "executable-stack",
            Self::TextRelocations => "text-relocations",
            Self::RunpathNotRelative => "runpath-not-relative",
            Self::RunpathLacks => "runpath-lacks",
            Self::RecordHash => "record-hash",
            Self::RecordSize => "record-size",
            Self::RecordMissing => "record-missing",
            Self::RecordExtra => "record-extra",
            Self::RecordMalformed => "record-malformed",
            Self::NameMismatch => "name-mismatch",
            Self::TagMismatch => "tag-mismatch",
            Self::TagTooOld => "tag-too-old",
            Self::UnsafeMember => "unsafe-member",
            Self::DuplicateMember => "duplicate-member",
            Self::MalformedElf => "malformed-elf",
            Self::MalformedDeviceCode => "malformed-device-code",
            Self::NoDeviceCode => "no-device-code",
            Self::MissingContractFile => "missing-contract-file",
            Self::UndefinedSymbol => "undefined-symbol",
            Self::MissingNeeded => "missing-needed",
            Self::NotAbi3 => "not-abi3",
            Self::BuildPath => "build-path",
            Self::Secret => "secret",
            Self::ExportsLibstdcxx => "exports-libstdcxx",
        }
    }
}

/// One rule violated by one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule.
    pub code: Code,
    /// The member, or the audited file where the rule is about the whole of it.
    pub file: String,
    /// What is wrong, with the numbers.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Violation {
    pub(super) fn new(code: Code, file: &str, message: impl Into<String>) -> Self {
        Self { code, file: file.to_owned(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A violation that the policy lets pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waived {
    /// What was found.
    #[serde(flatten)]
    pub violation: Violation,
    /// Why it may pass.
    pub reason: String,
}

/// An audit's whole outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The target that it was judged against.
    pub target: Option<String>,
    /// What stands in the file.
    #[serde(flatten)]
    pub inspection: Inspection,
    /// How the target's GPUs are served.
    pub coverage: Vec<GpuCoverage>,
    /// Who provides what its files leave to others; absent where nothing was given to resolve
    /// against.
    pub closure: Option<Closure>,
    /// What is wrong, sorted.
    pub violations: Vec<Violation>,
    /// What would be wrong, but for the policy.
    pub waived: Vec<Waived>,
    /// What is worth knowing, and no violation.
    pub notes: Vec<Violation>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}
