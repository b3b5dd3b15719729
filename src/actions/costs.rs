//! What actions cost the last time, to say how long a build will still take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, ActionsError};
use crate::atomic;

/// What one action took when it last succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cost {
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in bytes.
    pub peak_memory: u64,
}

/// Costs by package and label.
type Costs = BTreeMap<String, BTreeMap<String, Cost>>;

/// A file in the store that remembers costs from build to build.
#[derive(Debug, Clone)]
pub struct CostBook {
    path: PathBuf,
    known: Costs,
    /// What [`CostBook::save`] adds to what the file holds by then.
    fresh: Costs,
}

impl CostBook {
    /// Reads the book. One that is not there, or that another version wrote, is empty: it only
    /// serves estimates.
    pub fn load(path: &Path) -> Self {
        Self { path: path.to_owned(), known: read(path), fresh: Costs::new() }
    }

    /// Remembers an action of a package, where it ran and succeeded.
    pub fn record(&mut self, package: &str, action: &Action) {
        if action.exit != 0 || action.restored.is_some() {
            return;
        }
        let Action { wall_ms, cpu_ms, peak_memory, .. } = *action;
        let cost = Cost { wall_ms, cpu_ms, peak_memory };
        for costs in [&mut self.known, &mut self.fresh] {
            costs.entry(package.to_owned()).or_default().insert(action.label.clone(), cost);
        }
    }

    /// What this action took last.
    pub fn estimate(&self, package: &str, label: &str) -> Option<Cost> {
        self.known.get(package)?.get(label).copied()
    }

    /// How long these actions will take with so many at once: the sum of their wall times shared
    /// out, but no less than the longest. Unknown ones are taken for the mean of the known ones;
    /// `None` where none is known.
    pub fn time_left<'a>(
        &self,
        package: &str,
        labels: impl IntoIterator<Item = &'a str>,
        jobs: usize,
    ) -> Option<Duration> {
        let mut known = Vec::new();
        let mut unknown = 0;
        for label in labels {
            match self.estimate(package, label) {
                Some(cost) => known.push(cost.wall_ms),
                None => unknown += 1,
            }
        }
        let sum: u64 = known.iter().sum();
        let mean = sum.checked_div(known.len() as u64)?;
        let shared = (sum + mean * unknown) / jobs.max(1) as u64;
        let longest = known.into_iter().max().unwrap_or_default();
        Some(Duration::from_millis(shared.max(longest)))
    }

    /// How many actions a package had, and how long they will take with so many at once.
    pub fn expected(&self, package: &str, jobs: usize) -> Option<(usize, Duration)> {
        let known = self.known.get(package)?;
        let time = self.time_left(package, known.keys().map(String::as_str), jobs)?;
        Some((known.len(), time))
    }

    /// Writes what was recorded, beside what other builds wrote meanwhile.
    pub fn save(&mut self) -> Result<(), ActionsError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let lock = fs_err::File::create(self.path.with_extension("lock"))?;
        lock.file().lock()?;
        let mut all = read(&self.path);
        for (package, costs) in std::mem::take(&mut self.fresh) {
            all.entry(package).or_default().extend(costs);
        }
        let bytes = serde_json::to_vec(&all).map_err(std::io::Error::from)?;
        atomic::write(&self.path, atomic::PLAIN, &bytes)?;
        self.known = all;
        Ok(())
    }
}

fn read(path: &Path) -> Costs {
    let bytes = fs_err::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, MemoryMethod};
    use super::*;

    fn action(label: &str, wall_ms: u64, exit: u8) -> Action {
        Action {
            kind: Kind::Compile,
            label: label.to_owned(),
            source: None,
            output: None,
            command: Vec::new(),
            cwd: String::new(),
            wall_ms,
            cpu_ms: wall_ms,
            peak_memory: 1,
            memory_method: MemoryMethod::PssSampling,
            exit,
            restored: None,
            notes: Vec::new(),
            sms: Vec::new(),
        }
    }

    #[test]
    fn two_builds_keep_what_both_learnt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let (mut first, mut second) = (CostBook::load(&path), CostBook::load(&path));
        first.record("p", &action("a.o", 10, 0));
        second.record("p", &action("b.o", 20, 0));
        second.record("p", &action("failed.o", 20, 1));
        first.save().unwrap();
        second.save().unwrap();
        let book = CostBook::load(&path);
        assert_eq!(book.estimate("p", "a.o").unwrap().wall_ms, 10);
        assert_eq!(book.estimate("p", "b.o").unwrap().wall_ms, 20);
        assert_eq!(book.estimate("p", "failed.o"), None);
        assert_eq!(book.estimate("q", "a.o"), None);
    }

    #[test]
    fn time_left_is_shared_but_no_less_than_the_longest() {
        let mut book = CostBook::load(Path::new("/nowhere/costs.json"));
        for (label, wall) in [("a", 100), ("b", 100), ("c", 400)] {
            book.record("p", &action(label, wall, 0));
        }
        let left = |labels: &[&str], jobs| {
            book.time_left("p", labels.iter().copied(), jobs).map(|d| d.as_millis())
        };
        assert_eq!(left(&["a", "b", "c"], 1), Some(600));
        assert_eq!(left(&["a", "b", "c"], 4), Some(400));
        assert_eq!(left(&["a", "new"], 1), Some(200));
        assert_eq!(left(&["new"], 1), None);
        assert_eq!(book.expected("p", 2), Some((3, Duration::from_millis(400))));
        assert_eq!(book.expected("q", 2), None);
    }
}
