//! Entries that several machines share, on a server: read through, and written back.
//!
//! In: keys that this machine has no result for, and results that it made. Out: entries in the
//! folder of [`Objects`], each checked by its digest. A server that is not there, is slow or is
//! full costs one request's time-out, and is then left alone for a while.
//!
//! ```text
//! crosswheel-1/actions/<key>          as on disk: what results depend on, and their digests
//! crosswheel-1/results/<sha256>.<n>   the nth part of a result; the last is shorter than others
//! ```

mod breaker;
#[cfg(feature = "shared-cache")]
mod http;
#[cfg(feature = "shared-cache")]
mod operator;
mod remote;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use breaker::Breaker;
pub use remote::{Remote, RemoteTable};

use super::CacheError;
use super::objects::{Objects, Variant, parse, serialise};
use crate::artifact::Sha256;
use crate::net::Http;
use crate::report::{Event, Reporter};
use crate::sync::lock;

/// To be raised when entries of older versions must not be found.
const ROOT: &str = "crosswheel-1";

/// Bytes of a part: what a client of Redis waits for is half a second, and not all networks are
/// fast.
const PART: usize = 2 << 20;

/// More than a result ever has: 2 GiB.
const MOST_PARTS: usize = 1024;

/// How many time-outs a build's end waits for what is still to be written.
const PATIENCE: u32 = 10;

/// A store of bytes by name. A request that is not answered in time fails.
pub trait Backend: Send + Sync {
    /// `None` where there is nothing of that name.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String>;
    /// Puts something under a name, in place of what is there.
    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), String>;
}

/// What a build had of the shared cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Results that came from it.
    pub received: usize,
    /// Their bytes.
    pub received_bytes: u64,
    /// Results that it was given.
    pub sent: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Results that it was to be given and was not.
    pub unsent: usize,
    /// Requests that failed.
    pub failed: usize,
    /// Requests that were not made, since others had failed.
    pub skipped: usize,
    /// Entries that were not what their names say.
    pub damaged: usize,
}

/// Counts one build's traffic.
pub(crate) type Counter = Arc<Mutex<Traffic>>;

/// A server with entries; one for all builds of a run.
pub struct Shared {
    inner: Arc<Inner>,
    sender: Option<JoinHandle<()>>,
}

struct Inner {
    backend: Box<dyn Backend>,
    /// As people are told of it: without credentials.
    name: String,
    objects: Objects,
    timeout: Duration,
    reporter: Arc<dyn Reporter>,
    reading: Breaker,
    writing: Breaker,
    /// Whether people know that requests fail.
    told: AtomicBool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Whether one is under way.
    busy: bool,
    ended: bool,
}

/// A result to be written.
struct Job {
    key: Sha256,
    variant: Variant,
    counter: Counter,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Shared {
    /// The entries on a server, for those in a folder.
    #[cfg(feature = "shared-cache")]
    pub fn open(
        remote: &Remote,
        http: &Http,
        objects: Objects,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, CacheError> {
        let backend = operator::Remotely::open(remote, http)?;
        Ok(Self::new(Box::new(backend), remote, objects, reporter))
    }

    /// The entries on a server, for those in a folder.
    #[cfg(not(feature = "shared-cache"))]
    pub fn open(
        _: &Remote,
        _: &Http,
        _: Objects,
        _: Arc<dyn Reporter>,
    ) -> Result<Self, CacheError> {
        Err(CacheError::NotBuilt)
    }

    /// The entries that something has, for those in a folder.
    pub fn new(
        backend: Box<dyn Backend>,
        remote: &Remote,
        objects: Objects,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let inner = Arc::new(Inner {
            backend,
            name: remote.to_string(),
            objects,
            timeout: remote.timeout,
            reporter,
            reading: Breaker::default(),
            writing: Breaker::default(),
            told: AtomicBool::new(false),
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let sender = thread::spawn({
            let inner = Arc::clone(&inner);
            move || inner.send_all()
        });
        Self { inner, sender: Some(sender) }
    }

    /// Brings what the server knows of a key to this machine, but for the results.
    pub(crate) fn look(&self, key: &Sha256, counter: &Counter) {
        let inner = &self.inner;
        let Some(there) = inner.variants(key, &inner.reading, counter) else { return };
        if !there.is_empty()
            && let Err(error) = inner.objects.merge(key, there)
        {
            inner.complain(&format!("its entries cannot be kept here: {error}"));
        }
    }

    /// Brings a result to this machine, where it is what its name says.
    pub(crate) fn bring(&self, result: &Sha256, counter: &Counter) {
        let inner = &self.inner;
        let Some(Some(bytes)) = inner.read_parts(result, counter) else { return };
        if Sha256::of(&bytes) != *result {
            lock(counter).damaged += 1;
            let text = format!("the result {} is damaged there: it is made again", result.short());
            return inner.complain(&text);
        }
        let mut traffic = lock(counter);
        traffic.received += 1;
        traffic.received_bytes += bytes.len() as u64;
        drop(traffic);
        if let Err(error) = inner.objects.insert_result(result, &bytes) {
            inner.complain(&format!("its results cannot be kept here: {error}"));
        }
    }

    /// Has a result written, when there is time.
    pub(crate) fn send(&self, key: Sha256, variant: Variant, counter: &Counter) {
        let job = Job { key, variant, counter: Arc::clone(counter) };
        lock(&self.inner.queue).jobs.push_back(job);
        self.inner.changed.notify_all();
    }

    /// Waits until all is written, though not for long.
    pub(crate) fn flush(&self) {
        let inner = &self.inner;
        let waiting = |queue: &mut Queue| queue.busy || !queue.jobs.is_empty();
        let limit = inner.timeout * PATIENCE;
        let waited = inner.changed.wait_timeout_while(lock(&inner.queue), limit, waiting);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for job in queue.jobs.drain(..) {
            lock(&job.counter).unsent += 1;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock(&self.inner.queue).ended = true;
        self.inner.changed.notify_all();
        // A request that is under way ends by its time-out.
        let _ = self.sender.take().map(JoinHandle::join);
    }
}

impl Inner {
    fn send_all(&self) {
        loop {
            let queue = lock(&self.queue);
            let idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.ended;
            let mut queue = self.changed.wait_while(queue, idle).unwrap_or_else(|e| e.into_inner());
            if queue.ended {
                return;
            }
            let Some(job) = queue.jobs.pop_front() else { continue };
            queue.busy = true;
            drop(queue);
            if self.write(&job).is_none() {
                lock(&job.counter).unsent += 1;
            }
            lock(&self.queue).busy = false;
            self.changed.notify_all();
        }
    }

    /// The result, and then what leads to it.
    fn write(&self, job: &Job) -> Option<()> {
        let Job { key, variant, counter } = job;
        // One that was removed meanwhile is no loss.
        let bytes = fs_err::read(self.objects.result(&variant.result)).ok()?;
        // With an empty one at the end where all have their full size.
        for part in 0..=bytes.len() / PART {
            let begin = part * PART;
            let slice = &bytes[begin..bytes.len().min(begin + PART)];
            self.put(&part_name(&variant.result, part), slice.to_vec(), counter)?;
        }
        // What others wrote meanwhile stays, but for those that come between these two requests.
        let mut variants = self.variants(key, &self.writing, counter)?;
        Objects::add(&mut variants, variant.clone());
        self.put(&action_name(key), serialise(&variants).ok()?, counter)?;
        let mut traffic = lock(counter);
        traffic.sent += 1;
        traffic.sent_bytes += bytes.len() as u64;
        Some(())
    }

    fn put(&self, name: &str, bytes: Vec<u8>, counter: &Counter) -> Option<()> {
        self.attempt(&self.writing, counter, || self.backend.write(name, bytes))
    }

    /// What the server knows of a key; `None` where it does not answer.
    fn variants(&self, key: &Sha256, breaker: &Breaker, counter: &Counter) -> Option<Vec<Variant>> {
        let text = self.attempt(breaker, counter, || self.backend.read(&action_name(key)))?;
        let Some(text) = text else { return Some(Vec::new()) };
        let variants = parse(&text);
        if variants.is_none() {
            lock(counter).damaged += 1;
            self.complain(&format!("the entry {} is damaged there", key.short()));
        }
        Some(variants.unwrap_or_default())
    }

    fn read_parts(&self, result: &Sha256, counter: &Counter) -> Option<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        for part in 0..MOST_PARTS {
            let name = part_name(result, part);
            let read = self.attempt(&self.reading, counter, || self.backend.read(&name))?;
            let Some(mut read) = read else { return Some(None) };
            let last = read.len() < PART;
            bytes.append(&mut read);
            if last {
                return Some(Some(bytes));
            }
        }
        Some(None)
    }

    /// One request, unless requests failed of late.
    fn attempt<T>(
        &self,
        breaker: &Breaker,
        counter: &Counter,
        request: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        if !breaker.allows(Instant::now()) {
            lock(counter).skipped += 1;
            return None;
        }
        match request() {
            Ok(answer) => {
                breaker.succeeded();
                Some(answer)
            }
            Err(error) => {
                lock(counter).failed += 1;
                breaker.failed(Instant::now());
                if !self.told.swap(true, Ordering::Relaxed) {
                    self.complain(&format!("{error}; builds go on without it"));
                }
                None
            }
        }
    }

    fn complain(&self, text: &str) {
        let text = format!("the shared cache `{}`: {text}", self.name);
        self.reporter.report(Event::Warning(text));
    }
}

fn action_name(key: &Sha256) -> String {
    format!("{ROOT}/actions/{key}")
}

fn part_name(result: &Sha256, part: usize) -> String {
    format!("{ROOT}/results/{result}.{part}")
}
