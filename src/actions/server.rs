//! The server that tool wrappers of one build talk to: a thread a connection.

use std::io::{BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::busy::Busy;
use super::gate::Gate;
use super::keeper::Keeper;
use super::memory::{Sampler, Usage};
use super::protocol::{Finish, Reply, Request, Restored, Start, receive, send};
use super::schedule::Ask;
use super::{Action, ActionsError, CacheStore, CostBook, Failure, MemoryMethod, socket};
use crate::cache::Layers;
use crate::cache::shared::Traffic;
use crate::report::{Event, Reporter, next_id};
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
    costs: CostBook,
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
        let gate = Arc::new(Gate::new(options.jobs, options.memory, folder, usage.clone()));
        let shared = Arc::new(Shared {
            sampler: Sampler::start(usage, {
                let gate = Arc::clone(&gate);
                move || gate.refresh()
            }),
            gate,
            keeper: Keeper::new(options.cache, Arc::clone(&options.reporter)),
            record: Mutex::new(Record { actions: Vec::new(), log, unlogged: None }),
            failures: Mutex::default(),
            busy: Mutex::default(),
            idle: Condvar::new(),
            reporter: options.reporter,
            costs: options.costs,
            package: options.package,
            jobs: options.jobs,
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
        let (layers, shared) = self.shared.keeper.finish(&actions);
        Finished { actions, busy, layers, shared, unlogged }
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
            Request::Plan { labels } => {
                ninja.get_or_insert_with(|| Ninja::begin(shared));
                shared.plan(labels);
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
    let known = shared.costs.estimate(&shared.package, &start.label);
    let ask = Ask { alone: start.alone, ..Ask::of(start.kind, start.heavy, known) };
    let leave = shared.gate.enter(ask, pid);
    lock(&shared.busy).begin();
    if send(stream, &Reply::Go).is_err() {
        // It died while it waited.
        lock(&shared.busy).end();
        shared.idle.notify_all();
        return;
    }
    let id = next_id();
    shared.reporter.report(Event::ActionStarted { id, label: start.label.clone() });
    shared.sampler.watch(pid);
    let mut finish = match receive(reader) {
        Ok(Some(Request::Finish(finish))) => Some(finish),
        _ => None,
    };
    let sampled = shared.sampler.take(pid);
    let wall = finish.as_ref().map_or(0, |finish| finish.wall_ms);
    let wall = Duration::from_millis(wall);
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
    drop(leave);
    if let Some(mut finish) = finish {
        if again {
            let label = &start.label;
            let text = format!("`{label}` was killed for want of memory: it runs again, alone");
            shared.reporter.report(Event::Warning(text));
        }
        if let Some(kept) = finish.kept.take() {
            shared.keeper.keep(kept);
        }
        if finish.unkept.as_deref() == Some(UNTRACED) {
            shared.keeper.warn(format!("nothing is kept in the object cache: {UNTRACED}"));
        }
        shared.record(action(start, finish, sampled));
    }
    let restored = false;
    shared.reporter.report(Event::ActionFinished { id, wall, success, restored });
}

fn restore(shared: &Shared, restored: Restored) {
    let Restored { start, result, saved, wall_ms } = restored;
    shared.keeper.used(&result);
    let (id, label) = (next_id(), start.label.clone());
    shared.reporter.report(Event::ActionStarted { id, label });
    let action = Action { wall_ms, restored: Some(saved), ..action(start, Finish::default(), 0) };
    shared.record(action);
    let wall = Duration::from_millis(wall_ms);
    let (success, restored) = (true, true);
    shared.reporter.report(Event::ActionFinished { id, wall, success, restored });
}

fn action(start: Start, finish: Finish, sampled: u64) -> Action {
    let Start { kind, label, source, output, command, cwd, mut notes, sms, alone, .. } = start;
    let Finish { exit, wall_ms, cpu_ms, max_rss, unkept, .. } = finish;
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
        peak_memory: sampled.max(max_rss),
        memory_method: MemoryMethod::PssSampling,
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

    fn plan(&self, labels: Vec<String>) {
        let names = labels.iter().map(String::as_str);
        let remaining = self.costs.time_left(&self.package, names, self.jobs);
        self.reporter.report(Event::ActionsPlanned { labels, remaining });
    }

    fn record(&self, action: Action) {
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

/// A thread that panicked leaves whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::protocol::Refuse;
    use super::*;
    use crate::report::Silent;

    fn server(dir: &Path, jobs: usize) -> Server {
        Server::start(options(dir, jobs)).unwrap()
    }

    fn options(dir: &Path, jobs: usize) -> ServerOptions {
        ServerOptions {
            socket: dir.join("socket"),
            log: dir.join("actions.jsonl"),
            jobs,
            memory: None,
            running: None,
            reporter: Arc::new(Silent),
            costs: CostBook::load(&dir.join("costs.json")),
            package: "a".to_owned(),
            cache: None,
        }
    }

    fn start(label: &str) -> Request {
        Request::Start(Start {
            kind: Kind::Compile,
            label: label.to_owned(),
            source: None,
            output: None,
            command: vec!["cc".to_owned()],
            cwd: "/".to_owned(),
            notes: Vec::new(),
            sms: Vec::new(),
            heavy: false,
            alone: false,
        })
    }

    const FINISH: Request = Request::Finish(Finish {
        exit: 0,
        wall_ms: 5,
        cpu_ms: 4,
        max_rss: 1024,
        said: Vec::new(),
        kept: None,
        unkept: None,
        again: false,
    });

    fn ask(dir: &Path, label: &str) -> UnixStream {
        let stream = socket::connect(&dir.join("socket")).unwrap();
        send(&stream, &start(label)).unwrap();
        stream
    }

    fn reply(stream: &UnixStream) -> Option<Reply> {
        receive(&mut BufReader::new(stream)).unwrap()
    }

    #[test]
    fn actions_are_recorded_in_memory_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), 1);
        let stream = ask(dir.path(), "a.o");
        assert_eq!(reply(&stream), Some(Reply::Go));
        send(&stream, &FINISH).unwrap();
        drop(stream);
        let actions = server.finish().actions;
        assert_eq!(actions.len(), 1);
        assert_eq!((actions[0].label.as_str(), actions[0].wall_ms), ("a.o", 5));
        assert!(actions[0].peak_memory >= 1024);
        assert_eq!(Action::read_log(&dir.path().join("actions.jsonl")).unwrap(), actions);
        assert!(!dir.path().join("socket").exists());
    }

    #[test]
    fn no_more_run_than_there_are_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), 1);
        let first = ask(dir.path(), "first.o");
        assert_eq!(reply(&first), Some(Reply::Go));
        let second = ask(dir.path(), "second.o");
        second.set_nonblocking(true).unwrap();
        let waiting = receive::<Reply>(&mut BufReader::new(&second)).unwrap_err();
        assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
        second.set_nonblocking(false).unwrap();
        send(&first, &FINISH).unwrap();
        assert_eq!(reply(&second), Some(Reply::Go));
        drop((first, second));
        assert_eq!(server.finish().actions.len(), 1);
    }

    #[test]
    fn no_more_run_than_fit_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        // A compile is taken for 1 GiB where nothing is known.
        for (limit, together) in [(3 << 30, true), (3 << 29, false)] {
            let options = ServerOptions { memory: Some(limit), ..options(dir.path(), 2) };
            let server = Server::start(options).unwrap();
            let first = ask(dir.path(), "first.o");
            assert_eq!(reply(&first), Some(Reply::Go));
            let second = ask(dir.path(), "second.o");
            if !together {
                second.set_nonblocking(true).unwrap();
                let waiting = receive::<Reply>(&mut BufReader::new(&second)).unwrap_err();
                assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
                second.set_nonblocking(false).unwrap();
                send(&first, &FINISH).unwrap();
            }
            assert_eq!(reply(&second), Some(Reply::Go));
            drop((first, second));
            drop(server);
        }
    }

    #[test]
    fn a_wrapper_that_dies_gives_its_slot_back() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), 1);
        let first = ask(dir.path(), "first.o");
        assert_eq!(reply(&first), Some(Reply::Go));
        drop(ask(dir.path(), "dead while waiting.o"));
        let second = ask(dir.path(), "second.o");
        drop(first);
        assert_eq!(reply(&second), Some(Reply::Go));
        send(&second, &FINISH).unwrap();
        drop(second);
        let labels: Vec<_> =
            server.finish().actions.into_iter().map(|action| action.label).collect();
        assert_eq!(labels, ["second.o"]);
    }

    #[test]
    fn what_a_killed_run_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        std::mem::forget(server(dir.path(), 1));
        let log = dir.path().join("actions.jsonl");
        fs_err::write(&log, "{\"kind\":\"comp").unwrap();
        assert!(Action::read_log(&log).unwrap().is_empty());
        let server = server(dir.path(), 1);
        let stream = ask(dir.path(), "a.o");
        assert_eq!(reply(&stream), Some(Reply::Go));
        send(&stream, &FINISH).unwrap();
        drop(stream);
        server.finish();
        assert_eq!(Action::read_log(&log).unwrap().len(), 1);
    }

    #[test]
    fn an_action_that_cannot_be_logged_is_told_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), 1);
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        lock(&server.shared.record).log = full;
        for label in ["a.o", "b.o"] {
            let stream = ask(dir.path(), label);
            assert_eq!(reply(&stream), Some(Reply::Go));
            send(&stream, &FINISH).unwrap();
        }
        let finished = server.finish();
        assert_eq!(finished.actions.len(), 2);
        assert_eq!(finished.unlogged.unwrap().kind(), std::io::ErrorKind::StorageFull);
    }

    /// A tool that failed, or that was killed with its wrapper.
    fn fail(dir: &Path, label: &str, exit: Option<u8>) -> Failure {
        let stream = ask(dir, label);
        assert_eq!(reply(&stream), Some(Reply::Go));
        let said = exit.map(|_| "a.c:1:1: error: no".to_owned()).into_iter().collect::<Vec<_>>();
        if let Some(exit) = exit {
            let finish =
                Finish { exit, wall_ms: 1, cpu_ms: 1, said: said.clone(), ..Finish::default() };
            send(&stream, &Request::Finish(finish)).unwrap();
        }
        let (kind, label) = (Kind::Compile, label.to_owned());
        Failure::Failed { kind, label, source: None, exit, said }
    }

    #[test]
    fn of_one_ninja_all_failures_are_kept_and_else_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), 1);
        let running = ask(dir.path(), "a.o");
        assert_eq!(reply(&running), Some(Reply::Go));
        assert!((server.is_busy())());
        drop(running);
        server.failures();
        assert!(!(server.is_busy())());
        fail(dir.path(), "trial.o", Some(1));
        server.failures();
        let last = fail(dir.path(), "last trial.o", Some(1));
        assert_eq!(server.failures(), [last]);

        let ninja = socket::connect(&dir.path().join("socket")).unwrap();
        send(&ninja, &Request::Plan { labels: Vec::new() }).unwrap();
        let refuse = Refuse { tool: "nvcc".to_owned(), reason: "no".to_owned(), hint: None };
        send(&ninja, &Request::Refuse(refuse.clone())).unwrap();
        assert_eq!(reply(&ninja), Some(Reply::Go));
        let mut expected = vec![Failure::Refused(refuse)];
        for (label, exit) in [("b.o", Some(1)), ("c.o", None)] {
            expected.push(fail(dir.path(), label, exit));
            assert_eq!(server.failures(), expected);
        }
        drop(ninja);
    }
}
