//! Which action starts next: a decision alone, without clock, threads or files.
//!
//! In: what waits, what runs, and what the machine has left. Out: one that may start. The longest
//! goes first, as a short one fills any gap at the end; one that does not fit into memory lets
//! others pass for a while, and then holds them up until it fits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cost, Kind};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Memory that it will take at most, in bytes.
    pub memory: u64,
    /// How long it will run.
    pub wall: Duration,
    /// Whether it must run while nothing else does.
    pub alone: bool,
    /// How many threads more it can use.
    pub further: usize,
}

/// What the rest of the machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// Actions of other builds, and threads that this one's actions were lent.
    pub others: usize,
    /// Bytes that those asked for.
    pub theirs: u64,
    /// Bytes that can be given away now, with what runs grown to what it asked for.
    pub free: u64,
    /// Whether processes wait for memory.
    pub pressed: bool,
}

/// Decides for one build.
#[derive(Debug)]
pub(super) struct Schedule {
    jobs: usize,
    /// Bytes for all that runs, of other builds too; as many as there are, where nobody says.
    limit: u64,
    /// When what runs shall have ended, by the caller's clock.
    until: Option<Duration>,
    waiting: BTreeMap<u64, Waiting>,
    running: BTreeMap<u64, Ask>,
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    /// A time of the caller's clock.
    since: Duration,
}

/// An action that does not fit waits at least so long before it holds up others.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many actions are started by a build tool, to run or to wait for leave: of few, the longest
/// is no long one.
pub(crate) fn window(jobs: usize) -> usize {
    jobs * 8 + 64
}

impl Ask {
    /// What an action will ask for: what it took the last time, and an eighth more than its peak,
    /// which sampling may have missed; else a guess, for as long as others of its kind took.
    pub(super) fn of(kind: Kind, heavy: bool, known: Option<Cost>, typical: Option<Cost>) -> Self {
        let guess = Cost::guess(kind, heavy);
        let memory =
            known.map_or(guess.peak_memory, |cost| cost.peak_memory + cost.peak_memory / 8);
        let wall = Duration::from_millis(known.or(typical).unwrap_or(guess).wall_ms);
        Self { memory, wall, alone: false, further: 0 }
    }
}

impl Schedule {
    pub(super) fn new(jobs: usize, limit: Option<u64>, until: Option<Duration>) -> Self {
        let (waiting, running) = Default::default();
        Self { jobs: jobs.max(1), limit: limit.unwrap_or(u64::MAX), until, waiting, running }
    }

    /// Whether nothing runs, and all that waits would end too late.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.running.is_empty()
            && self.waiting.values().all(|waiting| self.is_late(now, waiting.ask))
    }

    /// Whether an action that started now would not be done in time.
    fn is_late(&self, now: Duration, ask: Ask) -> bool {
        self.until.is_some_and(|until| now + ask.wall > until)
    }

    pub(super) fn wait(&mut self, id: u64, ask: Ask, now: Duration) {
        self.waiting.insert(id, Waiting { ask, since: now });
    }

    /// It runs no longer, or waits no longer.
    pub(super) fn end(&mut self, id: u64) {
        self.waiting.remove(&id);
        self.running.remove(&id);
    }

    /// Bytes for all that runs.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_running(&self, id: u64) -> bool {
        self.running.contains_key(&id)
    }

    /// What a running action asked for.
    pub(super) fn asked(&self, id: u64) -> u64 {
        self.running.get(&id).map_or(0, |ask| ask.memory)
    }

    /// What all running actions asked for.
    pub(super) fn asked_in_all(&self) -> u64 {
        self.running.values().map(|ask| ask.memory).sum()
    }

    /// What the largest running action asked for: a thread more of it takes no more.
    pub(super) fn largest(&self) -> u64 {
        self.running.values().map(|ask| ask.memory).max().unwrap_or(0)
    }

    /// How many threads more than it was lent what runs can use, where nothing waits.
    pub(super) fn usable(&self, lent: usize) -> usize {
        let is_wanted = !self.waiting.is_empty() || self.running.values().any(|ask| ask.alone);
        let usable: usize = self.running.values().map(|ask| ask.further).sum();
        if is_wanted { 0 } else { usable.saturating_sub(lent) }
    }

    /// How many threads more may be lent to what runs, of what processors and memory are left.
    pub(super) fn spare(&self, lent: usize, machine: Machine) -> usize {
        if machine.pressed {
            return 0;
        }
        let idle = self.jobs.saturating_sub(self.running.len() + machine.others);
        let asked = self.asked_in_all().saturating_add(machine.theirs);
        let left = self.limit.saturating_sub(asked).min(machine.free);
        let fit = left.checked_div(self.largest()).unwrap_or(0);
        self.usable(lent).min(idle).min(usize::try_from(fit).unwrap_or(usize::MAX))
    }

    /// Starts one, if one may.
    pub(super) fn start(&mut self, now: Duration, machine: Machine) -> Option<u64> {
        let total = self.running.len() + machine.others;
        // Whatever else runs, each build goes on.
        if !self.running.is_empty() && (total >= self.jobs || machine.pressed) {
            return None;
        }
        if self.running.values().any(|ask| ask.alone) {
            return None;
        }
        let in_time = self.waiting.iter().filter(|(_, waiting)| !self.is_late(now, waiting.ask));
        let mut order: Vec<(&u64, &Waiting)> = in_time.collect();
        order.sort_by_key(|(id, waiting)| (std::cmp::Reverse(waiting.ask.wall), **id));
        let asked = self.asked_in_all().saturating_add(machine.theirs);
        let left = self.limit.saturating_sub(asked).min(machine.free);
        let mut chosen = None;
        for (id, Waiting { ask, since }) in order {
            let waited = now.saturating_sub(*since);
            // Other builds may never be done: what is to run alone does so within its own.
            let may = !ask.alone || (self.running.is_empty() && waited > PATIENCE);
            // What fits nowhere runs alone, and shows what it takes.
            if total == 0 || (may && ask.memory <= left) {
                chosen = Some(*id);
                break;
            }
            if waited > PATIENCE.max(ask.wall) {
                break;
            }
        }
        let id = chosen?;
        let ask = self.waiting.remove(&id)?.ask;
        self.running.insert(id, ask);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn ask(memory: u64, seconds: u64) -> Ask {
        let wall = Duration::from_secs(seconds);
        Ask { memory: memory * GIB, wall, alone: false, further: 0 }
    }

    fn machine(free: u64) -> Machine {
        Machine { others: 0, theirs: 0, free: free * GIB, pressed: false }
    }

    fn started(schedule: &mut Schedule, free: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.start(Duration::ZERO, machine(free))).collect()
    }

    #[test]
    fn the_longest_goes_first_and_no_more_than_jobs() {
        let mut schedule = Schedule::new(2, None, None);
        for (id, seconds) in [(1, 10), (2, 30), (3, 20)] {
            schedule.wait(id, ask(1, seconds), Duration::ZERO);
        }
        assert_eq!(started(&mut schedule, 100), [2, 3]);
        schedule.end(2);
        assert_eq!(started(&mut schedule, 100), [1]);
    }

    #[test]
    fn threads_are_lent_of_what_nothing_waits_for() {
        let mut schedule = Schedule::new(8, None, None);
        schedule.wait(1, Ask { further: 2, ..ask(2, 10) }, Duration::ZERO);
        assert_eq!(schedule.spare(0, machine(100)), 0);
        schedule.wait(2, ask(4, 10), Duration::ZERO);
        assert_eq!(started(&mut schedule, 100), [1, 2]);
        assert_eq!(schedule.spare(0, machine(100)), 2);
        assert_eq!(schedule.spare(1, machine(100)), 1);
        assert_eq!(schedule.spare(0, Machine { others: 5, ..machine(100) }), 1);
        assert_eq!(schedule.spare(0, machine(7)), 1);
        assert_eq!(schedule.spare(0, Machine { pressed: true, ..machine(100) }), 0);
        schedule.wait(3, ask(4, 10), Duration::ZERO);
        assert_eq!(schedule.spare(0, machine(100)), 0);
        schedule.end(3);
        schedule.end(1);
        assert_eq!(schedule.spare(0, machine(100)), 0);
    }

    #[test]
    fn what_does_not_fit_lets_others_pass_for_a_while() {
        let mut schedule = Schedule::new(4, Some(8 * GIB), None);
        schedule.wait(1, ask(6, 20), Duration::ZERO);
        assert_eq!(started(&mut schedule, 100), [1]);
        schedule.wait(2, ask(7, 50), Duration::ZERO);
        schedule.wait(3, ask(1, 10), Duration::ZERO);
        assert_eq!(started(&mut schedule, 100), [3]);
        schedule.wait(4, ask(1, 10), Duration::ZERO);
        let late = Duration::from_secs(60);
        assert_eq!(schedule.start(late, machine(100)), None);
        schedule.end(3);
        schedule.end(1);
        assert_eq!(schedule.start(late, machine(100)), Some(2));
    }

    #[test]
    fn what_fits_nowhere_runs_alone() {
        let mut schedule = Schedule::new(4, Some(4 * GIB), None);
        schedule.wait(1, ask(11, 10), Duration::ZERO);
        schedule.wait(2, ask(1, 5), Duration::ZERO);
        assert_eq!(started(&mut schedule, 2), [1]);
        schedule.end(1);
        assert_eq!(started(&mut schedule, 2), [2]);
        schedule.wait(3, Ask { alone: true, ..ask(1, 50) }, Duration::ZERO);
        assert!(started(&mut schedule, 2).is_empty());
        schedule.end(2);
        assert_eq!(started(&mut schedule, 2), [3]);
        schedule.wait(4, ask(1, 1), Duration::ZERO);
        assert!(started(&mut schedule, 2).is_empty());
    }

    #[test]
    fn what_would_end_too_late_does_not_start() {
        let mut schedule = Schedule::new(2, None, Some(Duration::from_secs(60)));
        for (id, seconds) in [(1, 100), (2, 50), (3, 20)] {
            schedule.wait(id, ask(1, seconds), Duration::ZERO);
        }
        assert_eq!(started(&mut schedule, 100), [2, 3]);
        schedule.end(3);
        assert!(!schedule.is_over(Duration::from_secs(20)));
        schedule.end(2);
        assert!(schedule.is_over(Duration::from_secs(50)));
        schedule.wait(4, ask(1, 10), Duration::from_secs(50));
        assert!(!schedule.is_over(Duration::from_secs(50)));
        assert!(schedule.is_over(Duration::from_secs(51)));
    }

    #[test]
    fn pressure_and_other_builds_are_a_brake_but_no_stop() {
        let mut schedule = Schedule::new(4, None, None);
        for id in 0..3 {
            schedule.wait(id, ask(1, 10), Duration::ZERO);
        }
        let pressed = Machine { pressed: true, ..machine(100) };
        assert_eq!(schedule.start(Duration::ZERO, pressed), Some(0));
        assert_eq!(schedule.start(Duration::ZERO, pressed), None);
        let busy = Machine { others: 3, ..machine(100) };
        assert_eq!(schedule.start(Duration::ZERO, busy), None);
        schedule.end(0);
        assert_eq!(schedule.start(Duration::ZERO, busy), Some(1));
        schedule.end(1);
        schedule.end(2);
        // Others are never done.
        schedule.wait(3, Ask { alone: true, ..ask(1, 10) }, Duration::ZERO);
        assert_eq!(schedule.start(Duration::ZERO, busy), None);
        let full = Machine { others: 3, ..machine(0) };
        assert_eq!(schedule.start(Duration::from_secs(31), full), None);
        assert_eq!(schedule.start(Duration::from_secs(31), busy), Some(3));
    }

    #[test]
    fn a_limit_is_for_all_builds_together() {
        let mut schedule = Schedule::new(4, Some(8 * GIB), None);
        for id in 0..2 {
            schedule.wait(id, ask(3, 10), Duration::ZERO);
        }
        let shared = Machine { others: 1, theirs: 4 * GIB, ..machine(100) };
        assert_eq!(schedule.start(Duration::ZERO, shared), Some(0));
        assert_eq!(schedule.start(Duration::ZERO, shared), None);
        assert_eq!(schedule.start(Duration::ZERO, machine(100)), Some(1));
    }

    /// Wall seconds and tenths of GB of files of vLLM and torch extensions, as they were measured.
    const MEASURED: [(u64, u64); 16] = [
        (38, 5),
        (63, 8),
        (39, 5),
        (128, 7),
        (185, 71),
        (185, 72),
        (237, 66),
        (342, 105),
        (51, 8),
        (214, 5),
        (249, 41),
        (153, 29),
        (80, 29),
        (61, 29),
        (21, 16),
        (6, 6),
    ];

    /// 500 actions of which few are as large as the largest, in the order of their names.
    fn actions() -> Vec<Ask> {
        let action = |index: usize| {
            // Every seventh is of CUTLASS, as of vLLM's; the order is no order of length.
            let (seconds, tenths) = match index % 7 {
                0 => MEASURED[4 + index / 7 % 4],
                _ => MEASURED[[0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15][index * 5 % 12]],
            };
            let scatter = (index as u64 * 7919) % 41;
            let wall = Duration::from_millis(seconds * (800 + 10 * scatter));
            Ask { memory: tenths * GIB / 10, wall, alone: false, further: 0 }
        };
        (0..500).map(action).collect()
    }

    /// Runs them all with a clock of its own: the makespan, and the most memory at one time.
    fn simulate(jobs: usize, memory: u64, window: usize) -> (Duration, u64) {
        let mut schedule = Schedule::new(jobs, Some(memory), None);
        let mut todo = actions().into_iter().enumerate();
        let (mut now, mut most) = (Duration::ZERO, 0);
        let mut ends: BTreeMap<(Duration, u64), Ask> = BTreeMap::new();
        loop {
            // A build tool starts so many at once, and others when those have ended.
            while schedule.waiting.len() + schedule.running() < window {
                let Some((id, ask)) = todo.next() else { break };
                schedule.wait(id as u64, ask, now);
            }
            let asked: u64 = ends.values().map(|ask| ask.memory).sum();
            let machine = Machine { others: 0, theirs: 0, free: memory - asked, pressed: false };
            if let Some(id) = schedule.start(now, machine) {
                let ask = schedule.running[&id];
                ends.insert((now + ask.wall, id), ask);
                most = most.max(ends.values().map(|ask| ask.memory).sum());
                continue;
            }
            let Some(((end, id), _)) = ends.pop_first() else { return (now, most) };
            now = end;
            schedule.end(id);
        }
    }

    #[test]
    fn five_hundred_actions_take_hardly_longer_than_they_must() {
        let walls = || actions().into_iter().map(|ask| ask.wall);
        let (work, longest) = (walls().sum::<Duration>(), walls().max().unwrap());
        for (jobs, memory) in [(2, 24), (8, 48), (16, 96), (64, 384)] {
            let (makespan, most) = simulate(jobs, memory * GIB, window(jobs));
            let bound = (work / jobs as u32).max(longest);
            assert!(most <= memory * GIB, "{jobs} jobs took {most} bytes");
            let ratio = makespan.as_secs_f64() / bound.as_secs_f64();
            assert!(ratio <= 1.1, "{jobs} jobs: {makespan:?}, {ratio} times the bound");
        }
    }

    #[test]
    fn a_guess_is_careful_and_a_measurement_better() {
        let gib = |kind, heavy| Ask::of(kind, heavy, None, None).memory / GIB;
        assert_eq!((gib(Kind::CompileCuda, true), gib(Kind::CompileCuda, false)), (11, 3));
        let cost = Cost { kind: None, wall_ms: 1000, cpu_ms: 900, peak_memory: 4 * GIB };
        let known = Ask::of(Kind::CompileCuda, true, Some(cost), None);
        assert_eq!((known.memory, known.wall), (9 * GIB / 2, Duration::from_secs(1)));
    }
}
