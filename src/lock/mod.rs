//! Lock: from what is built to every input by name and sha256.
//!
//! What was locked before is taken from `crosswheel.lock`, else from the store; what was not is
//! looked up in the registries, and remembered.

mod includes;
mod record;
mod requirements;
mod source;
mod torch;
mod trees;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use requirements::Discovered;
pub(crate) use requirements::uv_variables;

pub use includes::CudaHeaders;
pub use record::{PackageLock, PackageLocks};
pub(crate) use requirements::keep_log;
pub use source::{Identity, Source};
pub use torch::TorchInput;
pub(crate) use torch::{lock as lock_torch, of_index};
pub use trees::{LockedTree, TreeError};
pub(crate) use trees::{commit, elsewhere, is_current_commit};

use crate::Result;
use crate::artifact::{Artifact, Input, Sha256};
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::fetch;
use crate::pins;
use crate::recipe::{self, Recipe};
use crate::report::Event;
use crate::request::Request;
use crate::resolve::Resolved;
use crate::rust::{self, Compiler, Crates, RustInputs};
use crate::series::{self, Patch};
use crate::target::Target;
use crate::toolchain;

/// What is built, and every input that it is built from.
#[derive(Debug, Clone)]
pub struct Locked {
    /// What is built.
    pub resolved: Resolved,
    /// The package's source.
    pub source: Source,
    /// What the source says that it is.
    pub identity: Identity,
    /// What its recipe says for this version and target.
    pub recipe: Recipe,
    /// Its local patches, in the order in which they are applied.
    pub patches: Vec<Patch>,
    /// The source trees that the recipe names.
    pub trees: Vec<LockedTree>,
    /// The target's torch.
    pub torch: TorchInput,
    /// CUDA libraries whose headers it wants beyond those of the component `cuda`.
    pub libraries: BTreeSet<String>,
    /// The digest of the target Python's headers, where they are not a component's.
    pub headers: Option<Sha256>,
    /// The files of the toolchain's components.
    pub toolchain: Vec<Input>,
    /// The digests of the symbol indices that its stubs are made from.
    pub symbols: Vec<Sha256>,
    /// The wheels of the build environment.
    pub requirements: Vec<Artifact>,
    /// Its crates and what compiles them, where it has any.
    pub rust: Option<RustInputs>,
}

impl Locked {
    /// What the record of costs calls the package: its name, so that another version, and a
    /// checkout, has what one of the index took; and the target, whose code it is.
    pub fn costs_name(&self) -> String {
        costs_name(&self.resolved.request.to_string(), &self.identity, &self.resolved.variant)
    }
}

/// [`Locked::costs_name`] of a request that was recorded.
pub fn costs_name(request: &str, identity: &Identity, variant: &str) -> String {
    let name = identity.name.as_deref().unwrap_or(request);
    // What is built in part takes as long.
    format!("{name} for {}", variant.trim_end_matches(".partial"))
}

/// Why inputs cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A lock that is not one.
    #[error("`{path}` is not a lock of packages")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Without the network, only what was locked before can be built.
    #[error("`{request}` was not locked before, and crosswheel is offline")]
    Offline {
        /// As asked for.
        request: String,
    },
    /// The index has no wheel of this torch for the target.
    #[error("the index has no wheel of torch {version} for Python {python} on {arch}")]
    NoTorch {
        /// The release.
        version: String,
        /// Such as `3.11`.
        python: String,
        /// The processor.
        arch: crate::target::Arch,
        /// The versions that it has for both.
        known: Vec<String>,
    },
    /// A file cannot be read or written.
    #[error("inputs cannot be locked")]
    Io(#[from] std::io::Error),
}

impl Diagnose for LockError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Usage,
            Self::Offline { .. } => Class::Network,
            Self::NoTorch { .. } => Class::Torch,
            Self::Io(_) => Class::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } => {
                Some("restore it from the repository, or remove it and lock anew".to_owned())
            }
            Self::Offline { request } => {
                Some(format!("run `cargo xtask fetch {request}` once with a network"))
            }
            Self::NoTorch { known, .. } if known.is_empty() => Some(
                "give a wheel or an unpacked folder of the target's torch with `--torch`"
                    .to_owned(),
            ),
            Self::NoTorch { known, .. } => Some(format!(
                "it has {}; or give a wheel or an unpacked folder of the target's torch with `--torch`",
                known.join(", ")
            )),
            Self::Io(_) => None,
        }
    }
}

/// Locks every input.
pub fn lock(context: &Context, resolved: Resolved) -> Result<Locked> {
    let torch = torch::lock(context, &resolved)?;
    let (package, recipe, patches) = package(context, &resolved, &torch)?;
    let libraries = libraries(context, &resolved, package.cuda.as_ref(), &recipe)?;
    let compiler = || Compiler::choose(context, resolved.target.arch);
    let rust = package
        .rust
        .clone()
        .filter(|_| !recipe.without_rust)
        .map(|crates| RustInputs { compiler: compiler(), crates });
    let request = toolchain_request(&resolved, &libraries, rust.as_ref());
    let headers = request.headers_digest()?;
    let (toolchain, symbols) =
        context.with_provisioner(|p| Ok((p.inputs(&request)?, p.symbols(&request)?)))?;
    let PackageLock { identity, source, requirement: requirements, tree: trees, .. } = package;
    Ok(Locked {
        resolved,
        source,
        identity,
        recipe,
        patches,
        trees,
        torch,
        libraries,
        headers,
        toolchain,
        symbols,
        requirements,
        rust,
    })
}

/// The lock of the package that fits its recipe and its patches as they are now, from before or
/// looked up.
fn package(
    context: &Context,
    resolved: &Resolved,
    torch: &TorchInput,
) -> Result<(PackageLock, Recipe, Vec<Patch>)> {
    let locks = PackageLocks::load(context)?;
    let found = locks.find(&resolved.request)?;
    for locked in &found {
        if let Some((recipe, patches)) = still_fits(context, resolved, locked)? {
            let mut locked = with_headers(context, &locks, &found, locked.clone(), &patches)?;
            let trees = trees(context, &recipe, &locked.identity, &locked.tree)?;
            if trees != locked.tree {
                locked.tree = trees;
                locks.remember(locked.clone())?;
            }
            return Ok((locked, recipe, patches));
        }
    }
    // Where only the recipe or a patch is another, the release stays the one that was locked.
    let source = match found.into_iter().next() {
        Some(locked) => locked.source,
        None => known_or_looked_up(context, &resolved.request)?,
    };
    let scripts = source::scripts(&source)?;
    if let Some(kept) = with_other_sources(context, resolved, &locks, &source, scripts)? {
        locks.remember(kept.0.clone())?;
        return Ok(kept);
    }
    let mut known = None;
    for before in locks.of_earlier_states(&resolved.request)? {
        let recipe = find_recipe(context, resolved, &before.identity)?;
        if recipe.requirements_digest() == before.recipe {
            known = before.rust;
            break;
        }
    }
    let (locked, recipe, patches) = look_up(context, resolved, torch, source, known.as_ref())?;
    let locked = PackageLock { scripts, ..locked };
    locks.remember(locked.clone())?;
    Ok((locked, recipe, patches))
}

/// The recipe and the patches of what was locked, where they decide as they did then.
fn still_fits(
    context: &Context,
    resolved: &Resolved,
    locked: &PackageLock,
) -> Result<Option<(Recipe, Vec<Patch>)>> {
    let recipe = find_recipe(context, resolved, &locked.identity)?;
    // One from before crates were locked lacks them.
    let wanted = !recipe.without_rust && rust::is_driven(&resolved.request, &locked.requirement);
    let whole = !wanted || locked.rust.as_ref().is_some_and(|crates| crates.is_current(context));
    let patches = series::lock(context, &locked.source, &locked.identity)?;
    let decides = (recipe.requirements_digest(), series::digest_of(&patches));
    let fits = whole && decides == (locked.recipe, locked.patches);
    Ok(fits.then_some((recipe, patches)))
}

/// The lock of a folder that differs from one that was locked, it or another, in nothing but what
/// compilers alone read: that needs no build script to say again what it requires.
fn with_other_sources(
    context: &Context,
    resolved: &Resolved,
    locks: &PackageLocks,
    source: &Source,
    scripts: Option<Sha256>,
) -> Result<Option<(PackageLock, Recipe, Vec<Patch>)>> {
    let (Source::Folder { path, .. }, Some(scripts)) = (source, scripts) else {
        return Ok(None);
    };
    let (request, source) = (resolved.request.to_string(), source.clone());
    for before in locks.of_scripts(scripts)? {
        // Which crates those are, the machine's cargo decides besides.
        if before.rust.is_some() {
            continue;
        }
        // Another folder may be another project's, whose trees lie elsewhere.
        let known = if before.request == request { before.tree.clone() } else { Vec::new() };
        let locked = PackageLock { request: request.clone(), source: source.clone(), ..before };
        if let Some((recipe, patches)) = still_fits(context, resolved, &locked)? {
            let cuda = Some(cuda_headers(context, path)?);
            let tree = trees(context, &recipe, &locked.identity, &known)?;
            return Ok(Some((PackageLock { cuda, tree, ..locked }, recipe, patches)));
        }
    }
    Ok(None)
}

/// A lock whose source was looked through for what `cuda.toml` describes now. The requirements stay
/// those that were locked.
fn with_headers(
    context: &Context,
    locks: &PackageLocks,
    found: &[PackageLock],
    mut locked: PackageLock,
    patches: &[Patch],
) -> Result<PackageLock> {
    let described = context.cuda_libraries()?.digest();
    let current = |cuda: &CudaHeaders| cuda.described == described;
    if locked.cuda.as_ref().is_some_and(current) {
        return Ok(locked);
    }
    // All of them are locks of one source.
    let known = found.iter().filter(|other| other.patches == locked.patches);
    let known = known.filter_map(|other| other.cuda.as_ref()).find(|cuda| current(cuda));
    if let Some(known) = known {
        locked.cuda = Some(known.clone());
        return Ok(locked);
    }
    let scratch = tempfile::tempdir_in(context.store.root()).map_err(LockError::Io)?;
    let tree = scratch.path().join("source");
    fetch::source_tree(context, &locked.source, patches, &tree)?;
    locked.cuda = Some(cuda_headers(context, &tree)?);
    locks.remember(locked.clone())?;
    Ok(locked)
}

/// Looks through a source tree.
fn cuda_headers(context: &Context, tree: &Path) -> Result<CudaHeaders> {
    let described = context.cuda_libraries()?;
    let libraries = includes::scan(tree, &described.detector()?).map_err(LockError::Io)?;
    Ok(CudaHeaders { described: described.digest(), libraries })
}

/// The CUDA libraries whose headers a build gets: those that its source includes, as far as they
/// are there for the target, and those that its recipe names.
fn libraries(
    context: &Context,
    resolved: &Resolved,
    included: Option<&CudaHeaders>,
    recipe: &Recipe,
) -> Result<BTreeSet<String>> {
    let Target { arch, cuda, .. } = &resolved.target;
    let known: BTreeSet<&str> = context.sources()?.libraries(*arch, cuda).collect();
    let included = included.iter().flat_map(|cuda| &cuda.libraries);
    let there = included.filter(|library| known.contains(library.as_str()));
    Ok(there.chain(&recipe.cuda).cloned().collect())
}

/// Looks up a package's source and build requirements, whatever was locked before.
pub fn relock(context: &Context, resolved: &Resolved) -> Result<PackageLock> {
    let torch = torch::lock(context, resolved)?;
    let source = source::lock(context, &resolved.request)?;
    Ok(look_up(context, resolved, &torch, source, None)?.0)
}

fn look_up(
    context: &Context,
    resolved: &Resolved,
    torch: &TorchInput,
    source: Source,
    known: Option<&Crates>,
) -> Result<(PackageLock, Recipe, Vec<Patch>)> {
    let Discovered { identity, recipe, patches, cuda, wheels, crates } =
        requirements::discover(context, resolved, &source, torch, known)?;
    let locked = PackageLock {
        request: resolved.request.to_string(),
        recipe: recipe.requirements_digest(),
        patches: series::digest_of(&patches),
        tree: trees(context, &recipe, &identity, &[])?,
        identity,
        scripts: None,
        source,
        cuda: Some(cuda),
        requirement: wheels,
        rust: crates,
    };
    Ok((locked, recipe, patches))
}

/// The trees that a recipe names.
fn trees(
    context: &Context,
    recipe: &Recipe,
    identity: &Identity,
    known: &[LockedTree],
) -> Result<Vec<LockedTree>> {
    let name = identity.name.as_deref().and_then(recipe::folder_name);
    trees::lock(context, recipe, name.as_deref(), known)
}

/// The recipe of a package, for the target that it is built for.
pub(crate) fn find_recipe(
    context: &Context,
    resolved: &Resolved,
    identity: &Identity,
) -> Result<Recipe> {
    let subject = recipe::Subject {
        name: identity.name.as_deref(),
        version: identity.version.as_deref(),
        target: &resolved.target.name,
    };
    let targets = Target::names(&context.project.targets())?;
    let found = recipe::find(&context.project.patches(), subject, &targets)?;
    if found.version_untold {
        context.reporter.report(Event::Warning(format!(
            "the recipe's tables for versions do not count: `{}` does not tell its version",
            resolved.request
        )));
    }
    let mut recipe = found.recipe;
    pins::overlay(&mut recipe.pins, resolved.pins.iter().cloned());
    recipe.crates.extend(resolved.crates.clone());
    Ok(recipe)
}

/// The source of a request, from before or looked up.
pub(crate) fn source_of(context: &Context, request: &Request) -> Result<Source> {
    match PackageLocks::load(context)?.find(request)?.into_iter().next() {
        Some(locked) => Ok(locked.source),
        None => known_or_looked_up(context, request),
    }
}

fn known_or_looked_up(context: &Context, request: &Request) -> Result<Source> {
    if context.offline && matches!(request, Request::Index { .. }) {
        return Err(LockError::Offline { request: request.to_string() }.into());
    }
    source::lock(context, request)
}

/// The toolchain that a build needs, with the headers of these CUDA libraries, and with Rust where
/// there are crates.
pub fn toolchain_request<'a>(
    resolved: &'a Resolved,
    libraries: &'a BTreeSet<String>,
    rust: Option<&'a RustInputs>,
) -> toolchain::provision::Request<'a> {
    toolchain::provision::Request {
        target: &resolved.target,
        python: &resolved.python,
        headers: resolved.headers.as_deref(),
        libraries,
        rust: rust.map(|rust| &rust.compiler),
    }
}

/// What decides the bytes of a wheel; its digest tells whether there is anything to do.
#[derive(Serialize)]
struct Inputs<'a> {
    crosswheel: &'static str,
    source: &'a Source,
    recipe: &'a Recipe,
    /// Each by its content: what its file is called decides nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Sha256>,
    #[serde(skip_serializing_if = "<[LockedTree]>::is_empty")]
    trees: &'a [LockedTree],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    only: &'a [String],
    torch: Sha256,
    toolchain: Vec<Sha256>,
    symbols: &'a [Sha256],
    requirements: &'a [Artifact],
    target: &'a Target,
    python: &'a str,
    headers: Option<Sha256>,
    local_version: Option<&'a str>,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rust: Option<&'a RustInputs>,
    /// The member of a workspace that is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
}

impl Locked {
    /// The package's source, the trees that its recipe names, and the repositories of its crates.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let trees = self.trees.iter().filter_map(|tree| tree.source.as_ref());
        let repositories = self.rust.iter().flat_map(|rust| &rust.crates.repositories);
        std::iter::once(&self.source).chain(trees).chain(repositories.map(|r| &r.source))
    }

    /// What [`Locked::sources`] has beside the package's own.
    pub(crate) fn further_sources_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        let trees = self.trees.iter_mut().filter_map(|tree| tree.source.as_mut());
        let repositories = self.rust.iter_mut().flat_map(|rust| &mut rust.crates.repositories);
        trees.chain(repositories.map(|repository| &mut repository.source))
    }

    /// The digest of all inputs: equal for builds that give the same bytes.
    pub fn digest(&self) -> Sha256 {
        let Resolved { target, python, local_version, time, only, .. } = &self.resolved;
        let inputs = Inputs {
            crosswheel: env!("CARGO_PKG_VERSION"),
            source: &self.source,
            recipe: &self.recipe,
            patches: self.patches.iter().map(|patch| patch.sha256).collect(),
            trees: &self.trees,
            only,
            torch: self.torch.digest(),
            toolchain: self.toolchain.iter().map(Input::sha256).collect(),
            symbols: &self.symbols,
            requirements: &self.requirements,
            target,
            python,
            headers: self.headers,
            local_version: local_version.as_deref(),
            time: time.seconds(),
            rust: self.rust.as_ref(),
            package: match &self.resolved.request {
                Request::Crate { package, .. } => package.as_deref(),
                _ => None,
            },
        };
        Sha256::of(serde_json::to_vec(&inputs).expect("strings and numbers serialise"))
    }

    /// The name of the folder to build in: the same for every state of a source folder, so that
    /// what was compiled before is found again.
    pub fn folder_name(&self) -> String {
        let label = self.source.label();
        let mut folder = self.clone();
        let forget = |source: &mut Source| {
            if let Source::Folder { digest, .. } = source {
                *digest = Sha256::of([]);
            }
        };
        forget(&mut folder.source);
        folder.further_sources_mut().for_each(forget);
        // What is only asked of the wheel, and which targets are built, compiles nothing anew.
        folder.resolved.only.clear();
        folder.recipe.leave_out.clear();
        folder.recipe.contract.clear();
        folder.recipe.waivers.clear();
        format!("{label}-{}-{}", self.resolved.target.name, folder.digest().short())
    }
}
