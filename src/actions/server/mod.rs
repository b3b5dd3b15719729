//! The server that tool wrappers of one build talk to: a thread a connection.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use super::busy::Busy;
use super::gate::Gate;
use super::keeper::Keeper;
use super::memory::{Sampler, Usage};
use super::protocol::{Finish, Reply, Request, Restored, Start, receive, send};
use super::schedule::Ask;
use super::tokens::{self, Tokens};
use super::{
    Action, ActionsError, CacheStore, CostBook, Expected, Failure, MemoryMethod, Planned, socket,
};
use crate::cache::Layers;
use crate::cache::shared::Traffic;
use crate::exec::{Interrupt, tree};
use crate::report::{Event, Reporter, next_id};
use crate::sync::lock;
use crate::wrapper::UNTRACED;

/// How long the last words of a tool that has ended may be on their way.
const ARRIVAL: Duration = Duration::from_secs(5);

/// What a server needs to know.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where its socket is made; one that a killed run left there is replaced.
    pub socket: PathBuf,
    /// Where actions are appended, one JSON object a line.
    pub log: PathBuf,
    /// How many tools may run at once.
    pub jobs: usize,
    /// Bytes of memory that they may take together, where it is not all that is free.
    pub memory: Option<u64>,
    /// When what runs shall have ended.
    pub until: Option<Instant>,
    /// Where builds that run at the same time tell each other what they take.
    pub running: Option<PathBuf>,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// What actions cost before.
    pub costs: CostBook,
    /// What the cost book calls the package.
    pub package: String,
    /// Where results are kept.
    pub cache: Option<CacheStore>,
}

/// Admits, measures and records the actions of one build.
pub struct Server {
    socket: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What a server saw.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// The actions, in the order in which they ended.
    pub actions: Vec<Action>,
    /// What build tools said that they would run.
    pub planned: Vec<Planned>,
    /// For how long at least one of them ran.
    pub busy: Duration,
    /// What it had of the cache.
    pub layers: Layers,
    /// What it had of the shared cache, where there is one.
    pub shared: Option<Traffic>,
    /// Why the log does not have all of them.
    pub unlogged: Option<Arc<std::io::Error>>,
}

/// What the threads of a server share.
struct Shared {
    gate: Arc<Gate>,
    sampler: Sampler,
    keeper: Keeper,
    record: Mutex<Record>,
    failures: Mutex<Failures>,
    busy: Mutex<Busy>,
    idle: Condvar,
    reporter: Arc<dyn Reporter>,
    costs: Mutex<CostBook>,
    /// By output; those that ended are taken out of the second.
    planned: Mutex<(Vec<Planned>, BTreeMap<String, Planned>)>,
    package: String,
    jobs: usize,
    stopping: AtomicBool,
}

/// The tools that failed, of those that matter: a configure step tries compilers in vain, and goes
/// on.
#[derive(Debug, Default)]
struct Failures {
    list: Vec<Failure>,
    /// How many ninjas run: each runs several tools at once, and ends after the first that fails.
    ninjas: usize,
}

#[derive(Debug)]
struct Record {
    actions: Vec<Action>,
    log: fs_err::File,
    /// After it, nothing more is written: a broken line ends the log.
    unlogged: Option<Arc<std::io::Error>>,
}

impl Server {
    /// Starts to listen.
    pub fn start(options: ServerOptions) -> Result<Self, ActionsError> {
        let path = options.socket;
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = socket::bind(&path).map_err(|source| {
            let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
            ActionsError::Socket { folder, source }
        })?;
        let log = open_log(&options.log)?;
        let usage = Usage::default();
        let folder = options.running.as_deref();
        let (jobs, memory) = (options.jobs, options.memory);
        let tokens = Tokens::open(tokens::beside(&path)).ok();
        let gate = Gate::new(jobs, memory, options.until, folder, tokens, usage.clone());
        let gate = Arc::new(gate);
        let shared = Arc::new(Shared {
            sampler: Sampler::start(usage, {
                let gate = Arc::clone(&gate);
                move || {
                    gate.refresh();
                    if let Some(process) = gate.relieve() {
                        tree::kill_once(process);
                    }
                }
            }),
            gate,
            keeper: Keeper::new(options.cache, Arc::clone(&options.reporter)),
            record: Mutex::new(Record { actions: Vec::new(), log, unlogged: None }),
            failures: Mutex::default(),
            busy: Mutex::default(),
            idle: Condvar::new(),
            reporter: options.reporter,
            costs: Mutex::new(options.costs),
            planned: Mutex::default(),
            package: options.package,
            jobs,
            stopping: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { socket: path, shared, acceptor: Some(acceptor) })
    }

    /// Stops to listen, waits for the wrappers that are still connected, and returns what it saw.
    pub fn finish(mut self) -> Finished {
        self.stop();
        let mut record = lock(&self.shared.record);
        let (actions, unlogged) = (std::mem::take(&mut record.actions), record.unlogged.take());
        drop(record);
        let busy = lock(&self.shared.busy).total;
        let planned = std::mem::take(&mut lock(&self.shared.planned).0);
        let (layers, shared) = self.shared.keeper.finish(&actions);
        Finished { actions, planned, busy, layers, shared, unlogged }
    }

    /// Raised when time is up: what waits for leave gets none, and is to be stopped.
    pub fn over(&self) -> Interrupt {
        self.shared.gate.over().clone()
    }

    /// What of all that was planned is left.
    pub fn left(&self) -> Expected {
        let left: Vec<Planned> = lock(&self.shared.planned).1.values().cloned().collect();
        lock(&self.shared.costs).expect(&self.shared.package, &left, self.shared.jobs)
    }

    /// The tools that failed since ninja last began, in the order in which they did; without a
    /// ninja, the last one. To be called when none runs any more; what the last ones said may
    /// still be on its way.
    pub fn failures(&self) -> Vec<Failure> {
        let running = |busy: &mut Busy| busy.running > 0;
        let idle = self.shared.idle.wait_timeout_while(lock(&self.shared.busy), ARRIVAL, running);
        drop(idle);
        lock(&self.shared.failures).list.clone()
    }

    /// Tells, whenever it is asked, whether a tool is at work.
    pub fn is_busy(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || lock(&shared.busy).running > 0)
    }

    fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A connection wakes the acceptor; where none can be made it has ended already.
        drop(socket::connect(&self.socket));
        if acceptor.join().is_err() {
            self.shared.reporter.report(Event::Warning("the action server panicked".to_owned()));
        }
        // It may be gone with the build folder.
        let _ = fs_err::remove_file(&self.socket);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Opens the log to append to it, without the unfinished line that a killed run may have left.
fn open_log(path: &Path) -> Result<fs_err::File, ActionsError> {
    let log = fs_err::OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let present = fs_err::read(path)?;
    let whole = present.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    log.set_len(whole as u64)?;
    Ok(log)
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        connections.retain(|connection| !connection.is_finished());
        match stream {
            Ok(stream) => {
                let shared = Arc::clone(shared);
                connections.push(thread::spawn(move || serve(&stream, &shared)));
            }
            Err(error) => {
                // Out of file descriptors, say: the wrapper sees its connection end.
                let note = format!("a tool could not be admitted: {error}");
                shared.reporter.report(Event::Warning(note));
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// One wrapper's connection, to its end. Whatever ends it, its slot is free afterwards.
fn serve(stream: &UnixStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let mut ninja = None;
    while let Ok(Some(request)) = receive(&mut reader) {
        match request {
            Request::Plan { actions } => {
                ninja.get_or_insert_with(|| Ninja::begin(shared));
                shared.plan(actions);
            }
            Request::Start(start) => run_action(stream, &mut reader, shared, start),
            Request::Restored(restored) => {
                restore(shared, restored);
                let _ = send(stream, &Reply::Go);
            }
            Request::Damaged { result } => shared.keeper.drop_damaged(&result),
            Request::Look { key } => {
                shared.keeper.look(&key);
                let _ = send(stream, &Reply::Go);
            }
            Request::Bring { result } => {
                shared.keeper.bring(&result);
                let _ = send(stream, &Reply::Go);
            }
            Request::Step(step) => shared.keeper.step(step),
            Request::Refuse(refuse) => {
                shared.failed(Failure::Refused(refuse));
                // The wrapper ends when it knows that it was heard.
                let _ = send(stream, &Reply::Go);
            }
            // Without a start it belongs to nothing.
            Request::Finish(_) => return,
        }
    }
}

fn run_action(
    stream: &UnixStream,
    reader: &mut BufReader<&UnixStream>,
    shared: &Shared,
    start: Start,
) {
    // 0 stands for a process that this namespace cannot see; nothing runs below -1.
    let pid = getsockopt(stream, sockopt::PeerCredentials).map_or(0, |peer| peer.pid());
    let pid = if pid > 0 { pid } else { -1 };
    let further = start.sms.len().saturating_sub(1);
    let ask = Ask { alone: start.alone, further, ..shared.ask(&start) };
    let Some(leave) = shared.gate.enter(ask, pid) else {
        // It goes with its build, and tells that build nothing that is not so.
        let _ = receive::<Request>(reader);
        return;
    };
    lock(&shared.busy).begin();
    if send(stream, &Reply::Go).is_err() {
        // It died while it waited.
        lock(&shared.busy).end();
        shared.idle.notify_all();
        return;
    }
    let id = next_id();
    let (label, kind) = (start.label.clone(), start.kind);
    shared.reporter.report(Event::ActionStarted { id, label, kind });
    shared.sampler.watch(pid);
    let mut finish = match receive(reader) {
        Ok(Some(Request::Finish(finish))) => Some(finish),
        _ => None,
    };
    let sampled = shared.sampler.take(pid);
    let time = |ms: fn(&Finish) -> u64| Duration::from_millis(finish.as_ref().map_or(0, ms));
    let (wall, cpu) = (time(|finish| finish.wall_ms), time(|finish| finish.cpu_ms));
    let peak_memory = sampled.max(finish.as_ref().map_or(0, |finish| finish.max_rss));
    let success = finish.as_ref().is_some_and(|finish| finish.exit == 0);
    let again = finish.as_ref().is_some_and(|finish| finish.again);
    if !success && !again {
        let Start { kind, label, source, .. } = start.clone();
        let exit = finish.as_ref().map(|finish| finish.exit);
        let said = finish.as_mut().map(|f| std::mem::take(&mut f.said)).unwrap_or_default();
        shared.failed(Failure::Failed { kind, label, source, exit, said });
    }
    lock(&shared.busy).end();
    shared.idle.notify_all();
    let relieved = leave.is_relieved();
    drop(leave);
    if let Some(mut finish) = finish {
        if again {
            let (label, stopped) = (&start.label, if relieved { "stopped" } else { "killed" });
            let text = format!("`{label}` was {stopped} for want of memory: it runs again, alone");
            shared.reporter.report(Event::Warning(text));
        }
        if let Some(kept) = finish.kept.take() {
            shared.keeper.keep(kept);
        }
        if finish.unkept.as_deref() == Some(UNTRACED) {
            shared.keeper.warn(format!("nothing is kept in the object cache: {UNTRACED}"));
        }
        shared.record(action(start, finish, peak_memory));
    }
    let restored = false;
    let end = Event::ActionFinished { id, wall, cpu, peak_memory, success, restored };
    shared.reporter.report(end);
}

fn restore(shared: &Shared, restored: Restored) {
    let Restored { start, result, saved, wall_ms } = restored;
    shared.keeper.used(&result);
    let (id, label, kind) = (next_id(), start.label.clone(), start.kind);
    shared.reporter.report(Event::ActionStarted { id, label, kind });
    let action = Action { wall_ms, restored: Some(saved), ..action(start, Finish::default(), 0) };
    shared.record(action);
    let (wall, cpu, peak_memory) = (Duration::from_millis(wall_ms), Duration::ZERO, 0);
    let (success, restored) = (true, true);
    let end = Event::ActionFinished { id, wall, cpu, peak_memory, success, restored };
    shared.reporter.report(end);
}

fn action(start: Start, finish: Finish, peak_memory: u64) -> Action {
    let Start { kind, label, source, output, command, cwd, mut notes, sms, alone, .. } = start;
    let Finish { exit, wall_ms, cpu_ms, unkept, .. } = finish;
    notes.extend(alone.then(|| "was killed for want of memory, and ran again alone".to_owned()));
    notes.extend(unkept.map(|reason| format!("not cached: {reason}")));
    Action {
        kind,
        label,
        source,
        output,
        command,
        cwd,
        wall_ms,
        cpu_ms,
        peak_memory,
        memory_method: MemoryMethod::AnonymousSampling,
        exit,
        restored: None,
        notes,
        sms,
    }
}

impl Shared {
    fn failed(&self, failure: Failure) {
        let mut failures = lock(&self.failures);
        if failures.ninjas == 0 {
            failures.list.clear();
        }
        failures.list.push(failure);
    }

    fn ask(&self, start: &Start) -> Ask {
        let costs = lock(&self.costs);
        let known = costs.foresee(&self.package, &start.label);
        let typical = costs.typical(&self.package, start.kind);
        Ask::of(start.kind, start.heavy, known, typical)
    }

    fn plan(&self, actions: Vec<Planned>) {
        let expected = lock(&self.costs).expect(&self.package, &actions, self.jobs);
        let labels = actions.iter().map(|action| action.label().to_owned()).collect();
        let remaining = (expected.known > 0).then(|| expected.wall());
        self.reporter.report(Event::ActionsPlanned { labels, remaining });
        let (all, left) = &mut *lock(&self.planned);
        left.extend(actions.iter().map(|action| (action.output.clone(), action.clone())));
        all.extend(actions);
    }

    fn record(&self, action: Action) {
        lock(&self.costs).record(&self.package, &action);
        if let Some(output) = action.output.as_ref().filter(|_| action.exit == 0) {
            lock(&self.planned).1.remove(output);
        }
        let mut record = lock(&self.record);
        if record.unlogged.is_none() {
            let line = serde_json::to_vec(&action).map_err(std::io::Error::from);
            let written = line.and_then(|line| record.log.write_all(&[&line[..], b"\n"].concat()));
            record.unlogged = written.err().map(Arc::new);
        }
        record.actions.push(action);
    }
}

/// A ninja that runs, to the end of its connection.
struct Ninja<'a>(&'a Shared);

impl<'a> Ninja<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let mut failures = lock(&shared.failures);
        failures.ninjas += 1;
        failures.list.clear();
        Self(shared)
    }
}

impl Drop for Ninja<'_> {
    fn drop(&mut self) {
        lock(&self.0.failures).ninjas -= 1;
    }
}

#[cfg(test)]
mod tests;
