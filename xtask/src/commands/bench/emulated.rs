//! `bench emulated`: the compilers' tools of the target's processor, under emulation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use crosswheel::exec::{Interrupt, capture};
use crosswheel::prove::emulate;
use crosswheel::toolchain::{Request, cuda};
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::cuda_file::CudaFile;
use super::peers::{Compilers, command, run};
use super::{PYTHON, Times, ratio, seconds, toolchain};

/// Runs cudafe++, cicc, ptxas and g++'s cc1plus on one file: those that run here, and those of aarch64
/// by qemu, with the same words and files; compares times and what they make.
#[derive(Debug, Args)]
pub struct Emulated {
    #[command(flatten)]
    file: CudaFile,
    /// How many times each runs, in turn; medians are compared
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// One tool's medians; `docs/schemas/bench-emulated.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Phase {
    tool: String,
    here_wall_ms: u64,
    here_cpu_ms: u64,
    emulated_wall_ms: u64,
    emulated_cpu_ms: u64,
    same: bool,
}

/// A command line of nvcc's.
enum Step {
    /// One that is measured, and what it writes.
    Measured { tool: &'static str, words: Vec<String>, outputs: Vec<PathBuf> },
    /// One that the next ones need.
    Other(Vec<String>),
}

const TOOLS: [&str; 3] = ["cudafe++", "cicc", "ptxas"];
/// The compiler behind g++.
const CC1PLUS: &str = "cc1plus";
/// What of nvcc's words for g++ that compiler is told.
const FLAGS: [&str; 3] = ["-O", "-f", "-std="];

impl Emulated {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let context = &session.context;
        let toolchain = toolchain(&session)?;
        let libraries = &BTreeSet::new();
        let request = Request {
            target: &toolchain.target,
            python: PYTHON,
            headers: None,
            libraries,
            rust: None,
        };
        let names = ["qemu", ROOT, EMULATED];
        let parts =
            context.with_provisioner(|provisioner| provisioner.components(&names, &request))?;
        let [qemu, root, tools] = names.map(|name| &parts.0[name].path);
        let mut emulator = vec![qemu.join("usr/bin/qemu-aarch64").display().to_string()];
        let own = emulate(root, Some(&tools.join("usr/lib/aarch64-linux-gnu")));
        emulator.extend(own.iter().map(|arg| arg.to_string_lossy().into_owned()));
        let folder = tempfile::tempdir()?;
        let (_, mut words) = self.file.words(&session, &Compilers(&toolchain), folder.path())?;
        let further = ["-objtemp", "-gencode=arch=compute_110,code=sm_110", "--dryrun"];
        words.extend(further.map(str::to_owned));
        let mut phases = Vec::new();
        for step in steps(folder.path(), &toolchain.cuda, &words)? {
            let (tool, words, outputs) = match step {
                Step::Measured { tool, words, outputs } => (tool, words, outputs),
                Step::Other(words) => {
                    run(folder.path(), &words, &[])?;
                    continue;
                }
            };
            let (own, other) = match tool {
                CC1PLUS => {
                    let said = capture::capture(&toolchain.cxx, ["-print-prog-name=cc1plus"])?;
                    let own = String::from_utf8(said.stdout)?;
                    let other = tools.join("usr/libexec/gcc/aarch64-linux-gnu/14/cc1plus");
                    (own.trim().into(), other)
                }
                _ => (cuda::tool(&toolchain.cuda, tool), cuda::tool(tools, tool)),
            };
            let emulated = [&emulator[..], &[other.display().to_string()], &words].concat();
            let own = [&[own.display().to_string()][..], &words].concat();
            let (mut times, mut emulated_times, mut same) = (Vec::new(), Vec::new(), true);
            for _ in 0..self.runs {
                emulated_times.push(Times::of(|| run(folder.path(), &emulated, &[]))?);
                let made = contents(folder.path(), &outputs)?;
                // The last, so that what follows has the files of this machine's tools.
                times.push(Times::of(|| run(folder.path(), &own, &[]))?);
                same &= made == contents(folder.path(), &outputs)?;
            }
            let (own, emulated) = (Times::median(&times), Times::median(&emulated_times));
            phases.push(Phase {
                tool: tool.to_owned(),
                here_wall_ms: own.wall_ms,
                here_cpu_ms: own.cpu_ms,
                emulated_wall_ms: emulated.wall_ms,
                emulated_cpu_ms: emulated.cpu_ms,
                same,
            });
        }
        match self.format {
            Format::Json => print_json(&phases)?,
            Format::Text => print_text(&phases),
        }
        Ok(crate::exit_codes::SUCCESS)
    }
}

/// What nvcc would run, in its order, without its last, the assembler and what only tidies up.
fn steps(folder: &Path, cuda: &Path, words: &[String]) -> anyhow::Result<Vec<Step>> {
    let said = command(folder, words).log(folder.join("dryrun")).run(&Interrupt::new());
    said.map_err(crosswheel::Error::from)?;
    let text = fs_err::read_to_string(folder.join("dryrun"))?;
    let mut steps = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("#$ ")) {
        let Some(mut words) = shlex::split(line) else { continue };
        let Some(program) = words.first().cloned() else { continue };
        let name = program.rsplit('/').next().unwrap_or_default();
        let is_compile = |word: &String| word == "-c";
        if let Some(tool) = TOOLS.into_iter().find(|tool| *tool == name) {
            words.remove(0);
            steps.push(Step::Measured { tool, outputs: outputs(tool, &words), words });
        } else if name == "fatbinary" {
            words[0] = cuda.join("bin").join(name).display().to_string();
            steps.push(Step::Other(words));
        } else if words.iter().any(|word| word == "-E") {
            steps.push(Step::Other(words));
        } else if let Some(at) = words.iter().position(is_compile) {
            let flags = words.iter().filter(|word| FLAGS.iter().any(|flag| word.starts_with(flag)));
            let rest = ["-quiet", "-fpreprocessed", "host.ii", "-o", "host.s"].map(str::to_owned);
            let compile = flags.cloned().chain(rest).collect();
            "-E".clone_into(&mut words[at]);
            let output = words.windows(2).position(|pair| pair[0] == "-o").map(|at| at + 1);
            "host.ii".clone_into(&mut words[output.context("g++ writes nowhere")?]);
            steps.push(Step::Other(words));
            let outputs = vec!["host.s".into()];
            steps.push(Step::Measured { tool: CC1PLUS, words: compile, outputs });
        }
    }
    let measured = steps.iter().filter(|step| matches!(step, Step::Measured { .. })).count();
    anyhow::ensure!(measured == TOOLS.len() + 1, "`{}` runs other tools", cuda.display());
    Ok(steps)
}

/// The component with the emulated tools.
const EMULATED: &str = "emulated-tools";

/// What the emulated tools find their libraries in.
const ROOT: &str = "target-root";

fn print_text(phases: &[Phase]) {
    println!("tool       here CPU s  emulated CPU s  times  bytes");
    for phase in phases {
        println!(
            "{:9} {:11.2} {:15.2} {:6.1}  {}",
            phase.tool,
            seconds(phase.here_cpu_ms),
            seconds(phase.emulated_cpu_ms),
            ratio(phase.emulated_cpu_ms, phase.here_cpu_ms),
            if phase.same { "the same" } else { "others" }
        );
    }
}

/// The files that a tool writes.
fn outputs(tool: &str, words: &[String]) -> Vec<PathBuf> {
    let options: &[&str] = match tool {
        "cudafe++" => &["--gen_c_file_name", "--module_id_file_name"],
        "cicc" => &["--gen_c_file_name", "--stub_file_name", "--gen_device_file_name", "-o"],
        _ => &["-o"],
    };
    let pairs = words.windows(2).filter(|pair| options.contains(&pair[0].as_str()));
    pairs.map(|pair| PathBuf::from(&pair[1])).collect()
}

fn contents(folder: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    files.iter().map(|file| Ok(fs_err::read(folder.join(file))?)).collect()
}
