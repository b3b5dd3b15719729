//! Writing a wheel: sorted members, one time, fixed modes, one deflate, `RECORD` last.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;
use zip::{DateTime, ZipWriter};

use super::archive::{Content, Source, WheelContents, into_io};
use super::deflate::{Deflated, deflate};
use super::name::{escape_name, escape_version};
use super::{Identity, PackageError, Packaged, WheelName, metadata, parallel, record};
use crate::artifact::Sha256;

/// A member, compressed.
struct Compressed {
    path: String,
    digest: Sha256,
    size: u64,
    mode: u32,
    content: Deflated,
}

/// Writes the wheel into a folder, which is made where it is missing, under the name that
/// `METADATA`'s `Name` and the identity give. The file appears complete or not at all.
///
/// `WHEEL` and `RECORD` are written anew, `METADATA` gets the version and is otherwise kept byte
/// for byte, and `.dist-info` and `.data` are renamed after the version.
pub fn write_wheel(
    contents: &WheelContents,
    identity: &Identity,
    folder: &Path,
) -> Result<Packaged, PackageError> {
    let version = identity.version.to_string();
    let name = WheelName {
        name: escape_name(&contents.metadata_field("Name")?),
        version: escape_version(&version),
        build: None,
        tags: identity.tags.clone(),
    };
    let members = renamed_members(contents, identity, &version, &name)?;
    let compress = |path: &str, bytes: &[u8], mode| {
        let content = deflate(bytes).map_err(|source| member_error(contents, path, source))?;
        let (digest, size) = (Sha256::of(bytes), bytes.len() as u64);
        Ok(Compressed { path: path.to_owned(), digest, size, mode, content })
    };
    let compressed = parallel::map(
        &members,
        |(_, c)| content_size(c),
        |(path, content)| {
            let mode = if content.executable { 0o755 } else { 0o644 };
            compress(path, &contents.bytes(content)?, mode)
        },
    );
    let mut compressed = compressed.into_iter().collect::<Result<Vec<_>, PackageError>>()?;

    let record_path = format!("{}-{}.dist-info/RECORD", name.name, name.version);
    let lines = compressed.iter().map(|c| (c.path.as_str(), &c.digest, c.size));
    let record = record::write(lines, &record_path)
        .map_err(|error| member_error(contents, &record_path, io::Error::other(error)))?;
    compressed.push(compress(&record_path, &record, 0o644)?);

    let (path, count) = (folder.join(name.to_string()), compressed.len());
    let (sha256, size) = assemble(&compressed, identity.time.to_zip(), &path, folder)
        .map_err(|source| PackageError::Write { path: path.clone(), source })?;
    Ok(Packaged { path, name, sha256, size, members: count, pins: Vec::new() })
}

/// The members under their new names, with `METADATA` and `WHEEL` rewritten: sorted, and those of
/// `.dist-info` at the end, as PEP 427 recommends.
fn renamed_members(
    contents: &WheelContents,
    identity: &Identity,
    version: &str,
    name: &WheelName,
) -> Result<Vec<(String, Content)>, PackageError> {
    let missing = |field| PackageError::Metadata { path: contents.origin.clone(), field };
    let old_metadata = contents.dist_info("METADATA")?.ok_or_else(|| missing("Version"))?;
    let new_metadata =
        metadata::with_version(&old_metadata, version).ok_or_else(|| missing("Version"))?;
    // A wheel for one platform has files of that platform; else the backend knew best.
    let old_wheel = contents.dist_info("WHEEL")?.unwrap_or_default();
    let purelib = metadata::value(&old_wheel, "Root-Is-Purelib")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let wheel = metadata::wheel_file(&identity.tags, purelib && identity.tags.is_any_platform());

    let mut rewritten = contents.clone();
    rewritten.insert_dist_info("METADATA", new_metadata.into_owned());
    rewritten.insert_dist_info("WHEEL", wheel.into_bytes());
    let stem = format!("{}-{}", name.name, name.version);
    let dist_info = format!("{stem}.dist-info/");
    let rename = |path: String| match path.split_once('/') {
        Some((folder, rest)) => match folder.strip_prefix(&contents.stem) {
            Some(suffix @ (".dist-info" | ".data")) => format!("{stem}{suffix}/{rest}"),
            _ => path,
        },
        None => path,
    };
    let mut members: Vec<(String, Content)> =
        rewritten.members.into_iter().map(|(path, content)| (rename(path), content)).collect();
    members.sort_by(|(a, _), (b, _)| {
        (a.starts_with(&dist_info), a).cmp(&(b.starts_with(&dist_info), b))
    });
    Ok(members)
}

fn content_size(content: &Content) -> u64 {
    match &content.source {
        Source::Archived(member) => member.size,
        Source::File(_, size) => *size,
        Source::Bytes(bytes) => bytes.len() as u64,
    }
}

fn member_error(contents: &WheelContents, member: &str, source: io::Error) -> PackageError {
    PackageError::Member { path: contents.origin.clone(), member: member.to_owned(), source }
}

/// Writes beside the final place and renames, so that no half a wheel ever has the name of one.
fn assemble(
    members: &[Compressed],
    time: DateTime,
    path: &Path,
    folder: &Path,
) -> io::Result<(Sha256, u64)> {
    fs_err::create_dir_all(folder)?;
    let temporary = tempfile::Builder::new()
        .prefix(".crosswheel-")
        .suffix(".partial")
        // As `open` makes any new file; the umask applies.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    write_archive(&temporary, members, time)?;
    let summary = Sha256::of_reader(fs_err::File::open(temporary.path())?)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(summary)
}

fn write_archive(file: &NamedTempFile, members: &[Compressed], time: DateTime) -> io::Result<()> {
    let mut zip = ZipWriter::new(io::BufWriter::new(file.as_file()));
    for member in members {
        member.content.add_to(&mut zip, &member.path, time, member.mode)?;
    }
    zip.finish().map_err(into_io)?.flush()
}
