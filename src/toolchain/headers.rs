//! Python headers that the user gives: a folder or archive with `Python.h`.

use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

use super::error::{HeadersFlaw, ToolchainError};
use super::install::unpack_given;
use crate::artifact::Sha256;
use crate::target::Arch;

/// Headers that were given, before they are in the store.
#[derive(Debug)]
pub(super) struct Given<'a> {
    path: &'a Path,
    python: &'a str,
    target: Arch,
}

impl<'a> Given<'a> {
    pub(super) fn new(path: &'a Path, python: &'a str, target: Arch) -> Self {
        Self { path, python, target }
    }

    /// The digest of what the component in the store is made of.
    pub(super) fn digest(&self) -> Result<Sha256, ToolchainError> {
        if self.path.is_file() {
            let (digest, _) = Sha256::of_reader(fs_err::File::open(self.path)?)?;
            return Ok(digest);
        }
        let mut lines = String::new();
        for (below, path) in self.folder_files()? {
            let (digest, _) = Sha256::of_reader(fs_err::File::open(path)?)?;
            lines += &format!("{digest}  {}\n", below.display());
        }
        Ok(Sha256::of(lines))
    }

    /// Copies or unpacks the headers below `root`.
    pub(super) fn install(&self, root: &Path) -> crate::Result<()> {
        if self.path.is_file() {
            unpack_given(self.path, root)?;
        } else {
            for (below, path) in self.folder_files()? {
                let to = root.join(below);
                if let Some(folder) = to.parent() {
                    fs_err::create_dir_all(folder).map_err(ToolchainError::Io)?;
                }
                fs_err::copy(path, to).map_err(ToolchainError::Io)?;
            }
        }
        // What cannot be used must not get into the store.
        self.include(root)?;
        Ok(())
    }

    /// The include folders below the component's root, in search order.
    pub(super) fn include(&self, root: &Path) -> Result<Vec<PathBuf>, ToolchainError> {
        let flawed = |flaw| ToolchainError::Headers {
            path: self.path.to_owned(),
            python: self.python.to_owned(),
            flaw,
        };
        let folder = find_include(root, self.python)?.map_err(flawed)?;
        let version = version(&folder)?.ok_or_else(|| flawed(HeadersFlaw::NoVersion))?;
        if version != self.python {
            return Err(flawed(HeadersFlaw::Version(version)));
        }
        let pyconfig = folder.join("pyconfig.h");
        if !pyconfig.is_file() {
            return Err(flawed(HeadersFlaw::NoPyconfig));
        }
        let mut include = vec![folder.clone()];
        if let Some(elsewhere) = multiarch_include(&pyconfig, self.target)? {
            let above = folder.parent().filter(|above| above.join(&elsewhere).is_file());
            match above {
                Some(above) => include.push(above.to_owned()),
                None => return Err(flawed(HeadersFlaw::Multiarch(elsewhere))),
            }
        }
        Ok(include)
    }

    /// The headers of a given folder, links followed: those of its include folder and, where its
    /// `pyconfig.h` needs them, those of the multiarch folder beside it. By the path below the
    /// given folder, sorted.
    fn folder_files(&self) -> Result<Vec<(PathBuf, PathBuf)>, ToolchainError> {
        let mut files = Vec::new();
        for entry in WalkDir::new(self.path).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(std::io::Error::from)?;
            let is_header = entry.path().extension().is_some_and(|extension| extension == "h");
            let below = entry.path().strip_prefix(self.path).map(Path::to_owned);
            let below = below.map_err(std::io::Error::other)?;
            if entry.file_type().is_file() && is_header && self.is_python(&below) {
                files.push((below, entry.into_path()));
            }
        }
        Ok(files)
    }

    /// Whether a header is below the given folder itself, or in one that is called for a Python of
    /// this version: `/usr/include` has others.
    fn is_python(&self, below: &Path) -> bool {
        let name = format!("python{}", self.python);
        let in_python_folder = below.iter().any(|folder| folder == name.as_str());
        self.path.join("Python.h").is_file() || in_python_folder
    }
}

/// The folder of the one `Python.h`, or of the one in a folder called `python3.X`.
fn find_include(root: &Path, python: &str) -> Result<Result<PathBuf, HeadersFlaw>, ToolchainError> {
    let mut found = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_name() == "Python.h" {
            found.extend(entry.path().parent().map(Path::to_owned));
        }
    }
    if found.len() > 1 {
        found.retain(|folder| folder.ends_with(format!("python{python}")));
    }
    Ok(match found.len() {
        0 => Err(HeadersFlaw::NoPythonH),
        1 => Ok(found.remove(0)),
        _ => Err(HeadersFlaw::Several),
    })
}

/// Major and minor version, from `patchlevel.h`.
fn version(folder: &Path) -> Result<Option<String>, ToolchainError> {
    let patchlevel = folder.join("patchlevel.h");
    if !patchlevel.is_file() {
        return Ok(None);
    }
    let text = fs_err::read_to_string(patchlevel)?;
    let number = |name: &str| {
        let line =
            text.lines().find_map(|line| line.strip_prefix("#define")?.trim().strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next().map(str::to_owned))
    };
    let version = number("PY_MAJOR_VERSION").zip(number("PY_MINOR_VERSION"));
    Ok(version.map(|(major, minor)| format!("{major}.{minor}")))
}

/// The header that Debian's `pyconfig.h`, which is the same for all machines, includes for one.
fn multiarch_include(pyconfig: &Path, target: Arch) -> Result<Option<String>, ToolchainError> {
    let text = fs_err::read_to_string(pyconfig)?;
    let include = Regex::new(r#"(?m)^\s*#\s*include\s*[<"]([^>"]+/pyconfig\.h)[>"]"#);
    let include = include.map_err(std::io::Error::other)?;
    let mut includes = include.captures_iter(&text).map(|captures| captures[1].to_owned());
    Ok(includes.find(|path| path.starts_with(target.gnu_triple())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCHLEVEL: &str =
        "#define PY_MAJOR_VERSION        3\n#define PY_MINOR_VERSION        12\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        folder
    }

    fn install(files: &[(&str, &str)]) -> crate::Result<Vec<String>> {
        let (source, root) = (tree(files), tempfile::tempdir().unwrap());
        let given = Given::new(source.path(), "3.12", Arch::Aarch64);
        given.install(root.path())?;
        let relative = |path: PathBuf| path.strip_prefix(root.path()).unwrap().to_owned();
        let include = given.include(root.path())?.into_iter().map(relative);
        Ok(include.map(|path| path.display().to_string()).collect())
    }

    fn complaint(files: &[(&str, &str)]) -> String {
        install(files).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_of_headers_serves() {
        let files = [("Python.h", ""), ("pyconfig.h", ""), ("patchlevel.h", PATCHLEVEL)];
        assert_eq!(install(&files).unwrap(), [""]);
    }

    #[test]
    fn a_usr_include_with_several_pythons_serves() {
        let stub =
            "#if defined(__aarch64__)\n# include <aarch64-linux-gnu/python3.12/pyconfig.h>\n";
        let mut files = vec![
            ("python3.12/Python.h", ""),
            ("python3.12/pyconfig.h", stub),
            ("python3.12/patchlevel.h", PATCHLEVEL),
            ("python3.13/Python.h", ""),
        ];
        assert!(complaint(&files).ends_with(
            "its `pyconfig.h` includes `aarch64-linux-gnu/python3.12/pyconfig.h`, which is not in it"
        ));
        files.push(("aarch64-linux-gnu/python3.12/pyconfig.h", ""));
        assert_eq!(install(&files).unwrap(), ["python3.12", ""]);
    }

    #[test]
    fn what_cannot_serve_is_said() {
        assert!(complaint(&[("x.h", "")]).ends_with("there is no `Python.h` in it"));
        let other = PATCHLEVEL.replace("12", "11");
        let old = [("Python.h", ""), ("pyconfig.h", ""), ("patchlevel.h", &other)];
        assert!(complaint(&old).ends_with("its `patchlevel.h` is of Python 3.11"));
        let bare = [("Python.h", ""), ("patchlevel.h", PATCHLEVEL)];
        assert!(complaint(&bare).ends_with("there is no `pyconfig.h` beside its `Python.h`"));
    }

    #[test]
    fn the_digest_follows_the_headers_and_nothing_else() {
        let digest = |files: &[(&str, &str)]| {
            let folder = tree(files);
            Given::new(folder.path(), "3.12", Arch::Aarch64).digest().unwrap()
        };
        let one = digest(&[("Python.h", "1")]);
        assert_eq!(one, digest(&[("Python.h", "1"), ("README", "text")]));
        assert_ne!(one, digest(&[("Python.h", "2")]));
    }
}
