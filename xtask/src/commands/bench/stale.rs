//! `bench stale`: edits after which a cache must not give what it had before.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::super::common::{Format, Session, SessionArgs, print_json};
use super::peers::{Compilers, Peer, Peers, run};
use super::toolchain;

/// Compiles files, edits them, and compiles them again through other caches: counts the objects that
/// are not what the compiler makes of the edited files. crosswheel's own answers to such edits are
/// tests (`cargo xtask test stale`)
#[derive(Debug, Args)]
pub struct Stale {
    #[command(flatten)]
    peers: Peers,
    /// text, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    session: SessionArgs,
}

/// An edit, and what else there is.
struct Edit {
    name: &'static str,
    before: &'static str,
    after: &'static str,
    /// Files that come with the edit.
    added: &'static [(&'static str, &'static str)],
}

const HEAD: &str = "#include \"first/../only.h\"\n__global__ void k(int *o) { *o = 1; }\n";

const EDITS: [Edit; 6] = [
    Edit {
        name: "under #ifndef __CUDA_ARCH__",
        before: "#ifndef __CUDA_ARCH__\nint host() { return 1; }\n#endif\n",
        after: "#ifndef __CUDA_ARCH__\nint host() { return 2; }\n#endif\n",
        added: &[],
    },
    Edit {
        name: "under __CUDA_ARCH__ >= 1100",
        before: "__global__ void a(int *o) {\n#if __CUDA_ARCH__ >= 1100\n*o = 1;\n#endif\n}\n",
        after: "__global__ void a(int *o) {\n#if __CUDA_ARCH__ >= 1100\n*o = 2;\n#endif\n}\n",
        added: &[],
    },
    Edit {
        name: "under __CUDA_ARCH__ < 1100",
        before: "__global__ void a(int *o) {\n#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 1100\n*o = 1;\n#endif\n}\n",
        after: "__global__ void a(int *o) {\n#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 1100\n*o = 2;\n#endif\n}\n",
        added: &[],
    },
    Edit {
        name: "a header of one pass only",
        before: "#ifdef __CUDA_ARCH__\n#include \"pass.h\"\n#else\n#define VALUE 0\n#endif\n__global__ void a(int *o) { *o = VALUE; }\n",
        after: "#ifdef __CUDA_ARCH__\n#include \"pass.h\"\n#else\n#define VALUE 0\n#endif\n__global__ void a(int *o) { *o = VALUE; }\n",
        added: &[("pass.h", "#define VALUE 2\n")],
    },
    Edit {
        name: "a header that shadows another",
        before: "#include <shadow.h>\n__global__ void a(int *o) { *o = SHADOW; }\n",
        after: "#include <shadow.h>\n__global__ void a(int *o) { *o = SHADOW; }\n",
        added: &[("first/shadow.h", "#define SHADOW 2\n")],
    },
    Edit {
        name: "__has_include of a file that comes",
        before: "#if __has_include(\"comes.h\")\n#define THERE 1\n#else\n#define THERE 0\n#endif\n__global__ void a(int *o) { *o = THERE; }\n",
        after: "#if __has_include(\"comes.h\")\n#define THERE 1\n#else\n#define THERE 0\n#endif\n__global__ void a(int *o) { *o = THERE; }\n",
        added: &[("comes.h", "")],
    },
];

/// What one cache answered; `docs/schemas/bench-stale.schema.json` describes its JSON.
#[derive(Debug, Serialize)]
struct Answers {
    cache: &'static str,
    edits: usize,
    wrong: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Stale {
    /// Runs the verb and returns the exit code.
    pub fn run(self) -> anyhow::Result<u8> {
        let session = Session::open(&self.session)?;
        let toolchain = toolchain(&session)?;
        let folder = tempfile::tempdir()?;
        let peers = self.peers.start(folder.path())?;
        let mut all = Vec::new();
        for peer in &peers {
            let (mut wrong, mut failed) = (Vec::new(), Vec::new());
            for (number, edit) in EDITS.iter().enumerate() {
                let place = folder.path().join(format!("{}-{number}", peer.name));
                match is_right(peer, &Compilers(&toolchain), &place, edit) {
                    Ok(true) => {}
                    Ok(false) => wrong.push(edit.name),
                    Err(error) => {
                        eprintln!("{}: {}: {error:#}", peer.name, edit.name);
                        failed.push(edit.name);
                    }
                }
            }
            all.push(Answers { cache: peer.name, edits: EDITS.len(), wrong, failed });
        }
        match self.format {
            Format::Json => print_json(&all)?,
            Format::Text => {
                for Answers { cache, edits, wrong, failed } in &all {
                    println!("{cache}: {} of {edits} answers were wrong", wrong.len());
                    wrong.iter().for_each(|name| println!("  wrong: {name}"));
                    failed.iter().for_each(|name| println!("  failed to compile: {name}"));
                }
            }
        }
        Ok(crate::exit_codes::SUCCESS)
    }
}

/// Whether a cache gives what the compiler makes of the edited files.
fn is_right(
    peer: &Peer,
    compilers: &Compilers<'_>,
    place: &Path,
    edit: &Edit,
) -> anyhow::Result<bool> {
    let write = |name: &str, text: &str| -> anyhow::Result<()> {
        let path = place.join(name);
        fs_err::create_dir_all(path.parent().unwrap_or(place))?;
        Ok(fs_err::write(path, text)?)
    };
    write("only.h", "")?;
    write("first/.keep", "")?;
    write("second/shadow.h", "#define SHADOW 1\n")?;
    if edit.name.starts_with("a header of one pass") {
        write("pass.h", "#define VALUE 1\n")?;
    }
    let mut words = compilers.nvcc("k.cu", "k.o");
    words.extend(["-Ifirst", "-Isecond"].map(str::to_owned));
    for arch in [90, 110] {
        words.push(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
    }
    write("k.cu", &format!("{HEAD}{}", edit.before))?;
    for _ in 0..2 {
        peer.compile(place, &words)?;
    }
    write("k.cu", &format!("{HEAD}{}", edit.after))?;
    for (name, text) in edit.added {
        write(name, text)?;
    }
    peer.compile(place, &words)?;
    let given = compilers.content(place, "k.o")?;
    run(place, &words, &[])?;
    Ok(given == compilers.content(place, "k.o")?)
}
