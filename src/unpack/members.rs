//! Some members of a wheel, as an archive of their own.
//!
//! Where a few headers are wanted of a wheel of half a gigabyte, only these are read, by ranges.
//! They are kept as a *canonical archive*: a tar of the matching files, sorted by path, with modes
//! 0755 or 0644 and no times or owners. Its digest is what the lock holds, so it does not matter
//! whether the members came by ranges or out of the whole wheel, nor how they were compressed.

use std::io::{Read, Seek, Write};
use std::ops::Range;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use zip::ZipArchive;

use super::error::{Danger, UnpackError};
use super::tar::{self, AbsoluteLinks};
use super::tree::{Limits, Tree};
use super::wheel::{malformed, open};

/// Bytes of a local file header before its name (APPNOTE.TXT 4.3.7), and some for its extra field.
const LOCAL_HEADER: u64 = 30 + 128;

/// Compiles globs in which `*` stays within one name and `**` crosses folders.
pub fn globs(patterns: &[String]) -> Result<GlobSet, UnpackError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
    }
    Ok(set.build()?)
}

/// Writes the canonical archive of the members that match any of the patterns.
///
/// `path` is what errors call the wheel. A pattern that matches nothing is an error.
pub fn repack<W: Write>(
    wheel: impl Read + Seek,
    path: &Path,
    patterns: &[String],
    out: W,
) -> Result<W, UnpackError> {
    let mut zip = open(wheel, path)?;
    let mut builder = ::tar::Builder::new(out);
    let mut left = Limits::COMPONENT.bytes;
    for (name, index) in select(&mut zip, path, patterns)? {
        let mut file = zip.by_index(index).map_err(|e| malformed(path, e))?;
        let executable = file.unix_mode().unwrap_or(0) & 0o111 != 0;
        let refuse = |danger| {
            let (archive, member) = (path.to_owned(), name.clone());
            UnpackError::Refused { archive, member, danger }
        };
        if file.is_symlink() {
            return Err(refuse(Danger::Special));
        }
        let mut content = Vec::new();
        let read = file.by_ref().take(left + 1).read_to_end(&mut content);
        read.map_err(|source| {
            let (archive, member) = (path.to_owned(), name.clone());
            UnpackError::Member { archive, member, source }
        })?;
        left = left
            .checked_sub(content.len() as u64)
            .ok_or_else(|| refuse(Danger::TooLarge(Limits::COMPONENT.bytes)))?;
        let mut header = ::tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        builder.append_data(&mut header, &name, &content[..]).map_err(UnpackError::Write)?;
    }
    builder.into_inner().map_err(UnpackError::Write)
}

/// Where in the wheel the matching members lie, so that a reader can fetch them in few requests:
/// sorted, at least `gap` bytes apart.
pub fn spans(
    wheel: impl Read + Seek,
    path: &Path,
    patterns: &[String],
    gap: u64,
) -> Result<Vec<Range<u64>>, UnpackError> {
    let mut zip = open(wheel, path)?;
    let mut spans = Vec::new();
    for (name, index) in select(&mut zip, path, patterns)? {
        let file = zip.by_index_raw(index).map_err(|e| malformed(path, e))?;
        let start = file.header_start();
        spans.push(start..start + LOCAL_HEADER + name.len() as u64 + file.compressed_size());
    }
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end + gap => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    Ok(merged)
}

/// Unpacks a canonical archive.
pub fn unpack(archive: impl Read, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
    tar::unpack(archive, tree, AbsoluteLinks::Refused)
}

/// The matching files, sorted by name, with their indices.
fn select<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    path: &Path,
    patterns: &[String],
) -> Result<Vec<(String, usize)>, UnpackError> {
    let set = globs(patterns)?;
    let mut matched = vec![false; patterns.len()];
    let mut selected = Vec::new();
    for index in 0..zip.len() {
        let name = zip.name_for_index(index).transpose().map_err(|e| malformed(path, e))?;
        let Some(name) = name.filter(|name| !name.ends_with('/')) else { continue };
        let hits = set.matches(name.as_ref());
        hits.iter().for_each(|hit| matched[*hit] = true);
        if !hits.is_empty() {
            selected.push((name.into_owned(), index));
        }
    }
    if let Some(missed) = matched.iter().position(|hit| !hit) {
        let pattern = patterns[missed].clone();
        return Err(UnpackError::NoMatch { archive: path.to_owned(), pattern });
    }
    selected.sort();
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;
    use crate::artifact::Sha256;

    fn wheel(method: CompressionMethod, names: &[&str]) -> Cursor<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            let mode = if name.contains("bin") { 0o744 } else { 0o664 };
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options.unix_permissions(mode)).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap()
    }

    fn canonical(wheel: Cursor<Vec<u8>>, pattern: &str) -> Result<Vec<u8>, UnpackError> {
        repack(wheel, Path::new("x.whl"), &[pattern.to_owned()], Vec::new())
    }

    #[test]
    fn the_canonical_archive_depends_on_content_only() {
        let one = wheel(CompressionMethod::Deflated, &["n/include/b.h", "n/include/a.h", "lib.so"]);
        let two = wheel(CompressionMethod::Stored, &["other", "n/include/a.h", "n/include/b.h"]);
        let one = canonical(one, "n/include/**").unwrap();
        assert_eq!(one, canonical(two, "n/include/**").unwrap());
        // The locks of all partial wheels rest on these bytes.
        let golden = "257a7749deb06dd3a0cf627fe93dd3043f7cd76cd3b2e86ca32c38d046b1a23e";
        assert_eq!(Sha256::of(&one).to_string(), golden);
    }

    #[test]
    fn what_was_repacked_unpacks() {
        let names = ["n/bin/tool", "n/include/a.h"];
        let archive = canonical(wheel(CompressionMethod::Stored, &names), "n/**").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path(), Limits::COMPONENT);
        unpack(&archive[..], &mut tree).unwrap();
        for name in names {
            assert_eq!(fs_err::read_to_string(folder.path().join(name)).unwrap(), name);
        }
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |name: &str| fs_err::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("n/bin/tool") & 0o777, 0o755);
        assert_eq!(mode("n/include/a.h") & 0o777, 0o644);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let wheel = wheel(CompressionMethod::Stored, &["n/include/a.h"]);
        let error = canonical(wheel, "n/*.h").unwrap_err();
        assert_eq!(error.to_string(), "nothing in `x.whl` matches `n/*.h`");
    }

    #[test]
    fn spans_cover_the_members_and_little_else() {
        let filler = "b".repeat(5000);
        let wheel = wheel(CompressionMethod::Stored, &["a/1", &filler, "a/2"]);
        let spans = |gap| {
            let patterns = ["a/*".to_owned()];
            spans(wheel.clone(), Path::new("x.whl"), &patterns, gap).unwrap()
        };
        let near = spans(0);
        let bytes = wheel.get_ref();
        for (span, member) in near.iter().zip(["a/1", "a/2"]) {
            let end = (span.end as usize).min(bytes.len());
            let part = String::from_utf8_lossy(&bytes[span.start as usize..end]).into_owned();
            // Once as its name, once as its content.
            assert!(part.matches(member).count() >= 2, "{part}");
        }
        assert_eq!(near.len(), 2);
        let joined = spans(1 << 20);
        assert_eq!((joined.len(), &joined[0]), (1, &(near[0].start..near[1].end)));
    }
}
