//! From a target to a toolchain: finds the components, fetches and installs what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;

use super::cuda::component_name;
use super::error::ToolchainError;
use super::headers::Given;
use super::install::install;
use super::relocate::Relocation;
use super::sources::{RUNTIME, Source, Sources};
use super::spec::Wanted;
use super::{ComponentRef, TargetPython, Toolchain};
use crate::artifact::{Input, Sha256};
use crate::cache::Aliases;
use crate::report::{Event, Reporter, Step};
use crate::rust::{Compiler, RustTools};
use crate::store::{Components, Installed, Key};
use crate::target::{Arch, Target};

/// Gets files, by their digests: downloads what is not in the store.
pub type Fetch<'a> = dyn Fn(&[Input]) -> crate::Result<BTreeMap<Sha256, PathBuf>> + 'a;

/// The components of every toolchain, but for the headers of Python and of CUDA libraries.
const COMPONENTS: [&str; 6] = ["gcc", "sysroot", "cuda", "python", "ninja", "uv"];
/// The packages of the component `cuda` that have what makes device code.
const COMPILERS: [&str; 2] = ["nvidia-cuda-nvcc", "nvidia-nvvm"];
/// The component of toolchains that compile crates, where the machine's own Rust does not.
const RUST: &str = "rust";
/// What other components are relocated with: never relocated itself.
const RELOCATION: [&str; 2] = ["patchelf", RUNTIME];

/// Makes toolchains in a store.
pub struct Provisioner<'a> {
    /// What components there are.
    pub sources: &'a Sources,
    /// Where they are installed.
    pub components: &'a Components,
    /// Where they run.
    pub build: Arch,
    /// Gets their files.
    pub fetch: &'a Fetch<'a>,
    /// Is told what is unpacked.
    pub reporter: &'a dyn Reporter,
}

/// What a toolchain is for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The machine.
    pub target: &'a Target,
    /// The Python minor version, such as `3.11`.
    pub python: &'a str,
    /// A folder or archive with its headers, where they are not a component's.
    pub headers: Option<&'a Path>,
    /// CUDA libraries whose headers are wanted beyond those of the component `cuda`, by name.
    pub libraries: &'a BTreeSet<String>,
    /// What compiles crates, where there are any.
    pub rust: Option<&'a Compiler>,
}

impl Request<'_> {
    /// The digest of the headers given, where they are not a component's.
    pub fn headers_digest(&self) -> Result<Option<Sha256>, ToolchainError> {
        let given = |path| Given::new(path, self.python, self.target.arch).digest();
        self.headers.map(given).transpose()
    }
}

/// A component on its way into the store.
struct Planned<'a> {
    source: &'a Source,
    key: Key,
}

impl Provisioner<'_> {
    /// The files that a toolchain is made of, whether they are in the store or not.
    pub fn inputs(&self, request: &Request<'_>) -> Result<Vec<Input>, ToolchainError> {
        let mut inputs = Vec::new();
        for name in with_relocation(&names(request)) {
            inputs.extend(self.source(name, request)?.locked.inputs());
        }
        Ok(inputs)
    }

    /// The digests of the symbol indices that a toolchain's stubs are made from.
    pub fn symbols(&self, request: &Request<'_>) -> Result<Vec<Sha256>, ToolchainError> {
        let mut symbols = Vec::new();
        for name in names(request) {
            symbols.extend(self.source(&name, request)?.locked.symbols);
        }
        Ok(symbols)
    }

    /// The components of a toolchain, whether they are in the store or not, sorted by name.
    pub fn refs(&self, request: &Request<'_>) -> Result<Vec<ComponentRef>, ToolchainError> {
        let runtime = self.source(RUNTIME, request)?.runtime_digest();
        let mut refs = Vec::new();
        for name in with_relocation(&names(request)) {
            refs.push(self.source(name, request)?.component_ref(runtime));
        }
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(refs)
    }

    /// Of [`Provisioner::inputs`] those of components that are not in the store yet.
    pub fn missing(&self, request: &Request<'_>) -> crate::Result<Vec<Input>> {
        let runtime = self.source(RUNTIME, request)?.runtime_digest();
        let mut inputs = Vec::new();
        for name in with_relocation(&names(request)) {
            let source = self.source(name, request)?;
            if self.components.find(&source.key(runtime, self.components))?.is_none() {
                inputs.extend(source.locked.inputs());
            }
        }
        Ok(inputs)
    }

    /// Makes a toolchain, or finds it.
    ///
    /// # Errors
    /// Besides [`ToolchainError`]: what `fetch` and unpacking report, and a component in the store
    /// whose files were changed.
    pub fn provision(&self, request: &Request<'_>) -> crate::Result<Toolchain> {
        let names = names(request);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (installed, refs) = self.install(&names, request)?;
        let target_python = self.target_python(request, &installed)?;
        let triple = request.target.arch.gnu_triple();
        let at = |name: &str, path: &str| installed[name].path.join(path);
        Ok(Toolchain {
            target: request.target.clone(),
            build: self.build,
            cc: at("gcc", &format!("usr/bin/{triple}-gcc")),
            cxx: at("gcc", &format!("usr/bin/{triple}-g++")),
            binutils: at("gcc", &format!("usr/{triple}/bin")),
            sysroot: installed["sysroot"].path.clone(),
            cuda: installed["cuda"].path.clone(),
            cuda_include: request
                .libraries
                .iter()
                .map(|library| at(&component_name(library), "include"))
                .collect(),
            python: at("python", "usr/bin/python3"),
            target_python,
            ninja: at("ninja", "bin/ninja"),
            uv: at("uv", "bin/uv"),
            rust: self.rust(request, &installed)?,
            components: refs,
            device_compilers: self.device_compilers(request)?,
            aliases: self.aliases(request)?,
        })
    }

    /// What the folders of a toolchain's components would be called, were it not for the store's path.
    fn aliases(&self, request: &Request<'_>) -> Result<Aliases, ToolchainError> {
        let runtime = self.source(RUNTIME, request)?.runtime_digest();
        let names = names(request);
        let alias = |name: &str| {
            let source = self.source(name, request)?;
            let here = source.key(runtime, self.components);
            let common = Key::new(&source.spec.key.name, source.digest(runtime));
            Ok((here.as_str().to_owned(), common.as_str().to_owned()))
        };
        with_relocation(&names).map(alias).collect()
    }

    fn device_compilers(&self, request: &Request<'_>) -> Result<Sha256, ToolchainError> {
        let runtime = self.source(RUNTIME, request)?.runtime_digest();
        let inputs = self.source("cuda", request)?.locked.inputs();
        let compilers = inputs.filter(|input| COMPILERS.contains(&&*input.artifact().name));
        let digests: Vec<Sha256> = compilers.map(|input| input.sha256()).chain([runtime]).collect();
        Ok(Sha256::of(format!("{digests:?}")))
    }

    fn rust(
        &self,
        request: &Request<'_>,
        installed: &BTreeMap<String, Installed>,
    ) -> Result<Option<RustTools>, ToolchainError> {
        let Some(component) = installed.get(RUST) else {
            return Ok(request.rust.and_then(Compiler::tools));
        };
        let version = self.source(RUST, request)?.locked.version().to_owned();
        Ok(Some(RustTools { root: component.path.join("usr"), version }))
    }

    /// Makes one component that not every toolchain needs (`pip`), or finds it.
    pub fn component(&self, name: &str, request: &Request<'_>) -> crate::Result<Installed> {
        let (mut installed, _) = self.install(&[name], request)?;
        installed.remove(name).ok_or_else(|| {
            let wanted = name.to_owned();
            ToolchainError::NoComponent { wanted, known: Vec::new() }.into()
        })
    }

    /// Makes components that no toolchain has, or finds them: where they are, by name, and what the
    /// record of what they did calls them.
    pub fn components(
        &self,
        names: &[&str],
        request: &Request<'_>,
    ) -> crate::Result<(BTreeMap<String, Installed>, Vec<ComponentRef>)> {
        let (installed, mut refs) = self.install(names, request)?;
        refs.retain(|component| names.contains(&component.name.as_str()));
        Ok((installed, refs))
    }

    fn source(&self, name: &str, request: &Request<'_>) -> Result<&Source, ToolchainError> {
        self.sources.find(&Wanted {
            name,
            build: self.build,
            target: request.target.arch,
            cuda: &request.target.cuda,
            python: request.python,
        })
    }

    /// Installs what is missing of these components and of what they are relocated with.
    fn install(
        &self,
        names: &[&str],
        request: &Request<'_>,
    ) -> crate::Result<(BTreeMap<String, Installed>, Vec<ComponentRef>)> {
        let runtime = self.source(RUNTIME, request)?.runtime_digest();
        let plan = |name: &str| -> Result<Planned<'_>, ToolchainError> {
            let source = self.source(name, request)?;
            let key = source.key(runtime, self.components);
            Ok(Planned { source, key })
        };
        let tools = RELOCATION.iter().map(|name| plan(name)).collect::<Result<Vec<_>, _>>()?;
        let planned = names.iter().map(|name| plan(name)).collect::<Result<Vec<_>, _>>()?;
        let everything: Vec<&Planned<'_>> = tools.iter().chain(&planned).collect();
        let mut installed = self.find(&everything)?;
        let missing = |plan: &&Planned<'_>| !installed.contains_key(&plan.source.spec.key.name);
        let missing: Vec<&Planned<'_>> = everything.iter().copied().filter(missing).collect();
        if !missing.is_empty() {
            let inputs: Vec<Input> =
                missing.iter().flat_map(|p| p.source.locked.inputs()).collect();
            for plan in &missing {
                if let Some(license) = &plan.source.spec.license {
                    let name = &plan.source.spec.key.name;
                    let note = format!("using the component `{name}` is agreeing to the {license}");
                    self.reporter.report(Event::Note(note));
                }
            }
            let blobs = (self.fetch)(&inputs)?;
            let (first, second): (Vec<_>, Vec<_>) = missing
                .into_iter()
                .partition(|plan| RELOCATION.contains(&plan.source.spec.key.name.as_str()));
            installed.extend(self.unpack(&first, &blobs, None)?);
            let relocation = Relocation {
                patchelf: installed["patchelf"].path.join("bin/patchelf"),
                runtime: installed[RUNTIME].path.clone(),
                build: self.build,
            };
            installed.extend(self.unpack(&second, &blobs, Some(&relocation))?);
        }
        let mut refs: Vec<_> =
            everything.iter().map(|plan| plan.source.component_ref(runtime)).collect();
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((installed, refs))
    }

    /// Those that are in the store and unchanged, checked in parallel.
    fn find(&self, planned: &[&Planned<'_>]) -> crate::Result<BTreeMap<String, Installed>> {
        let found = in_parallel(planned, |plan| Ok(self.components.find(&plan.key)?))?;
        let named = planned.iter().map(|plan| plan.source.spec.key.name.clone());
        Ok(named.zip(found).filter_map(|(name, found)| Some((name, found?))).collect())
    }

    fn unpack(
        &self,
        planned: &[&Planned<'_>],
        blobs: &BTreeMap<Sha256, PathBuf>,
        relocation: Option<&Relocation>,
    ) -> crate::Result<BTreeMap<String, Installed>> {
        let installed = in_parallel(planned, |plan| {
            let _step = Step::start(self.reporter, "unpacking", plan.source.spec.key.to_string());
            let destination = self.components.path(&plan.key);
            self.components.install(&plan.key, |root| {
                install(plan.source, blobs, root, &destination, relocation)
            })
        })?;
        let named = planned.iter().map(|plan| plan.source.spec.key.name.clone());
        Ok(named.zip(installed).collect())
    }

    fn target_python(
        &self,
        request: &Request<'_>,
        installed: &BTreeMap<String, Installed>,
    ) -> crate::Result<TargetPython> {
        let version = request.python.to_owned();
        let Some(path) = request.headers else {
            let root = &installed["python-headers"].path;
            let include = vec![root.join("usr/include").join(format!("python{version}"))];
            return Ok(TargetPython { version, include, source: "python-headers".into() });
        };
        let given = Given::new(path, request.python, request.target.arch);
        let key = Key::new("python-headers", given.digest()?);
        let installed = self.components.install(&key, |root| given.install(root))?;
        let include = given.include(&installed.path)?;
        Ok(TargetPython { version, include, source: path.display().to_string() })
    }
}

/// The components of a toolchain.
fn names(request: &Request<'_>) -> Vec<String> {
    let headers = request.headers.is_none().then_some("python-headers");
    let rust = (request.rust == Some(&Compiler::Component)).then_some(RUST);
    let fixed = COMPONENTS.into_iter().chain(headers).chain(rust).map(str::to_owned);
    fixed.chain(request.libraries.iter().map(|library| component_name(library))).collect()
}

/// With what they are relocated with.
fn with_relocation(names: &[String]) -> impl Iterator<Item = &str> {
    RELOCATION.into_iter().chain(names.iter().map(String::as_str))
}

/// Runs a function on each item at once, and returns the results in the items' order.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> crate::Result<R> + Sync,
) -> crate::Result<Vec<R>> {
    thread::scope(|scope| {
        let workers: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, crate::Result<R>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    })
}
