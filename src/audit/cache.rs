//! Inspections that the store remembers, so that a large wheel is read once.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::elf::Symbol;
use super::fatbin::Fatbin;
use super::report::{Inspection, Violation};
use super::{AuditError, inspect};
use crate::artifact::Sha256;
use crate::atomic;
use crate::store::Store;

/// Counts up when [`inspect()`] finds more, or something else, in the same file.
const FORMAT: u32 = 2;
/// What the store calls the folder.
const FOLDER: &str = "audits";

/// An inspection with what its JSON leaves out.
#[derive(Serialize, Deserialize)]
struct Remembered {
    inspection: Inspection,
    faults: Vec<Violation>,
    notes: Vec<Violation>,
    paths: Vec<String>,
    hidden: Vec<Hidden>,
}

/// What the JSON of a file's facts leaves out.
#[derive(Serialize, Deserialize)]
struct Hidden {
    undefined: Vec<Symbol>,
    defined: Vec<Symbol>,
    fatbins: Vec<Fatbin>,
}

/// Reads a wheel or shared object, or remembers what was found in it: as long as path, size, both
/// times and inode number are the same, it is taken for the same file.
pub fn inspect_once(store: &Store, path: &Path) -> Result<Inspection, AuditError> {
    let Some(place) = place(store, path) else { return inspect(path) };
    if let Some(inspection) = recall(&place, path) {
        return Ok(inspection);
    }
    let inspection = inspect(path)?;
    // A file that was changed while it was read is another one by now. That nothing can be written
    // costs time at the next audit, and nothing else.
    if self::place(store, path).as_ref() == Some(&place)
        && let Some(folder) = place.parent()
        && fs_err::create_dir_all(folder).is_ok()
        && let Ok(bytes) = serde_json::to_vec(&Remembered::from(inspection.clone()))
    {
        let _ = atomic::write(&place, atomic::PLAIN, &bytes);
    }
    Ok(inspection)
}

fn place(store: &Store, path: &Path) -> Option<PathBuf> {
    let absolute = fs_err::canonicalize(path).ok()?;
    let facts = fs_err::metadata(&absolute).ok()?;
    let key = (
        FORMAT,
        absolute,
        (facts.dev(), facts.ino(), facts.size()),
        (facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()),
    );
    let digest = Sha256::of(serde_json::to_vec(&key).ok()?);
    Some(store.root().join(FOLDER).join(format!("{}.json", digest.short())))
}

fn recall(place: &Path, path: &Path) -> Option<Inspection> {
    let remembered: Remembered = serde_json::from_slice(&fs_err::read(place).ok()?).ok()?;
    let Remembered { mut inspection, faults, notes, paths, hidden } = remembered;
    if hidden.len() != inspection.files.len() {
        return None;
    }
    for (file, hidden) in inspection.files.iter_mut().zip(hidden) {
        (file.elf.undefined, file.elf.defined) = (hidden.undefined, hidden.defined);
        file.fatbins = hidden.fatbins;
    }
    (inspection.faults, inspection.notes) = (faults, notes);
    if let Some(wheel) = &mut inspection.wheel {
        wheel.paths = paths;
    }
    path.clone_into(&mut inspection.path);
    Some(inspection)
}

impl From<Inspection> for Remembered {
    fn from(mut inspection: Inspection) -> Self {
        let faults = std::mem::take(&mut inspection.faults);
        let notes = std::mem::take(&mut inspection.notes);
        let paths = inspection.wheel.as_mut().map(|wheel| std::mem::take(&mut wheel.paths));
        let hidden = inspection.files.iter_mut().map(|file| Hidden {
            undefined: std::mem::take(&mut file.elf.undefined),
            defined: std::mem::take(&mut file.elf.defined),
            fatbins: std::mem::take(&mut file.fatbins),
        });
        let hidden = hidden.collect();
        Self { inspection, faults, notes, paths: paths.unwrap_or_default(), hidden }
    }
}
