//! `--timeline`: a run as a page for a browser, all in one file: what was done when, what compiled
//! beside what, and how much memory that took.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crosswheel::actions::Kind;
use crosswheel::report::Event;
use crosswheel::{Class, Diagnose};
use indicatif::HumanBytes;
use tempfile::NamedTempFile;

use crate::screen::minutes;

/// The page, with `{{names}}` for what [`Timeline::page`] writes.
const PAGE: &str = include_str!("timeline.html");

/// How many actions the table has.
const LONGEST: usize = 20;

/// What happened since it was made.
pub struct Timeline {
    begun: Instant,
    running: BTreeMap<u64, Span>,
    spans: Vec<Span>,
}

/// Where a page will be; nothing is there until it is whole.
pub struct Place {
    path: PathBuf,
    file: NamedTempFile,
}

/// Something that took time, counted from the beginning.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    class: &'static str,
    start: Duration,
    end: Duration,
    action: Option<Cost>,
}

/// What a compiler call cost this time.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu: Duration,
    peak_memory: u64,
    restored: bool,
}

/// The page cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the timeline `{}` cannot be written", path.display())]
pub struct TimelineError {
    path: PathBuf,
    source: io::Error,
}

impl Diagnose for TimelineError {
    fn class(&self) -> Class {
        Class::Io
    }
}

impl Place {
    /// Learns before a long build, and not after it, that the page could not be written.
    pub fn open(path: &Path) -> Result<Self, TimelineError> {
        let failed = |source| TimelineError { path: path.to_owned(), source };
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix(".crosswheel-")
            // As `open` makes any new file; the umask applies.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Timeline {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self { begun: Instant::now(), running: BTreeMap::new(), spans: Vec::new() }
    }

    /// Takes note of an event.
    pub fn take(&mut self, event: &Event) {
        let now = self.begun.elapsed();
        match event {
            Event::StepStarted { id, verb, subject } => {
                self.start(*id, format!("{verb} {subject}"), "step", now);
            }
            Event::DownloadStarted { id, file, .. } => {
                self.start(*id, file.clone(), "download", now);
            }
            Event::ActionStarted { id, label, kind } => {
                self.start(*id, label.clone(), class(*kind), now);
            }
            Event::StepFinished { id } | Event::DownloadFinished { id } => {
                self.finish(*id, now, |_| {});
            }
            Event::ActionFinished { id, wall, cpu, peak_memory, success, restored } => {
                let (cpu, peak_memory, restored) = (*cpu, *peak_memory, *restored);
                self.finish(*id, now, |span| {
                    // What comes out of the cache is told of when it is there.
                    span.start = span.start.min(now.saturating_sub(*wall));
                    span.action = Some(Cost { cpu, peak_memory, restored });
                    if !success {
                        span.class = "failed";
                    }
                });
            }
            Event::DownloadProgress { .. }
            | Event::ActionsPlanned { .. }
            | Event::Note(_)
            | Event::Warning(_)
            | Event::Log(_) => {}
        }
    }

    fn start(&mut self, id: u64, name: String, class: &'static str, now: Duration) {
        self.running.insert(id, Span { name, class, start: now, end: now, action: None });
    }

    fn finish(&mut self, id: u64, now: Duration, change: impl FnOnce(&mut Span)) {
        if let Some(mut span) = self.running.remove(&id) {
            span.end = now;
            change(&mut span);
            self.spans.push(span);
        }
    }

    /// Writes the page.
    pub fn write(&self, title: &str, place: Place) -> Result<(), TimelineError> {
        let Place { path, mut file } = place;
        let written = file.write_all(self.page(title).as_bytes());
        let placed = written.and_then(|()| file.persist(&path).map_err(|error| error.error));
        placed.map(drop).map_err(|source| TimelineError { path, source })
    }

    fn page(&self, title: &str) -> String {
        let end = self.begun.elapsed().max(Duration::from_millis(1));
        // What was cut off has lasted until now.
        let cut = self.running.values().map(|span| Span { end, ..span.clone() });
        let mut spans: Vec<Span> = self.spans.iter().cloned().chain(cut).collect();
        spans.sort_by_key(|span| (span.start, span.end));
        let (actions, others): (Vec<_>, Vec<_>) = spans.iter().partition(|s| s.action.is_some());
        let (curve, memory) = memory(&actions, end);
        let cpu: Duration = actions.iter().filter_map(|s| s.action).map(|cost| cost.cpu).sum();
        let restored = actions.iter().filter(|s| s.action.is_some_and(|c| c.restored)).count();
        let summary = format!(
            "{} in all; compiler calls: {}, {restored} of them out of the object cache; {:.1} CPU s",
            minutes(end),
            actions.len(),
            cpu.as_secs_f64()
        );
        let lanes = lanes(&others, end) + &lanes(&actions, end);
        let values = [
            ("title", escape(title)),
            ("summary", summary),
            ("axis", axis(end)),
            ("lanes", lanes),
            ("memory", HumanBytes(memory).to_string()),
            ("curve", curve),
            ("longest", longest(&actions)),
        ];
        values.iter().fold(PAGE.to_owned(), |page, (name, value)| {
            page.replace(&format!("{{{{{name}}}}}"), value)
        })
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::CompileCuda => "cuda",
        Kind::Compile | Kind::Preprocess => "compile",
        Kind::CompileRust => "rust",
        Kind::Link => "link",
    }
}

/// Bars, one below the other where they overlap.
fn lanes(spans: &[&Span], end: Duration) -> String {
    let mut lanes: Vec<(Duration, String)> = Vec::new();
    for span in spans {
        let free = lanes.iter().position(|(until, _)| *until <= span.start);
        let lane = free.unwrap_or_else(|| {
            lanes.push(Default::default());
            lanes.len() - 1
        });
        lanes[lane].0 = span.end;
        lanes[lane].1 += &span.bar(end);
    }
    lanes.iter().map(|(_, bars)| format!("<div class=\"lane\">{bars}</div>\n")).collect()
}

impl Span {
    fn took(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    fn bar(&self, end: Duration) -> String {
        let Self { class, start, .. } = self;
        let (name, seconds) = (escape(&self.name), self.took().as_secs_f64());
        let restored = self.action.filter(|cost| cost.restored).map_or("", |_| " restored");
        let cost =
            self.action.filter(|cost| !cost.restored).map(|Cost { cpu, peak_memory, .. }| {
                format!(", {:.1} CPU s, {}", cpu.as_secs_f64(), HumanBytes(peak_memory))
            });
        let cost = cost.unwrap_or_default();
        format!(
            "<i class=\"{class}{restored}\" style=\"left:{:.3}%;width:{:.3}%\" \
             title=\"{name}: {seconds:.1} s{cost}, from {:.1} s on\">{name}</i>",
            percent(*start, end),
            percent(self.took(), end),
            start.as_secs_f64(),
        )
    }
}

fn percent(part: Duration, whole: Duration) -> f64 {
    100.0 * part.as_secs_f64() / whole.as_secs_f64()
}

/// Round times, a dozen at the most.
fn axis(end: Duration) -> String {
    const STEPS: [u64; 12] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200];
    let fits = |step: &u64| end.as_secs() / step < 12;
    let step = STEPS.into_iter().find(fits).unwrap_or(end.as_secs() / 10);
    let ticks = (0..=end.as_secs() / step).map(|tick| Duration::from_secs(tick * step));
    ticks.fold(String::new(), |mut axis, tick| {
        let (left, seconds) = (percent(tick, end), tick.as_secs());
        // Writing to a String does not fail.
        let _ =
            write!(axis, "<b style=\"left:{left:.3}%\">{}:{:02}</b>", seconds / 60, seconds % 60);
        axis
    })
}

/// The outline of what actions that ran together took at their peaks, in a box of 1000 by 100, and
/// its highest point.
fn memory(actions: &[&Span], end: Duration) -> (String, u64) {
    let mut changes: Vec<(Duration, i128)> = Vec::new();
    for span in actions {
        let Some(Cost { peak_memory, restored: false, .. }) = span.action else { continue };
        changes.push((span.start, peak_memory.into()));
        changes.push((span.end, -i128::from(peak_memory)));
    }
    // What ends makes room for what begins.
    changes.sort();
    let mut taken = 0;
    let steps = changes.into_iter().map(|(time, change)| {
        taken += change;
        (time, u64::try_from(taken).unwrap_or(0))
    });
    let steps: Vec<(Duration, u64)> = steps.collect();
    let highest = steps.iter().map(|(_, taken)| *taken).max().unwrap_or(0);
    let mut path = "M0 100".to_owned();
    for (time, taken) in steps {
        let (x, y) = (10.0 * percent(time, end), 100.0 * taken as f64 / highest.max(1) as f64);
        let _ = write!(path, "H{x:.1}V{:.1}", 100.0 - y);
    }
    (path + "V100Z", highest)
}

fn longest(actions: &[&Span]) -> String {
    let mut ran: Vec<(&Span, Cost)> = actions
        .iter()
        .filter_map(|span| Some((*span, span.action.filter(|cost| !cost.restored)?)))
        .collect();
    ran.sort_by_key(|(span, _)| std::cmp::Reverse(span.took()));
    let row = |(span, cost): &(&Span, Cost)| {
        format!(
            "<tr><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{}</td></tr>\n",
            escape(&span.name),
            span.took().as_secs_f64(),
            cost.cpu.as_secs_f64(),
            HumanBytes(cost.peak_memory)
        )
    };
    ran.iter().take(LONGEST).map(row).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, start: u64, end: u64, peak_memory: u64) -> Span {
        let action = Cost { cpu: Duration::from_secs(end - start), peak_memory, restored: false };
        let (start, end) = (Duration::from_secs(start), Duration::from_secs(end));
        Span { name: name.to_owned(), class: "cuda", start, end, action: Some(action) }
    }

    #[test]
    fn what_overlaps_has_lanes_of_its_own() {
        let spans = [span("a<b>.o", 0, 4, 10), span("b.o", 2, 6, 20), span("c.o", 4, 8, 30)];
        let spans: Vec<&Span> = spans.iter().collect();
        let end = Duration::from_secs(10);
        let lanes = lanes(&spans, end);
        let lines: Vec<&str> = lanes.lines().collect();
        assert_eq!(lines.len(), 2, "{lanes}");
        assert!(lines[0].contains("a&lt;b&gt;.o: 4.0 s") && lines[0].contains(">c.o<"), "{lanes}");
        assert!(lines[1].contains("left:20.000%;width:40.000%"), "{lanes}");
        // 10, 30 from 2 s on, 50 from 4 s on, 30 from 6 s on, and nothing from 8 s on.
        let (curve, highest) = memory(&spans, end);
        assert_eq!(highest, 50);
        assert_eq!(
            curve,
            "M0 100H0.0V80.0H200.0V40.0H400.0V60.0H400.0V0.0H600.0V40.0H800.0V100.0V100Z"
        );
    }

    #[test]
    fn a_page_has_all_that_was_told() {
        let mut timeline = Timeline::new();
        let (label, kind) = ("kernel.o".to_owned(), Kind::CompileCuda);
        timeline.take(&Event::StepStarted { id: 1, verb: "building", subject: "x".to_owned() });
        timeline.take(&Event::ActionStarted { id: 2, label, kind });
        let (wall, cpu) = (Duration::ZERO, Duration::from_secs(3));
        let (peak_memory, success, restored) = (1 << 30, false, false);
        let finished = Event::ActionFinished { id: 2, wall, cpu, peak_memory, success, restored };
        timeline.take(&finished);
        let page = timeline.page("x & y");
        assert!(page.contains("<h1>x &amp; y</h1>") && page.contains("building x"), "{page}");
        assert!(
            page.contains("compiler calls: 1, 0 of them") && page.contains("3.0 CPU s"),
            "{page}"
        );
        assert!(page.contains("class=\"failed\"") && page.contains("1.00 GiB"), "{page}");
        assert!(!page.contains("{{"), "{page}");
    }
}
