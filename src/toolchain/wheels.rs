//! Whole wheels and packages, while components are locked: what a lock says of parts of a wheel is made from
//! all of its bytes, verified.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use walkdir::WalkDir;
use zip::ZipArchive;

use super::relock::RelockError;
use crate::Result;
use crate::artifact::{Artifact, PartialWheel, Sha256};
use crate::net::Download;
use crate::registry::Registries;
use crate::report::{Reporter, Step};
use crate::store::StoreError;
use crate::symbols::{Library, driver};
use crate::target::Arch;
use crate::unpack::members::{self, globs};
use crate::unpack::{Limits, Tree, deb, wheel};

/// Wheels that were downloaded, each once; gone when dropped.
pub(super) struct Wheels<'a> {
    registries: &'a Registries,
    reporter: &'a dyn Reporter,
    folder: TempDir,
    known: BTreeMap<Sha256, PathBuf>,
}

impl<'a> Wheels<'a> {
    /// None yet; they are put into a folder in `parent`.
    pub(super) fn new(
        registries: &'a Registries,
        reporter: &'a dyn Reporter,
        parent: &Path,
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(parent).map_err(StoreError::Io)?;
        Ok(Self { registries, reporter, folder, known: BTreeMap::new() })
    }

    fn get(&mut self, wheel: &Artifact) -> Result<PathBuf> {
        if let Some(path) = self.known.get(&wheel.sha256) {
            return Ok(path.clone());
        }
        let _step = Step::start(self.reporter, "reading", wheel.file.clone());
        let path = self.folder.path().join(wheel.file_name());
        let url = self.registries.url_of(wheel)?;
        let (size, sha256) = (wheel.size, wheel.sha256);
        let download = Download { url: &url, destination: &path, size, sha256 };
        self.registries.http().download(&download, &mut |_| ())?;
        self.known.insert(sha256, path.clone());
        Ok(path)
    }

    /// Locks the members that match.
    pub(super) fn part(&mut self, wheel: Artifact, patterns: &[String]) -> Result<PartialWheel> {
        let path = self.get(&wheel)?;
        let file = fs_err::File::open(&path).map_err(StoreError::Io)?;
        let archive = members::repack(file, &path, patterns, Vec::new())?;
        let (size, sha256) = (archive.len() as u64, Sha256::of(&archive));
        Ok(PartialWheel { members: patterns.to_vec(), size, sha256, wheel })
    }

    /// Reads the interfaces of the libraries of a package that match, by SONAME; of a wheel, those
    /// of the driver that its headers declare.
    pub(super) fn system(
        &mut self,
        artifact: &Artifact,
        patterns: &[String],
        arch: Arch,
    ) -> Result<Vec<(String, Library)>> {
        let path = self.get(artifact)?;
        let folder = tempfile::tempdir_in(self.folder.path()).map_err(StoreError::Io)?;
        let wanted = globs(patterns)?;
        let select = |path: &Path| wanted.is_match(path).then(|| path.to_owned());
        let mut tree = Tree::new(folder.path(), Limits::COMPONENT);
        tree.begin(&path, &select);
        let file = fs_err::File::open(&path).map_err(StoreError::Io)?;
        match artifact.file.ends_with(".deb") {
            true => deb::unpack(file, &mut tree)?,
            false => wheel::unpack(BufReader::new(file), &mut tree)?,
        }
        Ok(read_system(folder.path(), &path, arch)?)
    }

    /// Reads the interfaces of the libraries that match, by file name.
    pub(super) fn libraries(
        &mut self,
        wheel: &Artifact,
        patterns: &[String],
        arch: Arch,
    ) -> Result<Vec<(String, Library)>> {
        let path = self.get(wheel)?;
        Ok(read_libraries(&path, &globs(patterns)?, arch)?)
    }
}

/// The libraries of an unpacked package, each once, by SONAME.
fn read_system(
    root: &Path,
    archive: &Path,
    arch: Arch,
) -> Result<Vec<(String, Library)>, RelockError> {
    let mut libraries = BTreeMap::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.map_err(std::io::Error::from)?;
        if !entry.file_type().is_file() {
            continue;
        }
        let content = fs_err::read(entry.path())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let library = match driver::of_header(&name) {
            Some(interface) => interface(&String::from_utf8_lossy(&content)),
            None => Library::read(content.as_slice(), arch)
                .map_err(|source| RelockError::Library { file: name.clone(), source })?,
        };
        libraries.insert(library.soname.clone().unwrap_or(name), library);
    }
    if libraries.is_empty() {
        return Err(RelockError::NoLibraries { wheel: archive.to_owned() });
    }
    Ok(libraries.into_iter().collect())
}

fn read_libraries(
    path: &Path,
    wanted: &globset::GlobSet,
    arch: Arch,
) -> Result<Vec<(String, Library)>, RelockError> {
    let file = fs_err::File::open(path)?;
    let mut archive = ZipArchive::new(BufReader::new(file))?;
    let names = archive.file_names().collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> =
        names.into_iter().filter(|n| wanted.is_match(&**n)).map(|n| n.into_owned()).collect();
    names.sort();
    if names.is_empty() {
        return Err(RelockError::NoLibraries { wheel: path.to_owned() });
    }
    let mut libraries = Vec::new();
    for name in names {
        let mut content = Vec::new();
        archive.by_name(&name)?.read_to_end(&mut content)?;
        let library = Library::read(content.as_slice(), arch)
            .map_err(|source| RelockError::Library { file: name.clone(), source })?;
        let file = name.rsplit('/').next().unwrap_or(&name).to_owned();
        libraries.push((file, library));
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::symbols::write_stub;

    #[test]
    fn a_system_is_read_by_soname_and_a_driver_by_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library { soname: Some("libsome.so.1".to_owned()), ..Library::default() };
        let stub = write_stub(&library, "libsome.so.1.2.3", Arch::Aarch64).unwrap();
        let lib = folder.path().join("usr/lib");
        fs_err::create_dir_all(&lib).unwrap();
        fs_err::write(lib.join("libsome.so.1.2.3"), stub).unwrap();
        std::os::unix::fs::symlink("libsome.so.1.2.3", lib.join("libsome.so.1")).unwrap();
        fs_err::write(lib.join("cuda.h"), "CUresult CUDAAPI cuInit(unsigned int Flags);\n")
            .unwrap();
        let read = |arch| read_system(folder.path(), Path::new("some.deb"), arch);
        let found = read(Arch::Aarch64).unwrap();
        let names: Vec<_> =
            found.iter().map(|(name, l)| (name.as_str(), l.symbols.len())).collect();
        assert_eq!(names, [("libcuda.so.1", 1), ("libsome.so.1", 0)]);
        assert!(matches!(read(Arch::X86_64), Err(RelockError::Library { .. })));
        let empty = tempfile::tempdir().unwrap();
        let error = read_system(empty.path(), Path::new("some.deb"), Arch::Aarch64).unwrap_err();
        assert!(matches!(error, RelockError::NoLibraries { .. }), "{error}");
    }

    #[test]
    fn libraries_are_read_out_of_a_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nvidia_some-1-py3-none-any.whl");
        let library = |soname: &str| Library {
            soname: Some(soname.to_owned()),
            needed: vec!["libc.so.6".to_owned()],
            ..Library::default()
        };
        let mut wheel = ZipWriter::new(fs_err::File::create(&path).unwrap().into_file());
        for name in ["libsome.so.1", "libother.so.2"] {
            wheel.start_file(format!("nvidia/lib/{name}"), SimpleFileOptions::default()).unwrap();
            wheel.write_all(&write_stub(&library(name), name, Arch::Aarch64).unwrap()).unwrap();
        }
        wheel.start_file("nvidia/lib/libsome.txt", SimpleFileOptions::default()).unwrap();
        wheel.finish().unwrap();
        let read = |glob: &str, arch| {
            read_libraries(&path, &globs(&[format!("nvidia/lib/{glob}")]).unwrap(), arch)
        };
        let names = ["libother.so.2", "libsome.so.1"];
        let expected = names.map(|name| (name.to_owned(), library(name)));
        assert_eq!(read("lib*.so.*", Arch::Aarch64).unwrap(), expected);
        assert_eq!(read("libsome.so.*", Arch::Aarch64).unwrap(), expected[1..]);
        let error = read("lib*.a", Arch::Aarch64).unwrap_err();
        assert!(matches!(error, RelockError::NoLibraries { .. }), "{error}");
        let error = read("lib*.so.*", Arch::X86_64).unwrap_err();
        assert!(error.to_string().contains("`nvidia/lib/libother.so.2`"), "{error}");
    }
}
