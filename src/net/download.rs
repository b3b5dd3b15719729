//! Downloads to a file: resumed, and verified as they arrive.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::{Http, NetError, parse, redact};
use crate::artifact::Sha256;

/// A file to download, and what it must be.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Where it goes, in a folder that exists; it appears there whole or not at all. The caller
    /// holds a lock, so that no other process writes to it or to `<destination>.partial`.
    pub destination: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Download<'_> {
    /// Where bytes are kept until the file is whole: what a broken run leaves, the next goes on
    /// from.
    pub fn partial(&self) -> PathBuf {
        let mut name = self.destination.as_os_str().to_owned();
        name.push(".partial");
        PathBuf::from(name)
    }
}

impl Http {
    /// Downloads a file. `progress` hears how many bytes are on disk.
    ///
    /// A dropped connection is taken up where it broke. Where the whole file is there and is not
    /// what it should be, it is removed and the error names both hashes.
    pub fn download(
        &self,
        download: &Download<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), NetError> {
        let mut partial = Partial::open(download)?;
        let mut left_by_another_run = partial.received > 0;
        loop {
            self.complete(download, &mut partial, progress)?;
            let actual = Sha256::finish(partial.hasher.clone());
            if actual == download.sha256 {
                return partial.publish(download.destination);
            }
            if !left_by_another_run {
                partial.remove()?;
                let url = redact(download.url);
                return Err(NetError::WrongHash { url, expected: download.sha256, actual });
            }
            // A crash may have left bytes that were never written out: once more, from the start.
            left_by_another_run = false;
            partial.restart()?;
        }
    }

    /// Goes on until the partial file has all of its bytes.
    fn complete(
        &self,
        download: &Download<'_>,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), NetError> {
        let mut failures = 0;
        while partial.received < download.size || download.size == 0 {
            let before = partial.received;
            match self.transfer(download, partial, progress) {
                Ok(()) => break,
                Err(error) if error.is_transient() => {
                    failures = if partial.received > before { 1 } else { failures + 1 };
                    self.pause_after(failures, error)?;
                }
                Err(error @ NetError::WrongSize { .. }) => {
                    partial.remove()?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One request, from where the partial file ends.
    fn transfer(
        &self,
        download: &Download<'_>,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), NetError> {
        let url = parse(download.url)?;
        let range = (partial.received > 0).then_some((partial.received, None));
        let mut stream = match self.open(&url, range) {
            // What is there is no part of the file that the server has.
            Err(NetError::Status { status: 416, .. }) => {
                partial.restart()?;
                return self.transfer(download, partial, progress);
            }
            other => other?,
        };
        let wrong_size = |actual| NetError::WrongSize {
            url: redact(download.url),
            expected: download.size,
            actual,
        };
        if let Some(total) = stream.total.filter(|total| *total != download.size) {
            return Err(wrong_size(total));
        }
        if stream.start != partial.received {
            partial.restart()?;
            if stream.start != 0 {
                return self.transfer(download, partial, progress);
            }
        }
        let mut buffer = vec![0; 128 * 1024];
        loop {
            progress(partial.received);
            self.go_on(download.url)?;
            let n = match stream.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NetError::from_io(download.url, error)),
            };
            partial.write(&buffer[..n])?;
            if partial.received > download.size {
                return Err(wrong_size(partial.received));
            }
        }
        if partial.received < download.size {
            return Err(NetError::Truncated {
                url: redact(download.url),
                expected: download.size,
                received: partial.received,
            });
        }
        Ok(())
    }
}

/// The file while it is not whole, with the digest of what it holds.
struct Partial {
    path: PathBuf,
    file: fs_err::File,
    hasher: sha2::Sha256,
    received: u64,
    size: u64,
}

impl Partial {
    fn open(download: &Download<'_>) -> Result<Self, NetError> {
        let path = download.partial();
        let fail = |source| NetError::File { path: path.clone(), source };
        let mut options = fs_err::OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(&path).map_err(fail)?;
        let mut hasher = sha2::Sha256::new();
        let received = io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(fail)?;
        let mut partial = Self { path, file, hasher, received, size: download.size };
        if received > download.size {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        self.file.write_all(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NetError::DiskFull {
                path: self.path.clone(),
                missing: self.size.saturating_sub(self.received),
            },
            _ => NetError::File { path: self.path.clone(), source },
        })?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), NetError> {
        self.file
            .set_len(0)
            .map_err(|source| NetError::File { path: self.path.clone(), source })?;
        self.hasher = sha2::Sha256::new();
        self.received = 0;
        Ok(())
    }

    fn remove(&self) -> Result<(), NetError> {
        fs_err::remove_file(&self.path)
            .map_err(|source| NetError::File { path: self.path.clone(), source })
    }

    /// Gives the file its name, read-only, once its bytes are on the disk.
    fn publish(self, destination: &Path) -> Result<(), NetError> {
        let publish = || {
            self.file.sync_all()?;
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_readonly(true);
            fs_err::set_permissions(&self.path, permissions)?;
            fs_err::rename(&self.path, destination)
        };
        publish().map_err(|source| NetError::File { path: self.path.clone(), source })
    }
}

/// Feeds a hasher.
struct HashWriter<'a>(&'a mut sha2::Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
