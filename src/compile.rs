//! Compile: runs the backend, whose compilers are crosswheel's wrappers.

mod cmake;
mod missing_header;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use missing_header::MissingHeader;

use crate::Result;
use crate::actions::{Action, ActionsError, CostBook, PlanRecord};
use crate::cache::Layers;
use crate::cache::shared::Traffic;
use crate::configure::{BuildFolder, ConfigureError, Configured};
use crate::context::Context;
use crate::exec::Isolation;
use crate::lock::Locked;
use crate::pins::Pin;
use crate::recipe;
use crate::report::{Event, Step};
use crate::toolchain::Toolchain;
use crate::torch::sdk::TorchSdk;

/// What the backend made.
pub struct Built {
    /// What was built.
    pub locked: Locked,
    /// What it was built with.
    pub toolchain: Toolchain,
    /// The target's torch.
    pub torch: TorchSdk,
    /// Where it was built.
    pub folder: BuildFolder,
    /// The backend's wheel.
    pub wheel: PathBuf,
    /// The pins that were changed before it was configured.
    pub pins: Vec<Pin>,
    /// How the build's processes were kept apart.
    pub isolation: Isolation,
    /// The variables of the build's processes.
    pub variables: IndexMap<String, String>,
    /// Every action that the build consists of, in the order in which they ended; those of earlier
    /// runs that were still valid come first.
    pub actions: Vec<Action>,
    /// How many of the actions ran now.
    pub ran: usize,
    /// How many the object cache made needless now.
    pub restored: usize,
    /// Processor time that those took when they ran.
    pub saved: Duration,
    /// What was had of the object cache now.
    pub layers: Layers,
    /// What the shared cache gave and took now, where there is one.
    pub shared: Option<Traffic>,
    /// For how long at least one compiler ran.
    pub busy: Duration,
    /// The store, whose path is no part of the record.
    pub store: PathBuf,
}

/// Builds the wheel.
pub fn compile(context: &Context, configured: Configured) -> Result<Built> {
    let Configured { locked, toolchain, torch, folder, system, pins, bench } = configured;
    let wheels = folder.wheels();
    match fs_err::remove_dir_all(&wheels) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(ConfigureError::Io(error).into());
        }
        _ => {}
    }
    context.reporter.report(Event::Log(folder.log()));
    let logged = fs_err::metadata(folder.log()).map_or(0, |metadata| metadata.len());
    let built = {
        let _step = Step::start(context.reporter.as_ref(), "building", locked.source.label());
        bench.with_backend(context, &system, |backend| backend.build_wheel(&wheels))
    };
    let isolation = bench.isolation().clone();
    let variables = bench.variables();
    let text = |(name, value): (&String, &std::ffi::OsString)| {
        (name.clone(), value.to_string_lossy().into_owned())
    };
    let variables = variables.iter().map(text).collect();
    let now = bench.finish();
    let mut costs = CostBook::load(&context.costs());
    for action in &now.actions {
        costs.record(&locked.costs_name(), action);
    }
    costs.save()?;
    let mut plan = PlanRecord::load(&folder.plan(), locked.digest());
    plan.add(now.planned);
    plan.save(&folder.plan())?;
    let wheel = match built {
        Ok(wheel) => wheel,
        Err(error) => {
            let log = log_from(&folder.log(), logged).map_err(ConfigureError::Io)?;
            let detector = context.cuda_libraries()?.detector()?;
            let package = locked.identity.name.as_deref().and_then(recipe::folder_name);
            let package = package.as_deref().unwrap_or("<package>");
            let error = MissingHeader::explain(error, &log, &detector);
            return Err(cmake::explain(error, &log, package));
        }
    };
    if let Some(error) = now.unlogged {
        return Err(ActionsError::from(std::io::Error::new(error.kind(), error)).into());
    }
    let restored = now.actions.iter().filter_map(|action| action.restored);
    let saved = restored.clone().map(|saved| Duration::from_millis(saved.cpu_ms)).sum();
    let restored = restored.count();
    let ran = now.actions.len() - restored;
    let actions = latest(Action::read_log(&folder.actions())?);
    let store = context.store.root().to_owned();
    Ok(Built {
        locked,
        toolchain,
        torch,
        folder,
        wheel,
        pins,
        isolation,
        variables,
        actions,
        ran,
        restored,
        saved,
        layers: now.layers,
        shared: now.shared,
        busy: now.busy,
        store,
    })
}

/// What was appended to a log after its first bytes.
fn log_from(path: &Path, start: u64) -> std::io::Result<String> {
    let mut appended = Vec::new();
    let mut file = match fs_err::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut appended)?;
    Ok(String::from_utf8_lossy(&appended).into_owned())
}

/// Of several runs of one action the last: what made the output that is there.
fn latest(all: Vec<Action>) -> Vec<Action> {
    let mut latest: IndexMap<(String, String), Action> = IndexMap::new();
    for action in all.into_iter().filter(|action| action.exit == 0) {
        let key = (action.cwd.clone(), action.output.clone().unwrap_or(action.label.clone()));
        latest.shift_remove(&key);
        latest.insert(key, action);
    }
    latest.into_values().collect()
}
