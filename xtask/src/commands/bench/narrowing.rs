//! `bench narrowing`: what it saves to compile for the target's chips alone.

use clap::Args;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::cuda_file::CudaFile;
use super::peers::{Compilers, run};
use super::{Times, ratio, seconds, toolchain};

/// Compiles one CUDA file for the chips that a package asks for, and for the target's alone.
#[derive(Debug, Args)]
pub struct Narrowing {
    #[command(flatten)]
    file: CudaFile,
    /// What the package asks for, as `-gencode` has it; the default is causal-conv1d's
    #[arg(long, value_name = "ARCH,CODE", default_values_t = UPSTREAM.map(str::to_owned))]
    gencode: Vec<String>,
    /// How many times each is compiled, in turn; medians are compared
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// What causal-conv1d 1.7.0 asks of nvcc 13.0 (its setup.py).
const UPSTREAM: [&str; 9] = [
    "arch=compute_75,code=sm_75",
    "arch=compute_80,code=sm_80",
    "arch=compute_87,code=sm_87",
    "arch=compute_90,code=sm_90",
    "arch=compute_100,code=sm_100",
    "arch=compute_120,code=sm_120",
    "arch=compute_103,code=sm_103",
    "arch=compute_110,code=sm_110",
    "arch=compute_121,code=sm_121",
];

/// Medians; `docs/schemas/bench-narrowing.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Output {
    file: String,
    asked: usize,
    narrowed: usize,
    runs: usize,
    asked_wall_ms: u64,
    asked_cpu_ms: u64,
    narrowed_wall_ms: u64,
    narrowed_cpu_ms: u64,
}

impl Narrowing {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.runs > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let toolchain = toolchain(&session)?;
        let folder = tempfile::tempdir()?;
        let (file, base) = self.file.words(&session, &Compilers(&toolchain), folder.path())?;
        let target: Vec<String> = toolchain
            .target
            .sm
            .iter()
            .map(|sm| format!("arch=compute_{0},code=sm_{0}", sm.0))
            .collect();
        let measure = |gencodes: &[String]| {
            let gencodes = gencodes.iter().map(|gencode| format!("-gencode={gencode}"));
            let words: Vec<String> = base.iter().cloned().chain(gencodes).collect();
            Times::of(|| run(folder.path(), &words, &[]))
        };
        let (mut asked, mut narrowed) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            asked.push(measure(&self.gencode)?);
            narrowed.push(measure(&target)?);
        }
        let (all, own) = (Times::median(&asked), Times::median(&narrowed));
        let output = Output {
            file: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            asked: self.gencode.len(),
            narrowed: target.len(),
            runs: self.runs,
            asked_wall_ms: all.wall_ms,
            asked_cpu_ms: all.cpu_ms,
            narrowed_wall_ms: own.wall_ms,
            narrowed_cpu_ms: own.cpu_ms,
        };
        match self.format {
            Format::Json => print_json(&output)?,
            Format::Text => {
                let Output { file, asked, narrowed, runs, .. } = &output;
                println!(
                    "`{file}` for {asked} and for {narrowed} architectures, medians of {runs}"
                );
                println!(
                    "wall  {:8.2} s  {:8.2} s  {:5.2} times",
                    seconds(output.asked_wall_ms),
                    seconds(output.narrowed_wall_ms),
                    ratio(output.asked_wall_ms, output.narrowed_wall_ms)
                );
                println!(
                    "CPU   {:8.2} s  {:8.2} s  {:5.2} times",
                    seconds(output.asked_cpu_ms),
                    seconds(output.narrowed_cpu_ms),
                    ratio(output.asked_cpu_ms, output.narrowed_cpu_ms)
                );
            }
        }
        Ok(crate::exit_codes::SUCCESS)
    }
}
