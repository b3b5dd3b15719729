//! `bench memory`: a set of files of which not as many fit into memory as there are processors.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use crosswheel::actions::{CostBook, milliseconds};
use crosswheel::exec::{Command, Interrupt};
use crosswheel::toolchain::Toolchain;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::bare::{Bare, PACKAGE, Programs};
use super::{seconds, toolchain};

/// Compiles C++ files, some of which take gigabytes: by ninja alone with each number of jobs, and
/// through crosswheel, which learns in the first build what they take. To be run in a control group
/// with a limit, whose kernel then kills what does not fit.
#[derive(Debug, Args)]
pub struct Memory {
    /// How many files take much
    #[arg(long, default_value_t = 4)]
    large: usize,
    /// How many take little
    #[arg(long, default_value_t = 12)]
    small: usize,
    /// How many classes a large file has, of 18 kB each
    #[arg(long, default_value_t = 200_000)]
    classes: usize,
    /// How many compilers run at once, at most
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// How many times as many classes a large file has.
const LARGE_TO_SMALL: usize = 12;

const SOURCE: &str = "template <int N> struct cell {\n\
    int values[N + 1]; cell *next;\n\
    int a(int x) const { return x + N; } int b(cell y) const { return a(y.values[0]); }\n\
    int c(int x, cell *y) const { return x - N; } static int d(const cell &y) { return y.c(1, y.next); }\n\
    cell(); cell(const cell &); cell &operator=(const cell &); ~cell(); operator int() const;\n\
    };\n\
    template <int... I> struct table { static constexpr unsigned long sizes[] = { sizeof(cell<I>)... }; };\n\
    template <int N> using numbers = table<__integer_pack(N)...>;\n\
    unsigned long last = numbers<COUNT>::sizes[COUNT - 1];\n";

/// `docs/schemas/bench-memory.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Output {
    large: usize,
    small: usize,
    builds: Vec<Row>,
}

/// One build.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// None where a compiler was killed, and the build with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_ms: Option<u64>,
    /// How many processes the kernel killed for memory.
    kills: u64,
    /// The largest peak memory of one compiler, in bytes, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
}

impl Memory {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::ensure!(self.large + self.small > 0, "there is nothing to measure");
        let session = Session::open(&self.session)?;
        let toolchain = toolchain(&session)?;
        let folder = tempfile::tempdir()?;
        let mut builds = Vec::new();
        let programs = Programs { ninja: toolchain.ninja.clone(), compiler: toolchain.cxx.clone() };
        for jobs in 1..=self.jobs {
            let place = folder.path().join(format!("ninja-{jobs}"));
            let row = self.build(&place, &toolchain, &programs, jobs)?;
            builds.push(Row { name: format!("ninja -j{jobs}"), ..row });
        }
        let costs = folder.path().join("costs.json");
        for name in ["first", "again"] {
            let row = self.wrapped(&folder.path().join(name), &toolchain, &costs)?;
            builds.push(Row { name: format!("crosswheel, {name}"), ..row });
        }
        let output = Output { large: self.large, small: self.small, builds };
        match self.format {
            Format::Json => print_json(&output)?,
            Format::Text => print_text(&output),
        }
        Ok(crate::exit_codes::SUCCESS)
    }

    /// One build through crosswheel, which keeps what compilers took.
    fn wrapped(&self, place: &Path, toolchain: &Toolchain, costs: &Path) -> anyhow::Result<Row> {
        let (ninja, compiler) = (&*toolchain.ninja, &*toolchain.cxx);
        let bare = Bare { ninja, compiler, jobs: self.jobs, costs };
        let (row, actions) =
            bare.run(place, |wrapped| self.build(place, toolchain, wrapped, self.jobs))?;
        let mut book = CostBook::load(costs);
        for action in &actions {
            book.record(PACKAGE, action);
        }
        book.save()?;
        let peak_memory = actions.iter().map(|action| action.peak_memory).max();
        Ok(Row { peak_memory, ..row })
    }

    /// One build in a new folder, which has no name yet.
    fn build(
        &self,
        folder: &Path,
        toolchain: &Toolchain,
        programs: &Programs,
        jobs: usize,
    ) -> anyhow::Result<Row> {
        let (before, log) = (kills()?, folder.join("ninja.log"));
        fs_err::create_dir_all(folder)?;
        fs_err::write(folder.join("file.cpp"), SOURCE)?;
        let mut rules = format!(
            "rule cxx\n  command = {} -B{}/ -c file.cpp -o $out -DCOUNT=$count\n",
            programs.compiler.display(),
            toolchain.binutils.display()
        );
        let small = (self.classes / LARGE_TO_SMALL).max(1);
        let files = [("large", self.large, self.classes), ("small", self.small, small)];
        for (kind, count, classes) in files {
            for n in 0..count {
                writeln!(rules, "build {kind}_{n}.o: cxx\n  count = {classes}")?;
            }
        }
        fs_err::write(folder.join("build.ninja"), rules)?;
        let finished = Command::new(&programs.ninja, folder)
            .arg(format!("-j{jobs}"))
            .variable("PATH", "/usr/bin:/bin")
            .log(&log)
            .run(&Interrupt::new())
            .map_err(crosswheel::Error::from)?;
        let kills = kills()? - before;
        let wall_ms = finished.status.success().then(|| milliseconds(finished.wall));
        if wall_ms.is_none() && kills == 0 {
            anyhow::bail!("a compiler failed:\n{}", fs_err::read_to_string(log)?);
        }
        Ok(Row { name: String::new(), wall_ms, kills, peak_memory: None })
    }
}

/// How many processes the kernel has killed for memory since it runs, in control groups too
/// (`/proc/vmstat`).
fn kills() -> anyhow::Result<u64> {
    let text = fs_err::read_to_string("/proc/vmstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(line.map(str::parse).transpose()?.unwrap_or(0))
}

fn print_text(output: &Output) {
    println!("{} large files and {} small ones", output.large, output.small);
    println!("build               wall s  killed  largest compiler");
    for Row { name, wall_ms, kills, peak_memory } in &output.builds {
        let wall = wall_ms.map_or("died".to_owned(), |wall| format!("{:.1}", seconds(wall)));
        let peak =
            peak_memory.map_or_else(String::new, |peak| indicatif::HumanBytes(peak).to_string());
        println!("{name:18} {wall:>7} {kills:7}  {peak:>16}");
    }
}
