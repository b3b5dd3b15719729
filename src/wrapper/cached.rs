//! The wrappers' side of the object cache: what to look for, and what to keep.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::client::{Call, Subject};
use super::said::Said;
use super::{Config, WrapperError};
use crate::actions::Kind;
use crate::actions::protocol::{Finish, Request};
use crate::actions::tokens;
use crate::artifact::Sha256;
use crate::cache::{
    Caching, Found, Kept, KeyBuilder, Objects, Outcome, Output, Saved, Scope, Watch, is_of_crates,
};
use crate::environment::Environment;
use crate::exec::trace;

/// What stands in a record where a machine lets no process be traced.
pub(crate) const UNTRACED: &str = "this machine lets no process be traced";

/// What the wrappers do to tools beside what their arguments show: this, as text.
const SOURCES: [&str; 17] = [
    include_str!("cached.rs"),
    include_str!("client.rs"),
    include_str!("cmake.rs"),
    include_str!("config.rs"),
    include_str!("graph.rs"),
    include_str!("host.rs"),
    include_str!("install.rs"),
    include_str!("lines.rs"),
    include_str!("mod.rs"),
    include_str!("module_id.rs"),
    include_str!("narrow.rs"),
    include_str!("nvcc.rs"),
    include_str!("response.rs"),
    include_str!("rustc.rs"),
    include_str!("said.rs"),
    include_str!("standard.rs"),
    include_str!("step.rs"),
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

/// The ends of the pipe that cargo's jobserver is, as rustc opens them (the `jobserver` crate).
fn tokens(flags: &str) -> Vec<PathBuf> {
    let pipe = flags.split(' ').find_map(|flag| flag.strip_prefix("--jobserver-auth="));
    let ends = pipe.into_iter().flat_map(|pipe| pipe.split(','));
    ends.map(|end| Path::new("/dev/fd").join(end)).collect()
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
        let socket = config.socket.clone();
        let pipe = socket.as_deref().map(tokens::beside);
        // What is built besides, how much of it at once, what CMake was told, and who listens,
        // decides nothing.
        let (targets, entries) = Default::default();
        let of_rust = subject.kind == Kind::CompileRust;
        let mut config = Config {
            socket: None,
            jobs: 0,
            keep_going: false,
            targets,
            entries,
            cache: None,
            ..config.clone()
        };
        if !of_rust {
            // Where a package has crates beside its other code, that is compiled no differently.
            config.tools.rust = None;
        }
        let is_hidden = |name: &OsStr| {
            call.difference.hidden.iter().any(|hidden| name == *hidden)
                || (!of_rust && is_of_crates(name))
        };
        let given = serde_json::to_vec(&(config, &caching.torch)).ok()?;
        let key = KeyBuilder::new("action", &caching.aliases.to_common())
            .part(SOURCES.concat().into_bytes())
            .part(given)
            .tool(call.tool, &call.args)
            .environment(environment, is_hidden)
            .finish();
        let temporary = environment.path("TMPDIR").into_iter().chain([PathBuf::from("/tmp")]);
        // Of crates that others depend on, rustc opens those that the crates name by their hashes; they
        // are inputs like any other, and what else lies beside them decides nothing.
        let crates = call.args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("dependency="));
        let scope = Scope {
            temporary: temporary.chain(crates.map(PathBuf::from)).collect(),
            own: [&caching.objects, &caching.incoming].into_iter().chain(&pipe).cloned().collect(),
            server: socket,
            tokens: tokens(environment.text("CARGO_MAKEFLAGS").unwrap_or_default()),
            has_fixed_time: environment.get("SOURCE_DATE_EPOCH").is_some(),
            ..caching.scope.clone()
        };
        Some(Self { caching, scope, key })
    }

    /// Puts the action's results in their places, and repeats what it said, where it is known here
    /// or where the server can get it, which is asked.
    pub(super) fn look(
        &self,
        ask: impl Fn(&Request) -> Result<(), WrapperError>,
    ) -> Result<Looked, WrapperError> {
        let begun = Instant::now();
        match find(self.caching, &self.key, &self.scope, ask)? {
            Found::Miss | Found::Elsewhere(_) => Ok(Looked::Miss),
            Found::Damaged(result) => Ok(Looked::Damaged(result)),
            Found::Hit(result, outcome) => {
                let writable = |output: &Output| self.scope.is_writable(&output.path);
                if !outcome.outputs.iter().all(writable) {
                    // No action that was kept wrote there.
                    return Ok(Looked::Damaged(result));
                }
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
        let program = call.program();
        let tracee = trace::start(&self.caching.tracer, program, &call.args, &call.difference);
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
        let saved = finish.saved();
        let kept = match streams {
            _ if !self.whole => Err(UNTRACED.to_owned()),
            None => Err("it prints too much".to_owned()),
            Some((stdout, stderr)) => self.watch.finish().and_then(|mut watched| {
                let renamer = self.plan.caching.aliases.to_common();
                watched.inputs.iter_mut().for_each(|input| input.rename(&renamer));
                let outputs = Outcome::read(&watched.outputs);
                let file = outputs.and_then(|outputs| {
                    let mut outcome = Outcome { stdout, stderr, outputs, saved };
                    outcome.rename(&renamer);
                    leave(self.plan.caching, &outcome.pack()?)
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

/// Leaves a result where the server takes it, and says under which name.
pub(super) fn leave(caching: &Caching, packed: &[u8]) -> io::Result<String> {
    let folder = &caching.incoming;
    fs_err::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix("result-").tempfile_in(folder)?;
    file.write_all(packed)?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    let name = path.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// What is known of a key here, or where the server can get it, which is asked.
pub(super) fn find(
    caching: &Caching,
    key: &Sha256,
    scope: &Scope,
    ask: impl Fn(&Request) -> Result<(), WrapperError>,
) -> Result<Found, WrapperError> {
    let objects = Objects::new(&caching.objects);
    let renamer = caching.aliases.to_local();
    let (mut may_look, mut may_bring) = (caching.shared, caching.shared);
    loop {
        match objects.find(key, scope, &renamer) {
            Found::Miss if may_look => {
                may_look = false;
                ask(&Request::Look { key: *key })?;
            }
            Found::Elsewhere(result) if may_bring => {
                (may_look, may_bring) = (false, false);
                ask(&Request::Bring { result })?;
            }
            found => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobserver_is_known_by_its_pipe() {
        let flags = "-j --jobserver-fds=6,7 --jobserver-auth=6,7";
        assert_eq!(tokens(flags), [Path::new("/dev/fd/6"), Path::new("/dev/fd/7")]);
        assert!(tokens("").is_empty());
    }

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
