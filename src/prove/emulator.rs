//! Where the target's Python runs: under qemu's user emulation, in a sandbox, with a root of its
//! own. It takes no root rights and no configuration of the kernel: the emulator is started by its
//! path.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use super::ProveError;
use super::answer::{Answer, End, MARK};
use super::environment::Environment;
use super::wheel::{Kind, Listed};
use crate::Result;
use crate::context::Context;
use crate::exec::{ExecError, Isolation, Sandbox, Silence};
use crate::resolve::MaxSilence;
use crate::store::Installed;
use crate::wrapper;

/// What qemu emulates, by its name of it: of the Armv9 processors that it knows the one that has no
/// more than the targets' (Neoverse V2 and V3AE, Cortex-X925), SVE2 in 128 bits included.
pub(super) const PROCESSOR: &str = "neoverse-n2";

/// That processor's MIDR_EL1 (Arm Neoverse N2 TRM, r0p3). torch's cpuinfo reads it from sysfs, which
/// qemu leaves as the machine's own.
const MIDR: &str = "0x00000000410fd493\n";

/// What is imported, and with what: `runner.py` reads it as JSON.
#[derive(Serialize)]
struct Asked {
    sites: Vec<PathBuf>,
    torch: bool,
    answer: PathBuf,
    /// How lines begin that only break the silence.
    mark: &'static str,
    modules: Vec<AskedModule>,
    /// Whether modules of machine code are loaded without the packages that they lie in.
    apart: bool,
}

#[derive(Serialize)]
struct AskedModule {
    name: String,
    kind: Kind,
    path: PathBuf,
}

/// The folder of one proof, which goes with it.
#[derive(Debug)]
pub(super) struct Workspace(TempDir);

impl Workspace {
    /// Makes it, on the store's disk.
    pub(super) fn new(context: &Context) -> Result<Self> {
        let builds = context.store.root().join("builds");
        fs_err::create_dir_all(&builds).map_err(ProveError::Io)?;
        let folder = tempfile::Builder::new().prefix(".prove-").tempdir_in(builds);
        Ok(Self(folder.map_err(ProveError::Io)?))
    }

    /// All of it.
    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Where the wheel is installed, with what it requires beside torch.
    pub(super) fn site(&self) -> PathBuf {
        self.root().join("site")
    }

    /// Where torch is installed, on its way into the store.
    pub(super) fn torch_site(&self) -> PathBuf {
        self.root().join("torch-site")
    }

    /// All output of uv and of the emulated process.
    pub(super) fn log(&self) -> PathBuf {
        self.root().join("prove.log")
    }

    /// For temporary files.
    pub(super) fn temporary(&self) -> Result<PathBuf> {
        let folder = self.root().join("tmp");
        fs_err::create_dir_all(&folder).map_err(ProveError::Io)?;
        Ok(folder)
    }
}

/// The emulated target.
pub(super) struct Emulator<'a> {
    workspace: &'a Workspace,
    sandbox: Sandbox,
    qemu: PathBuf,
    python: PathBuf,
}

impl<'a> Emulator<'a> {
    /// Puts the root together; nothing runs yet.
    pub(super) fn new(
        context: &Context,
        parts: &BTreeMap<String, Installed>,
        environment: &Environment,
        workspace: &'a Workspace,
        python: &str,
    ) -> Result<Self> {
        let system = &parts["target-root"].path;
        make_root(&workspace.root().join("root"), system).map_err(ProveError::Io)?;
        let tools = workspace.root().join("tools");
        let supervisor = wrapper::install_sandbox(&tools, &context.executable)?;
        let isolation = context.isolation(&supervisor, workspace.root())?;
        let mut sandbox = Sandbox::new(&supervisor, isolation.clone(), workspace.root())
            .store(context.store.root())
            // In place of the machine's, which may have libraries of the target's processor too.
            .mounted(&system.join("usr"), "/usr");
        if let Some(driver) = &environment.driver {
            sandbox = sandbox.readable(driver);
        }
        Ok(Self {
            workspace,
            sandbox,
            qemu: parts["qemu"].path.join("usr/bin/qemu-aarch64"),
            python: system.join(format!("usr/bin/python{python}")),
        })
    }

    /// What the kernel gave.
    pub(super) fn isolation(&self) -> &Isolation {
        self.sandbox.isolation()
    }

    /// Imports modules one after the other, in one process; only torch, and with its compiled
    /// modules kept, where there are none.
    pub(super) fn import(
        &self,
        context: &Context,
        environment: &Environment,
        modules: &[Listed],
        apart: bool,
        max_silence: MaxSilence,
    ) -> Result<Answer> {
        let root = self.workspace.root();
        let inside = |path: &Path| self.sandbox.inside(path);
        let (script, request) = (root.join("runner.py"), root.join("request.json"));
        let answer = root.join("answer.jsonl");
        let asked = Asked {
            sites: environment.sites.iter().map(|site| inside(site)).collect(),
            torch: environment.torch,
            answer: inside(&answer),
            mark: MARK,
            modules: modules.iter().map(|module| self.asked(module)).collect(),
            apart,
        };
        let text = serde_json::to_vec(&asked).map_err(std::io::Error::from);
        fs_err::write(&request, text.map_err(ProveError::Io)?).map_err(ProveError::Io)?;
        fs_err::write(&script, include_str!("runner.py")).map_err(ProveError::Io)?;
        fs_err::write(&answer, "").map_err(ProveError::Io)?;
        let home = root.join("home");
        fs_err::create_dir_all(&home).map_err(ProveError::Io)?;
        let mut args = emulate(&inside(&root.join("root")), environment.driver.as_deref());
        args.push(self.python.clone().into());
        // Nothing of the machine's Python settings and site folders. What is in the store may not
        // change: no compiled modules are written there.
        args.extend(["-I", "-S"].map(OsString::from));
        args.extend((!modules.is_empty()).then(|| "-B".into()));
        args.extend([inside(&script).into(), inside(&request).into()]);
        let silence =
            max_silence.0.map(|limit| Silence { limit, busy: std::sync::Arc::new(|| false) });
        let finished = self
            .sandbox
            .command(&self.qemu, root)?
            .args(args)
            .variables([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")])
            // As many stacks and arenas as cores prove nothing more.
            .variables([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")])
            .variable("HOME", inside(&home))
            .log(self.workspace.log())
            .silence(silence)
            .run(&context.interrupt);
        let (end, tail) = match finished {
            Ok(finished) => (End::Exited(finished.code()), finished.tail),
            Err(ExecError::Silent { limit, tail, .. }) => (End::Silent(limit), tail),
            Err(error) => return Err(error.into()),
        };
        let lines = fs_err::read_to_string(&answer).map_err(ProveError::Io)?;
        Ok(Answer::parse(&lines, end, tail)?)
    }

    fn asked(&self, module: &Listed) -> AskedModule {
        let path = self.sandbox.inside(&self.workspace.site().join(&module.path));
        AskedModule { name: module.name.clone(), kind: module.kind, path }
    }
}

/// The emulator's own arguments: its processor, its root, and where the driver is.
pub fn emulate(root: &Path, driver: Option<&Path>) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-cpu".into(), PROCESSOR.into(), "-L".into(), root.into()];
    if let Some(driver) = driver {
        // For the emulated process, not for the emulator.
        let mut setting = OsString::from("LD_LIBRARY_PATH=");
        setting.push(driver);
        args.extend(["-E".into(), setting]);
    }
    args
}

/// The root that the emulated process sees before the machine's own: the system by links, and what
/// the kernel would tell of the processor.
fn make_root(root: &Path, system: &Path) -> std::io::Result<()> {
    if root.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(root.join("etc"))?;
    symlink(system.join("usr"), root.join("usr"))?;
    symlink("usr/lib", root.join("lib"))?;
    // Empty ones: the machine's name libraries that the target does not have.
    for name in ["ld.so.cache", "ld.so.preload"] {
        fs_err::write(root.join("etc").join(name), "")?;
    }
    let cpus = root.join("sys/devices/system/cpu");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    for cpu in 0..count {
        let folder = cpus.join(format!("cpu{cpu}/regs/identification"));
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join("midr_el1"), MIDR)?;
    }
    for name in ["possible", "present", "online"] {
        fs_err::write(cpus.join(name), format!("0-{}\n", count - 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulated_process_sees_the_driver() {
        let args =
            |driver| emulate(Path::new("/root"), driver).join(OsString::from(" ").as_os_str());
        assert_eq!(args(None), "-cpu neoverse-n2 -L /root");
        let with = args(Some(Path::new("/store/driver")));
        assert_eq!(with, "-cpu neoverse-n2 -L /root -E LD_LIBRARY_PATH=/store/driver");
    }

    #[test]
    fn the_root_is_the_system_and_the_processor() {
        let folder = tempfile::tempdir().unwrap();
        let (root, system) = (folder.path().join("root"), folder.path().join("system"));
        fs_err::create_dir_all(system.join("usr/lib")).unwrap();
        fs_err::write(system.join("usr/lib/libc.so.6"), "libc").unwrap();
        make_root(&root, &system).unwrap();
        let read = |path: &str| fs_err::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("lib/libc.so.6"), "libc");
        assert_eq!(read("sys/devices/system/cpu/cpu0/regs/identification/midr_el1"), MIDR);
        assert!(read("sys/devices/system/cpu/possible").starts_with("0-"));
    }
}
