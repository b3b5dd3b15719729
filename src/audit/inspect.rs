//! Reading a wheel or shared object once, all members at the same time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use super::check::cuda_major;
use super::elf::{Elf, ElfError, Symbol, sections};
use super::fatbin::{EXECUTABLE_SECTION, Fatbin, FatbinError, RELOCATABLE_SECTION, parse_section};
use super::report::{Code, FileFacts, Inspection, Violation};
use super::traces::{Scanner, Traces};
use super::{AuditError, closure, coverage, floors, wheel};
use crate::artifact::Sha256;
use crate::package::archive::{Member, read_exactly};
use crate::package::{WheelArchive, parallel};

/// The first bytes of a zip archive's first member.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// How much of a file tells what it is.
const MAGIC_LENGTH: u64 = 4;
/// The most bytes of a file of `.dist-info`: a `RECORD` has some 150 for each member, of which the
/// largest wheels have 100,000.
const LONGEST_KEPT: u64 = 64 << 20;

/// Digest and size of a member as it really is, and its bytes where the audit needs them.
pub(super) struct MemberFacts {
    pub(super) path: String,
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    /// The whole member, of the few of `.dist-info` that are looked into.
    pub(super) bytes: Option<Vec<u8>>,
    elf: Option<Result<Contents, Unreadable>>,
}

/// What is read of an ELF file.
struct Contents {
    elf: Elf,
    fatbins: Vec<Fatbin>,
    traces: Traces,
}

/// Why a member that begins like ELF gives no facts.
struct Unreadable(Code, String);

/// Reads a wheel or shared object.
pub fn inspect(path: &Path) -> Result<Inspection, AuditError> {
    inspect_for(path, &[])
}

/// Reads a wheel or shared object, and looks for paths below these folders in it.
pub fn inspect_for(path: &Path, folders: &[String]) -> Result<Inspection, AuditError> {
    let scanner = &Scanner::new(folders);
    let read = |source| AuditError::Read { path: path.to_owned(), source };
    let mut file = fs_err::File::open(path).map_err(read)?;
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC_LENGTH).read_to_end(&mut magic).map_err(read)?;
    if Elf::is_elf(&magic) {
        return inspect_shared_object(path, &fs_err::read(path).map_err(read)?, scanner);
    }
    let is_wheel = path.extension().is_some_and(|e| e == "whl") || magic == ZIP_MAGIC;
    if !is_wheel {
        return Err(AuditError::Unknown(path.to_owned()));
    }
    inspect_wheel(path, scanner)
}

fn inspect_shared_object(
    path: &Path,
    bytes: &[u8],
    scanner: &Scanner,
) -> Result<Inspection, AuditError> {
    let name = path.display().to_string();
    let elf =
        Elf::parse(bytes).map_err(|source| AuditError::Elf { path: path.to_owned(), source })?;
    let (fatbins, faults) = match device_code(bytes) {
        Ok(fatbins) => (fatbins, Vec::new()),
        Err(Unreadable(code, message)) => (Vec::new(), vec![Violation::new(code, &name, message)]),
    };
    let sha256 = Sha256::of(bytes);
    let size = bytes.len() as u64;
    let traces = scanner.scan(bytes, &device_code_ranges(bytes));
    let file = file_facts(name, sha256, size, Contents { elf, fatbins, traces });
    Ok(finish(Inspection {
        path: path.to_owned(),
        sha256,
        size,
        wheel: None,
        files: vec![file],
        cuda_majors: Vec::new(),
        floors: floors::Needs::new(),
        faults,
        notes: Vec::new(),
    }))
}

fn inspect_wheel(path: &Path, scanner: &Scanner) -> Result<Inspection, AuditError> {
    let read = |source| AuditError::Read { path: path.to_owned(), source };
    let archive = WheelArchive::open(path)?;
    let keep = wheel::looked_into(&archive);
    let (whole, members) = std::thread::scope(|scope| {
        let whole = scope.spawn(|| Sha256::of_reader(fs_err::File::open(path)?));
        let members = parallel::map(
            archive.members(),
            |m| m.size,
            |member| {
                let keep = keep.contains(member.path.as_str());
                let consume = |reader: &mut dyn Read| read_member(reader, member, keep, scanner);
                archive.with_member(member, consume)
            },
        );
        let whole = whole.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        (whole, members)
    });
    let (sha256, size) = whole.map_err(read)?;
    let members = members.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (mut faults, notes) = wheel::check(&archive, &members);
    let facts = wheel::facts(&archive, &members);
    let mut files = Vec::new();
    for member in members {
        match member.elf {
            Some(Ok(contents)) => {
                files.push(file_facts(member.path, member.sha256, member.size, contents));
            }
            Some(Err(Unreadable(code, message))) => {
                faults.push(Violation::new(code, &member.path, message));
            }
            None => {}
        }
    }
    let mut inspection = finish(Inspection {
        path: path.to_owned(),
        sha256,
        size,
        wheel: Some(facts),
        files,
        cuda_majors: Vec::new(),
        floors: floors::Needs::new(),
        faults,
        notes,
    });
    wheel::check_tags(&mut inspection);
    Ok(inspection)
}

/// Reads a member: to memory where it is ELF or is to be kept, else only its digest.
fn read_member(
    reader: &mut dyn Read,
    member: &Member,
    keep: bool,
    scanner: &Scanner,
) -> io::Result<MemberFacts> {
    let Member { path, size, .. } = member;
    let size = *size;
    let mut head = Vec::new();
    reader.take(MAGIC_LENGTH).read_to_end(&mut head)?;
    let is_elf = Elf::is_elf(&head);
    if keep && size > LONGEST_KEPT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for metadata"));
    }
    if !is_elf && !keep {
        let (sha256, size) = Sha256::of_reader(head.as_slice().chain(reader))?;
        return Ok(MemberFacts { path: path.to_owned(), sha256, size, bytes: None, elf: None });
    }
    let bytes = read_exactly(&mut head.as_slice().chain(reader), size)?;
    Ok(MemberFacts {
        path: path.to_owned(),
        sha256: Sha256::of(&bytes),
        size,
        elf: is_elf.then(|| elf_facts(&bytes, scanner)),
        bytes: keep.then_some(bytes),
    })
}

fn elf_facts(bytes: &[u8], scanner: &Scanner) -> Result<Contents, Unreadable> {
    let elf =
        Elf::parse(bytes).map_err(|error| Unreadable(Code::MalformedElf, with_cause(&error)))?;
    let fatbins = device_code(bytes)?;
    Ok(Contents { elf, fatbins, traces: scanner.scan(bytes, &device_code_ranges(bytes)) })
}

/// Where device code stands in a file, in order.
fn device_code_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let sections = sections(bytes, &[EXECUTABLE_SECTION, RELOCATABLE_SECTION]).unwrap_or_default();
    let start = |section: &[u8]| section.as_ptr() as usize - bytes.as_ptr() as usize;
    // An empty section has no bytes of the file's.
    let filled = sections.iter().filter(|section| !section.is_empty());
    let mut ranges: Vec<_> = filled.map(|s| start(s)..start(s) + s.len()).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// The device code that the CUDA runtime loads from an ELF file.
fn device_code(bytes: &[u8]) -> Result<Vec<Fatbin>, Unreadable> {
    let malformed_elf = |error: ElfError| Unreadable(Code::MalformedElf, with_cause(&error));
    let malformed = |error: FatbinError| Unreadable(Code::MalformedDeviceCode, error.to_string());
    for name in [EXECUTABLE_SECTION, RELOCATABLE_SECTION] {
        let mut fatbins = Vec::new();
        for section in sections(bytes, &[name]).map_err(malformed_elf)? {
            fatbins.extend(parse_section(section).map_err(malformed)?);
        }
        if fatbins.iter().any(|f| !f.entries.is_empty()) {
            return Ok(fatbins);
        }
    }
    Ok(Vec::new())
}

fn with_cause(error: &ElfError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn file_facts(path: String, sha256: Sha256, size: u64, contents: Contents) -> FileFacts {
    let Contents { elf, fatbins, traces } = contents;
    FileFacts {
        path,
        sha256,
        size,
        torch_abi: closure::torch_abi(&elf),
        elf,
        traces,
        floors: floors::Needs::new(),
        device_units: fatbins.iter().filter(|f| !f.entries.is_empty()).count(),
        device_code: coverage::summary(&fatbins),
        fatbins,
    }
}

/// Adds what follows from all files together.
fn finish(mut inspection: Inspection) -> Inspection {
    let provided = inspection.provided();
    let mut majors = BTreeSet::new();
    let mut all = BTreeMap::new();
    for file in &mut inspection.files {
        file.floors = floors::needs(&file.elf, &provided);
        majors.extend(file.elf.needed.iter().filter_map(|library| cuda_major(library)));
        for (set, version) in &file.floors {
            floors::raise(&mut all, *set, version.clone());
        }
    }
    keep_shared_definitions(&mut inspection.files);
    inspection.cuda_majors = majors.into_iter().collect();
    inspection.floors = all;
    inspection
}

/// Forgets definitions that concern nobody: what no other file of the wheel refers to, and what
/// could not stand in the way of libstdc++. Large extensions define 100,000 symbols.
fn keep_shared_definitions(files: &mut [FileFacts]) {
    let wanted: HashSet<String> = files
        .iter()
        .flat_map(|file| &file.elf.undefined)
        .filter(|symbol| !symbol.weak)
        .map(|symbol| symbol.name.clone())
        .collect();
    for file in files {
        file.elf.defined.retain(|s| wanted.contains(&s.name) || is_strong_std(s));
    }
}

/// Whether a definition has the name of one that a C++ library has in it, and gives way to none.
fn is_strong_std(symbol: &Symbol) -> bool {
    const STARTS: [&str; 7] =
        ["_ZNSt", "_ZNKSt", "_ZSt", "_ZTVSt", "_ZTISt", "__cxa_", "_ZTVN10__cxxabiv1"];
    !symbol.weak && STARTS.iter().any(|start| symbol.name.starts_with(start))
}
