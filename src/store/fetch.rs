//! Downloads into the store: parallel, each file once, safe beside other processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Store, StoreError};
use crate::Result;
use crate::artifact::{Artifact, Input, PartialWheel, Sha256};
use crate::atomic;
use crate::net::{Download, NetError, RangeReader, redact};
use crate::registry::Registries;
use crate::report::{Event, Reporter, next_id};
use crate::sync::lock;
use crate::unpack::members;

/// Downloads under way at once: enough to fill a line, few enough to be a polite client.
const CONNECTIONS: usize = 6;
/// Progress is reported no more often than this, so that a fast line does not draw all the time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// What downloads need beside the store.
#[derive(Clone, Copy)]
pub struct Fetcher<'a> {
    /// Where files can be had.
    pub registries: &'a Registries,
    /// Who hears of downloads.
    pub reporter: &'a dyn Reporter,
    /// Whether only what is in the store may be used.
    pub offline: bool,
}

impl Store {
    /// Makes sure that all of these files are in the store, and says where.
    ///
    /// A file that is there is not downloaded again, one that is named twice is downloaded once,
    /// and one that another process is downloading is waited for. One that was changed in the store
    /// is an error that names it. After an error nothing new is
    /// begun, and what is under way is ended first.
    pub fn fetch_all(
        &self,
        fetcher: Fetcher<'_>,
        artifacts: &[Artifact],
    ) -> Result<BTreeMap<Sha256, PathBuf>> {
        let inputs: Vec<_> = artifacts.iter().cloned().map(Input::Whole).collect();
        self.fetch_inputs(fetcher, &inputs)
    }

    /// [`Store::fetch_all`] for inputs, which may be a few members of a wheel.
    pub fn fetch_inputs(
        &self,
        fetcher: Fetcher<'_>,
        inputs: &[Input],
    ) -> Result<BTreeMap<Sha256, PathBuf>> {
        let mut found = BTreeMap::new();
        let mut missing: BTreeMap<Sha256, &Input> = BTreeMap::new();
        for input in inputs {
            match self.verified_blob(&input.sha256())? {
                Some(path) => drop(found.insert(input.sha256(), path)),
                None => drop(missing.insert(input.sha256(), input)),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        if fetcher.offline {
            let wanted = found.len() + missing.len();
            let missing = missing.into_values().map(|input| input.artifact().clone()).collect();
            return Err(StoreError::Offline { wanted, missing }.into());
        }
        // The largest first, so that none is left to end alone.
        let mut queue: Vec<_> = missing.into_values().collect();
        queue.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| a.cmp(b)));
        found.extend(self.fetch_queue(fetcher, queue)?);
        Ok(found)
    }

    fn fetch_queue(
        &self,
        fetcher: Fetcher<'_>,
        queue: Vec<&Input>,
    ) -> Result<Vec<(Sha256, PathBuf)>> {
        let workers = queue.len().min(CONNECTIONS);
        let queue = Mutex::new(queue.into_iter());
        let take = || lock(&queue).next();
        let work = || {
            let mut done = Vec::new();
            while let Some(input) = take() {
                match self.fetch(fetcher, input) {
                    Ok(path) => done.push((input.sha256(), path)),
                    Err(error) => {
                        // The others end what they are at, and begin nothing new.
                        while take().is_some() {}
                        return Err(error);
                    }
                }
            }
            Ok(done)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        });
        let mut all = Vec::new();
        for result in results {
            all.extend(result?);
        }
        Ok(all)
    }

    /// Gets one input, unless another process did while this one waited for the lock.
    fn fetch(&self, fetcher: Fetcher<'_>, input: &Input) -> Result<PathBuf> {
        let destination = self.blob_path(&input.sha256());
        let _guard = self.lock(&format!("download-{}", input.sha256()))?;
        if destination.is_file() {
            return Ok(destination);
        }
        if let Some(folder) = destination.parent() {
            fs_err::create_dir_all(folder).map_err(StoreError::Io)?;
        }
        match input {
            Input::Whole(artifact) => self.fetch_whole(fetcher, artifact, &destination)?,
            Input::Partial(partial) => self.fetch_partial(fetcher, partial, &destination)?,
        }
        Ok(destination)
    }

    fn fetch_whole(
        &self,
        fetcher: Fetcher<'_>,
        artifact: &Artifact,
        destination: &Path,
    ) -> Result<()> {
        let url = fetcher.registries.url_of(artifact)?;
        let (size, sha256) = (artifact.size, artifact.sha256);
        let download = Download { url: &url, destination, size, sha256 };
        let resumed = fs_err::metadata(download.partial()).map_or(0, |metadata| metadata.len());
        let progress = Progress::start(fetcher.reporter, artifact, size, resumed);
        fetcher
            .registries
            .http()
            .download(&download, &mut |received| progress.received(received))
            .map_err(|error| fetcher.registries.explain(artifact, error))
    }

    /// Fetches the members by ranges; the whole wheel where the server refuses these.
    fn fetch_partial(
        &self,
        fetcher: Fetcher<'_>,
        partial: &PartialWheel,
        destination: &Path,
    ) -> Result<()> {
        let wheel = &partial.wheel;
        let url = fetcher.registries.url_of(wheel)?;
        let explain = |error| fetcher.registries.explain(wheel, error);
        let archive = match RangeReader::open(fetcher.registries.http(), &url) {
            Err(NetError::RangesRefused { .. }) => {
                let whole = self.fetch(fetcher, &Input::Whole(wheel.clone()))?;
                let file = fs_err::File::open(&whole).map_err(StoreError::Io)?;
                members::repack(file, &whole, &partial.members, Vec::new())?
            }
            reader => fetch_members(fetcher, &reader.map_err(explain)?, partial)?,
        };
        let actual = Sha256::of(&archive);
        if actual != partial.sha256 {
            let (url, expected) = (redact(&url), partial.sha256);
            return Err(NetError::WrongHash { url, expected, actual }.into());
        }
        self.publish(&archive, destination)
    }

    /// Gives bytes their name in the store, whole and read-only.
    fn publish(&self, bytes: &[u8], destination: &Path) -> Result<()> {
        let published = atomic::write(destination, atomic::READ_ONLY, bytes);
        published.map_err(|error| StoreError::Io(error).into())
    }
}

/// How many bytes are kept of an input.
fn size(input: &Input) -> u64 {
    match input {
        Input::Whole(artifact) => artifact.size,
        Input::Partial(partial) => partial.size,
    }
}

/// The canonical archive of the members, with one prefetch of all that it needs.
fn fetch_members(
    fetcher: Fetcher<'_>,
    reader: &RangeReader,
    partial: &PartialWheel,
) -> Result<Vec<u8>> {
    let path = Path::new(&partial.wheel.file);
    let spans = members::spans(reader.clone(), path, &partial.members, 0)?;
    let total = spans.iter().map(|span| span.end - span.start).sum();
    let progress = Progress::start(fetcher.reporter, &partial.wheel, total, 0);
    reader.prefetch(&spans, &|bytes| progress.add(bytes))?;
    Ok(members::repack(reader.clone(), path, &partial.members, Vec::new())?)
}

/// Tells the reporter of one download; its end too, when dropped.
struct Progress<'a> {
    reporter: &'a dyn Reporter,
    id: u64,
    state: Mutex<(u64, Instant)>,
}

impl<'a> Progress<'a> {
    fn start(reporter: &'a dyn Reporter, artifact: &Artifact, size: u64, resumed: u64) -> Self {
        let id = next_id();
        let file = artifact.file_name().to_owned();
        reporter.report(Event::DownloadStarted { id, file, size, resumed });
        Self { reporter, id, state: Mutex::new((0, Instant::now())) }
    }

    /// So many bytes are there in all.
    fn received(&self, received: u64) {
        self.update(|_| received);
    }

    /// So many more bytes are there.
    fn add(&self, bytes: u64) {
        self.update(|received| received + bytes);
    }

    fn update(&self, change: impl FnOnce(u64) -> u64) {
        let mut state = lock(&self.state);
        let (received, last) = &mut *state;
        *received = change(*received);
        if last.elapsed() >= PROGRESS_INTERVAL {
            *last = Instant::now();
            self.reporter.report(Event::DownloadProgress { id: self.id, received: *received });
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.reporter.report(Event::DownloadFinished { id: self.id });
    }
}
