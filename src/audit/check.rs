//! From facts to violations.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use globset::GlobBuilder;
use regex::Regex;

use super::closure::{Imports, Providers, close, exporting_libstdcxx};
use super::coverage::{Coverage, coverage};
use super::floors::{exceeded, limits};
use super::report::{
    Code, FileFacts, GpuCoverage, Inspection, Report, SCHEMA_VERSION, Violation, Waived,
};
use super::traces::PRIVATE_KEY;
use super::{AuditError, Policy, abi3, requires, runpath};
use crate::target::{Arch, Sm, Target};

/// How many symbols a message names before it only counts the rest.
const SYMBOLS_NAMED: usize = 5;

impl Inspection {
    /// Judges what was found: against itself, and against the target and policy given.
    pub fn check(self, target: Option<&Target>, policy: &Policy) -> Result<Report, AuditError> {
        self.check_with(target, policy, None)
    }

    /// [`Inspection::check`], and resolves every symbol against what the target has.
    pub fn check_with(
        self,
        target: Option<&Target>,
        policy: &Policy,
        providers: Option<&Providers>,
    ) -> Result<Report, AuditError> {
        let (mut violations, mut notes) = (self.faults.clone(), self.notes.clone());
        let provided = self.provided();
        for file in &self.files {
            check_hardening(file, &mut violations);
            check_traces(file, policy.own, &mut violations, &mut notes);
            if let Some(target) = target {
                check_target(file, target, &provided, &mut violations);
            }
            if let Some((whose, cuda)) = cuda_of(target, providers) {
                check_cuda(file, &whose, cuda, &provided, &mut violations);
            }
        }
        if let Some((whose, cuda)) = cuda_of(target, providers)
            && let Some(arch) = target.map(|t| t.arch).or(providers.map(|p| p.arch))
        {
            violations.extend(requires::check(&self, arch, &whose, cuda));
        }
        let (private, newer) = abi3::check(&self);
        violations.extend(private);
        notes.extend(newer);
        let files: Vec<_> = self.files.iter().map(|f| (f.path.as_str(), &f.elf)).collect();
        notes.extend(runpath::notes(&files));
        let gpus = target.map_or(&[][..], |t| &t.sm);
        let served = gpu_coverage(&self.files, gpus);
        violations.extend(served.iter().flat_map(coverage_violations));
        check_contract(&self, policy, &mut violations)?;
        let closure = providers.map(|providers| {
            let mut closure = close(&self, providers);
            if violations.iter().any(|violation| violation.code.prevents_loading()) {
                closure.imports = Imports::No;
            }
            violations.extend(closure.violations(providers));
            notes.extend(exporting_libstdcxx(&self, providers));
            closure
        });
        violations.sort();
        violations.dedup();
        notes.sort();
        let (violations, waived) = waive(violations, policy)?;
        let target = target.map(|t| t.name.clone());
        let schema_version = SCHEMA_VERSION;
        Ok(Report {
            schema_version,
            target,
            inspection: self,
            coverage: served,
            closure,
            violations,
            waived,
            notes,
        })
    }

    /// The names by which files of the wheel can need each other.
    pub fn provided(&self) -> BTreeSet<String> {
        let names = |f: &FileFacts| {
            let file = f.path.rsplit('/').next().unwrap_or(&f.path).to_owned();
            [Some(file), f.elf.soname.clone()]
        };
        self.files.iter().flat_map(names).flatten().collect()
    }
}

/// What no file should do, whatever the target.
fn check_hardening(file: &FileFacts, violations: &mut Vec<Violation>) {
    let mut violation = |code, message: String, hint: &str| {
        violations.push(Violation::new(code, &file.path, message).hint(hint));
    };
    if file.elf.executable_stack {
        let hint = "link with `-Wl,-z,noexecstack`; an assembler file without a `.note.GNU-stack` section is the usual cause";
        violation(Code::ExecutableStack, "loading it makes the stack executable".into(), hint);
    }
    if file.elf.text_relocations {
        let message = "it has relocations in its code (`DT_TEXTREL`)".into();
        violation(Code::TextRelocations, message, "compile everything in it with `-fPIC`");
    }
    let own = |folder: &&String| folder.starts_with("$ORIGIN") || folder.starts_with("${ORIGIN}");
    for (tag, folders) in [("RPATH", &file.elf.rpath), ("RUNPATH", &file.elf.runpath)] {
        for folder in folders.iter().filter(|f| !own(f)) {
            let message = format!("its {tag} has `{folder}`, which does not move with the wheel");
            violation(
                Code::RunpathNotRelative,
                message,
                "use `$ORIGIN`, or install without a RUNPATH",
            );
        }
    }
}

/// What a file tells of the machine that built it.
fn check_traces(
    file: &FileFacts,
    own: bool,
    violations: &mut Vec<Violation>,
    notes: &mut Vec<Violation>,
) {
    let paths = |paths: &[String]| {
        let message = format!("it holds paths of the machine that built it: {}", listed(paths));
        Violation::new(Code::BuildPath, &file.path, message)
    };
    let traces = &file.traces;
    if !traces.known_paths.is_empty() {
        let hint = "`-ffile-prefix-map` maps them; a RUNPATH, an assertion or a list of flags has them too";
        violations.push(paths(&traces.known_paths).hint(hint));
    }
    if !traces.paths.is_empty() {
        notes.push(paths(&traces.paths));
    }
    for secret in &traces.secrets {
        let message = format!("it holds what looks like {secret}");
        let hint = "withdraw the secret, which is known to all who have the file, and build again";
        let found = if own || secret != PRIVATE_KEY { &mut *violations } else { &mut *notes };
        found.push(Violation::new(Code::Secret, &file.path, message).hint(hint));
    }
}

fn check_target(
    file: &FileFacts,
    target: &Target,
    provided: &BTreeSet<String>,
    violations: &mut Vec<Violation>,
) {
    let mut violation = |code, message: String, hint: String| {
        violations.push(Violation::new(code, &file.path, message).hint(hint));
    };
    if (file.elf.machine, file.elf.bits) != (target.arch.elf_machine(), 64) {
        let made_for = machine_name(file.elf.machine, file.elf.bits);
        let message = format!("it is made for {made_for}; `{}` is {}", target.name, target.arch);
        violation(Code::WrongMachine, message, "a compiler of the build machine was used".into());
    }
    for over in exceeded(&file.elf, provided, &limits(&target.floors)) {
        let prefix = over.set.prefix();
        let message = format!(
            "it needs {prefix}{}; `{}` has {prefix}{}: {}",
            over.needed,
            target.name,
            over.limit,
            listed(&over.symbols)
        );
        violation(Code::FloorExceeded, message, "link against an older sysroot".into());
    }
    let private: Vec<String> = file
        .elf
        .undefined
        .iter()
        .filter(|s| s.version.as_deref() == Some("GLIBC_PRIVATE"))
        .map(|s| s.name.clone())
        .collect();
    if !private.is_empty() {
        let message = format!("it needs symbols private to one glibc build: {}", listed(&private));
        let hint = "a copy of a glibc library in a wheel only works with the glibc it came from";
        violation(Code::PrivateSymbol, message, hint.into());
    }
}

/// Who decides which CUDA there is, as messages name it, and that CUDA: the target, else the torch.
fn cuda_of<'a>(
    target: Option<&'a Target>,
    providers: Option<&'a Providers>,
) -> Option<(String, &'a str)> {
    match (target, providers) {
        (Some(target), _) => Some((format!("`{}`", target.name), target.cuda.as_str())),
        (None, Some(Providers { torch: Some(torch), torch_cuda: Some(cuda), .. })) => {
            Some((format!("torch {torch}"), cuda.as_str()))
        }
        _ => None,
    }
}

/// Whether a file's CUDA libraries are those of another major version.
fn check_cuda(
    file: &FileFacts,
    whose: &str,
    cuda: &str,
    provided: &BTreeSet<String>,
    violations: &mut Vec<Violation>,
) {
    let major = cuda.split('.').next().and_then(|m| m.parse::<u32>().ok());
    for library in &file.elf.needed {
        let found = cuda_major(library);
        if found.is_some() && found != major && !provided.contains(library) {
            let message = format!("it needs `{library}`; {whose} has CUDA {cuda}");
            let hint = format!("build it with CUDA {cuda}");
            violations.push(Violation::new(Code::CudaMajor, &file.path, message).hint(hint));
        }
    }
}

/// The first few, and how many more there are.
pub(super) fn listed(symbols: &[String]) -> String {
    let named = symbols.iter().take(SYMBOLS_NAMED).map(|s| format!("`{s}`")).collect::<Vec<_>>();
    match symbols.len().saturating_sub(SYMBOLS_NAMED) {
        0 if named.is_empty() => "no symbol, a version only".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A machine as people name it.
pub fn machine_name(machine: u16, bits: u8) -> String {
    match [Arch::Aarch64, Arch::X86_64].into_iter().find(|a| a.elf_machine() == machine) {
        Some(arch) if bits == 64 => arch.to_string(),
        _ => format!("ELF machine {machine} with {bits} bits"),
    }
}

/// The CUDA major version that a library's name states. Only those whose SONAME carries it:
/// cuFFT, cuRAND, cuSOLVER and cuSPARSE count for themselves. Names may have the hash that
/// auditwheel gives to copies.
pub fn cuda_major(library: &str) -> Option<u32> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"^lib(?:cudart|cublas|cublasLt|nvrtc|nvJitLink|nvfatbin|cupti|nvjpeg)(?:[-.][0-9a-f]{8})?\.so\.(\d+)";
        Regex::new(pattern).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
    });
    NAME.captures(library)?[1].parse().ok()
}

/// How many object files of each file serve each GPU, and how.
pub fn gpu_coverage(files: &[FileFacts], gpus: &[Sm]) -> Vec<GpuCoverage> {
    let mut served = Vec::new();
    for file in files.iter().filter(|f| f.device_units > 0) {
        for &sm in gpus {
            let mut line = GpuCoverage {
                file: file.path.clone(),
                sm,
                sass: 0,
                ptx_only: 0,
                other_gpus_only: 0,
                missing: 0,
            };
            for fatbin in file.fatbins.iter().filter(|f| !f.entries.is_empty()) {
                match coverage(&fatbin.entries, sm) {
                    Coverage::Sass => line.sass += 1,
                    Coverage::PtxOnly => line.ptx_only += 1,
                    Coverage::OtherGpusOnly => line.other_gpus_only += 1,
                    Coverage::Missing => line.missing += 1,
                }
            }
            served.push(line);
        }
    }
    served
}

fn coverage_violations(line: &GpuCoverage) -> Vec<Violation> {
    let GpuCoverage { sm, sass, ptx_only, other_gpus_only, missing, .. } = *line;
    let units = sass + ptx_only + other_gpus_only + missing;
    let gencode = format!("add `-gencode arch=compute_{0},code=sm_{0}`", sm.0);
    let cases = [
        (Code::NoSass, missing, format!("no code that runs on {sm}"), gencode.as_str()),
        (
            Code::PtxOnly,
            ptx_only,
            format!("only PTX for {sm}, which the driver compiles at the first start"),
            gencode.as_str(),
        ),
        (
            Code::OtherGpusOnly,
            other_gpus_only,
            format!("only code that is specific to GPUs other than {sm}"),
            "where these kernels are never called on this GPU, the recipe may say so",
        ),
    ];
    let violated = cases.into_iter().filter(|(_, count, ..)| *count > 0);
    violated
        .map(|(code, count, what, hint)| {
            let have = if count == 1 { "has" } else { "have" };
            let message = format!("{count} of {units} object files with device code {have} {what}");
            Violation::new(code, &line.file, message).hint(hint)
        })
        .collect()
}

fn check_contract(
    inspection: &Inspection,
    policy: &Policy,
    violations: &mut Vec<Violation>,
) -> Result<(), AuditError> {
    let whole = inspection.path.display().to_string();
    let paths: Vec<&str> = match &inspection.wheel {
        Some(wheel) => wheel.paths.iter().map(String::as_str).collect(),
        None => inspection.files.iter().map(|f| f.path.as_str()).collect(),
    };
    if policy.expect_device_code && inspection.files.iter().all(|f| f.device_units == 0) {
        let message = "it holds no device code, though its sources have `.cu` files";
        let hint = match paths.iter().any(|path| path.ends_with(".cu")) {
            true => {
                "it carries the `.cu` files, to compile them where it runs: where that is meant, the \
                 recipe may waive `no-device-code`"
            }
            false => {
                "the build fell back to a CPU-only configuration, or compiles its CUDA sources only \
                 where a variable asks for it: look at its log and its setup.py; the recipe's \
                 `environment` sets variables"
            }
        };
        violations.push(Violation::new(Code::NoDeviceCode, &whole, message).hint(hint));
    }
    for pattern in &policy.contract {
        let glob = matcher(pattern)?;
        if !paths.iter().any(|path| glob.is_match(path)) {
            let message = format!("no member matches `{pattern}`, which the contract asks for");
            let hint = "optional extensions are dropped without an error: look at the build's log";
            violations.push(Violation::new(Code::MissingContractFile, &whole, message).hint(hint));
        }
    }
    Ok(())
}

/// A glob over paths in a wheel: `*` stays within a folder, `**` does not.
pub(crate) fn matcher(pattern: &str) -> Result<globset::GlobMatcher, AuditError> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|g| g.compile_matcher()).map_err(|error| AuditError::Glob(error.to_string()))
}

fn waive(
    found: Vec<Violation>,
    policy: &Policy,
) -> Result<(Vec<Violation>, Vec<Waived>), AuditError> {
    let mut waivers = Vec::new();
    for waiver in &policy.waivers {
        waivers.push((waiver, matcher(&waiver.file)?));
    }
    let (mut kept, mut waived) = (Vec::new(), Vec::new());
    for violation in found {
        let fits = |(waiver, glob): &&(&super::Waiver, globset::GlobMatcher)| {
            waiver.code == violation.code.name() && glob.is_match(&violation.file)
        };
        match waivers.iter().find(fits).map(|(waiver, _)| waiver.reason.clone()) {
            Some(reason) => waived.push(Waived { violation, reason }),
            None => kept.push(violation),
        }
    }
    Ok((kept, waived))
}
