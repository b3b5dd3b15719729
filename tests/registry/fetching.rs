//! What the store asks registries for, and what it keeps.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crosswheel::Class;
use crosswheel::artifact::{Artifact, Sha256};
use crosswheel::net::NetError;
use crosswheel::registry::RegistryError;
use crosswheel::report::{Event, Reporter};
use crosswheel::store::Fetcher;

use super::{Machine, distribution};
use crate::support::index::{Distribution, Fault, Form, artifact};

#[test]
fn a_server_that_is_busy_is_asked_again_and_one_that_stays_so_is_an_error() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 1000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    machine.index.fail("/simple/foo/", &[Fault::Status(503), Fault::Status(429)]);
    machine.index.fail("/files/foo-1.0.tar.gz", &[Fault::Status(500), Fault::Status(500)]);
    assert_eq!(machine.fetch(&artifact("foo", "1.0", &sdist)).unwrap(), sdist.content);

    machine.index.always_fail("/simple/bar/", Fault::Status(502));
    let error = machine.registries.pypi().unwrap().project("bar").unwrap_err();
    assert!(matches!(error, RegistryError::Net(NetError::Status { status: 502, .. })), "{error}");
    assert_eq!(machine.index.requests("/simple/bar/").len(), 3);
}

#[test]
fn files_that_are_gone_are_told_with_the_command_that_locks_anew() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 1000);
    machine.index.project("foo", Form::Html, std::slice::from_ref(&sdist));
    let gone = |artifact: &Artifact| {
        let error = machine.fetch(artifact).unwrap_err();
        assert_eq!(error.class(), Class::Network);
        assert!(error.to_string().contains("is no longer at the registry"), "{error}");
        assert!(error.hint().unwrap().contains("`cargo xtask toolchain lock`"), "{error}");
    };
    let other = Distribution { file: "foo-0.9.tar.gz", ..sdist.clone() };
    gone(&artifact("foo", "0.9", &other));
    gone(&artifact("nothing", "1.0", &sdist));
    machine.index.remove("/files/foo-1.0.tar.gz");
    gone(&artifact("foo", "1.0", &sdist));
    let package = Artifact {
        registry: "debian".to_owned(),
        file: "pool/main/f/foo_1.0_arm64.deb".to_owned(),
        ..artifact("foo", "1.0", &sdist)
    };
    gone(&package);
    assert_eq!(machine.index.requests("/debian/pool/main/f/foo_1.0_arm64.deb").len(), 1);
}

#[test]
fn a_file_that_changed_under_its_name_is_refused() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 1000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let locked = Artifact { sha256: Sha256::of("before"), ..artifact("foo", "1.0", &sdist) };
    let error = machine.fetch(&locked).unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error}");
    assert!(machine.index.requests("/files/foo-1.0.tar.gz").is_empty());
}

#[test]
fn offline_lists_what_is_missing_and_asks_nobody() {
    let machine = Machine::new();
    let here = distribution("foo-1.0.tar.gz", 10);
    let missing = distribution("foo-2.0.tar.gz", 20);
    machine.index.project("foo", Form::Json, &[here.clone(), missing.clone()]);
    let (here, missing) = (artifact("foo", "1.0", &here), artifact("foo", "2.0", &missing));
    machine.fetch(&here).unwrap();
    let asked = machine.index.requests("/simple/foo/").len();
    let offline = Fetcher { offline: true, ..machine.fetcher() };
    let error = machine.store.fetch_all(offline, &[here.clone(), missing]).unwrap_err();
    assert_eq!(error.to_string(), "1 of 2 files are not in the store, and this run is offline");
    let hint = error.hint().unwrap();
    assert!(hint.contains("`cargo xtask fetch`") && hint.contains("foo-2.0.tar.gz"), "{hint}");
    assert!(machine.store.fetch_all(offline, &[here]).is_ok());
    assert_eq!(machine.index.requests("/simple/foo/").len(), asked);
}

/// Keeps every event.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn two_runs_on_one_store_download_each_file_once() {
    let machine = Machine::new();
    let files: Vec<_> = ["foo-1.tar.gz", "foo-2.tar.gz", "foo-3.tar.gz"]
        .into_iter()
        .enumerate()
        .map(|(i, file)| distribution(file, 1000 + i))
        .collect();
    machine.index.project("foo", Form::Json, &files);
    let mut wanted: Vec<_> = (1..)
        .zip(&files)
        .map(|(version, file): (u32, _)| artifact("foo", &version.to_string(), file))
        .collect();
    wanted.push(wanted[0].clone());
    let recorder = Recorder::default();
    let fetcher = Fetcher { reporter: &recorder, ..machine.fetcher() };
    let found: Vec<BTreeMap<_, _>> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..2).map(|_| scope.spawn(|| machine.store.fetch_all(fetcher, &wanted))).collect();
        runs.into_iter().map(|run| run.join().unwrap().unwrap()).collect()
    });
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].len(), 3);
    for file in &files {
        assert_eq!(machine.index.requests(&format!("/files/{}", file.file)).len(), 1);
    }
    let events = recorder.0.into_inner().unwrap();
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::DownloadStarted { .. })), 3);
    assert_eq!(count(|event| matches!(event, Event::DownloadFinished { .. })), 3);
}
