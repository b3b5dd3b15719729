//! Where build scripts run: without network, without the user's home, at a fixed path, and with
//! nothing that outlives them, as far as the kernel lets an unprivileged process have that.
//!
//! crosswheel starts itself under the name `sandbox` (`supervisor`), which makes the namespaces,
//! runs the command and ends with everything below it; it also ends when crosswheel dies.

mod role;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Command, ExecError, Finished, Interrupt};

pub(crate) use role::{main, shows};

/// The build folder's path inside, where the kernel allows a fixed one.
pub const BUILD: &str = "/crosswheel/build";
/// The store's path inside, likewise.
pub const STORE: &str = "/crosswheel/store";
/// The torch SDK's path inside, likewise: it lies in the store, under a name that tells how it was
/// made, and its headers' names end up in what includes them.
pub const TORCH: &str = "/crosswheel/torch-sdk";

/// What folders of this machine are called inside, the most special first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    renamed: Vec<(PathBuf, PathBuf)>,
}

impl View {
    /// What the build calls a path of this machine.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let renamed = self.renamed.iter().find_map(|(here, inside)| {
            let rest = path.strip_prefix(here).ok()?;
            // Not `join`: with an empty rest it would add a slash.
            Some(inside.iter().chain(rest).collect())
        });
        renamed.unwrap_or_else(|| path.to_owned())
    }
}

/// The `isolation` of a build: what the kernel gave. Manifests record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces (namespaces(7)) of its own.
    Namespaces(Namespaces),
    /// The command runs as any other, with proxies that lead nowhere.
    None {
        /// Why.
        reason: String,
    },
}

/// Which namespaces a build has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// A user namespace, without which root is needed for the others.
    pub user: bool,
    /// No network but its own, which is down.
    pub network: bool,
    /// A root of its own, in which the build folder is [`BUILD`] and the home folder is not.
    pub fixed_path: bool,
    /// A process namespace, whose end kills all that is in it.
    pub processes: bool,
}

impl Namespaces {
    /// What is tried, best first.
    fn candidates(root: bool) -> Vec<Self> {
        let all = Self { user: true, network: true, fixed_path: true, processes: true };
        let mut candidates = Vec::new();
        for user in [true, false] {
            if !user && !root {
                continue;
            }
            candidates.push(Self { user, ..all });
            // Containers that hide parts of /proc allow no second one.
            candidates.push(Self { user, processes: false, ..all });
            candidates.push(Self { user, processes: false, fixed_path: false, ..all });
        }
        candidates
    }
}

impl Isolation {
    /// The most that works here, found by trying; `supervisor` is crosswheel under its name
    /// `sandbox`, and `scratch` a folder in which a trial may write.
    pub fn detect(
        supervisor: &Path,
        scratch: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, ExecError> {
        let mut reason = None;
        for namespaces in Namespaces::candidates(nix::unistd::geteuid().is_root()) {
            let isolation = Self::Namespaces(namespaces);
            let sandbox = Sandbox::new(supervisor, isolation.clone(), scratch);
            let finished = sandbox.command("/bin/sh", scratch)?.args(["-c", ":"]).run(interrupt)?;
            if finished.status.success() {
                return Ok(isolation);
            }
            reason.get_or_insert_with(|| refusal(&finished));
        }
        Ok(Self::None { reason: reason.unwrap_or_default() })
    }

    /// Whether the build folder has its fixed path.
    pub fn has_fixed_path(&self) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.fixed_path)
    }

    /// Whether the network is out of reach.
    pub fn has_no_network(&self) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.network)
    }
}

/// The supervisor's last line, without its prefix.
fn refusal(finished: &Finished) -> String {
    let line = finished.tail.last().map_or("no reason given", String::as_str);
    line.strip_prefix(role::PREFIX).unwrap_or(line).to_owned()
}

/// A folder or file of this machine that the build sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mount {
    /// Its path here.
    from: PathBuf,
    /// Its path inside.
    to: PathBuf,
    writable: bool,
}

/// What the supervisor is told, as its first argument; the command follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Spec {
    isolation: Isolation,
    /// The process whose end is the sandbox's end.
    parent: u32,
    /// In the order in which they are made.
    mounts: Vec<Mount>,
    /// The command's folder, as it is called inside.
    dir: PathBuf,
}

/// How the commands of one build run.
#[derive(Debug, Clone)]
pub struct Sandbox {
    supervisor: PathBuf,
    isolation: Isolation,
    build: PathBuf,
    view: View,
    mounts: Vec<Mount>,
}

impl Sandbox {
    /// A sandbox around a build folder, which is the only one that a build may write to.
    pub fn new(supervisor: &Path, isolation: Isolation, build: &Path) -> Self {
        let mut view = View::default();
        if isolation.has_fixed_path() {
            view.renamed.push((build.to_owned(), PathBuf::from(BUILD)));
        }
        Self {
            supervisor: supervisor.to_owned(),
            isolation,
            build: build.to_owned(),
            view,
            mounts: Vec::new(),
        }
    }

    /// Lets the build read the store: at its own path, which relocated executables name, and at
    /// [`STORE`], where the kernel allows that, by which outputs may name it.
    pub fn store(self, path: &Path) -> Self {
        self.renamed(path, STORE).readable(path)
    }

    /// Lets the build read the torch SDK at [`TORCH`], where the kernel allows that. To be called
    /// before [`Sandbox::store`], which has the SDK in it.
    pub fn torch(self, path: &Path) -> Self {
        self.renamed(path, TORCH)
    }

    fn renamed(mut self, path: &Path, inside: &str) -> Self {
        if self.isolation.has_fixed_path() {
            let (from, to) = (path.to_owned(), PathBuf::from(inside));
            self.view.renamed.push((from.clone(), to.clone()));
            self.mounts.push(Mount { from, to, writable: false });
        }
        self
    }

    /// Lets the build read a folder or file, such as the store, at its own path.
    pub fn readable(mut self, path: &Path) -> Self {
        let (from, to) = (path.to_owned(), path.to_owned());
        self.mounts.push(Mount { from, to, writable: false });
        self
    }

    /// Shows a folder at another path, where the kernel allows that: of an emulated system, `/usr`.
    pub fn mounted(mut self, path: &Path, inside: &str) -> Self {
        if self.isolation.has_fixed_path() {
            let (from, to) = (path.to_owned(), PathBuf::from(inside));
            self.mounts.push(Mount { from, to, writable: false });
        }
        self
    }

    /// What the kernel gave.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// What folders of this machine are called inside.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What the build calls a path of this machine.
    pub fn inside(&self, path: &Path) -> PathBuf {
        self.view.inside(path)
    }

    /// A command that runs inside. The program is named as the build calls it, `dir` as this
    /// machine does. Its temporary files go into `tmp` of the build folder, on disk: compilers
    /// write gigabytes of them, which in a tmpfs would be memory.
    pub fn command(&self, program: impl Into<PathBuf>, dir: &Path) -> Result<Command, ExecError> {
        let tmp = self.build.join("tmp");
        fs_err::create_dir_all(&tmp)?;
        let mount = |from: &Path, to: PathBuf| Mount { from: from.to_owned(), to, writable: true };
        let mut mounts = vec![mount(&tmp, PathBuf::from("/tmp"))];
        mounts.extend(self.mounts.iter().cloned());
        mounts.push(mount(&self.build, self.inside(&self.build)));
        let (isolation, parent) = (self.isolation.clone(), std::process::id());
        let spec = Spec { isolation, parent, mounts, dir: self.inside(dir) };
        let spec = serde_json::to_string(&spec).map_err(std::io::Error::from)?;
        let mut command = Command::new(&self.supervisor, dir)
            .arg(spec)
            .arg(program.into())
            .variable("TMPDIR", self.inside(&tmp));
        if !self.isolation.has_no_network() {
            command = command.variables(dead_proxies());
        }
        Ok(command)
    }
}

/// Proxies at a port where nobody listens (discard, RFC 863): the second best way to keep
/// well-behaved tools off the network.
fn dead_proxies() -> Vec<(OsString, OsString)> {
    ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy"]
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_uppercase()])
        .map(|name| (name.into(), "http://127.0.0.1:9".into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(fixed_path: bool) -> Sandbox {
        let namespaces = Namespaces { user: true, network: true, fixed_path, processes: false };
        let isolation = Isolation::Namespaces(namespaces);
        Sandbox::new(Path::new("/tools/sandbox"), isolation, Path::new("/home/u/b"))
    }

    #[test]
    fn the_build_folder_alone_is_renamed() {
        let inside = |path: &str| sandbox(true).inside(Path::new(path));
        assert_eq!(inside("/home/u/b").as_os_str(), "/crosswheel/build");
        assert_eq!(inside("/home/u/b/x/y.o"), Path::new("/crosswheel/build/x/y.o"));
        assert_eq!(inside("/home/u/bc"), Path::new("/home/u/bc"));
        assert_eq!(sandbox(false).inside(Path::new("/home/u/b/x")), Path::new("/home/u/b/x"));
    }

    #[test]
    fn the_torch_sdk_has_a_name_of_its_own_in_the_store() {
        let (store, sdk) = (Path::new("/s"), Path::new("/s/components/torch-0ba2/sdk"));
        let sandbox = sandbox(true).torch(sdk).store(store);
        let inside = |path: &str| sandbox.inside(Path::new(path));
        assert_eq!(
            inside("/s/components/torch-0ba2/sdk/torch"),
            Path::new("/crosswheel/torch-sdk/torch")
        );
        assert_eq!(
            inside("/s/components/gcc-1f0c"),
            Path::new("/crosswheel/store/components/gcc-1f0c")
        );
    }

    #[test]
    fn only_root_is_tried_without_a_user_namespace() {
        assert!(Namespaces::candidates(false).iter().all(|n| n.user));
        assert!(Namespaces::candidates(true).iter().any(|n| !n.user));
    }

    #[test]
    fn isolation_is_readable_in_a_manifest() {
        let none = Isolation::None { reason: "EPERM".to_owned() };
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"none":{"reason":"EPERM"}}"#);
    }
}
