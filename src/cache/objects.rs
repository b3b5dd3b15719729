//! The entries on this machine's disk.
//!
//! ```text
//! objects/actions/ab/<key>        what an action's results depend on, and their digests
//! objects/results/cd/<sha256>     a result; its time is when it was last used
//! objects/layers.json             what builds had of it
//! objects/lock                    locked while entries are added or removed
//! ```
//!
//! Reading takes no lock: files are replaced whole, and a result that is gone is a miss.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::Renamer;
use super::input::Input;
use super::layers::Layers;
use super::outcome::Outcome;
use super::scope::Scope;
use super::watch::{Known, unchanged};
use crate::artifact::Sha256;
use crate::atomic;

/// How many results one key keeps: sources that go back and forth.
const VARIANTS: usize = 16;

/// The folder of entries.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
}

/// One result of a key, and what it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    pub inputs: Vec<Input>,
    pub result: Sha256,
}

/// What a look for an action found.
pub(crate) enum Found {
    /// Its result, and the digest by which it is known.
    Hit(Sha256, Outcome),
    /// A result that is not what it was when it was written.
    Damaged(Sha256),
    /// A result that is not here, and may be on a server.
    Elsewhere(Sha256),
    /// Nothing.
    Miss,
}

/// What [`Objects::measure`] counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Keys.
    pub actions: usize,
    /// Results.
    pub results: usize,
    /// Bytes of both.
    pub size: u64,
}

/// What [`Objects::gc`] or [`Objects::verify`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Results.
    pub results: usize,
    /// Keys that were left with none.
    pub actions: usize,
    /// Bytes.
    pub size: u64,
}

struct File {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl Objects {
    /// The entries below this folder, which need not be there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn action(&self, key: &Sha256) -> PathBuf {
        let name = key.to_string();
        self.root.join("actions").join(&name[..2]).join(name)
    }

    pub(super) fn result(&self, sha256: &Sha256) -> PathBuf {
        let name = sha256.to_string();
        self.root.join("results").join(&name[..2]).join(name)
    }

    /// The result of an action whose inputs are as they were; the renamer is that to the names here.
    pub(crate) fn find(&self, key: &Sha256, scope: &Scope, renamer: &Renamer) -> Found {
        let mut known = Known::default();
        let mut elsewhere = None;
        for mut variant in self.variants(key) {
            variant.inputs.iter_mut().for_each(|input| input.rename(renamer));
            if !unchanged(&variant.inputs, scope, &mut known) {
                continue;
            }
            let Ok(packed) = fs_err::read(self.result(&variant.result)) else {
                elsewhere.get_or_insert(variant.result);
                continue;
            };
            if Sha256::of(&packed) != variant.result {
                return Found::Damaged(variant.result);
            }
            match Outcome::unpack(&packed) {
                Ok(mut outcome) => {
                    outcome.rename(renamer);
                    return Found::Hit(variant.result, outcome);
                }
                // Another version's.
                Err(_) => continue,
            }
        }
        elsewhere.map_or(Found::Miss, Found::Elsewhere)
    }

    /// Of a file that is damaged there are none.
    pub(super) fn variants(&self, key: &Sha256) -> Vec<Variant> {
        fs_err::read(self.action(key)).ok().and_then(|text| parse(&text)).unwrap_or_default()
    }

    /// Adds a result, which is moved here.
    pub(crate) fn insert(
        &self,
        key: &Sha256,
        inputs: Vec<Input>,
        packed: &Path,
    ) -> io::Result<Variant> {
        let (sha256, _) = Sha256::of_reader(fs_err::File::open(packed)?)?;
        let place = self.result(&sha256);
        let variant = Variant { inputs, result: sha256 };
        let _lock = self.lock()?;
        fs_err::create_dir_all(place.parent().unwrap_or(&self.root))?;
        fs_err::rename(packed, &place)?;
        let mut variants = self.variants(key);
        Self::add(&mut variants, variant.clone());
        self.write(key, &variants)?;
        Ok(variant)
    }

    /// Puts a variant before others, in place of one with the same inputs.
    pub(super) fn add(variants: &mut Vec<Variant>, variant: Variant) {
        variants.retain(|other| other.inputs != variant.inputs);
        variants.insert(0, variant);
        variants.truncate(VARIANTS);
    }

    /// Adds what a server knows of a key. What is here already is newer.
    pub(super) fn merge(&self, key: &Sha256, there: Vec<Variant>) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut variants = self.variants(key);
        let known = variants.len();
        for variant in there {
            if !variants.iter().any(|other| other.inputs == variant.inputs) {
                variants.push(variant);
            }
        }
        variants.truncate(VARIANTS);
        if variants.len() > known { self.write(key, &variants) } else { Ok(()) }
    }

    /// Adds a result whose digest was found right.
    pub(super) fn insert_result(&self, sha256: &Sha256, packed: &[u8]) -> io::Result<()> {
        let place = self.result(sha256);
        let folder = place.parent().unwrap_or(&self.root);
        fs_err::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        file.write_all(packed)?;
        let _lock = self.lock()?;
        fs_err::create_dir_all(folder)?;
        file.persist(&place).map_err(|error| error.error)?;
        Ok(())
    }

    fn write(&self, key: &Sha256, variants: &[Variant]) -> io::Result<()> {
        let place = self.action(key);
        fs_err::create_dir_all(place.parent().unwrap_or(&self.root))?;
        atomic::write(&place, atomic::PLAIN, &serialise(variants)?)
    }

    /// Notes that a result was used now.
    pub(crate) fn touch(&self, result: &Sha256) {
        // One that was removed meanwhile is no loss.
        let _ = fs_err::File::options()
            .append(true)
            .open(self.result(result))
            .and_then(|file| file.file().set_modified(SystemTime::now()));
    }

    /// Removes a result if its content is not what its name says, and says whether it was so.
    pub(crate) fn drop_damaged(&self, result: &Sha256) -> io::Result<bool> {
        let path = self.result(result);
        let _lock = self.lock()?;
        let damaged = is_damaged(&path, result);
        if damaged {
            fs_err::remove_file(&path)?;
        }
        Ok(damaged)
    }

    fn lock(&self) -> io::Result<fs_err::File> {
        fs_err::create_dir_all(&self.root)?;
        let path = self.root.join("lock");
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        file.file().lock()?;
        Ok(file)
    }

    fn files(&self, kind: &str) -> Vec<File> {
        let walk = WalkDir::new(self.root.join(kind)).into_iter().flatten();
        let file = |entry: walkdir::DirEntry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(File { path: entry.into_path(), size: metadata.len(), used })
        };
        walk.filter_map(file).collect()
    }

    /// Adds what a build had of the cache to what builds had.
    pub(crate) fn count(&self, layers: &Layers) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut sum = self.layers();
        sum.extend(layers);
        atomic::write(&self.root.join("layers.json"), atomic::PLAIN, &serde_json::to_vec(&sum)?)
    }

    /// What all builds had of the cache.
    pub fn layers(&self) -> Layers {
        let text = fs_err::read(self.root.join("layers.json")).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// How much there is.
    pub fn measure(&self) -> Stats {
        let (actions, results) = (self.files("actions"), self.files("results"));
        let size = actions.iter().chain(&results).map(|file| file.size).sum();
        Stats { actions: actions.len(), results: results.len(), size }
    }

    /// [`Objects::gc`], where there is more than that: it reads every key.
    pub(crate) fn fit(&self, limit: u64) -> io::Result<()> {
        if self.files("results").iter().map(|file| file.size).sum::<u64>() > limit {
            self.gc(limit)?;
        }
        Ok(())
    }

    /// Removes the results that were not used for longest, until the rest has at most this many
    /// bytes, and keys that have no result.
    pub fn gc(&self, limit: u64) -> io::Result<Removed> {
        let mut results = self.files("results");
        results.sort_by_key(|file| std::cmp::Reverse(file.used));
        let mut kept = 0;
        results.retain(|file| {
            kept += file.size;
            kept > limit
        });
        let _lock = self.lock()?;
        let mut removed = Removed::default();
        for file in results {
            remove(&file, &mut removed.results, &mut removed.size)?;
        }
        self.prune(&mut removed)?;
        Ok(removed)
    }

    /// Reads everything, and removes what is damaged.
    pub fn verify(&self) -> io::Result<Removed> {
        let _lock = self.lock()?;
        let mut removed = Removed::default();
        for file in self.files("results") {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let sha256: Option<Sha256> = name.and_then(|name| name.parse().ok());
            if sha256.is_none_or(|sha256| is_damaged(&file.path, &sha256)) {
                remove(&file, &mut removed.results, &mut removed.size)?;
            }
        }
        self.prune(&mut removed)?;
        Ok(removed)
    }

    /// Removes keys without results.
    fn prune(&self, removed: &mut Removed) -> io::Result<()> {
        for file in self.files("actions") {
            let variants = fs_err::read(&file.path).ok().and_then(|text| parse(&text));
            let alive = variants.iter().flatten().any(|v| self.result(&v.result).is_file());
            if !alive {
                remove(&file, &mut removed.actions, &mut removed.size)?;
            }
        }
        Ok(())
    }
}

fn remove(file: &File, count: &mut usize, size: &mut u64) -> io::Result<()> {
    fs_err::remove_file(&file.path)?;
    *count += 1;
    *size += file.size;
    Ok(())
}

fn is_damaged(path: &Path, sha256: &Sha256) -> bool {
    let digest = fs_err::File::open(path).and_then(Sha256::of_reader);
    digest.is_ok_and(|(actual, _)| actual != *sha256)
}

/// A digest and a space before the JSON: half a file would else be one with fewer inputs.
pub(super) fn serialise(variants: &[Variant]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(variants)?;
    Ok([format!("{} ", Sha256::of(&json)).as_bytes(), &json].concat())
}

pub(super) fn parse(text: &[u8]) -> Option<Vec<Variant>> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let (digest, json) = (&text[..space], &text[space + 1..]);
    let sha256: Sha256 = std::str::from_utf8(digest).ok()?.parse().ok()?;
    (Sha256::of(json) == sha256).then(|| serde_json::from_slice(json).ok()).flatten()
}
