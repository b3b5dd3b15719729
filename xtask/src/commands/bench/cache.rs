//! `bench cache`: builds with the real compilers, alone, through crosswheel, and out of its cache.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use crosswheel::actions::{Action, CacheStore, CostBook, Server, ServerOptions, milliseconds};
use crosswheel::cache::{Caching, Objects, Scope};
use crosswheel::exec::{Interrupt, Isolation, Sandbox};
use crosswheel::report::Silent;
use crosswheel::toolchain::Toolchain;
use crosswheel::wrapper::{self, Config, Toolkit, Torch};
use indexmap::IndexMap;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::peers::{Compilers, Peer, Peers, run};
use super::{Times, median, ratio, seconds, toolchain};

/// Builds CUDA and C++ files and links them: with ninja and the compilers alone, and through
/// crosswheel with an empty cache, a full one, and a full one in another folder.
#[derive(Debug, Args)]
pub struct Cache {
    /// How many files are compiled; every other one is CUDA
    #[arg(long, default_value_t = 8)]
    files: usize,
    /// How many builds of each kind are made, in turn; their medians are compared
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How many compilers run at once
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    #[command(flatten)]
    peers: Peers,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

const CUDA: &str = "#include <cub/cub.cuh>\n\
    __global__ void sum_N(const float *in, float *out) {\n\
    using Sum = cub::BlockReduce<float, 256>;\n\
    __shared__ typename Sum::TempStorage storage;\n\
    const float sum = Sum(storage).Sum(in[threadIdx.x]);\n\
    if (threadIdx.x == 0) *out = sum + N;\n}\n";

const CXX: &str = "#include <iostream>\n#include <map>\n#include <regex>\n#include <string>\n\
    int count_N(const std::string &text) {\n\
    std::map<std::string, int> words;\n\
    std::regex word(\"[a-z]+N\");\n\
    for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i)\n\
    ++words[i->str()];\n\
    std::cout << words.size();\n\
    return int(words.size());\n}\n";

/// One build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Built {
    wall_ms: u64,
    cpu_ms: u64,
    slowest_ms: u64,
    hits: usize,
}

/// Medians; `docs/schemas/bench-cache.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Output {
    files: usize,
    jobs: usize,
    runs: usize,
    builds: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    wall_ms: u64,
    cpu_ms: u64,
    slowest_ms: u64,
    hits: usize,
}

impl Row {
    fn of(name: String, builds: &[Built]) -> Self {
        let of = |value: fn(&Built) -> u64| median(builds.iter().map(value).collect());
        Self {
            name,
            wall_ms: of(|built| built.wall_ms),
            cpu_ms: of(|built| built.cpu_ms),
            slowest_ms: of(|built| built.slowest_ms),
            hits: builds.iter().map(|built| built.hits).min().unwrap_or(0),
        }
    }
}

impl Cache {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0 && self.files > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let toolchain = toolchain(&session)?;
        let folder = tempfile::tempdir()?;
        let bench = Bench {
            session: &session,
            toolchain: &toolchain,
            root: folder.path(),
            jobs: self.jobs,
        };
        let names = ["plain", "cold", "warm", "moved"];
        let mut builds: [Vec<Built>; 4] = Default::default();
        let mut others: IndexMap<String, Vec<Built>> = IndexMap::new();
        for run in 0..self.runs {
            let objects = Objects::new(folder.path().join(format!("objects-{run}")));
            let place = |name: &str| bench.place(&format!("{name}-{run}"), self.files, &objects);
            let (first, second, plain) = (place("first")?, place("second")?, place("plain")?);
            let (cold, actions) = first.build()?;
            builds[1].push(cold);
            builds[0].push(plain.build_plain(&actions)?);
            first.clean(&actions)?;
            builds[2].push(first.build()?.0);
            builds[3].push(second.build()?.0);
            let caches = folder.path().join(format!("peers-{run}"));
            for peer in self.peers.start(&caches)? {
                for (build, place) in [("cold", "first"), ("warm", "first"), ("moved", "second")] {
                    let place = caches.join(format!("{}-{place}", peer.name));
                    let built = build_by(&peer, &Compilers(&toolchain), &place, self.files)?;
                    others.entry(format!("{} {build}", peer.name)).or_default().push(built);
                }
            }
        }
        let ours = names.into_iter().map(str::to_owned).zip(&builds);
        let rows = ours.map(|(name, builds)| Row::of(name, builds));
        let others = others.into_iter().map(|(name, builds)| Row::of(name, &builds));
        let rows = rows.chain(others);
        let (files, jobs, runs) = (self.files, self.jobs, self.runs);
        let output = Output { files, jobs, runs, builds: rows.collect() };
        match self.format {
            Format::Json => print_json(&output)?,
            Format::Text => print_text(&output),
        }
        Ok(crate::exit_codes::SUCCESS)
    }
}

fn print_text(output: &Output) {
    let Output { files, jobs, runs, builds } = output;
    println!("{files} files and a link, {jobs} at once, medians of {runs}");
    println!("build          wall s  CPU s   CPU to plain  slowest action s  hits");
    let plain = builds.first().map_or(1, |row| row.cpu_ms);
    for row in builds {
        println!(
            "{:13} {:7.2} {:6.2} {:14.3} {:17.3} {:5}",
            row.name,
            seconds(row.wall_ms),
            seconds(row.cpu_ms),
            ratio(row.cpu_ms, plain),
            seconds(row.slowest_ms),
            row.hits
        );
    }
}

/// Compiles the same files one by one through another cache, outside of any sandbox, and links them.
/// Processor time of a server is not in it.
fn build_by(
    peer: &Peer,
    compilers: &Compilers<'_>,
    place: &Path,
    files: usize,
) -> anyhow::Result<Built> {
    fs_err::create_dir_all(place)?;
    let mut link = vec![compilers.0.cxx.display().to_string()];
    link.push(format!("--sysroot={}", compilers.0.sysroot.display()));
    link.extend(["-shared", "-o", "all.so"].map(str::to_owned));
    let hits = peer.hits()?;
    let mut slowest = Duration::ZERO;
    let mut compiles = Vec::new();
    for file in 0..files {
        let (text, source, is_cuda) = source(file);
        fs_err::write(place.join(&source), text)?;
        let object = format!("file_{file}.o");
        let words = if is_cuda {
            let mut words = compilers.nvcc(&source, &object);
            words.push("-gencode=arch=compute_110,code=sm_110".to_owned());
            words
        } else {
            compilers.cxx(&source, &object)
        };
        compiles.push(words);
        link.push(object);
    }
    let Times { wall_ms, cpu_ms } = Times::of(|| {
        for words in &compiles {
            let begun = Instant::now();
            peer.compile(place, words)?;
            slowest = slowest.max(begun.elapsed());
        }
        run(place, &link, &[])
    })?;
    Ok(Built { wall_ms, cpu_ms, slowest_ms: milliseconds(slowest), hits: peer.hits()? - hits })
}

/// The text of a file, its name, and whether it is CUDA.
pub(super) fn source(file: usize) -> (String, String, bool) {
    let is_cuda = file.is_multiple_of(2);
    let (text, extension) = if is_cuda { (CUDA, "cu") } else { (CXX, "cpp") };
    (text.replace('N', &file.to_string()), format!("file_{file}.{extension}"), is_cuda)
}

struct Bench<'a> {
    session: &'a Session,
    toolchain: &'a Toolchain,
    root: &'a Path,
    jobs: usize,
}

/// A build folder, in a sandbox of its own.
struct Place<'a> {
    bench: &'a Bench<'a>,
    root: PathBuf,
    sandbox: Sandbox,
    objects: Objects,
}

impl<'a> Bench<'a> {
    fn place(&'a self, name: &str, files: usize, objects: &Objects) -> anyhow::Result<Place<'a>> {
        let context = &self.session.context;
        let root = self.root.join(name);
        let tools = root.join("tools");
        fs_err::create_dir_all(&tools)?;
        fs_err::create_dir_all(objects.root())?;
        let executable = std::env::current_exe()?;
        let supervisor =
            wrapper::install_sandbox(&tools, &executable).map_err(crosswheel::Error::from)?;
        let isolation = Isolation::detect(&supervisor, &root, &Interrupt::new())
            .map_err(crosswheel::Error::from)?;
        let sandbox = Sandbox::new(&supervisor, isolation, &root)
            .readable(objects.root())
            .store(context.store.root());
        let place = Place { bench: self, root, sandbox, objects: objects.clone() };
        place.fill(files)?;
        let toolkit = Toolkit { root: &self.toolchain.cuda, include: &self.toolchain.cuda_include };
        wrapper::install(&tools, &executable, &place.config(), toolkit)
            .map_err(crosswheel::Error::from)?;
        Ok(place)
    }
}

impl Place<'_> {
    /// Writes sources, and the ninja file of a build through the wrappers.
    fn fill(&self, files: usize) -> anyhow::Result<()> {
        let tools = self.inside("tools");
        let mut rules = format!(
            "rule cuda\n  command = {0}/nvcc -c $in -o $out -O2 -std=c++17 -Xcompiler -fPIC \
             -gencode arch=compute_110,code=sm_110\n\
             rule cxx\n  command = {0}/g++ -c $in -o $out -O2 -fPIC\n\
             rule link\n  command = {0}/g++ -shared $in -o $out\n",
            tools.display()
        );
        let mut objects = String::new();
        for file in 0..files {
            let (text, name, is_cuda) = source(file);
            fs_err::write(self.root.join(&name), text)?;
            let rule = if is_cuda { "cuda" } else { "cxx" };
            writeln!(rules, "build file_{file}.o: {rule} {name}")?;
            write!(objects, " file_{file}.o")?;
        }
        writeln!(rules, "build all.so: link{objects}")?;
        Ok(fs_err::write(self.root.join("build.ninja"), rules)?)
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.sandbox.inside(&self.root).join(name)
    }

    fn config(&self) -> Config {
        let view = self.sandbox.view();
        let store = self.bench.session.context.store.root();
        let toolchain = self.bench.toolchain.renamed(|path| view.inside(path));
        let build = view.inside(&self.root);
        let torch = Torch { root: "/nowhere".into(), cxx_standard: 17 };
        let mut config =
            Config::new(&toolchain, &build, &view.inside(store), torch, self.bench.jobs);
        // Commands are recorded as they are, to be run without the wrappers.
        config.prefix_map.clear();
        config.socket = Some(build.join("socket"));
        let (tools, components) = (build.join("tools"), store.join("components"));
        config.cache = Some(Caching {
            objects: view.inside(self.objects.root()),
            incoming: build.join("incoming"),
            tracer: tools.join("trace"),
            compilers: toolchain.device_compilers,
            aliases: toolchain.aliases.clone(),
            torch: PathBuf::new(),
            scope: Scope {
                fixed: vec![view.inside(&components), components, tools],
                build,
                ..Scope::default()
            },
            shared: false,
        });
        config
    }

    fn build(&self) -> anyhow::Result<(Built, Vec<Action>)> {
        let server = Server::start(ServerOptions {
            socket: self.root.join("socket"),
            log: self.root.join("actions.jsonl"),
            jobs: self.bench.jobs,
            memory: None,
            running: None,
            reporter: Arc::new(Silent),
            until: None,
            costs: CostBook::load(&self.root.join("costs.json")),
            package: "bench".to_owned(),
            cache: Some(CacheStore {
                objects: self.objects.clone(),
                incoming: self.root.join("incoming"),
                shared: None,
            }),
        });
        let server = server.map_err(crosswheel::Error::from)?;
        let built = self.ninja(&self.inside("tools/ninja"), &[])?;
        let actions = server.finish().actions;
        let built = Built {
            slowest_ms: actions.iter().map(|action| action.wall_ms).max().unwrap_or(0),
            hits: actions.iter().filter(|action| action.restored.is_some()).count(),
            ..built
        };
        Ok((built, actions))
    }

    /// The same commands, by ninja alone.
    fn build_plain(&self, actions: &[Action]) -> anyhow::Result<Built> {
        let mut rules = "rule run\n  command = $words\n".to_owned();
        let objects: Vec<&str> = actions.iter().map(|action| action.label.as_str()).collect();
        for action in actions {
            let words = shlex::try_join(action.command.iter().map(String::as_str))?;
            let inputs = if action.label == "all.so" {
                objects.iter().filter(|label| **label != "all.so").copied().collect()
            } else {
                Vec::new()
            };
            writeln!(rules, "build {}: run {}", action.label, inputs.join(" "))?;
            writeln!(rules, "  words = {}", words.replace('$', "$$"))?;
        }
        fs_err::write(self.root.join("build.ninja"), rules)?;
        let ninja = self.sandbox.inside(&self.bench.toolchain.ninja);
        self.ninja(&ninja, &[format!("-j{}", self.bench.jobs)])
    }

    fn ninja(&self, ninja: &Path, args: &[String]) -> anyhow::Result<Built> {
        let command = self.sandbox.command(ninja, &self.root).map_err(crosswheel::Error::from)?;
        let command = command
            .args(args)
            .variable("PATH", "/usr/bin:/bin")
            .variable("SOURCE_DATE_EPOCH", "315532800");
        let Times { wall_ms, cpu_ms } = Times::of(|| {
            let done = command.check(&Interrupt::new());
            Ok(done.map(|_| ()).map_err(crosswheel::Error::from)?)
        })?;
        Ok(Built { wall_ms, cpu_ms, slowest_ms: 0, hits: 0 })
    }

    fn clean(&self, actions: &[Action]) -> anyhow::Result<()> {
        for action in actions {
            fs_err::remove_file(self.root.join(&action.label))?;
        }
        Ok(())
    }
}
