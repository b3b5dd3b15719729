//! The build requirements of a package: those that it declares, and those that its backend asks
//! for when it has looked at the source (PEP 517's `get_requires_for_build_wheel`).

use std::cell::OnceCell;
use std::path::Path;

use indexmap::IndexMap;
use tempfile::TempDir;

use super::{
    CudaHeaders, Identity, LockError, Source, TorchInput, cuda_headers, find_recipe, libraries,
    toolchain_request,
};
use crate::Result;
use crate::artifact::Artifact;
use crate::configure::{self, BuildFolder, Workbench};
use crate::context::Context;
use crate::fetch::{named_wheels, patched_tree, torch_sdk};
use crate::net::PROXY_VARIABLES;
use crate::pins;
use crate::python::backend::BackendError;
use crate::python::lock::Resolver;
use crate::python::pep508;
use crate::python::pyproject::{BuildSystem, Project};
use crate::python::requirements::{self, Provided, TORCH_SDK};
use crate::python::tags::Platform;
use crate::python::undeclared::provider;
use crate::recipe::Recipe;
use crate::report::{Event, Step};
use crate::resolve::Resolved;
use crate::rust::{self, Crates};
use crate::series::{self, Patch};
use crate::toolchain::Toolchain;
use crate::torch::sdk::TorchSdk;

/// The newest glibc that wheels of the build environment may ask for. The `runtime` component, with
/// which the build Python runs, has 2.41; uv 0.13 knows the names of platforms up to this one.
const BUILD_GLIBC: (u16, u16) = (2, 40);

/// What a package's source tells, and what is built with.
pub(super) struct Discovered {
    /// What the source says that it is.
    pub(super) identity: Identity,
    /// Its recipe.
    pub(super) recipe: Recipe,
    /// Its local patches.
    pub(super) patches: Vec<Patch>,
    /// The CUDA libraries that it wants the headers of.
    pub(super) cuda: CudaHeaders,
    /// The wheels of its build environment.
    pub(super) wheels: Vec<Artifact>,
    /// Its crates, where it is built with Rust.
    pub(super) crates: Option<Crates>,
}

/// Resolves both kinds, with a build environment made for the purpose. `known` are the crates of an
/// earlier state of the source.
pub(super) fn discover(
    context: &Context,
    resolved: &Resolved,
    source: &Source,
    torch: &TorchInput,
    known: Option<&Crates>,
) -> Result<Discovered> {
    // First what may be refused, then what takes long.
    let torch = torch_sdk(context, &resolved.target, torch)?;
    let builds = context.store.root().join("builds");
    fs_err::create_dir_all(&builds).map_err(LockError::Io)?;
    let scratch = tempfile::Builder::new().prefix(".lock-").tempdir_in(builds);
    let scratch = scratch.map_err(LockError::Io)?;
    let requirements = discover_in(context, resolved, source, &torch, known, scratch.path());
    if requirements.is_err() {
        keep_log(scratch).map_err(LockError::Io)?;
    }
    requirements
}

/// Keeps of the folder of a failed build script what its error names.
pub(crate) fn keep_log(scratch: TempDir) -> std::io::Result<()> {
    let folder = BuildFolder::new(scratch.path());
    if !folder.log().exists() {
        return Ok(());
    }
    for entry in fs_err::read_dir(scratch.keep())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else if entry.path() != folder.log() {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a build script wants beside what is declared.
enum Asked {
    /// What its backend says.
    Further(Vec<String>),
    /// It imports a module that no requirement brought.
    Undeclared { module: String, requirement: &'static str },
}

impl Asked {
    /// Of a hook's answer. A module counts where it is well known and what brings it was not tried.
    fn of(
        answer: Result<Vec<String>, BackendError>,
        wanted: &[String],
    ) -> Result<Self, BackendError> {
        let error = match answer {
            Ok(further) => return Ok(Self::Further(further)),
            Err(error) => error,
        };
        let Some(module) = error.missing_module() else { return Err(error) };
        match provider(module).filter(|found| !wanted.iter().any(|known| known == found)) {
            Some(requirement) => Ok(Self::Undeclared { module: module.to_owned(), requirement }),
            None => Err(error),
        }
    }
}

/// Reads the source, makes a toolchain with the headers that it wants, and asks its backend.
fn discover_in(
    context: &Context,
    resolved: &Resolved,
    source: &Source,
    torch: &TorchSdk,
    known: Option<&Crates>,
    scratch: &Path,
) -> Result<Discovered> {
    let folder = BuildFolder::new(scratch);
    // The tree as it came tells what it is, and that which recipe and patches change it.
    let found = OnceCell::new();
    let patches = |tree: &Path| {
        let identity = Identity::of(source, &Project::of(&resolved.request, tree)?);
        let recipe = find_recipe(context, resolved, &identity)?;
        let patches = series::lock(context, source, &identity)?;
        found.get_or_init(|| (identity, recipe, patches.clone()));
        Ok(patches)
    };
    let plan = |tree: &Path| {
        let (_, recipe, _) = found.get().expect("patches are looked for first");
        pins::for_target(tree, resolved, recipe, torch)
    };
    patched_tree(context, source, &folder.source(), patches, plan)?;
    let found = found.into_inner();
    let (identity, recipe, patches) = found.expect("a tree in a folder of its own is made anew");
    let project = Project::of(&resolved.request, &folder.source())?;
    let cuda = cuda_headers(context, &folder.source())?;
    let libraries = libraries(context, resolved, Some(&cuda), &recipe)?;
    let request = toolchain_request(resolved, &libraries, None);
    let toolchain = context.with_provisioner(|p| p.provision(&request))?;
    let step = Step::start(context.reporter.as_ref(), "resolving", "build requirements");
    let resolver = Requirements { context, resolved, toolchain: &toolchain, torch };
    let wheels = resolver.discover(&project.build_system, &recipe, &folder)?;
    drop(step);
    let wanted = !recipe.without_rust && rust::is_driven(&resolved.request, &wheels);
    let asked = rust::Asked {
        pins: &recipe.crates,
        changed: !patches.is_empty() || !recipe.crates.is_empty(),
        known: known.map(|crates| &crates.cargo_locks),
    };
    let crates = wanted.then(|| rust::lock(context, &folder, asked));
    Ok(Discovered { identity, recipe, patches, cuda, wheels, crates: crates.transpose()? })
}

/// Whether a `setup.py` runs CMake, by what it says. Many that do count on the machine's; backends
/// ask for what they run.
fn runs_cmake(source: &Path) -> bool {
    let says = |script: Vec<u8>| script.windows(5).any(|word| word.eq_ignore_ascii_case(b"cmake"));
    source.join("CMakeLists.txt").is_file() && fs_err::read(source.join("setup.py")).is_ok_and(says)
}

/// Whether a requirement is of the project `cmake`.
fn is_cmake(requirement: &str) -> bool {
    pep508::parse(requirement).is_ok_and(|requirement| requirement.name.as_ref() == "cmake")
}

struct Requirements<'a> {
    context: &'a Context,
    resolved: &'a Resolved,
    toolchain: &'a Toolchain,
    torch: &'a TorchSdk,
}

impl Requirements<'_> {
    /// What the package declares, and what its backend asks for.
    fn discover(
        &self,
        system: &BuildSystem,
        recipe: &Recipe,
        folder: &BuildFolder,
    ) -> Result<Vec<Artifact>> {
        let Self { context, resolved, toolchain, torch } = *self;
        let scratch = folder.root();
        let mut wanted = system.requires.clone();
        wanted.extend(torch.facts.build_requirements.iter().cloned());
        wanted.extend(recipe.requires.iter().cloned());
        if runs_cmake(&folder.source()) && !wanted.iter().any(|wanted| is_cmake(wanted)) {
            wanted.push("cmake".to_owned());
        }
        loop {
            let declared = self.lock(&wanted, scratch)?;
            let wheels = named_wheels(context, &declared)?;
            // Where a backend only says what it needs, it needs no further trees.
            let package = &resolved.request.to_string();
            let here = configure::Asked { package, resolved, recipe, trees: &[], wheels: &wheels };
            let bench = Workbench::create(context, here, toolchain, torch, folder)?;
            let asked = bench.with_backend(context, system, |backend| {
                Asked::of(backend.get_requires_for_build_wheel(), &wanted)
            })?;
            let wheels = match asked {
                Asked::Undeclared { module, requirement } => {
                    let note = format!(
                        "the build script imports `{module}` without declaring it: \
                         `{requirement}` is added"
                    );
                    context.reporter.report(Event::Note(note));
                    wanted.push(requirement.to_owned());
                    // The next failure's last lines are its own.
                    fs_err::remove_file(folder.log()).map_err(LockError::Io)?;
                    continue;
                }
                Asked::Further(asked) if asked.iter().all(|r| wanted.contains(r)) => declared,
                Asked::Further(asked) => {
                    wanted.extend(asked);
                    self.lock(&wanted, scratch)?
                }
            };
            return Ok(wheels);
        }
    }

    /// Resolves requirements to wheels for the build Python.
    fn lock(&self, wanted: &[String], scratch: &Path) -> Result<Vec<Artifact>> {
        let Self { context, resolved, toolchain, torch } = self;
        let python = configure::python_version(toolchain)?;
        let mut provided = vec![Provided::new("torch", &torch.facts.version, TORCH_SDK)?];
        for (project, version) in configure::provided_projects(toolchain) {
            provided.push(Provided::new(project.name(), &version, "crosswheel")?);
        }
        let markers = requirements::markers(resolved.target.arch, python)?;
        let sorted = requirements::sort(wanted, &provided, &markers)?;
        for (text, version) in &sorted.relaxed {
            let note = format!("the build asks for `{text}`, and gets the target's {version}");
            context.reporter.report(Event::Note(note));
        }
        let pypi = context.registries.pypi()?;
        let cache = context.store.root().join("uv-cache");
        let variables = uv_variables(context);
        let (major, minor) = python;
        let resolver = Resolver {
            uv: &toolchain.uv,
            python: &toolchain.python,
            platform: Platform { major, minor, arch: toolchain.build, glibc: BUILD_GLIBC },
            foreign: false,
            index_url: &pypi.index(),
            offline: context.offline,
            cache: &cache,
            scratch,
            variables: &variables,
        };
        let size_of = |url: &str| Ok(context.registries.http().size(url)?);
        let launch = configure::launcher(context);
        Ok(resolver.lock(&sorted.wanted, &size_of, &launch)?)
    }
}

/// How uv reaches the network: as this process does.
pub(crate) fn uv_variables(context: &Context) -> IndexMap<String, std::ffi::OsString> {
    let environment = &context.environment;
    let mut variables: IndexMap<_, _> = PROXY_VARIABLES
        .iter()
        .chain(&["UV_HTTP_TIMEOUT"])
        .filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())))
        .collect();
    if let Some(bundle) = context.registries.http().ca_bundle() {
        variables.insert("SSL_CERT_FILE".to_owned(), bundle.as_os_str().to_owned());
    }
    variables
}
