//! What actions cost the last time, to say how long a build will still take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::{Action, ActionsError, Kind, Planned};
use crate::atomic;
use crate::cache::Saved;

/// What one action took when it last succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cost {
    /// What it did. Records of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in bytes.
    pub peak_memory: u64,
}

/// What actions take that never ran here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foretold {
    /// A glob over their labels.
    pub output: String,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Peak memory in bytes.
    pub peak_memory: u64,
}

/// Costs by package and label.
type Costs = BTreeMap<String, BTreeMap<String, Cost>>;

/// What several actions are expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// How many they are.
    pub actions: usize,
    /// Of how many of them the very file was compiled before; the others are taken for the mean of
    /// their kind.
    pub known: usize,
    /// Processor time of all of them, in milliseconds.
    pub cpu_ms: u64,
    /// Wall time of all of them, side by side, in milliseconds.
    pub wall_ms: u64,
    /// The largest peak memory of one of them, in bytes.
    pub peak_memory: u64,
}

/// A file in the store that remembers costs from build to build.
#[derive(Debug, Clone)]
pub struct CostBook {
    path: PathBuf,
    known: Costs,
    /// What [`CostBook::save`] adds to what the file holds by then.
    fresh: Costs,
    /// What holds where nothing is known; the last that fits.
    foretold: Vec<(GlobMatcher, Foretold)>,
}

const GIB: u64 = 1 << 30;

impl Cost {
    /// A careful guess for an action of which nothing is known. A file of CUTLASS took 7 to 11 GB,
    /// others with torch's headers 0.5 to 3.
    pub(super) fn guess(kind: Kind, heavy: bool) -> Self {
        let (peak_memory, seconds) = match kind {
            Kind::CompileCuda if heavy => (11 * GIB, 240),
            Kind::CompileCuda => (3 * GIB, 60),
            Kind::Compile | Kind::CompileRust => (GIB, 30),
            Kind::Link => (GIB, 5),
            Kind::Preprocess => (GIB / 4, 5),
        };
        let wall_ms = seconds * 1000;
        Self { kind: Some(kind), wall_ms, cpu_ms: wall_ms, peak_memory }
    }
}

impl CostBook {
    /// Reads the book. One that is not there, or that another version wrote, is empty: it only
    /// serves estimates.
    pub fn load(path: &Path) -> Self {
        let (fresh, foretold) = Default::default();
        Self { path: path.to_owned(), known: read(path).unwrap_or_default(), fresh, foretold }
    }

    /// Where nothing is known, it is as a recipe says.
    pub fn foretold(mut self, costs: &[Foretold]) -> Self {
        let matcher = |cost: &Foretold| Some(Glob::new(&cost.output).ok()?.compile_matcher());
        self.foretold =
            costs.iter().filter_map(|cost| Some((matcher(cost)?, cost.clone()))).collect();
        self
    }

    /// Remembers an action of a package, where it succeeded. One whose results the object cache had
    /// did not run here: what it cost where it ran counts until it does.
    pub fn record(&mut self, package: &str, action: &Action) {
        let Action { kind, wall_ms, cpu_ms, peak_memory, .. } = *action;
        let ran = Saved { wall_ms, cpu_ms, peak_memory };
        let Saved { wall_ms, cpu_ms, peak_memory } = action.restored.unwrap_or(ran);
        let is_news = action.restored.is_none()
            || (peak_memory > 0 && self.estimate(package, &action.label).is_none());
        if action.exit == 0 && is_news {
            let cost = Cost { kind: Some(kind), wall_ms, cpu_ms, peak_memory };
            self.add(package, &action.label, cost);
        }
    }

    /// Remembers all that another store's book holds, and says how much that is; `None` where the
    /// text is none.
    pub fn import(&mut self, text: &[u8]) -> Option<usize> {
        let costs: Costs = serde_json::from_slice(text).ok()?;
        for (package, costs) in &costs {
            costs.iter().for_each(|(label, cost)| self.add(package, label, *cost));
        }
        Some(costs.values().map(BTreeMap::len).sum())
    }

    fn add(&mut self, package: &str, label: &str, cost: Cost) {
        for costs in [&mut self.known, &mut self.fresh] {
            costs.entry(package.to_owned()).or_default().insert(label.to_owned(), cost);
        }
    }

    /// What this action took last.
    pub fn estimate(&self, package: &str, label: &str) -> Option<Cost> {
        self.known.get(package)?.get(label).copied()
    }

    /// What this action is going to take: what it took last, or what a recipe says.
    pub(super) fn foresee(&self, package: &str, label: &str) -> Option<Cost> {
        let fits = |(output, _): &&(GlobMatcher, Foretold)| output.is_match(label);
        self.estimate(package, label).or_else(|| {
            let (_, Foretold { wall_ms, peak_memory, .. }) = self.foretold.iter().rfind(fits)?;
            let (wall_ms, peak_memory) = (*wall_ms, *peak_memory);
            Some(Cost { kind: None, wall_ms, cpu_ms: wall_ms, peak_memory })
        })
    }

    /// What this package's actions of a kind take, in the mean.
    pub(super) fn typical(&self, package: &str, kind: Kind) -> Option<Cost> {
        mean(self.known.get(package)?.values(), kind)
    }

    /// What these actions will take with so many at once: what they took the last time, and what
    /// the package's actions of that kind, or else all packages', take in the mean. They are shared
    /// out, but take no less than the longest.
    pub fn expect<'a>(
        &self,
        package: &str,
        actions: impl IntoIterator<Item = &'a Planned>,
        jobs: usize,
    ) -> Expected {
        let mut means = BTreeMap::new();
        let mut typical = |kind| {
            *means.entry(kind).or_insert_with(|| {
                let all = || mean(self.known.values().flat_map(BTreeMap::values), kind);
                let own = self.typical(package, kind).or_else(all);
                own.unwrap_or_else(|| Cost::guess(kind, false))
            })
        };
        let mut sum = Expected::default();
        let mut longest = 0;
        for action in actions {
            let foreseen = self.foresee(package, action.label());
            let cost = foreseen.unwrap_or_else(|| typical(action.kind));
            sum.actions += 1;
            sum.known += usize::from(self.estimate(package, action.label()).is_some());
            sum.cpu_ms += cost.cpu_ms;
            sum.wall_ms += cost.wall_ms;
            sum.peak_memory = sum.peak_memory.max(cost.peak_memory);
            longest = longest.max(cost.wall_ms);
        }
        sum.wall_ms = (sum.wall_ms / jobs.max(1) as u64).max(longest);
        sum
    }

    /// What all actions that the package ever had will take with so many at once.
    pub fn expect_all(&self, package: &str, jobs: usize) -> Option<Expected> {
        let planned = |(label, cost): (&String, &Cost)| {
            let kind = cost.kind.unwrap_or(Kind::Compile);
            Planned { output: label.clone(), kind }
        };
        let actions: Vec<_> = self.known.get(package)?.iter().map(planned).collect();
        Some(self.expect(package, &actions, jobs))
    }

    /// Writes what was recorded, beside what other builds wrote meanwhile.
    pub fn save(&mut self) -> Result<(), ActionsError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let lock = fs_err::File::create(self.path.with_extension("lock"))?;
        lock.file().lock()?;
        let mut all = read(&self.path).unwrap_or_default();
        for (package, costs) in std::mem::take(&mut self.fresh) {
            all.entry(package).or_default().extend(costs);
        }
        let bytes = serde_json::to_vec(&all).map_err(std::io::Error::from)?;
        atomic::write(&self.path, atomic::PLAIN, &bytes)?;
        self.known = all;
        Ok(())
    }
}

fn read(path: &Path) -> Option<Costs> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}

fn mean<'a>(costs: impl Iterator<Item = &'a Cost>, kind: Kind) -> Option<Cost> {
    let of_kind: Vec<_> = costs.filter(|cost| cost.kind == Some(kind)).collect();
    let count = of_kind.len() as u64;
    let of = |part: fn(&Cost) -> u64| {
        of_kind.iter().map(|cost| part(cost)).sum::<u64>().checked_div(count)
    };
    Some(Cost {
        kind: Some(kind),
        wall_ms: of(|cost| cost.wall_ms)?,
        cpu_ms: of(|cost| cost.cpu_ms)?,
        // What is to fit is the largest that was seen.
        peak_memory: of_kind.iter().map(|cost| cost.peak_memory).max()?,
    })
}

impl Expected {
    /// [`Expected::wall_ms`].
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryMethod;
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
            cpu_ms: 2 * wall_ms,
            peak_memory: wall_ms << 20,
            memory_method: MemoryMethod::AnonymousSampling,
            exit,
            restored: None,
            notes: Vec::new(),
            sms: Vec::new(),
        }
    }

    fn planned(outputs: &[(&str, Kind)]) -> Vec<Planned> {
        let planned = |(output, kind): &(&str, Kind)| Planned {
            output: format!("/build/{output}"),
            kind: *kind,
        };
        outputs.iter().map(planned).collect()
    }

    #[test]
    fn what_a_recipe_says_holds_until_more_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let told = |output: &str, wall_ms| Foretold {
            output: output.to_owned(),
            wall_ms,
            peak_memory: wall_ms << 20,
        };
        let costs = [told("*.o", 5), told("big_*.o", 900)];
        let mut book = CostBook::load(&dir.path().join("costs.json")).foretold(&costs);
        book.record("p", &action("big_known.o", 70, 0));
        let wall = |label| book.foresee("p", label).map(|cost| cost.wall_ms);
        let walls = ["a.o", "big_a.o", "big_known.o", "a.so"].map(wall);
        assert_eq!(walls, [Some(5), Some(900), Some(70), None]);
        let outputs = [("big_a.o", Kind::Compile), ("big_known.o", Kind::Compile)];
        let expected = book.expect("p", &planned(&outputs), 1);
        assert_eq!((expected.known, expected.wall_ms, expected.peak_memory), (1, 970, 900 << 20));
    }

    #[test]
    fn two_builds_keep_what_both_learnt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let (mut first, mut second) = (CostBook::load(&path), CostBook::load(&path));
        first.record("p", &action("a.o", 10, 0));
        second.record("p", &action("b.o", 20, 0));
        second.record("p", &action("failed.o", 20, 1));
        let saved = |wall_ms, peak_memory| Saved { wall_ms, cpu_ms: 7, peak_memory };
        let restored = |label, saved| Action { restored: Some(saved), ..action(label, 1, 0) };
        second.record("p", &restored("b.o", saved(90, 9 << 30)));
        second.record("p", &restored("elsewhere.o", saved(90, 9 << 30)));
        second.record("p", &restored("unmeasured.o", saved(90, 0)));
        first.save().unwrap();
        second.save().unwrap();
        let book = CostBook::load(&path);
        assert_eq!(book.estimate("p", "a.o").unwrap().wall_ms, 10);
        assert_eq!(book.estimate("p", "b.o").unwrap().wall_ms, 20);
        assert_eq!(book.estimate("p", "failed.o"), None);
        let elsewhere = book.estimate("p", "elsewhere.o").unwrap();
        assert_eq!((elsewhere.wall_ms, elsewhere.peak_memory), (90, 9 << 30));
        assert_eq!(book.estimate("p", "unmeasured.o"), None);
        assert_eq!(book.estimate("q", "a.o"), None);
    }

    #[test]
    fn actions_are_expected_by_their_file_then_by_their_kind() {
        let mut book = CostBook::load(Path::new("/nowhere/costs.json"));
        for (label, wall) in [("a", 100), ("b", 100), ("c", 400)] {
            book.record("p", &action(label, wall, 0));
        }
        let known = planned(&[("a", Kind::Compile), ("b", Kind::Compile), ("c", Kind::Compile)]);
        let expected = book.expect("p", &known, 1);
        let all =
            Expected { actions: 3, known: 3, cpu_ms: 1200, wall_ms: 600, peak_memory: 400 << 20 };
        assert_eq!(expected, all);
        assert_eq!(book.expect("p", &known, 4).wall_ms, 400);
        assert_eq!(book.expect_all("p", 1), Some(all));
        assert_eq!(book.expect_all("q", 1), None);

        let new = planned(&[("a", Kind::Compile), ("new", Kind::Compile)]);
        for package in ["p", "another"] {
            let expected = book.expect(package, &new, 1);
            assert_eq!(expected.known, usize::from(package == "p"));
            assert_eq!(expected.wall_ms, if package == "p" { 300 } else { 400 });
        }
        // Of a kind that nothing is known of, the guess by which compilers are admitted.
        let link = book.expect("p", &planned(&[("x.so", Kind::Link)]), 1);
        assert_eq!((link.known, link.peak_memory), (0, GIB));
    }

    #[test]
    fn another_stores_book_is_taken_over_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let mut book = CostBook::load(&path);
        book.record("p", &action("a.o", 10, 0));
        book.save().unwrap();
        let mut other = CostBook::load(&dir.path().join("other.json"));
        assert_eq!(other.import(&fs_err::read(&path).unwrap()), Some(1));
        assert_eq!(other.estimate("p", "a.o"), book.estimate("p", "a.o"));
        assert_eq!(other.import(b"{\"p\": 1}"), None);
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let text = r#"{"p":{"a.o":{"wall-ms":1,"cpu-ms":2,"peak-memory":3}}}"#;
        fs_err::write(&path, text).unwrap();
        assert_eq!(CostBook::load(&path).estimate("p", "a.o").unwrap().cpu_ms, 2);
    }
}
