//! What an action made and said, as one file.

use std::io::{self, BufRead as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Renamer;

/// What an action cost when it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Wall time, in milliseconds.
    pub wall_ms: u64,
    /// User and system time of all its processes, in milliseconds.
    pub cpu_ms: u64,
    /// The memory that its largest process had at most, in bytes; 0 where that is not known.
    #[serde(default)]
    pub peak_memory: u64,
}

/// All that can be seen of an action that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub outputs: Vec<Output>,
    pub saved: Saved,
}

/// A file that it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    pub content: Vec<u8>,
}

/// The first line of the file; the contents follow, compressed as one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Header {
    stdout: usize,
    stderr: usize,
    outputs: Vec<Entry>,
    saved: Saved,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    path: PathBuf,
    mode: u32,
    size: usize,
}

impl Outcome {
    /// Reads the files that an action made.
    pub(crate) fn read(outputs: &[PathBuf]) -> io::Result<Vec<Output>> {
        let read = |path: &PathBuf| {
            let mode = fs_err::metadata(path)?.permissions().mode() & 0o777;
            Ok(Output { path: path.clone(), mode, content: fs_err::read(path)? })
        };
        outputs.iter().map(read).collect()
    }

    /// Renames components wherever they are named.
    pub(crate) fn rename(&mut self, renamer: &Renamer) {
        let outputs = self.outputs.iter_mut().map(|output| &mut output.content);
        for bytes in outputs.chain([&mut self.stdout, &mut self.stderr]) {
            renamer.rename(bytes);
        }
    }

    /// Writes it into one file.
    pub(crate) fn pack(&self) -> io::Result<Vec<u8>> {
        let header = Header {
            stdout: self.stdout.len(),
            stderr: self.stderr.len(),
            outputs: self.outputs.iter().map(Entry::of).collect(),
            saved: self.saved,
        };
        let mut packed = serde_json::to_vec(&header)?;
        packed.push(b'\n');
        let contents = self.outputs.iter().map(|output| &output.content);
        let parts: Vec<&[u8]> =
            [&self.stdout, &self.stderr].into_iter().chain(contents).map(Vec::as_slice).collect();
        packed.extend(lz4_flex::compress_prepend_size(&parts.concat()));
        Ok(packed)
    }

    /// Reads such a file, whose digest was right.
    pub(crate) fn unpack(mut packed: &[u8]) -> io::Result<Self> {
        let mut line = Vec::new();
        packed.read_until(b'\n', &mut line)?;
        let header: Header = serde_json::from_slice(&line)?;
        let body = lz4_flex::decompress_size_prepended(packed).map_err(io::Error::other)?;
        let mut rest = &body[..];
        let mut take = |size: usize| -> io::Result<Vec<u8>> {
            let (part, left) = rest.split_at_checked(size).ok_or(io::ErrorKind::UnexpectedEof)?;
            rest = left;
            Ok(part.to_vec())
        };
        let (stdout, stderr) = (take(header.stdout)?, take(header.stderr)?);
        let outputs = header
            .outputs
            .into_iter()
            .map(|Entry { path, mode, size }| Ok(Output { path, mode, content: take(size)? }));
        let outputs = outputs.collect::<io::Result<_>>()?;
        Ok(Self { stdout, stderr, outputs, saved: header.saved })
    }

    /// Writes the files to their places, each whole or not at all.
    pub(crate) fn restore(&self) -> io::Result<()> {
        for Output { path, mode, content } in &self.outputs {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let file = tempfile::Builder::new().make_in(folder, |path| {
                fs_err::write(path, content)?;
                fs_err::set_permissions(path, std::fs::Permissions::from_mode(*mode))
            })?;
            file.into_temp_path().persist(path).map_err(|error| error.error)?;
        }
        Ok(())
    }
}

impl Entry {
    fn of(output: &Output) -> Self {
        Self { path: output.path.clone(), mode: output.mode, size: output.content.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(folder: &Path) -> Outcome {
        let output = |name: &str, mode, content: &[u8]| Output {
            path: folder.join(name),
            mode,
            content: content.to_vec(),
        };
        Outcome {
            stdout: b"out\n".to_vec(),
            stderr: b"a warning\n".to_vec(),
            outputs: vec![output("a.o", 0o644, &[0; 70_000]), output("a.d", 0o600, b"a.o: a.c\n")],
            saved: Saved { wall_ms: 2000, cpu_ms: 1500, peak_memory: 1 << 30 },
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = outcome(folder.path());
        let packed = outcome.pack().unwrap();
        assert!(packed.len() < 2000);
        assert_eq!(Outcome::unpack(&packed).unwrap(), outcome);
        fs_err::write(folder.path().join("a.d"), "old").unwrap();
        outcome.restore().unwrap();
        let outputs: Vec<_> = outcome.outputs.iter().map(|output| output.path.clone()).collect();
        assert_eq!(Outcome::read(&outputs).unwrap(), outcome.outputs);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_cut_is_refused() {
        let packed = outcome(Path::new("/b")).pack().unwrap();
        for length in [0, 1, 40, packed.len() / 2, packed.len() - 1] {
            Outcome::unpack(&packed[..length]).unwrap_err();
        }
    }
}
