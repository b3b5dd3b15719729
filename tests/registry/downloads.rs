//! Downloads that break, stall, or bring other bytes than they should.

use std::time::Duration;

use crosswheel::artifact::Sha256;
use crosswheel::exec::Interrupt;
use crosswheel::net::{Download, Http, NetError, Settings};
use crosswheel::{Class, Diagnose as _};

use super::{Machine, content, distribution};
use crate::support::index::{Fault, Form, Index, artifact};

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
fn a_connection_that_stalls_is_given_up_and_taken_up_again() {
    let machine = Machine::with(Settings {
        stall_timeout: Duration::from_secs(1),
        attempts: 2,
        backoff: Duration::ZERO,
        ..Settings::default()
    });
    let sdist = distribution("foo-1.0.tar.gz", 300_000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let path = "/files/foo-1.0.tar.gz";
    machine.index.fail(path, &[Fault::Stall(100_000)]);
    let locked = artifact("foo", "1.0", &sdist);
    assert_eq!(machine.fetch(&locked).unwrap(), sdist.content);
    let ranges: Vec<_> = machine.index.requests(path).into_iter().map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned())]);

    let other = distribution("foo-2.0.tar.gz", 1000);
    machine.index.always_fail("/files/foo-2.0.tar.gz", Fault::Stall(0));
    machine.index.file("/files/foo-2.0.tar.gz", other.content.clone());
    machine.index.project("bar", Form::Json, std::slice::from_ref(&other));
    let error = machine.fetch(&artifact("bar", "2.0", &other)).unwrap_err();
    assert_eq!(error.class(), Class::Network, "{error}");
    assert!(
        error.to_string().ends_with("foo-2.0.tar.gz` stalled: nothing more was sent"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("`PIP_DEFAULT_TIMEOUT`"));
    assert_eq!(machine.index.requests("/files/foo-2.0.tar.gz").len(), 2);
}

#[test]
fn an_interrupted_download_ends_at_once_and_keeps_what_arrived() {
    let index = Index::start();
    index.file("/data", content(1_000_000));
    let interrupt = Interrupt::new();
    let http = Http::new(Settings { interrupt: interrupt.clone(), ..Settings::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (url, sha256) = (index.url("/data"), Sha256::of(content(1_000_000)));
    let destination = &folder.path().join("data");
    let download = Download { url: &url, destination, size: 1_000_000, sha256 };
    let mut stop_after_some = |received| {
        if received > 0 {
            interrupt.raise();
        }
    };
    let error = http.download(&download, &mut stop_after_some).unwrap_err();
    assert!(matches!(error, NetError::Interrupted { .. }), "{error}");
    assert_eq!(error.class(), Class::Interrupted);
    assert!(!destination.exists());
    assert!(fs_err::metadata(download.partial()).unwrap().len() > 0);
    let error = http.page(&index.url("/data"), "*/*").unwrap_err();
    assert!(matches!(error, NetError::Interrupted { .. }), "{error}");
    assert_eq!(index.requests("/data").len(), 1, "nothing is asked for after an interruption");
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
fn a_download_that_was_changed_in_the_store_is_not_built_from() {
    let machine = Machine::new();
    let sdist = distribution("foo-1.0.tar.gz", 1000);
    machine.index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let locked = artifact("foo", "1.0", &sdist);
    machine.fetch(&locked).unwrap();
    let blob = machine.store.blob_path(&locked.sha256);
    fs_err::remove_file(&blob).unwrap();
    fs_err::write(&blob, "loot").unwrap();
    let error = machine.fetch(&locked).unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error}");
    let says =
        [blob.display().to_string(), locked.sha256.to_string(), Sha256::of("loot").to_string()];
    for text in says {
        assert!(error.to_string().contains(&text), "{error}");
    }
    assert!(error.hint().unwrap().contains("it is downloaded again"));
}
