//! The only writer of unpacked files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::{Danger, UnpackError};

/// When every unpacked file was last changed, in seconds since 1970: 1980-01-01, the earliest
/// time that a zip can hold. With one time for all, what was built from an archive stays newer
/// than its sources however often these are unpacked.
pub const MTIME: u64 = 315_532_800;

/// The longest name of a file, in bytes (`NAME_MAX` of Linux's limits.h).
const LONGEST_NAME: usize = 255;
/// The longest path of a member: `PATH_MAX` of limits.h is 4096, and the root takes its part.
const LONGEST_PATH: usize = 2048;

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links.
    pub entries: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Limits {
    /// For the source of a package: vLLM's has 5,000 files, torch's with all its submodules
    /// 60,000 and 1.2 GB.
    pub const SOURCE: Self = Self { entries: 200_000, bytes: 4 << 30 };
    /// For a source archive of so many bytes: what grows to hundreds of times its size is no
    /// source. Sources grow to ten times theirs, and deflate allows 1032 times.
    pub fn of_source(archive: u64) -> Self {
        let bytes = archive.saturating_mul(200).clamp(64 << 20, Self::SOURCE.bytes);
        Self { bytes, ..Self::SOURCE }
    }

    /// For a toolchain's component, whose archives are locked by digest: a whole CUDA library
    /// wheel unpacks to 0.9 GB, a torch wheel to 1.5 GB.
    pub const COMPONENT: Self = Self { entries: 200_000, bytes: 8 << 30 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File { executable: bool },
    Folder,
    Link,
}

/// Where a member goes, if anywhere: from its path in the archive to the path below the tree.
pub type Select<'a> = dyn Fn(&Path) -> Option<PathBuf> + 'a;

/// A folder that fills with the members of one or more archives.
///
/// Modes are reduced to 0755 (folders, and files that anyone may execute) and 0644; times to
/// [`MTIME`]; owners are dropped.
pub struct Tree<'a> {
    root: &'a Path,
    archive: &'a Path,
    select: &'a Select<'a>,
    limits: Limits,
    bytes: u64,
    entries: BTreeMap<PathBuf, Kind>,
}

impl<'a> Tree<'a> {
    /// A tree below `root`, a folder that is there and empty.
    pub fn new(root: &'a Path, limits: Limits) -> Self {
        let select = &|path: &Path| Some(path.to_owned());
        Self { root, archive: root, select, limits, bytes: 0, entries: BTreeMap::new() }
    }

    /// Says which archive the next members come from, and which of them are wanted.
    pub fn begin(&mut self, archive: &'a Path, select: &'a Select<'a>) {
        self.archive = archive;
        self.select = select;
    }

    /// The archive that is being unpacked.
    pub fn archive(&self) -> &'a Path {
        self.archive
    }

    /// The names at the top, and whether each is a folder.
    pub fn top(&self) -> impl Iterator<Item = (&Path, bool)> {
        let top = self.entries.iter().filter(|(path, _)| path.components().count() == 1);
        top.map(|(path, kind)| (path.as_path(), *kind == Kind::Folder))
    }

    /// Makes a folder; one that is there already is left as it is.
    pub fn folder(&mut self, member: &[u8]) -> Result<(), UnpackError> {
        match self.place(member)? {
            Some(path) => self.make_folders(&path, member),
            None => Ok(()),
        }
    }

    /// Writes a file.
    pub fn file(
        &mut self,
        member: &[u8],
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let Some(path) = self.new_path(member)? else { return Ok(()) };
        let mode = if executable { 0o755 } else { 0o644 };
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let mut file = options.open(self.root.join(&path)).map_err(UnpackError::Write)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.unreadable(member, source)),
            };
            self.bytes += n as u64;
            if self.bytes > self.limits.bytes {
                return Err(self.refuse(member, Danger::TooLarge(self.limits.bytes)));
            }
            file.write_all(&buffer[..n]).map_err(UnpackError::Write)?;
        }
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME);
        file.file().set_modified(mtime).map_err(UnpackError::Write)?;
        self.entries.insert(path, Kind::File { executable });
        Ok(())
    }

    /// Makes a symbolic link. An absolute destination is taken for a path below the tree's root,
    /// as in a package of a distribution, and made relative.
    pub fn symlink(&mut self, member: &[u8], destination: &[u8]) -> Result<(), UnpackError> {
        let Some(path) = self.new_path(member)? else { return Ok(()) };
        let outside = || self.refuse(member, Danger::LinkOutside);
        let text = std::str::from_utf8(destination).map_err(|_| outside())?;
        let relative = contained_link(&path, Path::new(text)).ok_or_else(outside)?;
        if relative.as_os_str().len() > LONGEST_PATH {
            return Err(self.refuse(member, Danger::TooLong));
        }
        symlink(relative, self.root.join(&path)).map_err(UnpackError::Write)?;
        self.entries.insert(path, Kind::Link);
        Ok(())
    }

    /// Copies a file that came before. It is not linked, because a file that is patched later
    /// must not change under its other names.
    pub fn hard_link(&mut self, member: &[u8], original: &[u8]) -> Result<(), UnpackError> {
        let dangling = || self.refuse(member, Danger::DanglingHardLink);
        let Some(original) = self.place(original)? else {
            return if self.place(member)?.is_some() { Err(dangling()) } else { Ok(()) };
        };
        let Some(Kind::File { executable }) = self.entries.get(&original).copied() else {
            return Err(dangling());
        };
        let source = self.root.join(&original);
        let mut source = fs_err::File::open(source).map_err(UnpackError::Write)?;
        self.file(member, executable, &mut source)
    }

    /// Refuses a member.
    pub fn refuse(&self, member: &[u8], danger: Danger) -> UnpackError {
        let member = String::from_utf8_lossy(member).into_owned();
        UnpackError::Refused { archive: self.archive.to_owned(), member, danger }
    }

    /// Reports a member whose content cannot be decoded.
    pub fn unreadable(&self, member: &[u8], source: io::Error) -> UnpackError {
        let member = String::from_utf8_lossy(member).into_owned();
        UnpackError::Member { archive: self.archive.to_owned(), member, source }
    }

    /// Where a member goes, for one that is not there yet; its folder is made.
    fn new_path(&mut self, member: &[u8]) -> Result<Option<PathBuf>, UnpackError> {
        let Some(path) = self.place(member)? else { return Ok(None) };
        if path.as_os_str().is_empty() {
            return Err(self.refuse(member, Danger::Outside));
        }
        if self.entries.contains_key(&path) {
            return Err(self.refuse(member, Danger::Duplicate));
        }
        if let Some(parent) = path.parent() {
            self.make_folders(parent, member)?;
        }
        self.count(member)?;
        Ok(Some(path))
    }

    /// A member's path below the root, checked, where it is wanted.
    fn place(&self, member: &[u8]) -> Result<Option<PathBuf>, UnpackError> {
        let text = std::str::from_utf8(member).map_err(|_| self.refuse(member, Danger::NotUtf8))?;
        let outside = || self.refuse(member, Danger::Outside);
        let path = normal_path(text).ok_or_else(outside)?;
        let too_long = |name: &OsStr| name.len() > LONGEST_NAME;
        if text.len() > LONGEST_PATH || path.iter().any(too_long) {
            return Err(self.refuse(member, Danger::TooLong));
        }
        Ok((self.select)(&path))
    }

    fn make_folders(&mut self, path: &Path, member: &[u8]) -> Result<(), UnpackError> {
        let mut folder = PathBuf::new();
        for name in path.components() {
            folder.push(name);
            match self.entries.get(&folder) {
                Some(Kind::Folder) => {}
                Some(Kind::Link) => return Err(self.refuse(member, Danger::ThroughLink)),
                Some(Kind::File { .. }) => return Err(self.refuse(member, Danger::Duplicate)),
                None => {
                    self.count(member)?;
                    fs_err::create_dir(self.root.join(&folder)).map_err(UnpackError::Write)?;
                    self.entries.insert(folder.clone(), Kind::Folder);
                }
            }
        }
        Ok(())
    }

    fn count(&self, member: &[u8]) -> Result<(), UnpackError> {
        if self.entries.len() >= self.limits.entries {
            return Err(self.refuse(member, Danger::TooMany(self.limits.entries)));
        }
        Ok(())
    }
}

/// A relative path of plain names; `None` for one that is absolute, climbs, or holds what other
/// systems take for a separator.
fn normal_path(text: &str) -> Option<PathBuf> {
    if text.contains(['\0', '\\']) {
        return None;
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// A link's destination as a relative path that stays below the root, whatever other links lie on
/// the way: it climbs first (through the link's own folders, which are no links), and only then
/// descends.
pub(crate) fn contained_link(link: &Path, destination: &Path) -> Option<PathBuf> {
    if destination.as_os_str().as_encoded_bytes().contains(&0) {
        return None;
    }
    let depth = link.components().count() - 1;
    if let Ok(below_root) = destination.strip_prefix("/") {
        let below_root = normal_path(below_root.to_str()?)?;
        let climbed: PathBuf = (0..depth).map(|_| "..").collect();
        let relative = climbed.join(below_root);
        // The root, from a link at the top.
        return Some(if relative.as_os_str().is_empty() { ".".into() } else { relative });
    }
    let mut climbed = 0;
    let mut descended = false;
    for component in destination.components() {
        match component {
            Component::ParentDir if descended => return None,
            Component::ParentDir => climbed += 1,
            Component::Normal(_) => descended = true,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let contained = climbed <= depth && destination.components().next().is_some();
    contained.then(|| destination.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(at: &str, destination: &str) -> Option<String> {
        let link = contained_link(Path::new(at), Path::new(destination))?;
        Some(link.to_str().unwrap().to_owned())
    }

    #[test]
    fn links_stay_below_the_root() {
        assert_eq!(link("usr/lib/libm.so", "libm.so.6").as_deref(), Some("libm.so.6"));
        assert_eq!(link("usr/lib/libm.so", "../../lib/m").as_deref(), Some("../../lib/m"));
        assert_eq!(link("root", "/").as_deref(), Some("."));
        assert_eq!(
            link("usr/lib/libm.so", "/lib/libm.so.6").as_deref(),
            Some("../../lib/libm.so.6")
        );
        assert_eq!(link("top", "/lib").as_deref(), Some("lib"));
        for outside in ["../../../etc", "..//../../etc", "/../etc", "a/../../../../etc", "", "a\0b"]
        {
            assert_eq!(link("usr/lib/x", outside), None, "{outside}");
        }
        // `deep` may itself be a link to somewhere shallow.
        assert_eq!(link("x", "deep/.."), None);
    }

    #[test]
    fn paths_are_plain() {
        assert_eq!(normal_path("./a//b/").unwrap(), Path::new("a/b"));
        for bad in ["/a", "../a", "a/../b", "a\\b", "a\0b"] {
            assert_eq!(normal_path(bad), None, "{bad}");
        }
    }

    fn danger(result: Result<(), UnpackError>) -> Danger {
        match result.unwrap_err() {
            UnpackError::Refused { danger, .. } => danger,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_would_do_harm_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path(), Limits { entries: 5, bytes: 10 });
        let mut file =
            |name: &str, content: &[u8]| tree.file(name.as_bytes(), false, &mut { content });
        file("a/b", b"12345").unwrap();
        assert_eq!(danger(file("a/b", b"1")), Danger::Duplicate);
        assert_eq!(danger(file("a/b/c", b"1")), Danger::Duplicate);
        assert_eq!(danger(file("../c", b"1")), Danger::Outside);
        assert_eq!(danger(file("", b"1")), Danger::Outside);
        assert_eq!(danger(file("big", b"123456")), Danger::TooLarge(10));
        tree.symlink(b"l", b"a").unwrap();
        assert_eq!(danger(tree.file(b"l/d", false, &mut &b""[..])), Danger::ThroughLink);
        assert_eq!(danger(tree.folder(b"\xff")), Danger::NotUtf8);
        assert_eq!(danger(tree.hard_link(b"h", b"nothing")), Danger::DanglingHardLink);
        tree.hard_link(b"h", b"a/b").unwrap_err();
        assert!(!folder.path().parent().unwrap().join("c").exists());
    }

    #[test]
    fn entries_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path(), Limits { entries: 3, bytes: 10 });
        tree.folder(b"a/b").unwrap();
        tree.file(b"a/c", false, &mut &b""[..]).unwrap();
        assert_eq!(danger(tree.folder(b"d")), Danger::TooMany(3));
    }

    #[test]
    fn hard_links_are_copies_with_the_same_mode_and_time() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path(), Limits::SOURCE);
        tree.file(b"a", true, &mut &b"content"[..]).unwrap();
        tree.hard_link(b"b", b"./a").unwrap();
        let [a, b] = ["a", "b"].map(|n| fs_err::metadata(folder.path().join(n)).unwrap());
        assert_ne!(a.ino(), b.ino());
        assert_eq!((b.mode() & 0o777, b.mtime()), (0o755, MTIME as i64));
        assert_eq!(fs_err::read(folder.path().join("b")).unwrap(), b"content");
    }
}
