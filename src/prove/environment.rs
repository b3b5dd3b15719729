//! What a wheel is imported with: its real dependencies for the target.
//!
//! torch and all that it requires is gigabytes: it is installed once for each set of releases, as a
//! component of the store. The wheel, and what it requires beside torch, is installed for each
//! proof.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use pep508_rs::{Requirement, VersionOrUrl};

use super::attest::Recorded;
use super::emulator::{Emulator, Workspace};
use super::resolve::Resolution;
use super::wheel::{Subject, platform};
use super::{Options, ProveError, driver};
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::configure;
use crate::context::Context;
use crate::fetch::named_wheels;
use crate::package::name::escape_name;
use crate::package::{WheelContents, metadata};
use crate::python::launch::Invocation;
use crate::python::lock::UV_OPTIONS;
use crate::python::pep508;
use crate::python::requirements::{RequirementError, markers, sort};
use crate::python::tags::Platform;
use crate::report::{Event, Step};
use crate::store::{Installed, Key};
use crate::target::Target;
use crate::toolchain::Request;
use crate::torch::source::TorchSource;

/// The component with torch and what it requires.
const COMPONENT: &str = "torch-environment";

/// What is to be installed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The target's Python and C library.
    pub platform: Platform,
    /// The wheel itself, and those that were given beside it.
    pub wheels: Vec<PathBuf>,
    /// What they require, torch and each other excepted.
    pub requirements: Vec<Requirement>,
    /// The torch that it is imported with, where it needs one itself.
    pub torch: Option<TorchPlan>,
    /// The torch where only what it requires needs one.
    pub usual_torch: TorchPlan,
    /// Whether a driver is looked for.
    pub cuda: bool,
    /// Whether dependencies are resolved anew.
    pub upgrade: bool,
}

/// Which torch.
#[derive(Debug, Clone)]
pub enum TorchPlan {
    /// One of the index.
    Release(Requirement),
    /// A wheel on disk.
    Wheel {
        /// Where it lies.
        path: PathBuf,
        /// Its digest.
        sha256: Sha256,
        /// What it requires.
        requirements: Vec<Requirement>,
    },
}

/// Reads what the wheel requires, and decides on its torch.
pub fn plan(
    context: &Context,
    subject: &Subject,
    target: &Target,
    python: &str,
    recorded: &Recorded,
    options: &Options,
) -> Result<Plan> {
    let platform = platform(python, target).ok_or_else(|| {
        let (wheel, python) = (subject.name.to_string(), python.to_owned());
        ProveError::OtherPython { wheel, python }
    })?;
    let mut wanted = subject.requires.clone();
    let (mut wheels, mut given) = (vec![subject.path.clone()], BTreeSet::new());
    for with in &options.with {
        let path = context.environment.current_dir().join(with);
        if with.ends_with(".whl") && path.is_file() {
            let (name, requires) = read_metadata(&path)?;
            given.insert(escape_name(&name));
            wanted.extend(requires);
            wheels.push(path);
        } else {
            wanted.push(with.clone());
        }
    }
    let mut requirements = applicable(&wanted, platform)?;
    requirements.retain(|requirement| !given.contains(&escape_name(requirement.name.as_ref())));
    let is_torch = |requirement: &Requirement| requirement.name.as_ref() == "torch";
    let required = requirements.iter().find(|r| is_torch(r)).cloned();
    requirements.retain(|requirement| !is_torch(requirement));
    let accepted = |version: &&str| required.as_ref().is_none_or(|r| accepts(r, version));
    let choice = options.torch.as_deref().or(recorded.torch.as_deref());
    let choice = choice.or(Some(target.torch.as_str()).filter(accepted));
    let usual_torch = torch_plan(context, choice, required.clone(), platform)?;
    let is_needed = options.torch.is_some() || required.is_some() || subject.needs_torch();
    let torch = (is_needed && subject.name.name != "torch").then(|| usual_torch.clone());
    let of_nvidia = |requirement: &Requirement| requirement.name.as_ref().starts_with("nvidia-");
    let cuda = torch.is_some() || subject.needs_cuda() || requirements.iter().any(of_nvidia);
    let upgrade = options.upgrade;
    Ok(Plan { platform, wheels, requirements, torch, usual_torch, cuda, upgrade })
}

/// The name of a wheel's project, and what it requires.
fn read_metadata(wheel: &Path) -> Result<(String, Vec<String>)> {
    let contents = WheelContents::from_wheel(wheel)?;
    let metadata = contents.dist_info("METADATA")?.unwrap_or_default();
    let requires = metadata::values(&metadata, "Requires-Dist").into_iter().map(str::to_owned);
    Ok((contents.metadata_field("Name")?, requires.collect()))
}

/// What of these counts on the target, without markers.
fn applicable(texts: &[String], platform: Platform) -> Result<Vec<Requirement>> {
    let Platform { major, minor, arch, .. } = platform;
    let markers = markers(arch, (major, minor)).map_err(ProveError::Requirement)?;
    Ok(sort(texts, &[], &markers).map_err(ProveError::Requirement)?.wanted)
}

fn accepts(required: &Requirement, version: &str) -> bool {
    match (&required.version_or_url, version.parse()) {
        (Some(VersionOrUrl::VersionSpecifier(wanted)), Ok(version)) => wanted.contains(&version),
        (None, _) => true,
        _ => false,
    }
}

fn torch_plan(
    context: &Context,
    choice: Option<&str>,
    required: Option<Requirement>,
    platform: Platform,
) -> Result<TorchPlan> {
    let parse = |text: &str| -> Result<Requirement> {
        let malformed = |source| RequirementError::Malformed { text: text.to_owned(), source };
        Ok(pep508::parse(text).map_err(malformed).map_err(ProveError::Requirement)?)
    };
    let Some(choice) = choice else {
        return Ok(TorchPlan::Release(required.map_or_else(|| parse("torch"), Ok)?));
    };
    match context.torch_source(choice)? {
        TorchSource::Index { version } => {
            Ok(TorchPlan::Release(parse(&format!("torch=={version}"))?))
        }
        TorchSource::Wheel(path) => {
            let file = fs_err::File::open(&path).map_err(ProveError::Io)?;
            let (sha256, _) = Sha256::of_reader(file).map_err(ProveError::Io)?;
            let (_, texts) = read_metadata(&path)?;
            Ok(TorchPlan::Wheel { path, sha256, requirements: applicable(&texts, platform)? })
        }
        TorchSource::Folder(path) => Err(ProveError::TorchFolder(path).into()),
    }
}

impl Plan {
    /// What torch brings with it, itself included.
    fn torch_requirements(&self) -> Vec<Requirement> {
        match &self.torch {
            Some(TorchPlan::Release(requirement)) => vec![requirement.clone()],
            Some(TorchPlan::Wheel { requirements, .. }) => requirements.clone(),
            None => Vec::new(),
        }
    }

    /// The torch wheel on disk, where it is one.
    fn torch_wheel(&self) -> Option<(&Path, Sha256)> {
        match &self.torch {
            Some(TorchPlan::Wheel { path, sha256, .. }) => Some((path, *sha256)),
            _ => None,
        }
    }
}

/// What a wheel is imported with, on disk.
#[derive(Debug)]
pub struct Environment {
    /// Folders of packages, in search order.
    pub sites: Vec<PathBuf>,
    /// The folder with the driver's stub, where one is looked for.
    pub driver: Option<PathBuf>,
    /// Whether torch is in it.
    pub torch: bool,
    /// What was installed, but for wheels on disk.
    pub requirements: Vec<Artifact>,
}

impl Environment {
    /// Resolves, downloads and installs; torch's part where it is not there yet.
    pub(super) fn prepare(
        context: &Context,
        plan: &Plan,
        parts: &BTreeMap<String, Installed>,
        request: &Request<'_>,
        workspace: &Workspace,
    ) -> Result<Self> {
        let installer = Installer { context, plan, parts, workspace };
        let of_torch = installer.lock(plan.torch_requirements(), "torch")?;
        let all = plan.torch_requirements().into_iter().chain(plan.requirements.clone()).collect();
        let requirements = match plan.requirements.is_empty() {
            true => of_torch.clone(),
            false => installer.lock(all, "what the wheel requires")?,
        };
        if plan.torch.is_none() && requirements.iter().any(|wheel| wheel.name == "torch") {
            let torch = Some(plan.usual_torch.clone());
            let plan = Plan { torch, cuda: true, ..plan.clone() };
            return Self::prepare(context, &plan, parts, request, workspace);
        }
        let names: BTreeSet<&str> = of_torch.iter().map(|wheel| wheel.name.as_str()).collect();
        let (shared, own): (Vec<_>, Vec<_>) =
            requirements.iter().cloned().partition(|wheel| names.contains(wheel.name.as_str()));
        let key = Key::new(COMPONENT, installer.digest(&shared));
        let torch = plan.torch.is_some();
        let there = !torch || context.components.find(&key)?.is_some();
        let missing = if there { &own } else { &requirements };
        installer.announce(missing);
        let driver = match plan.cuda {
            true => Some(driver::stub(context, request)?),
            false => None,
        };
        let mut sites = Vec::new();
        if torch {
            let fill = |root: &Path| installer.torch(&shared, driver.as_deref(), request, root);
            sites.push(context.components.install(&key, fill)?.path.join("site"));
        }
        let mut wheels = named_wheels(context, &own)?;
        wheels.extend(plan.wheels.iter().cloned());
        installer.install(&wheels, &workspace.site())?;
        sites.insert(0, workspace.site());
        Ok(Self { sites, driver, torch, requirements })
    }
}

struct Installer<'a> {
    context: &'a Context,
    plan: &'a Plan,
    parts: &'a BTreeMap<String, Installed>,
    workspace: &'a Workspace,
}

impl Installer<'_> {
    fn uv(&self) -> PathBuf {
        self.parts["uv"].path.join("bin/uv")
    }

    fn python(&self) -> PathBuf {
        self.parts["python"].path.join("usr/bin/python3")
    }

    fn lock(&self, requirements: Vec<Requirement>, what: &str) -> Result<Vec<Artifact>> {
        if requirements.is_empty() {
            return Ok(Vec::new());
        }
        let _step = Step::start(self.context.reporter.as_ref(), "resolving", what);
        let resolution = Resolution {
            context: self.context,
            uv: &self.uv(),
            python: &self.python(),
            platform: self.plan.platform,
            scratch: self.workspace.root(),
            anew: self.plan.upgrade,
        };
        resolution.lock(&requirements)
    }

    /// What decides the content of torch's environment.
    fn digest(&self, wheels: &[Artifact]) -> Sha256 {
        let Platform { major, minor, arch, .. } = self.plan.platform;
        let digests: Vec<_> = wheels.iter().map(|wheel| wheel.sha256).collect();
        let parts = serde_json::json!({
            // Counts up when the code that installs changes what is there.
            "format": 1,
            "python": format!("{major}.{minor}"),
            "arch": arch,
            "wheels": digests,
            "torch": self.plan.torch_wheel().map(|(_, sha256)| sha256),
        });
        Sha256::of(parts.to_string())
    }

    /// Says how much is to be downloaded, before it is.
    fn announce(&self, wheels: &[Artifact]) {
        let missing: Vec<&Artifact> =
            wheels.iter().filter(|w| self.context.store.blob(&w.sha256).is_none()).collect();
        let bytes: u64 = missing.iter().map(|wheel| wheel.size).sum();
        if !missing.is_empty() {
            let count = missing.len();
            let mib = bytes.div_ceil(1 << 20);
            let note = format!("what the wheel requires: {count} files to download, {mib} MiB");
            self.context.reporter.report(Event::Note(note));
        }
    }

    /// Installs torch and what it requires, and imports it once, so that its compiled modules are
    /// there for every later import.
    fn torch(
        &self,
        wheels: &[Artifact],
        driver: Option<&Path>,
        request: &Request<'_>,
        root: &Path,
    ) -> Result<()> {
        let mut files = named_wheels(self.context, wheels)?;
        files.extend(self.plan.torch_wheel().map(|(path, _)| path.to_owned()));
        let site = self.workspace.torch_site();
        let reporter = self.context.reporter.as_ref();
        {
            let subject = format!("torch with {} packages", files.len() - 1);
            let _step = Step::start(reporter, "installing", subject);
            self.install(&files, &site)?;
        }
        let environment = Self::torch_alone(&site, driver);
        let _step = Step::start(reporter, "importing", "torch, for the first time");
        let (context, parts) = (self.context, self.parts);
        let emulator = Emulator::new(context, parts, &environment, self.workspace, request.python)?;
        emulator
            .import(context, &environment, &[], false, crate::resolve::MaxSilence::default())?
            .torch()?;
        fs_err::rename(site, root.join("site")).map_err(ProveError::Io)?;
        Ok(())
    }

    fn torch_alone(site: &Path, driver: Option<&Path>) -> Environment {
        let (sites, driver) = (vec![site.to_owned()], driver.map(Path::to_owned));
        Environment { sites, driver, torch: true, requirements: Vec::new() }
    }

    /// Unpacks wheels into a folder, as an installer of the target would.
    fn install(&self, wheels: &[PathBuf], into: &Path) -> Result<()> {
        let Platform { major, minor, arch, glibc } = self.plan.platform;
        let mut args: Vec<OsString> = ["pip", "install", "--offline", "--no-index", "--no-deps"]
            .into_iter()
            .chain(["--no-cache", "--link-mode", "hardlink", "--only-binary", ":all:"])
            .chain(UV_OPTIONS)
            .map(Into::into)
            .collect();
        args.extend(["--python".into(), self.python().into()]);
        args.extend(["--python-version".into(), format!("{major}.{minor}").into()]);
        let platform = format!("{arch}-manylinux_{}_{}", glibc.0, glibc.1);
        args.extend(["--python-platform".into(), platform.into()]);
        args.extend(["--target".into(), into.into()]);
        args.extend(wheels.iter().map(Into::into));
        // Its unpacked files are linked from its temporary folder: on the same disk.
        let temporary = self.workspace.temporary()?;
        let invocation = Invocation {
            program: self.uv(),
            args,
            variables: IndexMap::from([
                ("HOME".to_owned(), temporary.clone().into()),
                ("TMPDIR".to_owned(), temporary.into()),
            ]),
            dir: self.workspace.root().to_owned(),
            log: self.workspace.log(),
        };
        let outcome = configure::launcher(self.context)(&invocation)?;
        match outcome.code {
            0 => Ok(()),
            _ => Err(ProveError::Install { tail: outcome.tail }.into()),
        }
    }
}
