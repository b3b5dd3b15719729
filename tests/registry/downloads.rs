//! Downloads that break, and what the store keeps of them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crosswheel::Class;
use crosswheel::artifact::{Artifact, Sha256};
use crosswheel::net::NetError;
use crosswheel::registry::RegistryError;
use crosswheel::report::{Event, Reporter};
use crosswheel::store::Fetcher;

use super::{Machine, content, distribution};
use crate::support::index::{Distribution, Fault, Form, artifact};

#[test]
fn a_dropped_download_goes_on_where_it_broke() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 300_000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let path = "/files/foo-1.0.tar.gz";
    machine
        .index
        .fail(path, &[Fault::DropAfter(100_000), Fault::DropAfter(50_000), Fault::Dribble]);
    assert_eq!(machine.fetch(&artifact("foo", "1.0", &sdist)).unwrap(), sdist.content);
    let ranges: Vec<_> = machine.index.requests(path).into_iter().map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())]);
    assert_eq!(machine.fetch(&artifact("foo", "1.0", &sdist)).unwrap(), sdist.content);
    assert_eq!(
        machine.index.requests(path).len(),
        3,
        "what is in the store is not asked for again"
    );
}

#[test]
fn what_a_broken_run_left_is_gone_on_from_even_if_it_is_wrong() {
    for (left, requests) in [(content(200_000)[..120_000].to_vec(), 1), (vec![0; 120_000], 2)] {
        let machine = Machine::new();
        let sdist = distribution("foo-1.0.tar.gz", 200_000);
        machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
        let locked = artifact("foo", "1.0", &sdist);
        let partial = machine.store.blob_path(&locked.sha256).with_extension("partial");
        fs_err::create_dir_all(partial.parent().unwrap()).unwrap();
        fs_err::write(&partial, left).unwrap();
        assert_eq!(machine.fetch(&locked).unwrap(), sdist.content);
        let asked = machine.index.requests("/files/foo-1.0.tar.gz");
        assert_eq!(asked[0].range.as_deref(), Some("bytes=120000-"));
        assert_eq!(asked.len(), requests);
        assert!(!partial.exists());
    }
}

#[test]
fn a_server_that_ignores_ranges_gives_the_whole_file_again() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 100_000);
    machine.index.project("foo", Form::Html, std::slice::from_ref(&sdist));
    let faults = [Fault::DropAfter(60_000), Fault::IgnoreRange];
    machine.index.fail("/files/foo-1.0.tar.gz", &faults);
    assert_eq!(machine.fetch(&artifact("foo", "1.0", &sdist)).unwrap(), sdist.content);
}

#[test]
fn a_wrong_file_is_named_with_both_hashes_and_not_kept() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 1000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    machine.index.always_fail("/files/foo-1.0.tar.gz", Fault::WrongBytes);
    let locked = artifact("foo", "1.0", &sdist);
    let error = machine.fetch(&locked).unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    let mut wrong = sdist.content.clone();
    wrong[0] ^= 0xff;
    let shown = error.to_string();
    assert!(shown.contains(&Sha256::of(&wrong).to_string()), "{shown}");
    assert!(shown.contains(&locked.sha256.to_string()), "{shown}");
    let blob = machine.store.blob_path(&locked.sha256);
    assert_eq!(fs_err::read_dir(blob.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_file_of_another_length_is_wrong() {
    for length in [999, 1001] {
        let machine = Machine::new();
        let sdist = distribution("foo-1.0.tar.gz", 1000);
        machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
        machine.index.file("/files/foo-1.0.tar.gz", content(length));
        let error = machine.fetch(&artifact("foo", "1.0", &sdist)).unwrap_err();
        assert_eq!(error.class(), Class::Integrity, "{error}");
        assert!(error.to_string().contains(&format!("has {length} bytes")), "{error}");
    }
}

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
