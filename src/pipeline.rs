//! The chain of stages, and what need not be done again.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::actions::{Action, milliseconds};
use crate::artifact::Sha256;
use crate::audit::{self, Report};
use crate::cache::Layers;
use crate::cache::shared::Traffic;
use crate::compile::{Built, compile};
use crate::configure::{BuildFolder, configure};
use crate::context::Context;
use crate::extension::HandedOver;
use crate::fetch::{Fetched, fetch};
use crate::lock::{Locked, lock};
use crate::manifest::{Manifest, WheelEntry, write_together};
use crate::outputs::Outputs;
use crate::package::{self, Packaged};
use crate::patch::patch;
use crate::report::{Event, Step};
use crate::request::Request;
use crate::resolve::{Options, Resolved, resolve};
use crate::{Result, package::PackageError};

/// A wheel that was handed over; `docs/schemas/product.schema.json` describes its JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Product {
    /// The wheel.
    pub wheel: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The manifest beside it.
    pub manifest: PathBuf,
    /// Digest of all inputs.
    pub inputs: Sha256,
    /// The target's name.
    pub target: String,
    /// The Python tag, such as `cp311`, which tells the Pythons that it installs on.
    pub python: String,
    /// Machine code in it, such as `sm_110`.
    pub sass: Vec<String>,
    /// The highest symbol versions that it needs, such as `GLIBC_2.34`.
    pub floors: Vec<String>,
    /// Compiler calls that it consists of.
    pub actions: usize,
    /// Those of them that ran this time.
    pub ran: usize,
    /// Those of them that the object cache made needless this time.
    #[serde(default)]
    pub restored: usize,
    /// Processor time that those took when they ran, in milliseconds.
    #[serde(default)]
    pub saved_ms: u64,
    /// What was had of the object cache this time.
    #[serde(default)]
    pub layers: Layers,
    /// What the shared cache gave and took this time, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Traffic>,
    /// Processor time of all of them, in milliseconds.
    pub cpu_ms: u64,
    /// Wall time of this build, in milliseconds.
    pub wall_ms: u64,
    /// Wall time of it in which at least one compiler ran, in milliseconds.
    pub busy_ms: u64,
    /// The largest peak memory of one action, in bytes.
    pub peak_memory: u64,
    /// Whether it was there already.
    #[serde(skip_deserializing)]
    pub up_to_date: bool,
}

/// Finds out every input of a build.
pub fn prepare(context: &Context, request: Request, options: &Options) -> Result<Locked> {
    lock(context, resolve(context, request, options)?)
}

/// Builds one wheel, or finds that it is there. `outputs` are those of the whole run.
pub fn build(context: &Context, locked: Locked, out: &Path, outputs: &Outputs) -> Result<Product> {
    let folder = build_folder(context, &locked);
    if let Some(product) = find(&folder, &locked, out) {
        return claimed(product, &locked, outputs);
    }
    check_writable(out)?;
    let _guard = context.store.lock_or_wait(&format!("build-{}", locked.folder_name()), || {
        let subject = format!("another build of {}", locked.source.label());
        Step::start(context.reporter.as_ref(), "waiting for", subject)
    })?;
    // Another process may have built it while this one waited.
    if let Some(product) = find(&folder, &locked, out) {
        return claimed(product, &locked, outputs);
    }
    let product = build_in(context, locked, folder, out, outputs)?;
    limit_cache(context);
    Ok(product)
}

/// Builds one wheel in a folder that nobody else builds in.
pub fn build_in(
    context: &Context,
    locked: Locked,
    folder: BuildFolder,
    out: &Path,
    outputs: &Outputs,
) -> Result<Product> {
    let begun = Instant::now();
    let _hold = context.components.hold()?;
    let built = compiled(context, locked, folder)?;
    // A large file is deflated on one processor; what the target has is read on another.
    let (packaged, providers) = thread::scope(|scope| {
        let providers = scope.spawn(|| audit::providers(context, &built));
        (package::package(&built), providers.join())
    });
    let providers = providers.unwrap_or_else(|panic| resume_unwind(panic))?;
    let packaged = packaged?;
    let report = audit::check(&built, &packaged, &providers)?;
    // What is handed over is handed over whole.
    context.interrupt.check()?;
    outputs.claim(&packaged.name.to_string(), &built.locked)?;
    hand_over(&built, &packaged, report, out, begun.elapsed())
}

/// Makes room in the object cache, where this build filled it.
fn limit_cache(context: &Context) {
    if !context.cache.enabled {
        return;
    }
    if let Err(error) = context.objects().fit(context.cache.limit.0) {
        let text = format!("the object cache cannot be made smaller: {error}");
        context.reporter.report(Event::Warning(text));
    }
}

/// From locked inputs to a wheel in a build folder.
pub(crate) fn make(
    context: &Context,
    locked: Locked,
    folder: BuildFolder,
) -> Result<(Built, Packaged)> {
    let _hold = context.components.hold()?;
    let built = compiled(context, locked, folder)?;
    let packaged = package::package(&built)?;
    Ok((built, packaged))
}

/// From locked inputs to the wheel that the package's own backend makes.
fn compiled(context: &Context, locked: Locked, folder: BuildFolder) -> Result<Built> {
    let patched = patch(context, fetch(context, locked)?, folder)?;
    context.interrupt.check()?;
    let built = compile(context, configure(context, patched)?)?;
    context.interrupt.check()?;
    Ok(built)
}

/// The product of these inputs, where it was handed over to this folder before and is still there.
pub fn up_to_date(context: &Context, locked: &Locked, out: &Path) -> Option<Product> {
    find(&build_folder(context, locked), locked, out)
}

/// Where it is built.
pub(crate) fn build_folder(context: &Context, locked: &Locked) -> BuildFolder {
    BuildFolder::new(context.store.root().join("builds").join(locked.folder_name()))
}

fn claimed(product: Product, locked: &Locked, outputs: &Outputs) -> Result<Product> {
    let name = product.wheel.file_name().unwrap_or_default().to_string_lossy();
    outputs.claim(&name, locked)?;
    Ok(product)
}

/// Gets everything that a build needs, for a later build without a network.
pub fn prefetch(context: &Context, request: Request, options: &Options) -> Result<Fetched> {
    fetch(context, prepare(context, request, options)?)
}

/// The product of the same inputs, where it is still as it was handed over.
fn find(folder: &BuildFolder, locked: &Locked, out: &Path) -> Option<Product> {
    let text = fs_err::read(product_record(folder)).ok()?;
    let product: Product = serde_json::from_slice(&text).ok()?;
    let wheel = out.join(product.wheel.file_name()?);
    let manifest = out.join(product.manifest.file_name()?);
    let (sha256, _) = Sha256::of_reader(fs_err::File::open(&wheel).ok()?).ok()?;
    let same = product.inputs == locked.digest() && product.sha256 == sha256;
    if !same || !manifest.is_file() {
        return None;
    }
    let (ran, restored, saved_ms, up_to_date) = (0, 0, 0, true);
    let (layers, shared) = Default::default();
    Some(Product {
        wheel,
        manifest,
        ran,
        restored,
        saved_ms,
        layers,
        shared,
        up_to_date,
        ..product
    })
}

/// Learns before a long build, and not after it, that its result could not be written.
fn check_writable(out: &Path) -> Result<(), PackageError> {
    let fail = |source| PackageError::Write { path: out.to_owned(), source };
    fs_err::create_dir_all(out).map_err(fail)?;
    tempfile::tempfile_in(out).map_err(fail)?;
    Ok(())
}

/// Puts the wheel and its manifest into the output folder, both or neither.
fn hand_over(
    built: &Built,
    packaged: &Packaged,
    report: Report,
    out: &Path,
    wall: Duration,
) -> Result<Product> {
    let HandedOver { entry, bytes } = HandedOver::of(&built.locked.resolved.request, packaged)?;
    let wheel = out.join(&entry.file);
    let manifest = wheel.with_extension("manifest.json");
    let paths = (wheel.clone(), manifest.clone());
    let product = product(built, packaged, &entry, &report, paths, wall);
    let record = Manifest::new(built, packaged, entry, report).to_json();
    let remembered = serde_json::to_vec(&product).expect("strings and numbers serialise");
    write_together(&[
        (&wheel, &bytes),
        (&manifest, record.as_bytes()),
        (&product_record(&built.folder), &remembered),
    ])?;
    Ok(product)
}

fn product(
    built: &Built,
    packaged: &Packaged,
    entry: &WheelEntry,
    report: &Report,
    (wheel, manifest): (PathBuf, PathBuf),
    wall: Duration,
) -> Product {
    let Resolved { target, .. } = &built.locked.resolved;
    let machine_code = report.inspection.machine_code();
    let mut sass: Vec<String> = machine_code.iter().map(ToString::to_string).collect();
    sass.sort();
    let floors = report.inspection.floors.iter();
    Product {
        wheel,
        sha256: entry.sha256,
        size: entry.size,
        manifest,
        inputs: built.locked.digest(),
        target: target.name.clone(),
        python: packaged.name.tags.python.iter().cloned().collect::<Vec<_>>().join("."),
        sass,
        floors: floors.map(|(set, version)| format!("{}{version}", set.prefix())).collect(),
        actions: built.actions.len(),
        ran: built.ran,
        restored: built.restored,
        saved_ms: milliseconds(built.saved),
        layers: built.layers.clone(),
        shared: built.shared,
        cpu_ms: built.actions.iter().map(|action: &Action| action.cpu_ms).sum(),
        wall_ms: milliseconds(wall),
        busy_ms: milliseconds(built.busy),
        peak_memory: built.actions.iter().map(|action| action.peak_memory).max().unwrap_or(0),
        up_to_date: false,
    }
}

fn product_record(folder: &BuildFolder) -> PathBuf {
    folder.root().join("product.json")
}
