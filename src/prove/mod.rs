//! Import proofs: whether a wheel imports on its target, found by importing it.
//!
//! In: a wheel, whoever built it. Out: a [`Proof`]: every module of it that imported or did not, in
//! the loader's own words, and the operators that it registered. The target's Python runs under an
//! emulator, without network and without GPU, with the wheel's real dependencies for the target; the
//! driver is a stub that knows no device.
//!
//! | step | module |
//! | --- | --- |
//! | what is in the wheel, and for which Python it is | [`wheel`] |
//! | its dependencies, locked, and installed once for each torch | [`environment`] |
//! | where the target's Python runs | `emulator` |
//! | what it said | [`answer`], [`fault`] |
//! | the record of it, in the wheel's manifest | [`attest`] |

pub mod answer;
pub mod attest;
mod driver;
mod emulator;
pub mod environment;
pub mod error;
pub mod fault;
mod resolve;
pub mod wheel;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

pub use emulator::emulate;
pub use error::ProveError;

use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::context::Context;
use crate::exec::Isolation;
use crate::report::Step;
use crate::resolve::MaxSilence;
use crate::target::Target;
use crate::toolchain::{ComponentRef, Request};

use answer::Module;
use attest::ManifestFile;
use emulator::{Emulator, Workspace};
use environment::Environment;
use wheel::Subject;

/// What a user may choose; what is absent comes from the wheel and its manifest, then from the
/// target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The target's name.
    pub target: Option<String>,
    /// The Python to import with, such as `3.11`.
    pub python: Option<String>,
    /// The torch to import with, a version or a wheel, whether the wheel requires one or not.
    pub torch: Option<String>,
    /// What the wheel does not declare, or the index does not have: requirements (PEP 508), and
    /// wheels.
    pub with: Vec<String>,
    /// Whether modules of machine code and libraries are imported alone, with nothing of what the
    /// wheel requires but torch.
    pub extensions: bool,
    /// Whether dependencies are resolved anew.
    pub upgrade: bool,
    /// How long a module may take to import.
    pub max_silence: MaxSilence,
}

/// What was found; `docs/schemas/prove.schema.json` describes its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// The wheel's file name.
    pub wheel: String,
    /// Its digest.
    pub sha256: Sha256,
    /// The target's name.
    pub target: String,
    /// Whether its modules of machine code and libraries alone were imported.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub extensions_only: bool,
    /// Whether all that must import did.
    pub passed: bool,
    /// The version of the Python that imported it, such as `3.11.2`.
    pub python: String,
    /// The torch that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torch: Option<Torch>,
    /// The processor that was emulated, as the emulator calls it.
    pub processor: &'static str,
    /// What was imported, in this order.
    pub modules: Vec<Module>,
    /// The operators that torch knows since.
    pub operators: Vec<Operator>,
    /// What was installed beside the wheel.
    pub requirements: Vec<Artifact>,
    /// The emulator, and the system that it ran.
    pub components: Vec<ComponentRef>,
    /// How the emulated process was kept from the network and the machine.
    pub isolation: Isolation,
}

/// The torch that a wheel was imported with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Torch {
    /// `torch.__version__`.
    pub version: String,
    /// `torch.version.cuda`; empty for a torch without CUDA.
    pub cuda: String,
}

/// An operator of torch's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Operator {
    /// Such as `crosswheel_saxpy::saxpy`.
    pub name: String,
    /// Its arguments and results, as torch writes them.
    pub schema: String,
    /// The dispatch keys that it has kernels for, of the common ones.
    pub kernels: Vec<String>,
}

/// Imports a wheel on the emulated target.
///
/// # Errors
/// What stands in the way of finding out. That the wheel does not import is no error but a
/// [`Proof`] that did not pass.
pub fn prove(context: &Context, path: &Path, options: &Options) -> Result<Proof> {
    let mut subject = Subject::read(path)?;
    if options.extensions {
        subject.keep_extensions();
    }
    let manifest = ManifestFile::beside(path, subject.sha256)?;
    let recorded = manifest.as_ref().map(ManifestFile::facts).unwrap_or_default();
    let name = options.target.as_deref().or(recorded.target.as_deref());
    let name = name.unwrap_or(crate::resolve::DEFAULT_TARGET);
    let target = Target::load(&context.project.targets(), name)?;
    let python = subject.python(context.sources()?, &target, &recorded, options)?;
    let plan = environment::plan(context, &subject, &target, &python, &recorded, options)?;
    let _hold = context.components.hold()?;
    let libraries = BTreeSet::new();
    let request = Request {
        target: &target,
        python: &python,
        headers: None,
        libraries: &libraries,
        rust: None,
    };
    let names = ["qemu", "target-root", "python", "uv"];
    let (parts, mut components) = context.with_provisioner(|p| p.components(&names, &request))?;
    components.retain(|component| matches!(component.name.as_str(), "qemu" | "target-root"));
    let workspace = Workspace::new(context)?;
    let environment = Environment::prepare(context, &plan, &parts, &request, &workspace)?;
    let emulator = Emulator::new(context, &parts, &environment, &workspace, &python)?;
    let answer = {
        let _step = Step::start(context.reporter.as_ref(), "importing", subject.name.to_string());
        let Options { extensions, max_silence, .. } = *options;
        emulator.import(context, &environment, &subject.modules, extensions, max_silence)?
    };
    let judged = answer.judge(&subject, environment.torch)?;
    let proof = Proof {
        wheel: subject.name.to_string(),
        sha256: subject.sha256,
        target: target.name.clone(),
        extensions_only: options.extensions,
        passed: judged.modules.iter().all(Module::passes),
        python: judged.python,
        torch: judged.torch,
        processor: emulator::PROCESSOR,
        modules: judged.modules,
        operators: judged.operators,
        requirements: environment.requirements,
        components,
        isolation: emulator.isolation().clone(),
    };
    if let Some(manifest) = manifest {
        manifest.attest(&proof)?;
    }
    Ok(proof)
}
