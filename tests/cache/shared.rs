//! Entries of other machines, which a server has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crosswheel::cache::shared::{Backend, Remote, RemoteTable, Shared, Traffic};
use crosswheel::environment::Environment;
use crosswheel::report::Reporter;

use super::place::Cache;

const CXX: &str = "-c a.cpp -o a.o -MD -MF a.d";

/// A server in memory.
#[derive(Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
    dead: AtomicBool,
}

impl Backend for &'static Memory {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        if self.dead.load(Ordering::SeqCst) {
            return Err("nobody is there".to_owned());
        }
        Ok(self.entries.lock().unwrap().get(name).cloned())
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        if self.dead.load(Ordering::SeqCst) {
            return Err("nobody is there".to_owned());
        }
        self.entries.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }
}

fn remote(variables: &[(&str, &str)]) -> Remote {
    let environment = Environment::new(variables.iter().copied(), Path::new("/"));
    Remote::discover(&environment, &RemoteTable::default()).unwrap().unwrap()
}

/// Another machine's cache, beside this server.
fn beside(server: &'static Memory) -> Cache {
    let mut cache = Cache::new();
    let remote = remote(&[("CROSSWHEEL_CACHE_REMOTE", "redis://cache.example")]);
    let reporter = Arc::clone(&cache.reporter) as Arc<dyn Reporter>;
    cache.shared =
        Some(Arc::new(Shared::new(Box::new(server), &remote, cache.objects(), reporter)));
    cache
}

#[test]
fn what_one_machine_compiled_another_has() {
    let server: &'static Memory = Box::leak(Box::default());
    let (one, other) = (beside(server), beside(server));
    let place = one.place("build");
    place.write("a.cpp", "int v = 1;\n");
    let sent = place.compile("g++", CXX).shared.unwrap();
    assert_eq!((sent.sent, sent.received, sent.unsent), (1, 0, 0));

    let there = other.place("build");
    there.write("a.cpp", "int v = 1;\n");
    let compiled = there.compile("g++", CXX);
    let same = place.inside() == there.inside();
    // Without a fixed path, the folder's name is a part of what is asked for.
    assert_eq!(compiled.is_hit(), same);
    assert_eq!(compiled.shared.unwrap().received, usize::from(same));
    if same {
        assert_eq!(place.read("a.o"), there.read("a.o"));
        assert_eq!(place.read("a.d"), there.read("a.d"));
    }
    // And it is here now.
    let again = there.compile("g++", CXX);
    assert!(again.is_hit());
    assert_eq!(again.shared, Some(Traffic::default()));
}

#[test]
fn a_poisoned_result_is_not_used() {
    let server: &'static Memory = Box::leak(Box::default());
    let (one, other) = (beside(server), beside(server));
    let place = one.place("build");
    place.write("a.cpp", "int v = 1;\n");
    place.compile("g++", CXX);
    for (name, bytes) in server.entries.lock().unwrap().iter_mut() {
        if name.contains("/results/") {
            bytes[20] ^= 1;
        }
    }
    let there = other.place("build");
    there.write("a.cpp", "int v = 1;\n");
    let compiled = there.compile("g++", CXX);
    assert!(!compiled.is_hit());
    if place.inside() == there.inside() {
        assert_eq!(compiled.shared.unwrap().damaged, 1);
        assert_eq!(place.read("a.o"), there.read("a.o"));
    }
}

#[test]
fn a_server_that_dies_fails_no_compile() {
    let server: &'static Memory = Box::leak(Box::default());
    let cache = beside(server);
    let place = cache.place("build");
    for value in 0..4 {
        server.dead.store(value == 1, Ordering::SeqCst);
        place.write("a.cpp", format!("int v = {value};\n"));
        assert!(!place.compile("g++", CXX).is_hit());
        assert!(place.compile("g++", CXX).is_hit());
    }
    let warnings = cache.reporter.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("`redis://cache.example`"), "{warnings:?}");
}

/// With the part that speaks to servers, and a real one.
#[cfg(feature = "shared-cache")]
mod servers {
    use std::net::TcpListener;

    use crosswheel::net::{Http, Settings};

    use super::*;
    use crate::support::redis::Redis;

    fn beside(variables: &[(&str, &str)]) -> Cache {
        let mut cache = Cache::new();
        let http = Http::new(Settings::default()).unwrap();
        let reporter = Arc::clone(&cache.reporter) as Arc<dyn Reporter>;
        let shared = Shared::open(&remote(variables), &http, cache.objects(), reporter).unwrap();
        cache.shared = Some(Arc::new(shared));
        cache
    }

    /// Compiles files, of which each is another.
    #[track_caller]
    fn build(cache: &Cache, folder: &str, files: std::ops::Range<usize>) -> (usize, Traffic) {
        let place = cache.place(folder);
        let (mut hits, mut last) = (0, Traffic::default());
        for file in files {
            place.write("a.cpp", format!("int v_{file}[1 << 20] = {{ {file} }};\n"));
            let compiled = place.compile("g++", CXX);
            hits += usize::from(compiled.is_hit());
            let traffic = compiled.shared.unwrap();
            last.received += traffic.received;
            last.sent += traffic.sent;
            last.failed += traffic.failed;
            last.skipped += traffic.skipped;
        }
        (hits, last)
    }

    #[test]
    fn a_folder_serves_two_machines() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let set = [("CROSSWHEEL_CACHE_REMOTE", url.as_str())];
        let (hits, traffic) = build(&beside(&set), "build", 0..2);
        assert_eq!((hits, traffic.sent, traffic.failed), (0, 2, 0));
        let other = beside(&set);
        let same = other.place("x").inside() == other.place("y").inside();
        let (hits, traffic) = build(&other, "build", 0..2);
        assert_eq!((hits, traffic.received), if same { (2, 2) } else { (0, 0) });
    }

    #[test]
    fn who_accepts_and_never_answers_is_asked_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for scheme in ["redis", "webdav"] {
            let url = format!("{scheme}://127.0.0.1:{port}");
            let set = [
                ("CROSSWHEEL_CACHE_REMOTE", url.as_str()),
                ("CROSSWHEEL_CACHE_REMOTE_TIMEOUT", "0.2"),
            ];
            let cache = beside(&set);
            let (hits, traffic) = build(&cache, "build", 0..3);
            assert_eq!((hits, traffic.sent, traffic.received), (0, 0, 0));
            // One to read, one to write.
            assert!((2..=4).contains(&traffic.failed), "{scheme}: {traffic:?}");
            assert!(traffic.skipped >= 4, "{traffic:?}");
        }
    }

    #[test]
    #[ignore = "needs a Redis server, or Debian's packages of one"]
    fn redis_serves_two_machines_and_its_death_is_survived() {
        let redis = Redis::start(&["requirepass word-of-mouth"]);
        let url = format!("redis://127.0.0.1:{}/1", redis.port);
        let wrong = [("CROSSWHEEL_CACHE_REMOTE", url.as_str())];
        let set = [wrong[0], ("CROSSWHEEL_CACHE_REMOTE_PASSWORD", "word-of-mouth")];
        let (hits, traffic) = build(&beside(&set), "build", 0..3);
        assert_eq!((hits, traffic.sent, traffic.failed), (0, 3, 0));

        let unknown = beside(&wrong);
        assert_eq!(build(&unknown, "build", 0..1).0, 0);
        assert_eq!(unknown.reporter.warnings().len(), 1, "{:?}", unknown.reporter.warnings());

        let other = beside(&set);
        let same = other.place("x").inside() == other.place("y").inside();
        if same {
            assert_eq!(build(&other, "build", 0..3).0, 3);
        }
        redis.kill();
        let (hits, traffic) = build(&other, "build", 3..6);
        assert_eq!((hits, traffic.sent), (0, 0));
        assert!(traffic.failed >= 1 && traffic.skipped >= 1, "{traffic:?}");
        let warnings = other.reporter.warnings();
        assert!(!warnings.is_empty() && !warnings[0].contains("word-of-mouth"), "{warnings:?}");
    }

    #[test]
    #[ignore = "needs a Redis server, or Debian's packages of one"]
    fn a_full_redis_is_still_read() {
        let redis = Redis::start(&["maxmemory 3mb", "maxmemory-policy noeviction"]);
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let set = [("CROSSWHEEL_CACHE_REMOTE", url.as_str())];
        let cache = beside(&set);
        let place = cache.place("build");
        place.write("a.cpp", "int small;\n");
        assert_eq!(place.compile("g++", CXX).shared.unwrap().sent, 1);
        // What does not compress, and fits in no 3 MB.
        let numbers: String = (0..400_000_u64)
            .map(|n| format!("{}ull,", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        place.write("a.cpp", format!("unsigned long long v[] = {{{numbers}}};\n"));
        let traffic = place.compile("g++", CXX).shared.unwrap();
        assert_eq!((traffic.sent, traffic.unsent), (0, 1));
        let other = beside(&set);
        let there = other.place("build");
        there.write("a.cpp", "int small;\n");
        let compiled = there.compile("g++", CXX);
        assert_eq!(compiled.is_hit(), place.inside() == there.inside());
    }
}
