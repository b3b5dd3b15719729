//! Whether a wheel agrees with itself: `RECORD`, names, tags.

use std::collections::BTreeSet;

use super::inspect::MemberFacts;
use super::report::{Code, Inspection, Violation, WheelFacts};
use super::tags::{self, ModuleAbi, module_abi};
use crate::package::archive::{WheelArchive, dist_info_stem};
use crate::package::name::{escape_name, escape_version};
use crate::package::record::{self, hash_field};
use crate::package::{WheelName, WheelTags, metadata};
use crate::target::Arch;

/// The files of `.dist-info` that are looked at.
const READ: [&str; 3] = ["METADATA", "RECORD", "WHEEL"];

/// The paths of the members that [`check`] and [`facts`] look into: of each name the first.
pub(super) fn looked_into(archive: &WheelArchive) -> BTreeSet<&str> {
    let paths = || archive.members().iter().map(|member| member.path.as_str());
    READ.iter().filter_map(|name| paths().find(|path| is_dist_info(path, name))).collect()
}

fn is_dist_info(path: &str, name: &str) -> bool {
    dist_info_stem(path).is_some_and(|stem| path == format!("{stem}.dist-info/{name}"))
}

/// A file of `.dist-info`.
fn dist_info<'a>(members: &'a [MemberFacts], name: &str) -> Option<&'a [u8]> {
    members.iter().find(|m| is_dist_info(&m.path, name))?.bytes.as_deref()
}

fn file_name(archive: &WheelArchive) -> String {
    let name = archive.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What the wheel says of itself.
pub(super) fn facts(archive: &WheelArchive, members: &[MemberFacts]) -> WheelFacts {
    let metadata = dist_info(members, "METADATA").unwrap_or_default();
    let field = |name| metadata::value(metadata, name).map(str::to_owned);
    WheelFacts {
        name: file_name(archive).parse().ok(),
        distribution: field("Name"),
        version: field("Version"),
        requires: metadata::values(metadata, "Requires-Dist")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        members: members.len(),
        fitting_platform: None,
        paths: members.iter().map(|m| m.path.clone()).collect(),
    }
}

/// Everything that can be judged without looking into ELF files.
pub(super) fn check(
    archive: &WheelArchive,
    members: &[MemberFacts],
) -> (Vec<Violation>, Vec<Violation>) {
    let (mut violations, mut notes) = (Vec::new(), Vec::new());
    let whole = archive.path().display().to_string();
    if archive.has_duplicates() {
        let message = "a path stands in the archive more than once";
        violations.push(Violation::new(Code::DuplicateMember, &whole, message));
    }
    for member in archive.members() {
        if let Some(fault) = member.fault {
            violations.push(Violation::new(
                Code::UnsafeMember,
                &member.path,
                format!("it {fault}"),
            ));
        }
    }
    check_record(members, &whole, &mut violations);
    match file_name(archive).parse::<WheelName>() {
        Ok(name) => {
            check_name(&name, members, &whole, &mut violations);
            check_stated_tags(&name, members, &whole, &mut violations, &mut notes);
        }
        Err(error) => {
            violations.push(Violation::new(Code::NameMismatch, &whole, error.to_string()));
        }
    }
    (violations, notes)
}

fn check_record(members: &[MemberFacts], whole: &str, violations: &mut Vec<Violation>) {
    let entries = match dist_info(members, "RECORD").map(record::parse) {
        Some(Ok(entries)) => entries,
        Some(Err(error)) => {
            let message = error.to_string();
            return violations.push(Violation::new(Code::RecordMalformed, whole, message));
        }
        None => {
            let message = "it has no `RECORD`";
            return violations.push(Violation::new(Code::RecordMalformed, whole, message));
        }
    };
    let hint = "the wheel was changed after it was packed";
    let mut violation = |code, path: &str, message: String| {
        violations.push(Violation::new(code, path, message).hint(hint));
    };
    // RECORD cannot have its own digest, and its signatures are made after it.
    let unlisted = |path: &str| {
        ["RECORD", "RECORD.jws", "RECORD.p7s"]
            .iter()
            .any(|name| path.ends_with(&format!(".dist-info/{name}")))
    };
    for member in members.iter().filter(|m| !unlisted(&m.path)) {
        let Some(entry) = entries.get(&member.path) else {
            violation(Code::RecordMissing, &member.path, "`RECORD` does not list it".into());
            continue;
        };
        let hash = hash_field(&member.sha256);
        if entry.hash != hash {
            let message = format!("its digest is `{hash}`, `RECORD` says `{}`", entry.hash);
            violation(Code::RecordHash, &member.path, message);
        }
        if let Some(size) = entry.size.filter(|size| *size != member.size) {
            let message = format!("it has {} bytes, `RECORD` says {size}", member.size);
            violation(Code::RecordSize, &member.path, message);
        }
    }
    let present: BTreeSet<&str> = members.iter().map(|m| m.path.as_str()).collect();
    for path in entries.keys().filter(|p| !present.contains(p.as_str()) && !unlisted(p)) {
        violation(Code::RecordExtra, path, "`RECORD` lists it, and it is not there".into());
    }
}

fn check_name(
    name: &WheelName,
    members: &[MemberFacts],
    whole: &str,
    violations: &mut Vec<Violation>,
) {
    let mut mismatch = |code, message: String| {
        violations.push(Violation::new(code, whole, message));
    };
    let same_version = |a: &str, b: &str| match (a.parse(), b.parse::<pep440_rs::Version>()) {
        (Ok(a), Ok(b)) => b == a,
        _ => a == b,
    };
    let file_version = name.version.replace('_', "-");
    let metadata = dist_info(members, "METADATA").unwrap_or_default();
    match (metadata::value(metadata, "Name"), metadata::value(metadata, "Version")) {
        (Some(n), Some(v)) => {
            if escape_name(n) != escape_name(&name.name) {
                mismatch(
                    Code::NameMismatch,
                    format!("`METADATA` names it `{n}`, the file name `{}`", name.name),
                );
            }
            if !same_version(v, &file_version) && escape_version(v) != name.version {
                mismatch(
                    Code::NameMismatch,
                    format!("`METADATA` has version `{v}`, the file name `{}`", name.version),
                );
            }
        }
        _ => {
            mismatch(Code::NameMismatch, "its `METADATA` has no single `Name` and `Version`".into())
        }
    }
    let stems: BTreeSet<String> = members.iter().filter_map(|m| dist_info_stem(&m.path)).collect();
    let expected = |stem: &String| match stem.split_once('-') {
        Some((n, v)) => {
            escape_name(n) == escape_name(&name.name)
                && same_version(&v.replace('_', "-"), &file_version)
        }
        None => false,
    };
    if stems.len() != 1 || !stems.iter().all(expected) {
        let found: Vec<String> = stems.iter().map(|s| format!("`{s}.dist-info`")).collect();
        mismatch(
            Code::NameMismatch,
            format!("its `.dist-info` folders are not the file name's one: {}", found.join(", ")),
        );
    }
}

/// Whether `WHEEL` states the tags of the file name. Where it says `linux` for `manylinux`, the
/// wheel was renamed after it was packed, as many are: installers go by the name.
fn check_stated_tags(
    name: &WheelName,
    members: &[MemberFacts],
    whole: &str,
    violations: &mut Vec<Violation>,
    notes: &mut Vec<Violation>,
) {
    let wheel = dist_info(members, "WHEEL").unwrap_or_default();
    let stated: BTreeSet<String> =
        metadata::values(wheel, "Tag").into_iter().map(str::to_owned).collect();
    let named: BTreeSet<String> = name.tags.expanded().into_iter().collect();
    if stated != named {
        let listed = |tags: &BTreeSet<String>| tags.iter().cloned().collect::<Vec<_>>().join(" ");
        let message =
            format!("`WHEEL` has tags `{}`, the file name `{}`", listed(&stated), listed(&named));
        let plain = |tags: &BTreeSet<String>| -> BTreeSet<String> {
            tags.iter().map(|tag| plain_linux(tag)).collect()
        };
        let renamed = stated == plain(&named);
        let found = if renamed { notes } else { violations };
        found.push(Violation::new(Code::TagMismatch, whole, message));
    }
}

/// `cp311-cp311-linux_aarch64` for `cp311-cp311-manylinux_2_28_aarch64`.
fn plain_linux(tag: &str) -> String {
    let arch = [Arch::Aarch64, Arch::X86_64].into_iter().find(|a| tag.ends_with(a.name()));
    match (tag.find("-manylinux"), arch) {
        (Some(at), Some(arch)) => format!("{}-linux_{arch}", &tag[..at]),
        _ => tag.to_owned(),
    }
}

/// Whether the file name's tags fit what the ELF files need; states the platform that would.
pub(super) fn check_tags(inspection: &mut Inspection) {
    let provided = inspection.provided();
    let whole = inspection.path.display().to_string();
    let machines: BTreeSet<u16> = inspection.files.iter().map(|f| f.elf.machine).collect();
    let arch = match machines.iter().collect::<Vec<_>>()[..] {
        [machine] => {
            [Arch::Aarch64, Arch::X86_64].into_iter().find(|a| a.elf_machine() == *machine)
        }
        _ => None,
    };
    let needed: BTreeSet<&str> =
        inspection.files.iter().flat_map(|f| &f.elf.needed).map(String::as_str).collect();
    let fitting = arch.map(|arch| tags::platform_tag(arch, &inspection.floors, &needed, &provided));
    let Some(wheel) = &mut inspection.wheel else { return };
    wheel.fitting_platform = fitting;
    let Some(name) = &wheel.name else { return };

    let mut faults = Vec::new();
    for file in &inspection.files {
        let fits = |arch: Arch| {
            arch.elf_machine() == file.elf.machine
                && name.tags.platform.iter().all(|tag| tag.ends_with(&format!("_{arch}")))
        };
        if ![Arch::Aarch64, Arch::X86_64].into_iter().any(fits) {
            let made_for = super::check::machine_name(file.elf.machine, file.elf.bits);
            let message = format!("it is made for {made_for}; the wheel's tag is `{}`", name.tags);
            faults.push(Violation::new(Code::WrongMachine, &file.path, message));
        }
        if let (Some(_), ModuleAbi::Version(tag)) =
            (&file.elf.python_module, module_abi(&file.path))
        {
            let plain = tag.trim_end_matches('t');
            if !name.tags.python.contains(plain) {
                let message =
                    format!("only `{tag}` imports it; the wheel's tag is `{}`", name.tags);
                faults.push(Violation::new(Code::TagMismatch, &file.path, message));
            }
        }
    }
    let least = arch.map(|arch| tags::manylinux_glibc(arch, &inspection.floors));
    for tag in &name.tags.platform {
        if let (Some(promised), Some(least)) = (promised_glibc(tag), least)
            && least.is_none_or(|least| minor(least) > Some(promised))
        {
            let floors: Vec<String> =
                inspection.floors.iter().map(|(set, v)| format!("{}{v}", set.prefix())).collect();
            let message = format!(
                "its tag promises glibc 2.{promised} (`{tag}`), it needs {}",
                floors.join(", ")
            );
            let hint = wheel.fitting_platform.as_ref().map(|tag| format!("`{tag}` would be right"));
            let violation = Violation::new(Code::TagTooOld, &whole, message);
            faults.push(Violation { hint, ..violation });
        }
    }
    inspection.faults.extend(faults);
}

impl Inspection {
    /// The tags that a wheel should have, from what is in it; as they are where there is no ELF
    /// file. `None` where the file is no wheel, where its files are for several machines, or where
    /// its extension modules contradict each other or do not say for which Python they are.
    pub fn fitting_tags(&self) -> Option<WheelTags> {
        let wheel = self.wheel.as_ref()?;
        let built = &wheel.name.as_ref()?.tags;
        if self.files.is_empty() {
            return Some(built.clone());
        }
        let modules = self.files.iter().map(|file| (file.path.as_str(), &file.elf));
        let (python, abi) = tags::python_tags(modules, built)?;
        Some(WheelTags::new(&python, &abi, wheel.fitting_platform.as_ref()?))
    }
}

/// The minor version of the glibc that a platform tag promises to need no more than (PEP 600;
/// PEP 513, 571 and 599 for the older names).
fn promised_glibc(tag: &str) -> Option<u32> {
    let aliases = [("manylinux1_", 5), ("manylinux2010_", 12), ("manylinux2014_", 17)];
    if let Some((_, minor)) = aliases.iter().find(|(alias, _)| tag.starts_with(alias)) {
        return Some(*minor);
    }
    tag.strip_prefix("manylinux_2_")?.split('_').next()?.parse().ok()
}

fn minor(glibc: &str) -> Option<u32> {
    glibc.strip_prefix("2.")?.parse().ok()
}
