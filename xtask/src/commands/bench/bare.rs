//! A build of ninja's through the wrappers, with neither sandbox nor cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosswheel::actions::{Action, CostBook, Server, ServerOptions};
use crosswheel::report::Silent;
use crosswheel::target::Sm;
use crosswheel::wrapper::{self, Config, Toolkit, Tools};

/// What the wrappers stand before, and how much of it runs at once.
pub(super) struct Bare<'a> {
    pub(super) ninja: &'a Path,
    /// The C and C++ compiler.
    pub(super) compiler: &'a Path,
    pub(super) jobs: usize,
    /// What compilers took before.
    pub(super) costs: &'a Path,
}

/// What a build calls.
pub(super) struct Programs {
    pub(super) ninja: PathBuf,
    pub(super) compiler: PathBuf,
}

impl Bare<'_> {
    /// Places the wrappers in a folder, lets a build run by leave of a server, and hands on what it
    /// returns and its actions.
    pub(super) fn run<T>(
        &self,
        folder: &Path,
        build: impl FnOnce(&Programs) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Vec<Action>)> {
        fs_err::create_dir_all(folder)?;
        let config = self.config(folder);
        let tools = folder.join("tools");
        fs_err::create_dir_all(config.tools.cuda.join("bin"))?;
        let toolkit = Toolkit { root: &config.tools.cuda, include: &[] };
        wrapper::install(&tools, &std::env::current_exe()?, &config, toolkit)
            .map_err(crosswheel::Error::from)?;
        let options = ServerOptions {
            socket: socket(folder),
            log: folder.join("actions.jsonl"),
            jobs: self.jobs,
            memory: None,
            running: None,
            reporter: Arc::new(Silent),
            until: None,
            costs: CostBook::load(self.costs),
            package: PACKAGE.to_owned(),
            cache: None,
        };
        let server = Server::start(options).map_err(crosswheel::Error::from)?;
        let built = build(&Programs { ninja: tools.join("ninja"), compiler: tools.join("cc") })?;
        Ok((built, server.finish().actions))
    }

    fn config(&self, folder: &Path) -> Config {
        let tools = Tools {
            cc: self.compiler.to_owned(),
            cxx: self.compiler.to_owned(),
            cuda: folder.join("cuda"),
            cuda_include: Vec::new(),
            rust: None,
            ninja: self.ninja.to_owned(),
            cmake: None,
        };
        let store = folder.join("store");
        Config {
            socket: Some(socket(folder)),
            jobs: self.jobs,
            ..Config::plain(tools, "aarch64-linux-gnu", vec![Sm(110)], folder, &store)
        }
    }
}

/// What the record of costs calls these builds.
pub(super) const PACKAGE: &str = "bench";

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}
