//! The wrappers' side of the object cache: what to look for, and what to keep.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use super::client::{Call, Subject};
use super::said::Said;
use super::{Config, WrapperError};
use crate::actions::Kind;
use crate::actions::protocol::Finish;
use crate::artifact::Sha256;
use crate::cache::{Caching, Found, Kept, KeyBuilder, Objects, Outcome, Saved, Scope, Watch};
use crate::environment::Environment;
use crate::exec::trace;

/// What stands in a record where a machine lets no process be traced.
pub(crate) const UNTRACED: &str = "this machine lets no process be traced";

/// What the wrappers do to tools beside what their arguments show: this, as text.
const SOURCES: [&str; 15] = [
    include_str!("cached.rs"),
    include_str!("client.rs"),
    include_str!("cmake.rs"),
    include_str!("config.rs"),
    include_str!("graph.rs"),
    include_str!("host.rs"),
    include_str!("install.rs"),
    include_str!("lines.rs"),
    include_str!("mod.rs"),
    include_str!("narrow.rs"),
    include_str!("nvcc.rs"),
    include_str!("response.rs"),
    include_str!("rustc.rs"),
    include_str!("said.rs"),
    include_str!("standard.rs"),
];

/// Options by which results hold times of files or of the run, or by which a tool reads a stream.
const UNREPEATABLE: [&str; 11] = [
    "-",
    "-G",
    "--device-debug",
    "-src-in-ptx",
    "--source-in-ptx",
    "-time",
    "--time",
    "-ftime-report",
    "-ftime-report-details",
    "-fdevice-time-trace",
    "--fdevice-time-trace",
];

/// An action that may be in the cache.
pub(super) struct Plan<'a> {
    caching: &'a Caching,
    scope: Scope,
    key: Sha256,
}

/// What became of it.
pub(super) enum Looked {
    Hit { result: Sha256, saved: Saved, begun: Instant },
    Damaged(Sha256),
    Miss,
}

impl<'a> Plan<'a> {
    /// `None` for what is never kept.
    pub(super) fn of(
        config: &'a Config,
        call: &Call<'_>,
        subject: &Subject,
        environment: &Environment,
    ) -> Option<Self> {
        let caching = config.cache.as_ref()?;
        let unrepeatable = |arg: &OsString| UNREPEATABLE.iter().any(|option| arg == *option);
        if subject.kind == Kind::Preprocess || call.args.iter().any(unrepeatable) {
            return None;
        }
        // Neither the number of jobs, nor what is built, nor where the server listens decides
        // anything.
        let (targets, entries) = Default::default();
        let config =
            Config { socket: None, jobs: 0, cache: None, targets, entries, ..config.clone() };
        let given = serde_json::to_vec(&(config, &caching.torch)).ok()?;
        let wrapper = [SOURCES.concat().into_bytes(), given].concat();
        let key = KeyBuilder::new(&wrapper)
            .tool(call.tool, &call.args)
            .environment(environment, call.hidden)
            .finish();
        let temporary = environment.path("TMPDIR").into_iter().chain([PathBuf::from("/tmp")]);
        let scope = Scope {
            temporary: temporary.collect(),
            has_fixed_time: environment.get("SOURCE_DATE_EPOCH").is_some(),
            ..caching.scope.clone()
        };
        Some(Self { caching, scope, key })
    }

    /// Puts the action's results in their places, and repeats what it said, where it is known.
    pub(super) fn look(&self) -> Result<Looked, WrapperError> {
        let begun = Instant::now();
        let objects = Objects::new(&self.caching.objects);
        match objects.find(&self.key, &self.scope) {
            Found::Miss => Ok(Looked::Miss),
            Found::Damaged(result) => Ok(Looked::Damaged(result)),
            Found::Hit(result, outcome) => {
                match outcome.restore() {
                    // The folder is not there, say: the tool will tell.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Looked::Miss);
                    }
                    restored => restored?,
                }
                // Where nobody reads it any more, the results are there all the same.
                let _ = io::stdout().write_all(&outcome.stdout);
                let _ = io::stderr().write_all(&outcome.stderr);
                Ok(Looked::Hit { result, saved: outcome.saved, begun })
            }
        }
    }

    /// Runs the tool under watch; `begun` is called when it runs.
    pub(super) fn run<T>(
        &self,
        call: &Call<'_>,
        begun: impl FnOnce() -> T,
    ) -> Result<(Run<'_>, T), WrapperError> {
        let fail = |source| WrapperError::Start { tool: call.tool.to_owned(), source };
        // Else the tracer would say it, and not by its name.
        nix::unistd::access(call.tool, nix::unistd::AccessFlags::X_OK)
            .map_err(|errno| fail(errno.into()))?;
        let tracee = trace::start(&self.caching.tracer, call.tool, &call.args, call.hidden);
        let (tracee, output) = tracee.map_err(fail)?;
        let begun = begun();
        let stdout = Said::listen(output.stdout, io::stdout());
        let stderr = Said::listen(output.stderr, io::stderr());
        let mut watch = Watch::new(&self.scope);
        let traced = tracee.run(|access| watch.hear(access)).map_err(fail)?;
        let run = Run { plan: self, watch, stdout, stderr, exit: traced.exit, whole: traced.whole };
        Ok((run, begun))
    }
}

/// A watched run that has ended.
pub(super) struct Run<'a> {
    plan: &'a Plan<'a>,
    watch: Watch<'a>,
    stdout: Said,
    stderr: Said,
    pub exit: u8,
    whole: bool,
}

impl Run<'_> {
    /// Leaves the results where the server takes them, and says so.
    pub(super) fn finish(self, finish: Finish) -> Finish {
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        if finish.exit != 0 {
            return Finish { said: stderr.lines, ..finish };
        }
        let streams = stdout.whole.zip(stderr.whole);
        let saved = Saved { wall_ms: finish.wall_ms, cpu_ms: finish.cpu_ms };
        let kept = match streams {
            _ if !self.whole => Err(UNTRACED.to_owned()),
            None => Err("it prints too much".to_owned()),
            Some((stdout, stderr)) => self.watch.finish().and_then(|watched| {
                let outputs = Outcome::read(&watched.outputs);
                let file = outputs.and_then(|outputs| {
                    let packed = Outcome { stdout, stderr, outputs, saved }.pack()?;
                    self.plan.leave(&packed)
                });
                let file = file.map_err(|error| format!("it cannot be left: {error}"))?;
                Ok(Kept { key: self.plan.key, inputs: watched.inputs, file })
            }),
        };
        match kept {
            Ok(kept) => Finish { kept: Some(kept), ..finish },
            Err(reason) => Finish { unkept: Some(reason), ..finish },
        }
    }
}

impl Plan<'_> {
    fn leave(&self, packed: &[u8]) -> io::Result<String> {
        let folder = &self.caching.incoming;
        fs_err::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix("result-").tempfile_in(folder)?;
        file.write_all(packed)?;
        let (_, path) = file.keep().map_err(|error| error.error)?;
        let name = path.file_name().unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_wrappers_counts() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wrapper");
        let mut present = 0;
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // ninja decides what runs, and not how.
            if path.ends_with("ninja.rs") || path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let text = fs_err::read_to_string(&path).unwrap();
            assert!(SOURCES.contains(&text.as_str()), "{}", path.display());
            present += 1;
        }
        assert_eq!(present, SOURCES.len());
    }
}
