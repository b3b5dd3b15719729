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
        until: None,
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

/// Asserts that there is no reply yet.
fn waits(stream: &UnixStream) {
    stream.set_nonblocking(true).unwrap();
    let waiting = receive::<Reply>(&mut BufReader::new(stream)).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
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
    waits(&second);
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
            waits(&second);
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
    let labels: Vec<_> = server.finish().actions.into_iter().map(|action| action.label).collect();
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
    send(&ninja, &Request::Plan { actions: Vec::new() }).unwrap();
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
