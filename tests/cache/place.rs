//! A build folder with the real compilers, in the sandbox that builds run in, and a cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crosswheel::actions::{Action, CacheStore, CostBook, Server, ServerOptions};
use crosswheel::cache::shared::{Shared, Traffic};
use crosswheel::cache::{Caching, Layers, Objects, Scope};
use crosswheel::context::{Context, Setup};
use crosswheel::environment::Environment;
use crosswheel::exec::{Finished, Interrupt, Isolation, Sandbox};
use crosswheel::report::{Event, Reporter, Silent};
use crosswheel::resolve::{self, Options};
use crosswheel::target::Sm;
use crosswheel::toolchain::{Request, Toolchain};
use crosswheel::wrapper::{self, Config, Toolkit, Torch};

use crate::support::xtask::{XTASK, repository};

/// The compilers for `thor`, and the store that they are in.
pub fn toolchain() -> &'static (Context, Toolchain) {
    static MADE: OnceLock<(Context, Toolchain)> = OnceLock::new();
    MADE.get_or_init(|| {
        let context = Context::new(Setup {
            environment: Environment::from_process(),
            root: repository(),
            store: None,
            reporter: Arc::new(Silent),
            interrupt: Interrupt::new(),
            offline: false,
            executable: XTASK.into(),
        });
        let context = context.unwrap();
        let target = resolve::target(&context, &Options::default()).unwrap();
        let libraries = &BTreeSet::new();
        let request =
            Request { target: &target, python: "3.11", headers: None, libraries, rust: None };
        let toolchain = context.with_provisioner(|p| p.provision(&request)).unwrap();
        (context, toolchain)
    })
}

/// Keeps what is reported.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let warning = |event: &Event| match event {
            Event::Warning(text) => Some(text.clone()),
            _ => None,
        };
        events.iter().filter_map(warning).collect()
    }
}

/// A cache, and the folders that are built in.
pub struct Cache {
    folder: tempfile::TempDir,
    pub reporter: Arc<Recorder>,
    /// A server with entries of other caches.
    pub shared: Option<Arc<Shared>>,
}

/// What a compile gave.
pub struct Compiled {
    pub code: u8,
    pub said: Vec<String>,
    pub action: Option<Action>,
    /// What was had of the cache, layer by layer.
    pub layers: Layers,
    /// What was had of its server.
    pub shared: Option<Traffic>,
}

impl Compiled {
    pub fn is_hit(&self) -> bool {
        self.action.as_ref().is_some_and(|action| action.restored.is_some())
    }

    /// Why nothing was kept of it.
    pub fn unkept(&self) -> Option<&str> {
        let notes = self.action.iter().flat_map(|action| &action.notes);
        notes.into_iter().find_map(|note| note.strip_prefix("not cached: "))
    }
}

/// A build folder.
pub struct Place<'a> {
    cache: &'a Cache,
    root: PathBuf,
    sandbox: Sandbox,
    pub sms: Vec<Sm>,
    /// Variables of the tools.
    pub variables: Vec<(&'static str, String)>,
    /// A stand-in for a compiler, by the name of its field.
    pub stand_ins: Vec<(&'static str, PathBuf)>,
    /// Which torch it is.
    pub torch: &'static str,
    /// Whether the cache is used.
    pub cached: bool,
    /// How many compilers, and threads of theirs, run at once.
    pub jobs: usize,
}

impl Cache {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, reporter: Arc::default(), shared: None }
    }

    pub fn objects(&self) -> Objects {
        Objects::new(self.folder.path().join("objects"))
    }

    /// A new build folder. Where the machine has no namespaces, it has the name that it has.
    pub fn place(&self, name: &str) -> Place<'_> {
        self.place_with(name, None)
    }

    /// One that has the name that it has.
    pub fn place_without_namespaces(&self, name: &str) -> Place<'_> {
        self.place_with(name, Some(Isolation::None { reason: "for a test".to_owned() }))
    }

    fn place_with(&self, name: &str, isolation: Option<Isolation>) -> Place<'_> {
        let (context, _) = toolchain();
        let root = self.folder.path().join(name);
        fs_err::create_dir_all(root.join("tools")).unwrap();
        fs_err::create_dir_all(self.objects().root()).unwrap();
        let supervisor = wrapper::install_sandbox(&root.join("tools"), Path::new(XTASK)).unwrap();
        let detect = || Isolation::detect(&supervisor, &root, &Interrupt::new()).unwrap();
        let isolation = isolation.unwrap_or_else(detect);
        let sandbox = Sandbox::new(&supervisor, isolation, &root)
            .readable(self.objects().root())
            .store(context.store.root());
        Place {
            cache: self,
            root,
            sandbox,
            sms: vec![Sm(110)],
            variables: vec![("SOURCE_DATE_EPOCH", "315532800".to_owned())],
            stand_ins: Vec::new(),
            torch: "components/torch-1",
            cached: true,
            jobs: 1,
        }
    }
}

impl Place<'_> {
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Its folder as the tools call it.
    pub fn inside(&self) -> String {
        self.sandbox.inside(&self.root).display().to_string()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    fn config(&self) -> Config {
        let (context, toolchain) = toolchain();
        let view = self.sandbox.view();
        let store = context.store.root();
        let torch = Torch { root: "/nowhere".into(), cxx_standard: 17 };
        let toolchain = toolchain.renamed(|path| view.inside(path));
        let build = view.inside(&self.root);
        let mut config = Config::new(&toolchain, &build, &view.inside(store), torch, 1);
        config.sms.clone_from(&self.sms);
        config.socket = Some(build.join("socket"));
        for (name, path) in &self.stand_ins {
            let field = match *name {
                "cc" => &mut config.tools.cc,
                "cxx" => &mut config.tools.cxx,
                other => panic!("{other}"),
            };
            *field = view.inside(path);
        }
        let tools = build.join("tools");
        let components = store.join("components");
        let fixed = vec![view.inside(&components), components, tools.clone()];
        config.cache = self.cached.then(|| Caching {
            objects: view.inside(self.cache.objects().root()),
            incoming: build.join("incoming"),
            tracer: tools.join("trace"),
            compilers: toolchain.device_compilers,
            aliases: toolchain.aliases.clone(),
            torch: self.torch.into(),
            scope: Scope { build, fixed, ..Scope::default() },
            shared: self.cache.shared.is_some(),
        });
        config
    }

    /// Runs a wrapper in the build folder.
    pub fn run(&self, tool: &str, args: &str) -> Compiled {
        let (_, toolchain) = toolchain();
        let toolkit = Toolkit { root: &toolchain.cuda, include: &toolchain.cuda_include };
        let tools = self.path("tools");
        wrapper::install(&tools, Path::new(XTASK), &self.config(), toolkit).unwrap();
        let server = Server::start(ServerOptions {
            socket: self.path("socket"),
            log: self.path("actions.jsonl"),
            jobs: self.jobs,
            memory: None,
            running: None,
            reporter: Arc::clone(&self.cache.reporter) as Arc<dyn Reporter>,
            until: None,
            costs: CostBook::load(Path::new("/nonexistent")),
            package: "test".to_owned(),
            cache: Some(CacheStore {
                objects: self.cache.objects(),
                incoming: self.path("incoming"),
                shared: self.cache.shared.clone(),
            }),
        });
        let server = server.unwrap();
        let finished = self.command(tool, args);
        let served = server.finish();
        Compiled {
            code: finished.code(),
            said: finished.tail,
            action: served.actions.into_iter().next_back(),
            layers: served.layers,
            shared: served.shared,
        }
    }

    fn command(&self, tool: &str, args: &str) -> Finished {
        let program = self.sandbox.inside(&self.path("tools")).join(tool);
        let variables = self.variables.iter().map(|(name, value)| (*name, value));
        let command = self.sandbox.command(program, &self.root).unwrap();
        command
            .args(args.split_ascii_whitespace())
            .variable("PATH", "/usr/bin:/bin")
            .variables(variables)
            .run(&Interrupt::new())
            .unwrap()
    }

    /// Runs a wrapper that must succeed.
    #[track_caller]
    pub fn compile(&self, tool: &str, args: &str) -> Compiled {
        let compiled = self.run(tool, args);
        assert_eq!(compiled.code, 0, "{:?}", compiled.said);
        assert!(compiled.action.is_some(), "{args} is no action");
        compiled
    }
}
