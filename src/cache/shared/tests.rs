//! A server in memory, and machines beside it.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::environment::Environment;

/// A server in memory, which can be made to fail.
#[derive(Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
    dead: AtomicBool,
    full: AtomicBool,
}

impl Backend for Arc<Memory> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        if self.dead.load(Ordering::SeqCst) {
            return Err("it is dead".to_owned());
        }
        Ok(lock(&self.entries).get(name).cloned())
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        if self.dead.load(Ordering::SeqCst) || self.full.load(Ordering::SeqCst) {
            return Err("it is full".to_owned());
        }
        lock(&self.entries).insert(name.to_owned(), bytes);
        Ok(())
    }
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn report(&self, event: Event) {
        if let Event::Warning(text) = event {
            lock(&self.0).push(text);
        }
    }
}

/// A machine beside the server.
struct Machine {
    _folder: tempfile::TempDir,
    objects: Objects,
    shared: Shared,
    counter: Counter,
    warnings: Arc<Warnings>,
}

impl Machine {
    fn beside(server: &Arc<Memory>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::new(folder.path().join("objects"));
        let warnings = Arc::<Warnings>::default();
        let variables = [("CROSSWHEEL_CACHE_REMOTE", "redis://me:secret@cache.example")];
        let environment = Environment::new(variables, Path::new("/"));
        let remote = Remote::discover(&environment, &RemoteTable::default()).unwrap().unwrap();
        let reporter = Arc::clone(&warnings) as Arc<dyn Reporter>;
        let backend = Box::new(Arc::clone(server));
        let shared = Shared::new(backend, &remote, objects.clone(), reporter);
        Self { _folder: folder, objects, shared, counter: Counter::default(), warnings }
    }

    /// Makes a result and gives it to the server.
    fn make(&self, key: &Sha256, content: &[u8]) -> Sha256 {
        let file = self.objects.root().with_file_name("result");
        fs_err::write(&file, content).unwrap();
        let variant = self.objects.insert(key, Vec::new(), &file).unwrap();
        let result = variant.result;
        self.shared.send(*key, variant, &self.counter);
        self.shared.flush();
        result
    }

    /// What it has of a result after it was asked for.
    fn get(&self, key: &Sha256) -> Option<Vec<u8>> {
        self.shared.look(key, &self.counter);
        let variant = self.objects.variants(key).into_iter().next()?;
        self.shared.bring(&variant.result, &self.counter);
        fs_err::read(self.objects.result(&variant.result)).ok()
    }

    fn traffic(&self) -> Traffic {
        *lock(&self.counter)
    }

    fn warnings(&self) -> Vec<String> {
        lock(&self.warnings.0).clone()
    }
}

#[test]
fn what_one_made_another_has() {
    let server = Arc::default();
    let (one, other) = (Machine::beside(&server), Machine::beside(&server));
    for (index, size) in [0, 1, PART - 1, PART, PART + 1, 2 * PART].into_iter().enumerate() {
        let (key, content) = (Sha256::of([index as u8]), vec![7; size]);
        one.make(&key, &content);
        assert!(other.get(&key) == Some(content), "{size}");
    }
    assert_eq!(other.get(&Sha256::of("other")), None);
    let (sent, received) = (one.traffic(), other.traffic());
    assert_eq!((sent.sent, received.received), (6, 6));
    assert_eq!(sent.sent_bytes, received.received_bytes);
    assert_eq!(sent, Traffic { sent: 6, sent_bytes: sent.sent_bytes, ..Traffic::default() });
}

#[test]
fn what_is_damaged_there_is_dropped_and_written_anew() {
    let server = Arc::<Memory>::default();
    let (one, other) = (Machine::beside(&server), Machine::beside(&server));
    let key = Sha256::of("key");
    let result = one.make(&key, b"content");
    let name = part_name(&result, 0);
    for poison in [&b"poison!"[..], b"conten", b""] {
        lock(&server.entries).insert(name.clone(), poison.to_vec());
        assert_eq!(other.get(&key), None);
    }
    assert_eq!(other.traffic().damaged, 3);
    assert!(other.warnings()[0].contains("is damaged there"), "{:?}", other.warnings());
    other.make(&key, b"content");
    let third = Machine::beside(&server);
    assert_eq!(third.get(&key).as_deref(), Some(&b"content"[..]));

    lock(&server.entries).insert(action_name(&key), b"no entry".to_vec());
    let fourth = Machine::beside(&server);
    assert_eq!(fourth.get(&key), None);
    assert_eq!(fourth.traffic().damaged, 1);
}

#[test]
fn a_dead_server_is_asked_once_and_named_without_its_password() {
    let server = Arc::<Memory>::default();
    let machine = Machine::beside(&server);
    server.dead.store(true, Ordering::SeqCst);
    for key in 0..5_u8 {
        assert_eq!(machine.get(&Sha256::of([key])), None);
    }
    machine.make(&Sha256::of("key"), b"content");
    let traffic = machine.traffic();
    assert_eq!((traffic.failed, traffic.skipped), (2, 4));
    assert_eq!((traffic.sent, traffic.unsent), (0, 1));
    assert_eq!(
        machine.warnings(),
        ["the shared cache `redis://cache.example`: it is dead; builds go on without it"]
    );
}

#[test]
fn a_full_server_is_still_read() {
    let server = Arc::<Memory>::default();
    let machine = Machine::beside(&server);
    let key = Sha256::of("key");
    Machine::beside(&server).make(&key, b"content");
    server.full.store(true, Ordering::SeqCst);
    machine.make(&Sha256::of("other"), b"other");
    assert_eq!(machine.get(&key).as_deref(), Some(&b"content"[..]));
    let traffic = machine.traffic();
    assert_eq!((traffic.unsent, traffic.failed, traffic.received), (1, 1, 1));
}

#[test]
fn what_two_wrote_of_one_key_is_kept() {
    let server = Arc::<Memory>::default();
    let key = Sha256::of("key");
    let input = |name: &str| {
        let state = crate::cache::State::Absent;
        vec![crate::cache::Input { path: name.into(), state }]
    };
    for name in ["one", "two"] {
        let machine = Machine::beside(&server);
        let file = machine.objects.root().with_file_name("result");
        fs_err::write(&file, name).unwrap();
        let variant = machine.objects.insert(&key, input(name), &file).unwrap();
        machine.shared.send(key, variant, &machine.counter);
        machine.shared.flush();
    }
    let third = Machine::beside(&server);
    third.shared.look(&key, &third.counter);
    let inputs: Vec<_> =
        third.objects.variants(&key).into_iter().map(|variant| variant.inputs).collect();
    assert_eq!(inputs, [input("two"), input("one")]);
}
