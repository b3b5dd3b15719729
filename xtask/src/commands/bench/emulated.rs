//! `bench emulated`: nvcc's tools of the target's processor, under emulation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use crosswheel::exec::{Command, Interrupt};
use crosswheel::toolchain::Request;
use serde::Serialize;

use super::super::common::{Format, Headers, Machine, Session, SessionArgs, print_json};
use super::peers::Compilers;
use super::{cpu_ms, median};

/// Runs cudafe++, cicc and ptxas on one file: those that run here, and those of aarch64 by qemu, with
/// the same words and files; compares times and what they make.
#[derive(Debug, Args)]
pub struct Emulated {
    /// The folder `nvidia/cu13` of the aarch64 packages of nvcc and nvvm, unpacked
    #[arg(long, value_name = "DIR")]
    tools: PathBuf,
    /// The CUDA file; without one, a small one with CUB
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Further words for nvcc, such as `-I DIR`
    #[arg(long = "flag", value_name = "WORD", allow_hyphen_values = true)]
    flags: Vec<String>,
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

/// A command line of nvcc's, and what it writes.
struct Step {
    tool: &'static str,
    words: Vec<String>,
    outputs: Vec<PathBuf>,
}

const TOOLS: [&str; 3] = ["cudafe++", "cicc", "ptxas"];

impl Emulated {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let context = &session.context;
        let machine =
            Machine { target: None, python: Some("3.11".into()), headers: Headers::default() };
        let toolchain = machine.toolchain(context)?;
        let libraries = &BTreeSet::new();
        let request = Request {
            target: &toolchain.target,
            python: "3.11",
            headers: None,
            libraries,
            rust: None,
        };
        let parts = context
            .with_provisioner(|provisioner| provisioner.components(&["qemu", ROOT], &request))?;
        let (qemu, root) = (&parts.0["qemu"].path, &parts.0[ROOT].path);
        let emulator = [
            qemu.join("usr/bin/qemu-aarch64").display().to_string(),
            "-cpu".to_owned(),
            "neoverse-n2".to_owned(),
            "-L".to_owned(),
            root.display().to_string(),
        ];
        let folder = tempfile::tempdir()?;
        let here = context.environment.current_dir();
        let source = match &self.file {
            Some(file) => here.join(file),
            None => {
                let path = folder.path().join("sum.cu");
                fs_err::write(&path, super::cache::source(0).0)?;
                path
            }
        };
        let mut words = Compilers(&toolchain).nvcc(&source.display().to_string(), "sum.o");
        words.extend(self.flags.clone());
        let further = ["-objtemp", "-gencode=arch=compute_110,code=sm_110", "--dryrun"];
        words.extend(further.map(str::to_owned));
        let cuda = &toolchain.cuda;
        let mut phases = Vec::new();
        for step in self.steps(folder.path(), cuda, &words)? {
            let own = real(cuda, step.tool);
            let other = real(&here.join(&self.tools), step.tool);
            let emulated = [&emulator[..], &[other.display().to_string()], &step.words].concat();
            let own = [&[own.display().to_string()][..], &step.words].concat();
            let (mut times, mut emulated_times, mut same) = (Vec::new(), Vec::new(), true);
            for _ in 0..self.runs {
                emulated_times.push(timed(folder.path(), &emulated)?);
                let made = contents(folder.path(), &step.outputs)?;
                // The last, so that what follows has the files of this machine's tools.
                times.push(timed(folder.path(), &own)?);
                same &= made == contents(folder.path(), &step.outputs)?;
            }
            let of = |times: &[(u64, u64)], pick: fn(&(u64, u64)) -> u64| {
                median(times.iter().map(pick).collect())
            };
            phases.push(Phase {
                tool: step.tool.to_owned(),
                here_wall_ms: of(&times, |time| time.0),
                here_cpu_ms: of(&times, |time| time.1),
                emulated_wall_ms: of(&emulated_times, |time| time.0),
                emulated_cpu_ms: of(&emulated_times, |time| time.1),
                same,
            });
        }
        match self.format {
            Format::Json => print_json(&phases)?,
            Format::Text => print_text(&phases),
        }
        Ok(crate::exit_codes::SUCCESS)
    }

    /// What nvcc would run of these tools, after the preprocessors have run.
    fn steps(&self, folder: &Path, cuda: &Path, words: &[String]) -> anyhow::Result<Vec<Step>> {
        let said = command(folder, words).log(folder.join("dryrun")).run(&Interrupt::new());
        said.map_err(crosswheel::Error::from)?;
        let text = fs_err::read_to_string(folder.join("dryrun"))?;
        let mut steps = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("#$ ")) {
            let Some(mut words) = shlex::split(line) else { continue };
            let Some(program) = words.first().cloned() else { continue };
            let name = program.rsplit('/').next().unwrap_or_default();
            if let Some(tool) = TOOLS.into_iter().find(|tool| *tool == name) {
                words.remove(0);
                steps.push(Step { tool, outputs: outputs(tool, &words), words });
            } else if words.iter().any(|word| word == "-E") {
                timed(folder, &words)?;
            }
        }
        anyhow::ensure!(steps.len() == TOOLS.len(), "`{}` runs other tools", cuda.display());
        Ok(steps)
    }
}

/// What the emulated tools find their libraries in.
const ROOT: &str = "target-root";

fn print_text(phases: &[Phase]) {
    println!("tool       here CPU s  emulated CPU s  times  bytes");
    for phase in phases {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        println!(
            "{:9} {:11.2} {:15.2} {:6.1}  {}",
            phase.tool,
            seconds(phase.here_cpu_ms),
            seconds(phase.emulated_cpu_ms),
            phase.emulated_cpu_ms as f64 / phase.here_cpu_ms.max(1) as f64,
            if phase.same { "the same" } else { "others" }
        );
    }
}

fn real(cuda: &Path, tool: &str) -> PathBuf {
    let in_nvvm = cuda.join("nvvm/bin").join(tool);
    if in_nvvm.exists() { in_nvvm } else { cuda.join("bin").join(tool) }
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

fn command(folder: &Path, words: &[String]) -> Command {
    Command::new(&words[0], folder)
        .args(&words[1..])
        .variable("PATH", "/usr/bin:/bin")
        .variable("SOURCE_DATE_EPOCH", "315532800")
}

/// Runs a tool; wall and processor time, in milliseconds.
fn timed(folder: &Path, words: &[String]) -> anyhow::Result<(u64, u64)> {
    let (begun, before) = (Instant::now(), cpu_ms()?);
    let finished = command(folder, words).check(&Interrupt::new());
    finished.map_err(crosswheel::Error::from)?;
    Ok((u64::try_from(begun.elapsed().as_millis())?, cpu_ms()? - before))
}
