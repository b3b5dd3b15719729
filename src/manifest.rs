//! The manifest: the record from which a build can be repeated and checked.
//!
//! `docs/schemas/manifest.schema.json` describes its JSON. Paths in it are canonical: the build
//! folder is `/crosswheel/build`, the store `/crosswheel/store`, the torch SDK in it
//! `/crosswheel/torch-sdk`. It holds no times of day, so that what does not depend on the machine
//! is the same from one build to the next; costs are measured.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::actions::Action;
use crate::artifact::{Artifact, Input, Sha256};
use crate::atomic::{self, Staged};
use crate::audit::Report;
use crate::compile::Built;
use crate::error::{Class, Diagnose};
use crate::exec::Isolation;
use crate::lock::{Identity, Locked, LockedTree, Source, TorchInput};
use crate::package::Packaged;
use crate::pins::Pin;
use crate::recipe::Recipe;
use crate::rust::RustInputs;
use crate::series::Patch;
use crate::target::Target;
use crate::toolchain::{ComponentRef, TargetPython};
use crate::wrapper::{CANONICAL_BUILD, CANONICAL_STORE, CANONICAL_TORCH};

/// The version of the JSON form; raised when a reader could misread it.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole record.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The crosswheel that built.
    pub crosswheel: &'static str,
    /// Digest of all inputs: builds that have it in common give the same wheel.
    pub inputs: Sha256,
    /// The result.
    pub wheel: WheelEntry,
    /// As asked for.
    pub request: String,
    /// The package's source.
    pub source: Source,
    /// What the package's recipe says for this version and target.
    pub recipe: Recipe,
    /// Its local patches, in the order in which they were applied.
    pub patches: Vec<Patch>,
    /// The pins that were changed, in the source and in the wheel's `METADATA`.
    pub pins: Vec<Pin>,
    /// Where the wheel runs.
    pub target: Target,
    /// The Python that it is for.
    pub python: TargetPython,
    /// The torch that it is for.
    pub torch: TorchEntry,
    /// What it was built with.
    pub components: Vec<ComponentRef>,
    /// What the request was resolved to, as far as the other parts do not say it.
    pub resolution: Resolution,
    /// The files of the components, as locked.
    pub toolchain: Vec<InputEntry>,
    /// The wheels of the build environment.
    pub build_requirements: Vec<Artifact>,
    /// The environment variables of the build's processes.
    pub environment: IndexMap<String, String>,
    /// How the build's processes were kept from the network and the machine.
    pub isolation: Isolation,
    /// Every compiler call.
    pub actions: Vec<Action>,
    /// What the wheel needs and holds.
    pub audit: Report,
}

/// What a request was resolved to: a rebuild takes it from here and resolves nothing anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// What the source says that it is.
    pub identity: Identity,
    /// What tells this target's products from others', such as `thor.sm90`.
    pub variant: String,
    /// The local version that was asked for, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_version: Option<String>,
    /// Source trees beside the package's own, as its recipe names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<LockedTree>,
    /// The targets of a CMake project that were built, where not all were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The torch by its content.
    pub torch: TorchInput,
    /// The headers of the target's Python, where they are not a component's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<GivenHeaders>,
    /// CUDA libraries whose headers it got beyond the toolkit's.
    pub libraries: BTreeSet<String>,
    /// Its crates and what compiled them, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustInputs>,
    /// The digests of the symbol indices that stubs were made from, in the components' order.
    pub symbols: Vec<Sha256>,
    /// The time of everything that was written, in seconds since 1970.
    pub source_date_epoch: u64,
}

/// A folder or archive with a Python's headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenHeaders {
    /// Where it lay.
    pub path: PathBuf,
    /// The digest of the headers.
    pub digest: Sha256,
}

/// The wheel, or the shared library that a plain crate makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelEntry {
    /// Its file name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// The target's torch.
#[derive(Debug, Serialize)]
pub struct TorchEntry {
    /// `torch.__version__`.
    pub version: String,
    /// `torch.version.cuda`.
    pub cuda: String,
    /// Digest of the SDK that was made of it.
    pub digest: Sha256,
    /// The wheel of the index, where it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wheel: Option<Artifact>,
    /// The wheel file or folder on disk, where it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// A file of a component.
#[derive(Debug, Serialize)]
pub struct InputEntry {
    /// The file of the registry.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Where only some members were taken: the digest of their canonical archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_sha256: Option<Sha256>,
}

/// A manifest that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be written")]
pub struct ManifestError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

impl Diagnose for ManifestError {
    fn class(&self) -> Class {
        Class::Io
    }
}

impl Manifest {
    /// The record of a build.
    pub fn new(built: &Built, packaged: &Packaged, wheel: WheelEntry, audit: Report) -> Self {
        let locked = &built.locked;
        let mut audit = audit;
        audit.inspection.path = packaged.name.to_string().into();
        Self {
            schema_version: SCHEMA_VERSION,
            crosswheel: env!("CARGO_PKG_VERSION"),
            inputs: locked.digest(),
            wheel,
            request: locked.resolved.request.to_string(),
            source: locked.source.clone(),
            recipe: locked.recipe.clone(),
            patches: locked.patches.clone(),
            pins: [&built.pins[..], &packaged.pins].concat(),
            target: locked.resolved.target.clone(),
            python: built.canonical(&built.toolchain.target_python),
            torch: TorchEntry::new(built),
            components: built.toolchain.components.clone(),
            resolution: Resolution::new(locked),
            toolchain: locked.toolchain.iter().map(InputEntry::new).collect(),
            build_requirements: locked.requirements.clone(),
            environment: built
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), built.canonical_text(value)))
                .collect(),
            isolation: built.isolation.clone(),
            actions: built.actions.clone(),
            audit,
        }
    }

    /// The record as JSON, with a line break at its end.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("strings and numbers serialise");
        json + "\n"
    }
}

impl Resolution {
    fn new(locked: &Locked) -> Self {
        let resolved = &locked.resolved;
        let headers = resolved.headers.clone().zip(locked.headers);
        Self {
            identity: locked.identity.clone(),
            variant: resolved.variant.clone(),
            local_version: resolved.local_version.clone(),
            trees: locked.trees.clone(),
            only: resolved.only.clone(),
            torch: locked.torch.clone(),
            headers: headers.map(|(path, digest)| GivenHeaders { path, digest }),
            libraries: locked.libraries.clone(),
            rust: locked.rust.clone(),
            symbols: locked.symbols.clone(),
            source_date_epoch: resolved.time.seconds(),
        }
    }
}

impl TorchEntry {
    fn new(built: &Built) -> Self {
        let (wheel, path) = match &built.locked.torch {
            TorchInput::Locked { torch, .. } => (Some(torch.artifact.clone()), None),
            TorchInput::Whole(artifact) => (Some(artifact.clone()), None),
            TorchInput::Wheel { path, .. } | TorchInput::Folder { path, .. } => {
                (None, Some(path.clone()))
            }
        };
        Self {
            version: built.torch.facts.version.clone(),
            cuda: built.torch.facts.cuda.clone(),
            digest: built.locked.torch.digest(),
            wheel,
            path,
        }
    }
}

impl InputEntry {
    fn new(input: &Input) -> Self {
        let members_sha256 = match input {
            Input::Whole(_) => None,
            Input::Partial(partial) => Some(partial.sha256),
        };
        Self { artifact: input.artifact().clone(), members_sha256 }
    }
}

impl Built {
    /// Text with this machine's folders replaced by their canonical names.
    fn canonical_text(&self, text: &str) -> String {
        let build = self.folder.root().display().to_string();
        let torch = self.torch.python_path.display().to_string();
        let store = self.store.display().to_string();
        text.replace(&build, CANONICAL_BUILD)
            .replace(&torch, CANONICAL_TORCH)
            .replace(&store, CANONICAL_STORE)
    }

    fn canonical(&self, python: &TargetPython) -> TargetPython {
        let mut python = python.clone();
        for folder in &mut python.include {
            *folder = self.canonical_text(&folder.display().to_string()).into();
        }
        python
    }
}

/// Writes files whole, and all or none: all of them lie on their disks before the first takes its
/// place.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<()> {
    let fail = |path: &Path, source| ManifestError { path: path.to_owned(), source };
    let mut staged = Vec::new();
    for (path, bytes) in files {
        let file = Staged::write(path, atomic::PLAIN, bytes).map_err(|e| fail(path, e))?;
        staged.push((path, file));
    }
    for (path, file) in staged {
        file.place().map_err(|e| fail(path, e))?;
    }
    Ok(())
}
