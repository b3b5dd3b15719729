//! Build requirements → locked wheels, through uv's resolver.
//!
//! uv resolves for the build Python and writes `pylock.toml` (PEP 751), which tells each wheel's
//! file name, sha256 and mostly its size. Its URLs are not kept: a lock names registries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use pep508_rs::Requirement;
use serde::Deserialize;

use super::launch::{Invocation, Launch, tail_block};
use super::tags::Platform;
use crate::artifact::{Artifact, Sha256};
use crate::error::{Class, Diagnose, tells_full_disk};

/// What uv needs to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Resolver<'a> {
    /// uv's executable.
    pub uv: &'a Path,
    /// A Python that runs here, and that the wheels are installed for unless `foreign`.
    pub python: &'a Path,
    /// What the wheels may ask for.
    pub platform: Platform,
    /// Whether the wheels are for another Python than that, the platform's.
    pub foreign: bool,
    /// The simple index's address.
    pub index_url: &'a str,
    /// Whether nothing but uv's cache may be asked.
    pub offline: bool,
    /// uv's cache, in the store.
    pub cache: &'a Path,
    /// An existing folder for input, output and log.
    pub scratch: &'a Path,
    /// Variables that uv is given, such as `SSL_CERT_FILE` and `HTTPS_PROXY`.
    pub variables: &'a IndexMap<String, OsString>,
}

/// Why build requirements cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// No set of wheels fits, or the index did not answer.
    #[error(
        "the build requirements {} cannot be resolved{}",
        requirements_list(requirements),
        tail_block(tail)
    )]
    Unresolved {
        /// As given to uv.
        requirements: Vec<String>,
        /// uv's last lines.
        tail: Vec<String>,
    },
    /// A release has wheels, but none for the build Python.
    #[error("`{name}` {version} has no wheel for Python {python}")]
    NoWheel {
        /// The project.
        name: String,
        /// The release.
        version: String,
        /// The build Python's version.
        python: String,
    },
    /// uv wrote something that is not understood.
    #[error("uv's lock `{path}` is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// An index without hashes cannot be locked against.
    #[error("the index gives no sha256 for `{file}`")]
    NoHash {
        /// The wheel.
        file: String,
    },
    /// uv did not start, or was stopped.
    #[error("uv did not run")]
    Launch(#[source] crate::Error),
    /// The size of a file could not be learned.
    #[error("the size of `{file}` is not known")]
    Size {
        /// The wheel.
        file: String,
        /// Why the index could not be asked.
        source: crate::Error,
    },
    /// The scratch folder cannot be used.
    #[error("the resolver's files cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl Diagnose for LockError {
    fn class(&self) -> Class {
        match self {
            Self::Unresolved { tail, .. } if tail.iter().any(|line| tells_full_disk(line)) => {
                Class::DiskFull
            }
            Self::Unresolved { tail, .. } if is_unsatisfiable(tail) => Class::Request,
            Self::Unresolved { .. } => Class::Network,
            Self::NoWheel { .. } => Class::Request,
            Self::Malformed { .. } => Class::Toolchain,
            Self::NoHash { .. } => Class::Integrity,
            Self::Launch(source) | Self::Size { source, .. } => source.class(),
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unresolved { tail, .. } if tail.iter().any(|line| line.contains("wheels")) => {
                Some(
                    "build requirements are installed from wheels only: crosswheel runs no other \
                      package's build script to get them"
                        .to_owned(),
                )
            }
            Self::Launch(source) | Self::Size { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Whether uv gave up on the requirements and not on the network.
fn is_unsatisfiable(tail: &[String]) -> bool {
    tail.iter().any(|line| line.contains("No solution found"))
}

fn requirements_list(requirements: &[String]) -> String {
    requirements.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, Deserialize)]
struct PyLock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<Wheel>,
}

#[derive(Debug, Deserialize)]
struct Wheel {
    name: Option<String>,
    url: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: IndexMap<String, String>,
}

/// Asks the index how many bytes a file at this address has.
pub type SizeOf<'a> = &'a dyn Fn(&str) -> crate::Result<u64>;

impl Resolver<'_> {
    /// Resolves to one wheel for each project, sorted by name.
    ///
    /// `size_of` is asked where the index does not tell a size (its HTML form has none).
    pub fn lock(
        &self,
        requirements: &[Requirement],
        size_of: SizeOf<'_>,
        launch: Launch<'_>,
    ) -> Result<Vec<Artifact>, LockError> {
        if requirements.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<_> = requirements.iter().map(ToString::to_string).collect();
        fs_err::write(self.scratch.join(INPUT), texts.join("\n") + "\n")?;
        let outcome = launch(&self.invocation()).map_err(LockError::Launch)?;
        if outcome.code != 0 {
            return Err(LockError::Unresolved { requirements: texts, tail: outcome.tail });
        }
        let path = self.scratch.join(OUTPUT);
        let text = fs_err::read_to_string(&path)?;
        let lock: PyLock = toml::from_str(&text)
            .map_err(|source| LockError::Malformed { path, source: Box::new(source) })?;
        let mut wheels = Vec::new();
        for package in lock.packages {
            wheels.push(self.choose(package, size_of)?);
        }
        wheels.sort();
        Ok(wheels)
    }

    fn invocation(&self) -> Invocation {
        let Platform { arch, glibc, .. } = self.platform;
        let mut args: Vec<OsString> = ["pip", "compile", INPUT, "--format", "pylock.toml"]
            .into_iter()
            .chain(["--output-file", OUTPUT, "--only-binary", ":all:", "--python-platform"])
            .map(Into::into)
            .collect();
        args.push(format!("{arch}-manylinux_{}_{}", glibc.0, glibc.1).into());
        args.extend(["--python".into(), self.python.into()]);
        if self.foreign {
            let Platform { major, minor, .. } = self.platform;
            args.extend(["--python-version".into(), format!("{major}.{minor}").into()]);
        }
        args.extend(["--default-index".into(), self.index_url.into()]);
        args.extend(["--cache-dir".into(), self.cache.into()]);
        args.extend(UV_OPTIONS.iter().map(Into::into));
        args.push("--system-certs".into());
        if self.offline {
            args.push("--offline".into());
        }
        Invocation {
            program: self.uv.to_owned(),
            args,
            variables: self.variables.clone(),
            dir: self.scratch.to_owned(),
            log: self.scratch.join("uv-compile.log"),
        }
    }

    fn choose(&self, package: Package, size_of: SizeOf<'_>) -> Result<Artifact, LockError> {
        let Package { name, version, wheels } = package;
        let version = version.unwrap_or_default();
        let best = wheels
            .into_iter()
            .filter_map(|wheel| {
                let file = wheel.file_name()?;
                let fitness = self.platform.fitness(&file)?;
                Some(((fitness, file), wheel))
            })
            .max_by(|(one, _), (other, _)| one.cmp(other));
        let Some(((_, file), wheel)) = best else {
            let python = format!("{}.{}", self.platform.major, self.platform.minor);
            return Err(LockError::NoWheel { name, version, python });
        };
        let sha256: Option<Sha256> = wheel.hashes.get("sha256").and_then(|hash| hash.parse().ok());
        let Some(sha256) = sha256 else { return Err(LockError::NoHash { file }) };
        let size = match (wheel.size, &wheel.url) {
            (Some(size), _) => size,
            (None, url) => size_of(url.as_deref().unwrap_or_default())
                .map_err(|source| LockError::Size { file: file.clone(), source })?,
        };
        Ok(Artifact { registry: "pypi".to_owned(), name, version, file, size, sha256 })
    }
}

const INPUT: &str = "requirements.in";
const OUTPUT: &str = "pylock.toml";

/// No configuration of the user's, no Python of uv's own, nothing drawn.
pub(crate) const UV_OPTIONS: [&str; 5] =
    ["--no-config", "--no-python-downloads", "--no-progress", "--quiet", "--color=never"];

impl Wheel {
    fn file_name(&self) -> Option<String> {
        match (&self.name, &self.url) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(url)) => percent_decode(url.rsplit('/').next()?),
            (None, None) => None,
        }
    }
}

/// `%2B` → `+` and the like; None where that gives no UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten();
        let digits = escaped.and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;
    use std::sync::Mutex;

    use super::super::launch::Outcome;
    use super::*;
    use crate::target::Arch;

    const HASH: &str = "ca140b45d5325a9478f880e351484f62fef15f336462e449ca0c03c873d589c2";

    /// Locks against a uv that writes this, and returns the lock and what uv was called with.
    fn lock(pylock: &str) -> (Result<Vec<Artifact>, LockError>, Invocation) {
        lock_for(pylock, false)
    }

    /// The same for the build Python or, where `foreign`, another one.
    fn lock_for(pylock: &str, foreign: bool) -> (Result<Vec<Artifact>, LockError>, Invocation) {
        let scratch = tempfile::tempdir().unwrap();
        let resolver = Resolver {
            uv: Path::new("/store/uv"),
            python: Path::new("/store/python3.13"),
            platform: Platform { major: 3, minor: 13, arch: Arch::X86_64, glibc: (2, 28) },
            foreign,
            index_url: "https://index.example/simple",
            offline: false,
            cache: Path::new("/store/uv-cache"),
            scratch: scratch.path(),
            variables: &IndexMap::new(),
        };
        let seen = Mutex::new(None);
        let launch = |invocation: &Invocation| {
            *seen.lock().unwrap() = Some(invocation.clone());
            let code = if pylock.is_empty() { 1 } else { 0 };
            fs_err::write(invocation.dir.join(OUTPUT), pylock).unwrap();
            let tail = vec!["error: No solution found when resolving dependencies".to_owned()];
            Ok(Outcome { code, tail })
        };
        let requirements = [Requirement::from_str("setuptools>=77").unwrap()];
        let result = resolver.lock(&requirements, &|url| Ok(url.len() as u64), &launch);
        (result, seen.into_inner().unwrap().unwrap())
    }

    fn pylock(wheels: &str) -> String {
        format!(
            "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1\"\nwheels = [{wheels}]"
        )
    }

    #[test]
    fn the_best_wheel_is_locked_without_its_address() {
        let wheel = |file: &str| {
            format!(
                "{{ url = \"https://f.example/x/{file}\", size = 7, hashes = {{ sha256 = \"{HASH}\" }} }}"
            )
        };
        let wheels = [
            wheel("a-1-cp39-abi3-manylinux_2_28_x86_64.whl"),
            wheel("a-1%2Bb-cp311-abi3-manylinux_2_28_x86_64.whl"),
        ];
        let (locked, invocation) = lock(&pylock(&wheels.join(",")));
        let expected = Artifact {
            registry: "pypi".to_owned(),
            name: "a".to_owned(),
            version: "1".to_owned(),
            file: "a-1+b-cp311-abi3-manylinux_2_28_x86_64.whl".to_owned(),
            size: 7,
            sha256: HASH.parse().unwrap(),
        };
        assert_eq!(locked.unwrap(), [expected]);
        let args: Vec<_> = invocation.args.iter().filter_map(|arg| arg.to_str()).collect();
        let after = |option| args[args.iter().position(|arg| *arg == option).unwrap() + 1];
        assert_eq!(after("--python-platform"), "x86_64-manylinux_2_28");
        assert_eq!(after("--default-index"), "https://index.example/simple");
        assert!(args.contains(&"--no-config") && !args.contains(&"--offline"));
    }

    #[test]
    fn another_python_is_named_by_its_version() {
        let asked =
            |foreign| lock_for(&pylock(""), foreign).1.args.contains(&"--python-version".into());
        assert_eq!([false, true].map(asked), [false, true]);
    }

    #[test]
    fn a_missing_size_is_asked_for() {
        let wheel =
            format!("{{ url = \"u/a-1-py3-none-any.whl\", hashes = {{ sha256 = \"{HASH}\" }} }}");
        let (locked, _) = lock(&pylock(&wheel));
        assert_eq!(locked.unwrap()[0].size, "u/a-1-py3-none-any.whl".len() as u64);
    }

    #[test]
    fn a_release_without_a_fitting_wheel_or_hash_is_an_error() {
        let error = lock(&pylock("{ url = \"a-1-cp312-cp312-win_amd64.whl\" }")).0.unwrap_err();
        assert_eq!(error.to_string(), "`a` 1 has no wheel for Python 3.13");
        let error = lock(&pylock("{ url = \"a-1-py3-none-any.whl\", size = 1 }")).0.unwrap_err();
        assert!(matches!(error, LockError::NoHash { .. }));
    }

    #[test]
    fn what_uv_said_is_in_the_error() {
        let error = lock("").0.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the build requirements `setuptools>=77` cannot be resolved\n  \
             | error: No solution found when resolving dependencies"
        );
        assert_eq!(error.class(), Class::Request);
    }
}
