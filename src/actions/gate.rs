//! Leave to start, for all builds of a store together.
//!
//! What each build runs stands in a file of the store's folder `running`, which it holds locked as
//! long as it lives: the file of one that was killed counts no more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::Kernel;
use super::memory::Usage;
use super::schedule::{Ask, Machine, Schedule};
use super::tokens::Tokens;
use crate::exec::Interrupt;
use crate::sync;

/// How often a build that waits looks what others have left.
const POLL: Duration = Duration::from_millis(250);

/// What one compiler may take more until memory is looked at again.
const GROWTH: u64 = 128 << 20;

/// How long a build tool may take until it starts what follows from an action that has ended: before,
/// it is not known that all that is left would end too late.
const SETTLING: Duration = Duration::from_secs(5);

/// What a build tells others.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Share {
    /// Actions, and threads that they were lent.
    running: usize,
    /// Bytes that what runs has asked for.
    asked: u64,
    /// Bytes that what runs has asked for and not taken yet.
    outstanding: u64,
}

/// Where builds tell each other.
#[derive(Debug)]
struct Board {
    folder: PathBuf,
    own: File,
    path: PathBuf,
}

/// Gives leave.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    kernel: Kernel,
    usage: Usage,
    began: Instant,
    /// Raised when nothing starts any more, since it would end too late.
    over: Interrupt,
    /// Where there is none, this build is alone.
    board: Option<Board>,
}

struct State {
    schedule: Schedule,
    /// The processes of the actions, by identifier.
    processes: BTreeMap<u64, i32>,
    /// The one that was stopped to make room, and has not ended yet.
    relieved: Option<u64>,
    /// Where there are none, no threads are lent.
    tokens: Option<Tokens>,
    next: u64,
    /// When something last asked or ended, since the gate began.
    stirred: Duration,
}

/// What there is beside this build.
struct Surroundings {
    _lock: Option<File>,
    others: Share,
    /// Bytes.
    free: u64,
    /// Whether processes wait for memory.
    pressed: bool,
}

/// Leave, which goes back when it is dropped.
pub(super) struct Leave<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Gate {
    pub(super) fn new(
        jobs: usize,
        limit: Option<u64>,
        until: Option<Instant>,
        folder: Option<&Path>,
        tokens: Option<Tokens>,
        usage: Usage,
    ) -> Self {
        let (processes, relieved, next, stirred) = Default::default();
        let began = Instant::now();
        let until = until.map(|until| until.saturating_duration_since(began));
        let schedule = Schedule::new(jobs, limit, until);
        let state = State { schedule, processes, relieved, tokens, next, stirred };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            kernel: Kernel::default(),
            usage,
            began,
            over: Interrupt::new(),
            board: folder.and_then(|folder| Board::open(folder).ok()),
        }
    }

    /// Raised when time is up.
    pub(super) fn over(&self) -> &Interrupt {
        &self.over
    }

    /// Waits for leave; `None` when time is up. `process` is the one above the action's processes.
    pub(super) fn enter(&self, ask: Ask, process: i32) -> Option<Leave<'_>> {
        let mut state = sync::lock(&self.state);
        let id = state.next;
        state.next += 1;
        let now = self.began.elapsed();
        state.stirred = now;
        state.schedule.wait(id, ask, now);
        state.processes.insert(id, process);
        while !state.schedule.is_running(id) {
            if self.start_some(&mut state) {
                self.changed.notify_all();
                continue;
            }
            if self.over.is_raised() || state.is_over(self.began.elapsed()) {
                self.over.raise();
                self.changed.notify_all();
                state.schedule.end(id);
                state.processes.remove(&id);
                return None;
            }
            let waited = self.changed.wait_timeout(state, POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Leave { gate: self, id })
    }

    /// Starts what may start, and says whether something did.
    fn start_some(&self, state: &mut State) -> bool {
        let surroundings = self.look();
        let lent = state.withdraw();
        let mut started = false;
        loop {
            let machine = self.left(state, lent, &surroundings);
            if state.schedule.start(self.began.elapsed(), machine).is_none() {
                break;
            }
            started = true;
        }
        if started {
            self.tell(state, lent);
        }
        started
    }

    /// Looks around; no other build decides until what was seen is dropped.
    fn look(&self) -> Surroundings {
        Surroundings {
            _lock: self.board.as_ref().and_then(|board| lock(&board.folder).ok()),
            others: self.board.as_ref().map(Board::others).unwrap_or_default(),
            free: self.kernel.free(),
            pressed: self.kernel.is_pressed(),
        }
    }

    /// What is left beside what runs, and the threads that it was lent.
    fn left(&self, state: &State, lent: usize, surroundings: &Surroundings) -> Machine {
        let Surroundings { others, free, pressed, .. } = *surroundings;
        let own = state.outstanding(&self.usage);
        let free = free.saturating_sub(others.outstanding.saturating_add(own));
        let theirs = others.asked.saturating_add(state.asked_by(lent));
        Machine { others: others.running + lent, theirs, free, pressed }
    }

    fn tell(&self, state: &State, lent: usize) {
        if let Some(board) = &self.board {
            let running = state.schedule.running() + lent;
            let asked = state.schedule.asked_in_all().saturating_add(state.asked_by(lent));
            let outstanding = state.outstanding(&self.usage);
            board.tell(Share { running, asked, outstanding });
        }
    }

    /// Lends threads, where nothing waits for processors that are left, and tells others what runs
    /// has not taken yet, which becomes less.
    pub(super) fn refresh(&self) {
        let mut state = sync::lock(&self.state);
        if state.schedule.running() == 0 {
            return;
        }
        let lent = state.withdraw();
        if state.schedule.usable(lent) > 0 {
            let machine = self.left(&state, lent, &self.look());
            let spare = state.schedule.spare(lent, machine);
            if let Some(tokens) = &mut state.tokens {
                tokens.offer(spare);
            }
        }
        self.tell(&state, lent);
    }

    /// What is to be stopped before the kernel, for want of memory, kills whatever it likes: of
    /// the actions that took more than they had asked for, the youngest, and never a build's
    /// oldest. Returns the process above its processes.
    pub(super) fn relieve(&self) -> Option<i32> {
        let mut state = sync::lock(&self.state);
        let schedule = &state.schedule;
        let running = || state.processes.iter().filter(|(id, _)| schedule.is_running(**id));
        let taken: u64 = running().map(|(_, process)| self.usage.now(*process)).sum();
        let free = self.kernel.free().min(schedule.limit().saturating_sub(taken));
        // One at a time: what it takes is free when it has ended.
        if free >= schedule.running() as u64 * GROWTH || state.relieved.is_some() {
            return None;
        }
        let outgrown =
            |(id, process): &(&u64, &i32)| self.usage.now(**process) > schedule.asked(**id);
        let (id, process) = running().skip(1).filter(outgrown).last()?;
        let (id, process) = (*id, *process);
        state.relieved = Some(id);
        Some(process)
    }
}

impl State {
    /// Whether nothing runs, nothing follows from what ran, and all that waits would end too late.
    fn is_over(&self, now: Duration) -> bool {
        now >= self.stirred + SETTLING && self.schedule.is_over(now)
    }

    /// Takes back the threads that nothing uses, and returns how many are in use.
    fn withdraw(&mut self) -> usize {
        self.tokens.as_mut().map_or(0, Tokens::withdraw)
    }

    /// Bytes that so many threads more take at most.
    fn asked_by(&self, lent: usize) -> u64 {
        self.schedule.largest().saturating_mul(lent as u64)
    }

    fn outstanding(&self, usage: &Usage) -> u64 {
        let missing = |(id, process): (&u64, &i32)| {
            self.schedule.asked(*id).saturating_sub(usage.now(*process))
        };
        self.processes.iter().map(missing).sum()
    }
}

impl Leave<'_> {
    /// Whether its action was stopped by [`Gate::relieve`].
    pub(super) fn is_relieved(&self) -> bool {
        sync::lock(&self.gate.state).relieved == Some(self.id)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = sync::lock(&self.gate.state);
        state.stirred = self.gate.began.elapsed();
        state.schedule.end(self.id);
        state.processes.remove(&self.id);
        state.relieved.take_if(|id| *id == self.id);
        if state.schedule.running() == 0 {
            state.tokens.iter_mut().for_each(Tokens::settle);
        }
        if let Some(board) = self.gate.board.as_ref().filter(|_| state.schedule.running() == 0) {
            board.tell(Share::default());
        }
        self.gate.changed.notify_all();
    }
}

impl Board {
    fn open(folder: &Path) -> std::io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        // Until it is locked, it is taken for one of a build that died.
        let _lock = lock(folder)?;
        let file = tempfile::Builder::new().prefix("build-").tempfile_in(folder)?;
        let (own, path) = file.keep().map_err(|error| error.error)?;
        own.lock()?;
        Ok(Self { folder: folder.to_owned(), own, path })
    }

    fn tell(&self, share: Share) {
        let text = serde_json::to_vec(&share).unwrap_or_default();
        let mut own = &self.own;
        // A board that cannot be written makes builds strangers, as they are without one.
        let _ = own.rewind().and_then(|()| own.set_len(0)).and_then(|()| own.write_all(&text));
    }

    fn others(&self) -> Share {
        let mut sum = Share::default();
        for entry in fs_err::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_build = entry.file_name().to_string_lossy().starts_with("build-");
            if !is_build || path == self.path {
                continue;
            }
            let Ok(mut file) = File::open(&path) else { continue };
            if file.try_lock_shared().is_ok() {
                // Its build has ended.
                let _ = fs_err::remove_file(&path);
                continue;
            }
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let share: Share = serde_json::from_str(&text).unwrap_or_default();
            sum.running += share.running;
            sum.asked = sum.asked.saturating_add(share.asked);
            sum.outstanding = sum.outstanding.saturating_add(share.outstanding);
        }
        sum
    }
}

/// Decisions of all builds are made one after the other.
fn lock(folder: &Path) -> std::io::Result<File> {
    let mut options = fs_err::OpenOptions::new();
    let file = options.create(true).append(true).open(folder.join("lock"))?.into_parts().0;
    file.lock()?;
    Ok(file)
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask { memory: 1 << 20, wall: Duration::from_secs(1), alone: false, further: 0 }
    }

    #[test]
    fn builds_of_one_store_share_the_jobs() {
        let folder = tempfile::tempdir().unwrap();
        // A kernel that says nothing, so that what else this machine does changes nothing.
        let gate = || Gate {
            kernel: Kernel::below(Path::new("/nonexistent")),
            ..Gate::new(2, None, None, Some(folder.path()), None, Usage::default())
        };
        let (first, second) = (gate(), gate());
        let one = first.enter(ask(), -1).unwrap();
        let two = second.enter(ask(), -1).unwrap();
        let others = |gate: &Gate| gate.board.as_ref().unwrap().others().running;
        assert_eq!((others(&first), others(&second)), (1, 1));
        // The second build has its share, and the two together have all.
        let mut state = second.state.lock().unwrap();
        state.schedule.wait(99, ask(), Duration::ZERO);
        assert!(!second.start_some(&mut state));
        drop(one);
        assert_eq!(others(&second), 0);
        assert!(second.start_some(&mut state));
        drop(state);
        drop(two);
    }

    #[test]
    fn what_took_more_than_it_asked_for_makes_room_for_the_oldest() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let free = |mib: u64| {
            let text = format!("MemAvailable: {} kB\n", mib * 1024);
            fs_err::create_dir_all(folder.path().join("proc")).unwrap();
            fs_err::write(folder.path().join("proc/meminfo"), text).unwrap();
        };
        free(9000);
        let usage = Usage::default();
        let gate = Gate {
            kernel: Kernel::below(folder.path()),
            ..Gate::new(4, None, None, None, None, usage.clone())
        };
        let leaves: Vec<_> = (1..=4).map(|process| gate.enter(ask(), process).unwrap()).collect();
        let take = |taken: [u64; 4]| {
            (1..).zip(taken).for_each(|(process, mib)| usage.set(process, mib * MIB));
        };
        take([900, 900, 900, 1]);
        assert_eq!(gate.relieve(), None);
        free(500);
        take([900, 0, 0, 1]);
        assert_eq!(gate.relieve(), None);
        take([900, 900, 900, 1]);
        assert_eq!(gate.relieve(), Some(3));
        assert_eq!(gate.relieve(), None);
        let relieved: Vec<_> = leaves.iter().map(Leave::is_relieved).collect();
        assert_eq!(relieved, [false, false, true, false]);
        let mut leaves = leaves;
        drop(leaves.remove(2));
        assert_eq!(gate.relieve(), Some(2));
    }

    #[test]
    fn a_build_that_died_counts_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let share = serde_json::to_vec(&Share { running: 7, asked: 7, outstanding: 7 }).unwrap();
        fs_err::write(folder.path().join("build-dead"), share).unwrap();
        let board = Board::open(folder.path()).unwrap();
        assert_eq!(board.others().running, 0);
        assert!(!folder.path().join("build-dead").exists());
    }
}
