//! Reports as SARIF 2.1.0, which code hosts and editors show.
//!
//! Source: the OASIS standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use serde_json::{Value, json};

use super::report::{Code, Report, Violation};

/// One run with the results of all reports.
pub fn document<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Value {
    let rules: Vec<Value> = Code::ALL.iter().map(|code| rule(*code)).collect();
    let results: Vec<Value> = reports.into_iter().flat_map(results).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "crosswheel",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({ "id": code.name(), "shortDescription": { "text": code.description() } })
}

fn results(report: &Report) -> Vec<Value> {
    let violations = report.violations.iter().map(|v| result(report, v, "error"));
    let notes = report.notes.iter().map(|v| result(report, v, "note"));
    let waived = report.waived.iter().map(|waived| {
        let mut value = result(report, &waived.violation, "error");
        value["suppressions"] = json!([{ "kind": "external", "justification": waived.reason }]);
        value
    });
    violations.chain(waived).chain(notes).collect()
}

fn result(report: &Report, violation: &Violation, level: &str) -> Value {
    let whole = report.inspection.path.display().to_string();
    let text = match &violation.hint {
        Some(hint) => format!("{}: {}\nhint: {hint}", violation.file, violation.message),
        None => format!("{}: {}", violation.file, violation.message),
    };
    let index = Code::ALL.iter().position(|code| *code == violation.code);
    let mut location = json!({
        "physicalLocation": { "artifactLocation": { "uri": uri(&whole) } },
    });
    if violation.file != whole {
        location["logicalLocations"] =
            json!([{ "fullyQualifiedName": violation.file, "kind": "member" }]);
    }
    json!({
        "ruleId": violation.code.name(),
        "ruleIndex": index,
        "level": level,
        "message": { "text": text },
        "locations": [location],
    })
}

/// A path as a relative or absolute URI reference (RFC 3986).
fn uri(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let encoded = utf8_percent_encode(path, KEPT).to_string();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}

impl Code {
    /// What the rule asks, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::WrongMachine => "Files are for the processor of the target and of the tag",
            Self::CudaMajor => "CUDA libraries are of the target's major version",
            Self::NoSass => "Every kernel has code that runs on the target's GPUs",
            Self::PtxOnly => "No kernel has to be compiled by the driver at the first start",
            Self::OtherGpusOnly => "No kernel is for other GPUs only",
            Self::FloorExceeded => "No symbol version is newer than the target's",
            Self::PrivateSymbol => "No symbol is private to one build of glibc",
            Self::ExecutableStack => "No file makes the stack executable",
            Self::TextRelocations => "No file has relocations in its code",
            Self::RunpathNotRelative => "Every RUNPATH moves with the wheel",
            Self::RunpathLacks => "Every RUNPATH leads to the wheel's own libraries",
            Self::RecordHash => "Digests are those that RECORD says",
            Self::RecordSize => "Sizes are those that RECORD says",
            Self::RecordMissing => "RECORD lists every member",
            Self::RecordExtra => "Everything that RECORD lists is there",
            Self::RecordMalformed => "There is a RECORD, and it is well formed",
            Self::NameMismatch => "File name, METADATA and .dist-info agree on name and version",
            Self::TagMismatch => "File name, WHEEL and contents agree on tags",
            Self::TagTooOld => "The platform tag promises no older system than is needed",
            Self::UnsafeMember => "Every member is safe to unpack",
            Self::DuplicateMember => "No path stands in the archive twice",
            Self::MalformedElf => "ELF files are readable",
            Self::MalformedDeviceCode => "Device code is readable",
            Self::NoDeviceCode => "Sources with device code give a wheel with device code",
            Self::MissingContractFile => "Every file of the contract is there",
            Self::UndefinedSymbol => "Every symbol is defined by something that the target has",
            Self::MissingNeeded => "Every library whose symbols are used is needed",
            Self::NotAbi3 => "Modules named abi3 use the stable ABI only",
            Self::BuildPath => "No file holds paths of the machine that built it",
            Self::Secret => "No file holds secrets",
            Self::ExportsLibstdcxx => "No file exports libstdc++'s own symbols",
        }
    }
}
