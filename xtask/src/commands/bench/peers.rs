//! Other caches, and no cache, for the same compiles: outside of any sandbox, as people use them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crosswheel::environment::Environment;
use crosswheel::exec::{Command, Interrupt, capture};
use crosswheel::toolchain::Toolchain;

/// A program that stands before a compiler.
pub(super) struct Peer {
    pub name: &'static str,
    program: PathBuf,
    /// Its entries.
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
    server: Option<Server>,
}

/// sccache's, which is not to outlive the measurement.
struct Server {
    interrupt: Interrupt,
    thread: JoinHandle<()>,
}

/// Where the peers are; those on `PATH` where nothing else is said.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Peers {
    /// The sccache to compare with [default: the one on PATH]
    #[arg(long, value_name = "PATH")]
    sccache: Option<PathBuf>,
    /// The ccache to compare with [default: the one on PATH]
    #[arg(long, value_name = "PATH")]
    ccache: Option<PathBuf>,
}

impl Peers {
    /// Those that are there, each with an empty folder for its entries.
    pub(super) fn start(&self, root: &Path) -> anyhow::Result<Vec<Peer>> {
        let environment = Environment::from_process();
        let mut peers = Vec::new();
        for (name, given) in [("sccache", &self.sccache), ("ccache", &self.ccache)] {
            let program = match given {
                Some(path) => environment.current_dir().join(path),
                None => match capture::find(&environment, name) {
                    Some(path) => path,
                    None => {
                        eprintln!("{name} is not on PATH: nothing is compared with it");
                        continue;
                    }
                },
            };
            let folder = root.join(name);
            fs_err::create_dir_all(&folder)?;
            peers.push(Peer::start(name, program, folder, &environment)?);
        }
        Ok(peers)
    }
}

impl Peer {
    fn start(
        name: &'static str,
        program: PathBuf,
        folder: PathBuf,
        environment: &Environment,
    ) -> anyhow::Result<Self> {
        let mut variables = vec![
            ("CCACHE_DIR", folder.display().to_string()),
            ("CCACHE_TEMPDIR", folder.join("tmp").display().to_string()),
            ("SCCACHE_DIR", folder.display().to_string()),
        ];
        // Where it was unpacked, and not installed, its libraries lie beside it.
        let libraries = environment.text("LD_LIBRARY_PATH").map(str::to_owned);
        variables.extend(libraries.map(|folders| ("LD_LIBRARY_PATH", folders)));
        let mut peer = Self { name, program, folder, variables, server: None };
        if name == "sccache" {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            peer.variables.push(("SCCACHE_SERVER_PORT", port.to_string()));
            let interrupt = Interrupt::new();
            let command = peer
                .command(&[])
                .variable("SCCACHE_START_SERVER", "1")
                .variable("SCCACHE_NO_DAEMON", "1");
            let thread = thread::spawn({
                let interrupt = interrupt.clone();
                move || drop(command.run(&interrupt))
            });
            peer.server = Some(Server { interrupt, thread });
        }
        Ok(peer)
    }

    fn command(&self, args: &[&str]) -> Command {
        Command::new(&self.program, &self.folder)
            .args(args.iter().copied())
            .variable("PATH", "/usr/bin:/bin")
            .variable("HOME", self.folder.as_os_str())
            .variables(self.variables.iter().cloned())
    }

    /// A compile of a source in a folder.
    pub(super) fn compile(&self, folder: &Path, words: &[String]) -> anyhow::Result<()> {
        let program = self.program.display().to_string();
        run(folder, &[&[program], words].concat(), &self.variables)
    }

    /// How many results came out of it so far.
    pub(super) fn hits(&self) -> anyhow::Result<usize> {
        let interrupt = Interrupt::new();
        if self.name == "ccache" {
            let text = self.command(&["--print-stats"]).read(&interrupt);
            let text = text.map_err(crosswheel::Error::from)?;
            let counts = text.lines().filter_map(|line| line.split_once('\t'));
            let hits = counts
                .filter(|(name, _)| matches!(*name, "direct_cache_hit" | "preprocessed_cache_hit"));
            return Ok(hits.filter_map(|(_, count)| count.parse::<usize>().ok()).sum());
        }
        let text = self.command(&["--show-stats", "--stats-format", "json"]).read(&interrupt);
        let stats: serde_json::Value =
            serde_json::from_str(&text.map_err(crosswheel::Error::from)?)?;
        let counts = stats["stats"]["cache_hits"]["counts"].as_object();
        // Parts of a CUDA file have counts of their own.
        let whole = counts
            .into_iter()
            .flatten()
            .filter(|(kind, _)| matches!(kind.as_str(), "CUDA" | "C/C++"));
        let hits: u64 = whole.filter_map(|(_, count)| count.as_u64()).sum();
        Ok(usize::try_from(hits)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(Server { interrupt, thread }) = self.server.take() {
            interrupt.raise();
            let _ = thread.join();
        }
    }
}

/// A compiler in a folder: the first of these words, with the others.
pub(super) fn command(folder: &Path, words: &[String]) -> Command {
    let (program, args) = words.split_first().expect("the words of a command");
    Command::new(program, folder)
        .args(args)
        .variable("PATH", "/usr/bin:/bin")
        .variable("HOME", folder.as_os_str())
        .variable("SOURCE_DATE_EPOCH", "315532800")
}

/// Runs a compiler in a folder.
pub(super) fn run(
    folder: &Path,
    words: &[String],
    variables: &[(&'static str, String)],
) -> anyhow::Result<()> {
    let command = command(folder, words).variables(variables.iter().cloned());
    command.check(&Interrupt::new()).map_err(crosswheel::Error::from)?;
    Ok(())
}

/// The real compilers, as a build without crosswheel calls them.
pub(super) struct Compilers<'a>(pub &'a Toolchain);

impl Compilers<'_> {
    /// nvcc's words, but for the architectures.
    pub(super) fn nvcc(&self, source: &str, object: &str) -> Vec<String> {
        let Toolchain { cuda, cxx, sysroot, .. } = self.0;
        let words = [
            cuda.join("bin/nvcc").display().to_string(),
            "-ccbin".to_owned(),
            cxx.display().to_string(),
            "-Xcompiler".to_owned(),
            format!("--sysroot={}", sysroot.display()),
        ];
        let rest = ["-c", source, "-o", object, "-O2", "-std=c++17", "-Xcompiler", "-fPIC"];
        words.into_iter().chain(rest.map(str::to_owned)).collect()
    }

    /// An object without the names of temporary files, by which no two of nvcc's are the same.
    pub(super) fn content(&self, place: &Path, object: &str) -> anyhow::Result<Vec<u8>> {
        let strip = self.0.binutils.join("strip").display().to_string();
        let words = [&strip, "--strip-unneeded", "-o", "stripped.o", object];
        run(place, &words.map(str::to_owned), &[])?;
        Ok(fs_err::read(place.join("stripped.o"))?)
    }

    /// g++'s words.
    pub(super) fn cxx(&self, source: &str, object: &str) -> Vec<String> {
        let Toolchain { cxx, sysroot, .. } = self.0;
        let words = [cxx.display().to_string(), format!("--sysroot={}", sysroot.display())];
        let rest = ["-c", source, "-o", object, "-O2", "-fPIC"];
        words.into_iter().chain(rest.map(str::to_owned)).collect()
    }
}
