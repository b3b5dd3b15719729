//! Runs of the xtask executable, and the sources that it builds.
//!
//! Builds use the machine's own store, as a user's do, so that the toolchain is fetched and
//! unpacked once. What a test leaves there, its build folders and its locks, goes with its
//! [`Workplace`].

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use crosswheel::artifact::Sha256;
use crosswheel::environment::Environment;
use crosswheel::store::Store;
use duct::Expression;
use serde_json::Value;
use walkdir::WalkDir;

/// The executable.
pub const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Makes a folder a git repository with all that is in it, and returns its commit.
pub fn committed(folder: &Path) -> String {
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        duct::cmd("git", identity.iter().chain(words)).dir(folder).read().unwrap()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    git(&["rev-parse", "HEAD"])
}

/// A comment that no earlier run wrote: what a script requires is remembered by its content.
pub fn new_comment() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    format!("\n# {} {}\n", std::process::id(), since.as_nanos())
}

/// The repository's root.
pub fn repository() -> PathBuf {
    fs_err::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &Expression) -> Self {
        let output = command.stdin_null().stdout_capture().stderr_capture().unchecked().run();
        Self::ended(&output.unwrap())
    }

    /// What a started command with captured output gave.
    pub fn ended(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    /// Standard output as JSON, of a run that succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The one product of `build-wheels --format json`.
    #[track_caller]
    pub fn product(&self) -> Value {
        let products = self.json();
        assert_eq!(products.as_array().unwrap().len(), 1);
        products[0].clone()
    }

    /// Asserts that it failed with this exit code, and says all of this on standard error.
    #[track_caller]
    pub fn fails(&self, code: u8, says: &[&str]) {
        assert_eq!(self.code, Some(code.into()), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        for text in says {
            assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        }
    }
}

/// The executable with arguments.
pub fn xtask<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Expression {
    // What a test builds is built, whatever was built before.
    duct::cmd(XTASK, args).env("CROSSWHEEL_CACHE", "off")
}

/// A folder for sources and their wheels, whose path is the same in every test run.
pub struct Workplace {
    root: PathBuf,
    /// How the names of its source folders, and so of their builds in the store, begin.
    prefix: String,
    store: PathBuf,
    _alone: File,
}

impl Workplace {
    /// An empty one. Another run of the same test in the same checkout waits.
    pub fn new(test: &str) -> Self {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workplaces");
        fs_err::create_dir_all(&all).unwrap();
        let alone = File::create(all.join(format!("{test}.lock"))).unwrap();
        alone.lock().unwrap();
        let root = fs_err::canonicalize(all).unwrap().join(test);
        let checkout = Sha256::of(root.as_os_str().as_encoded_bytes()).short();
        let prefix = format!("test-{}-", &checkout[..8]);
        let store = Store::default_root(&Environment::from_process()).unwrap();
        let workplace = Self { root, prefix, store, _alone: alone };
        workplace.clear();
        fs_err::create_dir_all(&workplace.root).unwrap();
        workplace
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A source tree with these files.
    pub fn source(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.root.join(format!("{}{name}", self.prefix));
        for (path, content) in files {
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        folder
    }

    /// A copy of the fixture `saxpy`: a kernel and a torch operator.
    pub fn saxpy(&self, name: &str) -> PathBuf {
        self.fixture("saxpy", name)
    }

    /// A project with this repository's toolchains and one recipe.
    pub fn project(&self, package: &str, recipe: &str) -> PathBuf {
        let project = self.path("project");
        let folder = project.join("patches").join(package);
        fs_err::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(repository().join("toolchains"), project.join("toolchains"))
            .unwrap();
        fs_err::write(folder.join("recipe.toml"), recipe).unwrap();
        project
    }

    /// A copy of a folder of `tests/fixtures`.
    pub fn fixture(&self, fixture: &str, name: &str) -> PathBuf {
        let fixture = repository().join("tests/fixtures").join(fixture);
        let folder = self.source(name, &[]);
        for entry in WalkDir::new(&fixture) {
            let entry = entry.unwrap();
            let to = folder.join(entry.path().strip_prefix(&fixture).unwrap());
            if entry.file_type().is_dir() {
                fs_err::create_dir_all(to).unwrap();
            } else {
                fs_err::write(to, fs_err::read(entry.path()).unwrap()).unwrap();
            }
        }
        folder
    }

    /// `build-wheels` of a source, with JSON on standard output, into the folder `out`.
    pub fn build(&self, source: &Path, out: &str, more: &[&str]) -> Expression {
        xtask(self.build_words(source, out, more))
    }

    /// The arguments of [`Workplace::build`].
    pub fn build_words(&self, source: &Path, out: &str, more: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["build-wheels", "--format", "json"].map(Into::into).into();
        words.extend([source.into(), "--out".into(), self.path(out).into()]);
        words.extend(more.iter().map(Into::into));
        words
    }

    /// The build folders of a source in the store.
    pub fn builds(&self, source: &Path) -> Vec<PathBuf> {
        let name = source.file_name().unwrap().to_str().unwrap();
        self.builds_of(&format!("{name}-"))
    }

    fn builds_of(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs_err::read_dir(self.store.join("builds")) else { return Vec::new() };
        let entries = entries.map(|entry| entry.unwrap());
        let ours = entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix));
        ours.map(|entry| entry.path()).collect()
    }

    /// What the store remembers of the locks of a source.
    pub fn lock(&self, source: &Path) -> PathBuf {
        let request = Sha256::of(source.as_os_str().as_encoded_bytes());
        self.store.join(format!("packages/{}.toml", request.short()))
    }

    fn clear(&self) {
        for build in self.builds_of(&self.prefix) {
            fs_err::remove_dir_all(build).unwrap();
        }
        let Ok(entries) = fs_err::read_dir(&self.root) else { return };
        for entry in entries {
            let source = entry.unwrap().path();
            let of_crate = PathBuf::from(format!("the crate {}", source.display()));
            for lock in [self.lock(&source), self.lock(&of_crate)] {
                if lock.exists() {
                    fs_err::remove_file(lock).unwrap();
                }
            }
        }
        fs_err::remove_dir_all(&self.root).unwrap();
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What failed can be looked at until the next run.
        if !std::thread::panicking() {
            self.clear();
        }
    }
}
