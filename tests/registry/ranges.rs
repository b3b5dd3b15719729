//! Parts of remote files.

use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Mutex;

use crosswheel::Class;
use crosswheel::artifact::{Input, PartialWheel, Sha256};
use crosswheel::net::{NetError, RangeReader};
use crosswheel::unpack::members;

use super::{Machine, client, content, distribution};
use crate::support::index::{Distribution, Fault, Form, Index, artifact};

#[test]
fn parts_of_a_remote_file_are_read_in_few_requests() {
    let index = Index::start();
    let data = content(3_000_000);
    index.file("/data", data.clone());
    let http = client();
    let mut reader = RangeReader::open(&http, &index.url("/data")).unwrap();
    assert_eq!(reader.length(), 3_000_000);
    let before = index.requests("/data").len();
    let heard = Mutex::new(0);
    let ranges = [10..20, 1_000_000..1_000_100, 1_000_200..1_100_000];
    reader.prefetch(&ranges, &|bytes| *heard.lock().unwrap() += bytes).unwrap();
    assert_eq!(*heard.lock().unwrap(), 10 + 100_000);
    let mut part = vec![0; 100_000];
    reader.seek(SeekFrom::Start(1_000_000)).unwrap();
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, data[1_000_000..1_100_000]);
    assert_eq!(index.requests("/data").len() - before, 2, "two prefetched parts, no more");

    reader.seek(SeekFrom::Start(2_000_000)).unwrap();
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, data[2_000_000..2_100_000], "what was not prefetched is fetched when read");
}

#[test]
fn a_server_without_ranges_is_recognised() {
    let index = Index::start();
    index.file("/data", content(1_000_000));
    index.always_fail("/data", Fault::IgnoreRange);
    let error = RangeReader::open(&client(), &index.url("/data")).unwrap_err();
    assert!(matches!(error, NetError::RangesRefused { .. }), "{error}");
}

fn wheel() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let members = [("foo/big.so", content(2_000_000)), ("foo/include/a.h", b"int a;".to_vec())];
    for (name, content) in members {
        zip.start_file(name, stored).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.start_file("foo-1.0.dist-info/pad", stored).unwrap();
    zip.write_all(&content(1_000_000)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn members_of_a_wheel_are_the_same_with_ranges_and_without() {
    let patterns = vec!["foo/include/**".to_owned()];
    let wheel = Distribution { content: wheel(), ..distribution("foo-1.0-py3-none-any.whl", 0) };
    let archive =
        members::repack(Cursor::new(&wheel.content), Path::new(wheel.file), &patterns, Vec::new());
    let archive = archive.unwrap();
    let partial = PartialWheel {
        members: patterns,
        size: archive.len() as u64,
        sha256: Sha256::of(&archive),
        wheel: artifact("foo", "1.0", &wheel),
    };
    for refuse in [false, true] {
        let machine = Machine::new();
        machine.index.project("foo", Form::Json, std::slice::from_ref(&wheel));
        if refuse {
            machine.index.always_fail("/files/foo-1.0-py3-none-any.whl", Fault::IgnoreRange);
        }
        let inputs = [Input::Partial(partial.clone())];
        let found = machine.store.fetch_inputs(machine.fetcher(), &inputs).unwrap();
        assert_eq!(fs_err::read(&found[&partial.sha256]).unwrap(), archive);
        let received = machine.registries.http().bytes_received();
        assert_eq!(received > wheel.content.len() as u64, refuse, "{received} bytes");
    }
    let machine = Machine::new();
    machine.index.project("foo", Form::Json, std::slice::from_ref(&wheel));
    let wrong = Input::Partial(PartialWheel { sha256: Sha256::of("other"), ..partial });
    let error = machine.store.fetch_inputs(machine.fetcher(), &[wrong]).unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error}");
}
