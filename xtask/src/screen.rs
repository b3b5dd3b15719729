//! Draws a build's events: bars on a terminal, steady lines in a log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use console::Style;
use crosswheel::report::{Event, Reporter};
use crosswheel::sync;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::timeline::Timeline;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bars, redrawn in place.
    Bars,
    /// One line an event, as a log or a dumb terminal needs it.
    Lines,
    /// Warnings only.
    Quiet,
}

impl Mode {
    /// Bars where stderr is a terminal that can move its cursor.
    pub fn detect(quiet: bool, term: Option<&str>) -> Self {
        if quiet {
            Self::Quiet
        } else if console::Term::stderr().is_term() && term != Some("dumb") {
            Self::Bars
        } else {
            Self::Lines
        }
    }
}

/// The reporter of the command line.
pub struct Screen {
    mode: Mode,
    verbose: bool,
    bars: MultiProgress,
    state: Mutex<State>,
    timeline: Mutex<Option<Timeline>>,
}

#[derive(Default)]
struct State {
    steps: BTreeMap<u64, ProgressBar>,
    downloads: BTreeMap<u64, Download>,
    download_bar: Option<ProgressBar>,
    downloaded: Downloaded,
    running: BTreeMap<u64, Running>,
    action_bar: Option<ProgressBar>,
    planned: u64,
    done: u64,
}

struct Download {
    file: String,
    size: u64,
    resumed: u64,
    received: u64,
}

/// What has arrived since the last time that no download was under way.
#[derive(Default)]
struct Downloaded {
    files: u64,
    bytes: u64,
    announced: u64,
}

struct Running {
    label: String,
    bar: Option<ProgressBar>,
}

impl Screen {
    /// A screen on stderr.
    pub fn new(mode: Mode, verbose: bool) -> Arc<Self> {
        let target = match mode {
            Mode::Bars => ProgressDrawTarget::stderr_with_hz(8),
            Mode::Lines | Mode::Quiet => ProgressDrawTarget::hidden(),
        };
        Arc::new(Self {
            mode,
            verbose,
            bars: MultiProgress::with_draw_target(target),
            state: Mutex::default(),
            timeline: Mutex::default(),
        })
    }

    /// Whether results only are wanted.
    pub fn is_quiet(&self) -> bool {
        self.mode == Mode::Quiet
    }

    /// From now on, keeps what happens when.
    pub fn keep_timeline(&self) {
        sync::lock(&self.timeline).get_or_insert_with(Timeline::new);
    }

    /// What was kept, if anything was.
    pub fn take_timeline(&self) -> Option<Timeline> {
        sync::lock(&self.timeline).take()
    }

    /// Removes what is drawn, so that a table or an error can follow.
    pub fn clear(&self) {
        // A terminal that went away has nothing left to clear.
        let _ = self.bars.clear();
    }

    fn line(&self, text: &str) {
        match self.mode {
            Mode::Bars => self.bars.suspend(|| eprintln!("{text}")),
            Mode::Lines => eprintln!("{text}"),
            Mode::Quiet => {}
        }
    }

    fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(length));
        let style = ProgressStyle::with_template(template).expect("the templates are constants");
        bar.set_style(style.progress_chars("━╸─").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn step_started(&self, state: &mut State, id: u64, verb: &str, subject: &str) {
        if self.mode == Mode::Bars {
            let bar = self.bar(0, "{spinner} {prefix:>12.cyan} {msg} {elapsed:.dim}");
            bar.set_prefix(verb.to_owned());
            bar.set_message(subject.to_owned());
            state.steps.insert(id, bar);
        } else {
            self.line(&format!("{verb:>12} {subject}"));
        }
    }

    fn download_started(&self, state: &mut State, id: u64, download: Download) {
        state.downloaded.announced += download.size - download.resumed.min(download.size);
        if self.mode == Mode::Bars {
            let bar = state.download_bar.get_or_insert_with(|| {
                let bar = self.bar(0, DOWNLOAD_TEMPLATE);
                bar.set_prefix("downloading");
                bar
            });
            bar.set_length(state.downloaded.announced);
            bar.set_message(download.file.clone());
        } else if state.downloads.is_empty() {
            self.line(&format!("{:>12} {} …", "downloading", download.file));
        }
        state.downloads.insert(id, download);
    }

    fn download_progress(&self, state: &mut State, id: u64, received: u64) {
        let Some(download) = state.downloads.get_mut(&id) else { return };
        download.received = received;
        if let Some(bar) = &state.download_bar {
            let under_way: u64 =
                state.downloads.values().map(|d| d.received.saturating_sub(d.resumed)).sum();
            bar.set_position(state.downloaded.bytes + under_way);
        }
    }

    fn download_finished(&self, state: &mut State, id: u64) {
        let Some(download) = state.downloads.remove(&id) else { return };
        state.downloaded.files += 1;
        // The last progress that was heard of may be some bytes short.
        state.downloaded.bytes += download.size.saturating_sub(download.resumed);
        if !state.downloads.is_empty() {
            return;
        }
        if let Some(bar) = state.download_bar.take() {
            bar.finish_and_clear();
        }
        let Downloaded { files, bytes, .. } = std::mem::take(&mut state.downloaded);
        let files = if files == 1 { download.file } else { format!("{files} files") };
        self.line(&format!("{:>12} {files}, {}", "downloaded", HumanBytes(bytes)));
    }

    fn action_started(&self, state: &mut State, id: u64, label: String) {
        let bar = (self.mode == Mode::Bars).then(|| {
            let bar = self.bar(0, "               {msg} {elapsed:.dim}");
            bar.set_message(label.clone());
            bar
        });
        state.running.insert(id, Running { label, bar });
    }

    fn action_finished(&self, state: &mut State, id: u64, wall: Duration, verb: &str) {
        let Some(running) = state.running.remove(&id) else { return };
        if let Some(bar) = running.bar {
            bar.finish_and_clear();
        }
        state.done += 1;
        state.planned = state.planned.max(state.done);
        if let Some(bar) = &state.action_bar {
            bar.set_length(state.planned);
            bar.set_position(state.done);
        }
        if self.mode == Mode::Lines || self.verbose || verb == "failed" {
            let State { done, planned, .. } = state;
            let seconds = wall.as_secs_f64();
            self.line(&format!("{verb:>12} {} [{done}/{planned}] {seconds:.1} s", running.label));
        }
    }

    fn actions_planned(&self, state: &mut State, count: u64, remaining: Option<Duration>) {
        if count == 0 {
            return;
        }
        state.planned += count;
        if self.mode != Mode::Bars {
            let estimate = remaining.map(|d| format!(", about {} by earlier builds", minutes(d)));
            let estimate = estimate.unwrap_or_default();
            self.line(&format!("{:>12} {count} files{estimate}", "compiling"));
            return;
        }
        let planned = state.planned;
        let bar = state.action_bar.get_or_insert_with(|| {
            let bar = self.bar(0, ACTION_TEMPLATE);
            bar.set_prefix("compiling");
            bar
        });
        bar.set_length(planned);
        if let Some(remaining) = remaining {
            let end = Instant::now() + remaining;
            let style = ProgressStyle::with_template(ACTION_TEMPLATE)
                .expect("the templates are constants")
                .progress_chars("━╸─")
                .with_key(
                    "left",
                    move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                        let left = end.saturating_duration_since(Instant::now());
                        // A String or a terminal buffer: writing to it does not fail.
                        let _ = write!(out, ", about {} left", minutes(left));
                    },
                );
            bar.set_style(style);
        }
    }

    fn settle_actions(&self, state: &mut State) {
        if state.running.is_empty()
            && state.done >= state.planned
            && let Some(bar) = state.action_bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

const DOWNLOAD_TEMPLATE: &str = "{spinner} {prefix:>12.cyan} {bar:30.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec:.dim} {wide_msg:.dim}";
const ACTION_TEMPLATE: &str =
    "{spinner} {prefix:>12.cyan} {bar:30.cyan/dim} {pos}/{len} files{left} {elapsed:.dim}";

impl Reporter for Screen {
    fn report(&self, event: Event) {
        if let Some(timeline) = &mut *sync::lock(&self.timeline) {
            timeline.take(&event);
        }
        let mut guard = sync::lock(&self.state);
        let state = &mut *guard;
        match event {
            Event::StepStarted { id, verb, subject } => {
                self.step_started(state, id, verb, &subject);
            }
            Event::StepFinished { id } => {
                if let Some(bar) = state.steps.remove(&id) {
                    bar.finish_and_clear();
                }
            }
            Event::DownloadStarted { id, file, size, resumed } => {
                let download = Download { file, size, resumed, received: resumed };
                self.download_started(state, id, download);
            }
            Event::DownloadProgress { id, received } => self.download_progress(state, id, received),
            Event::DownloadFinished { id } => self.download_finished(state, id),
            Event::ActionsPlanned { labels, remaining } => {
                self.actions_planned(state, labels.len() as u64, remaining);
            }
            Event::ActionStarted { id, label, .. } => self.action_started(state, id, label),
            Event::ActionFinished { id, wall, success, restored, .. } => {
                let verb = match (success, restored) {
                    (false, _) => "failed",
                    (true, false) => "compiled",
                    (true, true) => "restored",
                };
                self.action_finished(state, id, wall, verb);
                self.settle_actions(state);
            }
            Event::Note(text) => self.line(&format!("{:>12} {text}", "note")),
            Event::Warning(text) => {
                let label = Style::new().for_stderr().yellow().apply_to("warning:");
                self.bars.suspend(|| eprintln!("{label} {text}"));
            }
            Event::Log(path) => {
                if self.verbose {
                    self.line(&format!("{:>12} {}", "log", path.display()));
                }
            }
        }
    }
}

/// A duration as a person says it: `40 s`, `7 min`, `2.5 h`.
pub fn minutes(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}
