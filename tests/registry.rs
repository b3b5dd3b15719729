//! Registries, downloads and locking against a server on loopback that fails on demand.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crosswheel::artifact::{Artifact, Input, PartialWheel, Sha256};
use crosswheel::environment::Environment;
use crosswheel::net::{Http, NetError, RangeReader, Settings};
use crosswheel::registry::{Registries, RegistryError, RegistryTable};
use crosswheel::report::{Event, Reporter, Silent};
use crosswheel::store::{Fetcher, Store};
use crosswheel::toolchain::lock::ComponentsLock;
use crosswheel::toolchain::relock::{Relock, Relocked, changes};
use crosswheel::toolchain::spec::Components;
use crosswheel::unpack::members;
use crosswheel::{Class, Error};
use tempfile::TempDir;

use crate::support::index::{Distribution, Fault, Form, Index, artifact};

/// A machine whose pip is configured for the server.
struct Machine {
    index: Index,
    registries: Registries,
    store: Store,
    _folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let index = Index::start();
        let folder = tempfile::tempdir().unwrap();
        let variables =
            [("PIP_INDEX_URL", index.simple()), ("CROSSWHEEL_DEBIAN_MIRROR", index.url("/debian"))];
        let environment = Environment::new(variables, folder.path());
        let registries = Registries::new(client(), &environment).with_root(folder.path());
        let store = Store::open(folder.path().join("store")).unwrap();
        Self { index, registries, store, _folder: folder }
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher { registries: &self.registries, reporter: &Silent, offline: false }
    }

    fn fetch(&self, artifact: &Artifact) -> Result<Vec<u8>, Error> {
        let found = self.store.fetch_all(self.fetcher(), std::slice::from_ref(artifact))?;
        Ok(fs_err::read(&found[&artifact.sha256]).unwrap())
    }
}

/// Tries again at once.
fn client() -> Http {
    let settings = Settings { attempts: 3, backoff: Duration::ZERO, ..Settings::default() };
    Http::new(settings).unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i % 251) as u8).collect()
}

fn distribution(file: &'static str, length: usize) -> Distribution {
    Distribution { file, content: content(length), yanked: None }
}

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

#[test]
fn both_forms_of_the_index_lock_alike() {
    let mut locked = Vec::new();
    for form in [Form::Html, Form::Json] {
        let machine = Machine::new();
        let yanked =
            Distribution { yanked: Some("broken"), ..distribution("foo_bar-2.0.tar.gz", 20) };
        let files = [distribution("foo_bar-1.0.tar.gz", 10), yanked];
        machine.index.project("foo-bar", form, &files);
        let pypi = machine.registries.pypi().unwrap();
        let project = pypi.project("Foo.Bar").unwrap();
        let newest = project.sdist(None).unwrap();
        assert_eq!((newest.version.to_string().as_str(), &newest.warning), ("1.0", &None));
        let pinned = project.sdist(Some(&"2.0".parse().unwrap())).unwrap();
        assert_eq!(pinned.warning.as_deref(), Some("`foo-bar` 2.0 was yanked: broken"));
        locked.push(pypi.artifact(&project, &newest).unwrap());
        let unknown = pypi.project("nothing").unwrap_err();
        assert!(matches!(unknown, RegistryError::UnknownProject { .. }), "{unknown}");
    }
    assert_eq!(locked[0], locked[1]);
    assert_eq!(locked[0].size, 10);
}

#[test]
fn credentials_of_the_index_reach_its_files_and_no_message() {
    let index = Index::start();
    let sdist = distribution("foo-1.0.tar.gz", 10);
    index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let url = index.simple().replace("http://", "http://me:secret@");
    let environment = Environment::new([("PIP_INDEX_URL", url)], Path::new("/nonexistent"));
    let registries = Registries::new(client(), &environment);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let fetcher = Fetcher { registries: &registries, reporter: &Silent, offline: false };
    store.fetch_all(fetcher, &[artifact("foo", "1.0", &sdist)]).unwrap();
    for path in ["/simple/foo/", "/files/foo-1.0.tar.gz"] {
        // "me:secret"
        let authorization = index.requests(path)[0].authorization.clone();
        assert_eq!(authorization.as_deref(), Some("Basic bWU6c2VjcmV0"), "{path}");
    }
    let error = registries.pypi().unwrap().project("bar").unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_folder_of_files_is_an_index() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("foo-1.0.tar.gz"), "one").unwrap();
    fs_err::write(folder.path().join("bar-2.0.tar.gz"), "two").unwrap();
    let environment = Environment::new([("PIP_INDEX_URL", folder.path())], folder.path());
    let registries = Registries::new(client(), &environment);
    let pypi = registries.pypi().unwrap();
    let project = pypi.project("foo").unwrap();
    assert_eq!(project.files.len(), 1);
    let locked = pypi.artifact(&project, &project.sdist(None).unwrap()).unwrap();
    assert_eq!((locked.size, locked.sha256), (3, Sha256::of("one")));
    let store = Store::open(folder.path().join("store")).unwrap();
    let fetcher = Fetcher { registries: &registries, reporter: &Silent, offline: false };
    let found = store.fetch_all(fetcher, std::slice::from_ref(&locked)).unwrap();
    assert_eq!(fs_err::read_to_string(&found[&locked.sha256]).unwrap(), "one");
}

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

/// A gpgv that takes what is between the armour's lines, and refuses what says that it is forged.
const FAKE_GPGV: &str = r#"#!/bin/sh
[ "$1" = --keyring ] && [ -s "$2" ] && [ "$3 $4" = "--output -" ] || exit 2
if grep -q Forged "$5"; then echo "gpgv: BAD signature" >&2; exit 1; fi
sed -e '1,/^$/d' -e '/^-----BEGIN PGP SIGNATURE/,$d' "$5"
"#;

const COMPONENTS: &str = r#"
[[component]]
name = "ninja"
build = "x86_64"
wheel = [{ project = "ninja", version = ">=1.13,<2", arch = "x86_64" }]

[[component]]
name = "gcc"
build = "x86_64"
apt = [{ registry = "debian", suite = "trixie", arch = "x86_64", packages = ["g++"], depends = true, exclude = ["perl"] }]

[[component]]
name = "python-headers"
python = "3.12"
apt = [{ registry = "ubuntu", suite = "noble", arch = "aarch64", packages = ["libpython3.12-dev"] }]
"#;

/// A machine with a Debian mirror of three packages, and an index with ninja.
struct Mirror {
    index: Index,
    registries: Registries,
    store: Store,
    spec: Components,
    _folder: TempDir,
}

impl Mirror {
    fn new() -> Self {
        let index = Index::start();
        let folder = tempfile::tempdir().unwrap();
        let gpgv = folder.path().join("gpgv");
        fs_err::write(&gpgv, FAKE_GPGV).unwrap();
        fs_err::set_permissions(&gpgv, PermissionsExt::from_mode(0o755)).unwrap();
        let keyring = folder.path().join("keys.gpg");
        fs_err::write(&keyring, "keys").unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let variables = [("PIP_INDEX_URL", index.simple()), ("PATH", path)];
        let debian = RegistryTable {
            url: index.url("/debian"),
            keyring: Some(keyring),
            components: vec!["main".to_owned()],
        };
        let registries = Registries::new(client(), &Environment::new(variables, folder.path()))
            .with_tables(BTreeMap::from([("debian".to_owned(), debian)]));
        let wheels = [
            distribution("ninja-1.12.0-py3-none-manylinux1_x86_64.whl", 1),
            distribution("ninja-1.13.0-py3-none-manylinux1_x86_64.whl", 2),
            distribution("ninja-2.0-py3-none-manylinux1_x86_64.whl", 3),
        ];
        index.project("ninja", Form::Html, &wheels);
        let store = Store::open(folder.path().join("store")).unwrap();
        let spec = toml::from_str(COMPONENTS).unwrap();
        let mirror = Self { index, registries, store, spec, _folder: folder };
        mirror.release("14-1", "Debian");
        mirror
    }

    /// Puts a release of the suite up, with this version of g++.
    fn release(&self, version: &str, origin: &str) {
        let entry = |name: &str, version: &str, fields: &str| {
            let digest = Sha256::of(format!("{name}{version}"));
            format!(
                "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 7\n\
                 SHA256: {digest}\n{fields}\n"
            )
        };
        let packages = entry("g++", version, "Depends: perl, cpp (>= 14)\n")
            + &entry("cpp-14", "14-1", "Provides: cpp (= 14)\n")
            + &entry("other", "1", "");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), Default::default()).unwrap();
        xz.write_all(packages.as_bytes()).unwrap();
        let xz = xz.finish().unwrap();
        let (digest, size) = (Sha256::of(&xz), xz.len());
        let release = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: {origin}\nSHA256:\n \
             {digest} {size} main/binary-amd64/Packages.xz\n-----BEGIN PGP SIGNATURE-----\nx\n"
        );
        self.index.file("/debian/dists/trixie/InRelease", release);
        self.index.file("/debian/dists/trixie/main/binary-amd64/Packages.xz", xz);
    }

    fn relock(&self, previous: &ComponentsLock, names: &[&str]) -> Result<Relocked, Error> {
        let (registries, store) = (&self.registries, &self.store);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let relock = Relock { folder: store.root(), registries, store, reporter: &Silent };
        relock.relock(&self.spec, previous, &names)
    }
}

#[test]
fn locking_takes_the_newest_that_fits_and_what_it_needs() {
    let mirror = Mirror::new();
    let first = mirror.relock(&ComponentsLock::default(), &[]).unwrap();
    let files: Vec<_> = first
        .lock
        .component
        .iter()
        .map(|component| {
            let files = component.artifact.iter().map(|artifact| artifact.file.as_str());
            (component.key.name.as_str(), files.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        files,
        [
            ("gcc", vec!["pool/cpp-14_14-1.deb", "pool/g++_14-1.deb"]),
            ("ninja", vec!["ninja-1.13.0-py3-none-manylinux1_x86_64.whl"]),
        ]
    );
    let skipped: Vec<_> = first.skipped.iter().map(|(key, r)| format!("{key}: {r}")).collect();
    assert_eq!(skipped, ["python-headers for Python 3.12: ubuntu"]);
    assert_eq!(mirror.relock(&first.lock, &[]).unwrap().lock, first.lock);

    mirror.release("14-2", "Debian");
    let other = mirror.relock(&first.lock, &["ninja"]).unwrap();
    assert_eq!(other.lock, first.lock, "only what is named is locked anew");
    let second = mirror.relock(&first.lock, &["gcc"]).unwrap();
    let changed: Vec<_> =
        changes(&first.lock, &second.lock).iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["gcc on x86_64:   g++ 14-1 → 14-2"]);
    let unknown = mirror.relock(&first.lock, &["gxx"]).unwrap_err();
    assert_eq!(unknown.class(), Class::Usage, "{unknown}");
}

#[test]
fn an_index_that_is_not_signed_or_not_what_was_signed_is_refused() {
    let mirror = Mirror::new();
    mirror.release("14-1", "Forged");
    let error = mirror.relock(&ComponentsLock::default(), &["gcc"]).unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    assert_eq!(error.hint().as_deref(), Some("gpgv: BAD signature"));

    mirror.release("14-1", "Debian");
    let path = "/debian/dists/trixie/main/binary-amd64/Packages.xz";
    mirror.index.fail(path, &[Fault::WrongBytes]);
    let error = mirror.relock(&ComponentsLock::default(), &["gcc"]).unwrap_err();
    assert!(error.to_string().contains("the signed Release file says"), "{error}");
    assert!(mirror.relock(&ComponentsLock::default(), &["gcc"]).is_ok());
}

mod parsers {
    use crosswheel::net::Page;
    use crosswheel::net::pip_conf::PipConf;
    use crosswheel::registry::apt_index::PackageIndex;
    use crosswheel::registry::{apt_sources, deb822, file_name, simple};
    use proptest::prelude::*;

    /// Text that is likely to be in a grammar's corners.
    fn odd(alphabet: &'static str) -> impl Strategy<Value = String> {
        let pieces: Vec<&str> = alphabet.split(' ').collect();
        let piece = prop_oneof![
            4 => prop::sample::select(pieces).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
            1 => Just(" ".to_owned()),
            1 => Just("\n".to_owned()),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    fn page(content_type: &str, body: &str) -> Page {
        Page {
            url: "https://index.example/simple/foo/".parse().unwrap(),
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_owned(),
        }
    }

    proptest! {
        #[test]
        fn html_pages(text in odd("<a <A <base href= > / \" ' & &amp; &#x41; &# ; # #sha256= <!-- --> = data-yanked ../ % %2B foo-1.0.tar.gz é")) {
            for file in simple::parse(&page("text/html", &text)).unwrap() {
                prop_assert!(file.url.starts_with("http"));
                prop_assert!(!file.name.contains('/') && !file.name.starts_with('.'));
            }
        }

        #[test]
        fn json_pages(text in odd("{ } [ ] \"files\" \"filename\" \"url\" : , null 1 true \"hashes\" \"yanked\" \"x\"")) {
            let _ = simple::parse(&page("application/json", &text));
            let _ = simple::parse(&page("application/json", &format!("{{\"files\": [{text}]}}")));
        }

        #[test]
        fn packages(text in odd("Package: Version: Filename: Size: SHA256: Depends: Provides: : , | ( ) a b pool/a.deb ../ 1 é # .")) {
            for paragraph in deb822::paragraphs(&text) {
                prop_assert_ne!(paragraph, deb822::Paragraph::default());
            }
            PackageIndex::new("s").add(&text);
            apt_sources::deb822(&text);
        }

        #[test]
        fn sources(text in odd("deb deb-src [ ] signed-by= # http://a/ main é = ,")) {
            apt_sources::one_line(&text);
        }

        #[test]
        fn pip_conf(text in odd("[ ] global [global] = : index-url # ; \t é \r\n")) {
            let value = PipConf::parse(&text).global("index-url").map(str::to_owned);
            prop_assert!(value.is_none_or(|value| !value.is_empty()));
        }

        #[test]
        fn file_names(text in odd("- _ . foo 1.0 1 py3 none any .whl .tar.gz manylinux_2_17_x86_64 é")) {
            let _ = file_name::WheelName::parse(&text);
            let _ = file_name::sdist_version("foo", &text);
            let normalized = file_name::normalize(&text);
            prop_assert_eq!(file_name::normalize(&normalized), normalized);
        }
    }
}
