//! What a build would do, found out without doing it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::actions::{Action, CostBook, Expected, PlanRecord};
use crate::artifact::{Artifact, Input, Sha256};
use crate::context::Context;
use crate::error::{Class, Diagnose};
use crate::lock::{Identity, Locked, Source, TorchInput, costs_name, toolchain_request};
use crate::pipeline::{self, build_folder};
use crate::store::Key;
use crate::torch::sdk;

/// What a build reads of a torch wheel whose symbols are indexed, in bytes: headers, cmake files
/// and Python sources, as measured on the wheels of `torch.lock`.
const TORCH_PARTS: u64 = 11_000_000;

/// What one build would do; `docs/schemas/plan.schema.json` describes its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// As asked for.
    pub request: String,
    /// What would be built, such as `causal-conv1d-1.7.0`.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// The target's Python, such as `3.11`.
    pub python: String,
    /// The target's torch, as asked for.
    pub torch: String,
    /// The wheel, where it is there and up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date: Option<PathBuf>,
    /// The files that are not in the store yet.
    pub downloads: Vec<PlannedDownload>,
    /// How many compiler calls the build consists of: as it was configured before, or else as many
    /// as the package had when it was built before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<usize>,
    /// What is left of them, and what that takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Expected>,
}

/// A file that would be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlannedDownload {
    /// Its name.
    pub file: String,
    /// How many bytes of it.
    pub bytes: u64,
    /// The digest of the whole file.
    pub sha256: Sha256,
}

/// Looks at the store, the products and the cost book.
pub fn plan(context: &Context, locked: &Locked, out: &Path) -> Result<Plan> {
    let resolved = &locked.resolved;
    let product = pipeline::up_to_date(context, locked, out);
    let downloads = match &product {
        Some(_) => Vec::new(),
        None => downloads(context, locked)?,
    };
    let expected = match product {
        Some(_) => None,
        None => expected(context, locked)?,
    };
    Ok(Plan {
        request: resolved.request.to_string(),
        source: locked.source.label(),
        target: resolved.variant.clone(),
        python: resolved.python.clone(),
        torch: resolved.torch.to_string(),
        up_to_date: product.map(|product| product.wheel),
        downloads,
        actions: expected.map(|(actions, _)| actions),
        left: expected.map(|(_, left)| left),
    })
}

/// How many actions the build has, and what those take that are not done yet.
fn expected(context: &Context, locked: &Locked) -> Result<Option<(usize, Expected)>> {
    let (folder, jobs) = (build_folder(context, locked), locked.resolved.jobs.get());
    let costs = CostBook::load(&context.costs()).foretold(&locked.recipe.costs);
    let package = locked.costs_name();
    let plan = PlanRecord::load(&folder.plan(), locked.digest());
    let Some(actions) = plan.count() else {
        let all = costs.expect_all(&package, jobs);
        return Ok(all.map(|all| (all.actions, all)));
    };
    let done = match folder.actions().exists() {
        true => Action::read_log(&folder.actions())?,
        false => Vec::new(),
    };
    let left = costs.expect(&package, &plan.without(&done), jobs);
    Ok(Some((actions, left)))
}

/// Of a manifest what tells costs.
#[derive(Deserialize)]
struct Record {
    request: String,
    resolution: Resolution,
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Resolution {
    identity: Identity,
    variant: String,
}

/// Why costs cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum CostsError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("`{path}` is neither a manifest nor a record of costs")]
    Other {
        /// The file.
        path: PathBuf,
    },
}

impl Diagnose for CostsError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Io,
            Self::Other { .. } => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let other = matches!(self, Self::Other { .. });
        other.then(|| {
            "give the manifest beside a wheel, or the `costs.json` of another store".to_owned()
        })
    }
}

/// Remembers what actions took elsewhere, by manifests or other stores' books, and returns how many
/// figures these have; all or none of them.
pub fn import_costs(context: &Context, files: &[PathBuf]) -> Result<usize> {
    let mut costs = CostBook::load(&context.costs());
    let mut figures = 0;
    for path in files {
        let path = context.environment.current_dir().join(path);
        let text = fs_err::read(&path)
            .map_err(|source| CostsError::Read { path: path.clone(), source })?;
        figures += match serde_json::from_slice(&text) {
            Ok(Record { request, resolution, actions }) => {
                let name = costs_name(&request, &resolution.identity, &resolution.variant);
                actions.iter().for_each(|action| costs.record(&name, action));
                actions.len()
            }
            Err(_) => costs.import(&text).ok_or(CostsError::Other { path })?,
        };
    }
    costs.save()?;
    Ok(figures)
}

/// What a fetch would download, each file once, sorted by name.
fn downloads(context: &Context, locked: &Locked) -> Result<Vec<PlannedDownload>> {
    let request = toolchain_request(&locked.resolved, &locked.libraries, locked.rust.as_ref());
    let mut inputs = context.with_provisioner(|p| p.missing(&request))?;
    inputs.extend(locked.requirements.iter().cloned().map(Input::Whole));
    inputs.extend(locked.sources().filter_map(|source| match source {
        Source::Index(artifact) => Some(Input::Whole(artifact.clone())),
        _ => None,
    }));
    let crates = locked.rust.iter().flat_map(|rust| &rust.crates.crates);
    inputs.extend(crates.cloned().map(Input::Whole));
    let absent = inputs.iter().filter(|input| context.store.blob(&input.sha256()).is_none());
    let mut downloads: Vec<_> = absent.map(PlannedDownload::of).collect();
    downloads.extend(torch(context, &locked.torch)?);
    downloads.sort();
    downloads.dedup();
    Ok(downloads)
}

fn torch(context: &Context, torch: &TorchInput) -> Result<Option<PlannedDownload>> {
    let (artifact, parts) = match torch {
        TorchInput::Locked { torch, .. } => (&torch.artifact, Some(TORCH_PARTS)),
        TorchInput::Whole(artifact) => (artifact, None),
        TorchInput::Wheel { .. } | TorchInput::Folder { .. } => return Ok(None),
    };
    let key = Key::new(sdk::SDK_COMPONENT, torch.digest());
    let here =
        context.store.blob(&artifact.sha256).is_some() || context.components.find(&key)?.is_some();
    let bytes = parts.unwrap_or(artifact.size);
    Ok((!here).then(|| PlannedDownload { bytes, ..PlannedDownload::whole(artifact) }))
}

impl PlannedDownload {
    fn of(input: &Input) -> Self {
        let whole = Self::whole(input.artifact());
        match input {
            Input::Whole(_) => whole,
            Input::Partial(partial) => Self { bytes: partial.size, ..whole },
        }
    }

    fn whole(artifact: &Artifact) -> Self {
        let file = artifact.file_name().to_owned();
        Self { file, bytes: artifact.size, sha256: artifact.sha256 }
    }
}
