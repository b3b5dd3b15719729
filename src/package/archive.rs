//! Wheels as they are read: members by path, from a zip archive or a folder.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use super::{PackageError, metadata};

/// A file with a position of its own, so that threads can read it at once.
#[derive(Clone)]
struct SharedFile {
    file: Arc<fs_err::File>,
    position: u64,
    size: u64,
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file().read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// One member of a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path in the wheel.
    pub path: String,
    /// Its size in bytes, as the archive says.
    pub size: u64,
    /// Whether any execute bit is set.
    pub executable: bool,
    /// Why it may not be unpacked, such as `is a symbolic link`.
    pub fault: Option<&'static str>,
    index: usize,
}

/// A zip archive that is read by any number of threads at once.
#[derive(Clone)]
pub struct WheelArchive {
    path: Arc<PathBuf>,
    zip: ZipArchive<SharedFile>,
    members: Arc<Vec<Member>>,
    has_duplicates: bool,
}

impl WheelArchive {
    /// Reads the archive's directory.
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let read = |source| PackageError::Read { path: path.to_owned(), source };
        let file = fs_err::File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let shared = SharedFile { file: Arc::new(file), position: 0, size };
        let broken = |source| PackageError::Zip { path: path.to_owned(), source };
        let zip = ZipArchive::new(shared).map_err(broken)?;
        let mut members = Vec::with_capacity(zip.len());
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(broken)?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if entry.is_dir() && path_fault(name.trim_end_matches('/')).is_none() {
                continue;
            }
            let fault = if entry.is_symlink() {
                Some("is a symbolic link")
            } else if std::str::from_utf8(entry.name_raw()).is_err() {
                Some("has a name that is not UTF-8")
            } else {
                path_fault(&name)
            };
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            members.push(Member { path: name, size: entry.size(), executable, fault, index });
        }
        members.sort_by(|a, b| a.path.cmp(&b.path));
        let has_duplicates = zip.has_duplicate_names();
        let path = Arc::new(path.to_owned());
        Ok(Self { path, zip, members: Arc::new(members), has_duplicates })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All members but folders, by path.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether one path stands in the archive more than once.
    pub fn has_duplicates(&self) -> bool {
        self.has_duplicates
    }

    /// The member of that path.
    pub fn member(&self, path: &str) -> Option<&Member> {
        let found = self.members.binary_search_by(|m| m.path.as_str().cmp(path));
        found.ok().map(|index| &self.members[index])
    }

    /// Calls `consume` with a reader of the member; what it leaves unread is not verified.
    pub fn with_member<R>(
        &self,
        member: &Member,
        consume: impl FnOnce(&mut dyn Read) -> io::Result<R>,
    ) -> Result<R, PackageError> {
        let mut zip = self.zip.clone();
        let consumed = match zip.by_index(member.index) {
            Ok(mut file) => consume(&mut file),
            Err(error) => Err(into_io(error)),
        };
        consumed.map_err(|source| PackageError::Member {
            path: self.path().to_owned(),
            member: member.path.clone(),
            source,
        })
    }

    /// The whole member.
    pub fn read(&self, member: &Member) -> Result<Vec<u8>, PackageError> {
        self.with_member(member, |reader| read_exactly(reader, member.size))
    }
}

/// All of a reader that gives as many bytes as an archive says; memory is taken as they arrive.
pub(crate) fn read_exactly(reader: &mut dyn Read, size: u64) -> io::Result<Vec<u8>> {
    const FIRST_ALLOCATION: u64 = 1 << 30;
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(FIRST_ALLOCATION)).unwrap_or(0));
    reader.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "its size is not what the archive says"))
}

/// An archive error as an I/O error, without wrapping the ones that are.
pub(super) fn into_io(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// Why a member of this path may not be unpacked.
fn path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("has no name")
    } else if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
        Some("has an absolute path")
    } else if path.contains(['\\', '\0', '\n', '\r']) {
        Some("has a backslash or control character in its path")
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has an empty, `.` or `..` component in its path")
    } else {
        None
    }
}

/// Where a member's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Archived(Member),
    File(PathBuf, u64),
    Bytes(Vec<u8>),
}

/// A member that goes into a wheel.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) source: Source,
    pub(super) executable: bool,
}

/// The members of a wheel that is to be written, `RECORD` and its signatures excepted.
#[derive(Clone)]
pub struct WheelContents {
    pub(super) origin: PathBuf,
    pub(super) archive: Option<WheelArchive>,
    pub(super) members: BTreeMap<String, Content>,
    /// The folder's name without `.dist-info`, such as `causal_conv1d-1.7.0`.
    pub(super) stem: String,
}

impl WheelContents {
    /// Takes the members of a wheel. Members that are not safe to unpack are an error.
    pub fn from_wheel(path: &Path) -> Result<Self, PackageError> {
        let archive = WheelArchive::open(path)?;
        let mut members = BTreeMap::new();
        let unsafe_member = |member: &str, reason| PackageError::UnsafeMember {
            path: path.to_owned(),
            member: member.to_owned(),
            reason,
        };
        if archive.has_duplicates() {
            return Err(unsafe_member("(several)", "stands in it twice"));
        }
        for member in archive.members() {
            if let Some(fault) = member.fault {
                return Err(unsafe_member(&member.path, fault));
            }
            let (source, executable) = (Source::Archived(member.clone()), member.executable);
            members.insert(member.path.clone(), Content { source, executable });
        }
        Self::new(path.to_owned(), Some(archive), members)
    }

    /// Takes the files of a folder that a wheel was unpacked into.
    pub fn from_folder(folder: &Path) -> Result<Self, PackageError> {
        let read = |path: &Path, source| PackageError::Read { path: path.to_owned(), source };
        let mut members = BTreeMap::new();
        for entry in walkdir::WalkDir::new(folder).min_depth(1) {
            let entry = entry.map_err(|error| read(folder, error.into()))?;
            if entry.file_type().is_dir() {
                continue;
            }
            let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let name = relative.to_string_lossy().into_owned();
            let fault = match (entry.file_type().is_file(), relative.to_str()) {
                (false, _) => Some("is not a regular file"),
                (true, None) => Some("has a name that is not UTF-8"),
                (true, Some(name)) => path_fault(name),
            };
            if let Some(reason) = fault {
                let path = folder.to_owned();
                return Err(PackageError::UnsafeMember { path, member: name, reason });
            }
            let metadata = entry.metadata().map_err(|error| read(entry.path(), error.into()))?;
            let executable = metadata.permissions().mode() & 0o111 != 0;
            let source = Source::File(entry.path().to_owned(), metadata.len());
            members.insert(name, Content { source, executable });
        }
        Self::new(folder.to_owned(), None, members)
    }

    fn new(
        origin: PathBuf,
        archive: Option<WheelArchive>,
        mut members: BTreeMap<String, Content>,
    ) -> Result<Self, PackageError> {
        let mut stems: Vec<String> = members.keys().filter_map(|p| dist_info_stem(p)).collect();
        stems.dedup();
        let [stem] = &stems[..] else {
            return Err(PackageError::DistInfo { path: origin, found: stems.len() });
        };
        let stem = stem.clone();
        for signed in ["RECORD", "RECORD.jws", "RECORD.p7s"] {
            members.remove(&format!("{stem}.dist-info/{signed}"));
        }
        Ok(Self { origin, archive, members, stem })
    }

    /// Adds a member, or replaces it, for one of `.dist-info` by its path there.
    pub fn insert_dist_info(&mut self, path: &str, bytes: Vec<u8>) {
        let content = Content { source: Source::Bytes(bytes), executable: false };
        self.members.insert(format!("{}.dist-info/{path}", self.stem), content);
    }

    /// A member of `.dist-info`, by its path there.
    pub fn dist_info(&self, path: &str) -> Result<Option<Vec<u8>>, PackageError> {
        let path = format!("{}.dist-info/{path}", self.stem);
        self.members.get(&path).map(|content| self.bytes(content)).transpose()
    }

    /// The value of a field that `METADATA` has exactly once, such as `Name`.
    pub fn metadata_field(&self, field: &'static str) -> Result<String, PackageError> {
        let bytes = self.dist_info("METADATA")?.unwrap_or_default();
        let missing = || PackageError::Metadata { path: self.origin.clone(), field };
        metadata::value(&bytes, field).map(str::to_owned).ok_or_else(missing)
    }

    pub(super) fn bytes(&self, content: &Content) -> Result<Vec<u8>, PackageError> {
        match (&content.source, &self.archive) {
            (Source::Bytes(bytes), _) => Ok(bytes.clone()),
            (Source::File(path, _), _) => fs_err::read(path)
                .map_err(|source| PackageError::Read { path: path.clone(), source }),
            (Source::Archived(member), Some(archive)) => archive.read(member),
            (Source::Archived(member), None) => Err(PackageError::Member {
                path: self.origin.clone(),
                member: member.path.clone(),
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }
}

/// The part before `.dist-info` of a path's first component.
pub(crate) fn dist_info_stem(path: &str) -> Option<String> {
    let (folder, _) = path.split_once('/')?;
    folder.strip_suffix(".dist-info").map(str::to_owned)
}
