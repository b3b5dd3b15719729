//! The tools that nvcc calls: what they make is kept by what they read.
//!
//! An object depends on its whole compile; the parts of it depend on less. `cudafe++` and `cicc` read
//! one preprocessed file each, and `ptxas` the PTX that `cicc` made. So an architecture that was
//! added compiles no other one again, and an edit of host code changes no machine code. nvcc is run
//! from a folder that has these names in the place of its own tools, and everything else.
//!
//! The files between nvcc's tools are named after the output: names count in no key, and where a
//! tool writes them into what it makes, others are put in their place.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process;
use std::time::Instant;

use regex::bytes::Regex;

use super::cached::{find, leave};
use super::client::{Connection, measure};
use super::{Config, WrapperError, module_id};
use crate::actions::protocol::{Request, StepDone};
use crate::artifact::Sha256;
use crate::cache::{Caching, Found, Kept, KeyBuilder, Outcome, Output, Saved, Scope};
use crate::environment::Environment;
use crate::exec::{exit_code, run_captured};
use crate::toolchain::cuda;

/// The tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// Takes host code and device code apart.
    Cudafe,
    /// Compiles device code to PTX.
    Cicc,
    /// Assembles PTX.
    Ptxas,
}

/// What a tool does with a file that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Input,
    Output,
    /// It writes the name somewhere.
    Name,
    /// It is told the name of the source, which it does not read.
    Source,
}

/// By which cudafe++ makes a module id, and does not take the one that is there.
const GENERATE: &str = "--gen_module_id_file";

/// By which it takes leave for threads, if it has any use for them.
const JOBSERVER: &str = "-jobserver";

/// Words in options by which a tool looks at sources, or writes times of files.
const UNREPEATABLE: [&str; 5] = ["line-info", "lineinfo", "debug", "src-in-ptx", "source-in-ptx"];

/// What variables that these tools look at begin with.
const VARIABLES: [&str; 8] = ["CICC", "CPPC", "CUDA", "EDG", "LLVM", "NV", "PTXAS", "USR"];

impl Tool {
    pub(super) const ALL: [Self; 3] = [Self::Cudafe, Self::Cicc, Self::Ptxas];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cudafe => "cudafe++",
            Self::Cicc => "cicc",
            Self::Ptxas => "ptxas",
        }
    }

    /// What an option's value is, where it is a file.
    fn option(self, option: &str, makes_module_id: bool) -> Option<Use> {
        Some(match (self, option) {
            (Self::Cudafe | Self::Cicc, "--orig_src_file_name" | "--orig_src_path_name") => {
                Use::Source
            }
            (Self::Cudafe | Self::Cicc, "--gen_c_file_name") => Use::Output,
            (Self::Cudafe, "--stub_file_name") | (Self::Cicc, "--include_file_name") => Use::Name,
            (Self::Cudafe, "--module_id_file_name") if makes_module_id => Use::Output,
            (Self::Cudafe | Self::Cicc, "--module_id_file_name") => Use::Input,
            (Self::Cicc, "--stub_file_name" | "--gen_device_file_name" | "-o") => Use::Output,
            (Self::Ptxas, "-o" | "--output-file") => Use::Output,
            _ => return None,
        })
    }

    fn reads(self, extension: &OsStr) -> bool {
        extension == if self == Self::Ptxas { "ptx" } else { "ii" }
    }
}

/// A command line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    tool: Tool,
    /// With numbers for names.
    args: Vec<String>,
    /// Names, by their numbers.
    files: Vec<(Use, String)>,
}

impl Call {
    /// `None` for what is never kept.
    fn understand(tool: Tool, args: &[OsString]) -> Option<Self> {
        let args: Vec<&str> = args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
        if args.iter().any(|arg| UNREPEATABLE.iter().any(|word| arg.contains(word))) {
            return None;
        }
        let makes_module_id = args.contains(&GENERATE);
        let args = args.into_iter().filter(|arg| *arg != JOBSERVER);
        let mut call = Self { tool, args: Vec::new(), files: Vec::new() };
        let mut rest = args;
        while let Some(arg) = rest.next() {
            let extension = Path::new(arg).extension();
            if let Some(usage) = tool.option(arg, makes_module_id) {
                call.args.push(arg.to_owned());
                call.file(usage, rest.next()?)?;
            } else if !arg.starts_with('-') && extension.is_some_and(|e| tool.reads(e)) {
                call.file(Use::Input, arg)?;
            } else if arg.contains("file_name=") && !arg.starts_with("--orig_src_")
                || arg.contains("file_name") && !arg.contains('=')
                || Path::new(arg.split_once('=').map_or(arg, |(_, value)| value)).is_file()
                    && !arg.starts_with("--orig_src_")
            {
                // Nobody knows what it does with it.
                return None;
            } else {
                call.args.push(arg.to_owned());
            }
        }
        let has = |wanted| call.files.iter().any(|(usage, _)| *usage == wanted);
        (has(Use::Input) && has(Use::Output)).then_some(call)
    }

    fn file(&mut self, usage: Use, name: &str) -> Option<()> {
        if usage == Use::Source {
            self.args.push(name.to_owned());
            return Some(());
        }
        // No language writes these in another way; and the names of processes are never the same.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        let is_known = self.files.iter().any(|(_, known)| known == name);
        if !name.chars().all(plain) || name.contains("tmpxft_") || is_known {
            return None;
        }
        self.args.push(marker(self.files.len()));
        self.files.push((usage, name.to_owned()));
        Some(())
    }

    fn of(&self, wanted: Use) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.files.iter().enumerate();
        numbered.filter(move |(_, (usage, _))| *usage == wanted).map(|(n, (_, name))| (n, &**name))
    }

    /// Whether a text has one of the names in it.
    fn is_named_in(&self, text: &[u8]) -> bool {
        let names: Vec<String> = self.files.iter().map(|(_, name)| regex::escape(name)).collect();
        Regex::new(&names.join("|")).map_or(true, |names| names.is_match(text))
    }

    /// Puts what stands for names into a text where they stand in quotes, or the other way.
    fn exchange(&self, text: &[u8], to_markers: bool) -> Vec<u8> {
        let pairs = self.files.iter().enumerate().map(|(number, (_, name))| {
            let (name, marker) = (format!("\"{name}\""), format!("\"{}\"", marker(number)));
            if to_markers { (name, marker) } else { (marker, name) }
        });
        pairs.fold(text.to_owned(), |text, (from, to)| match Regex::new(&regex::escape(&from)) {
            Ok(from) => from.replace_all(&text, regex::bytes::NoExpand(to.as_bytes())).into(),
            Err(_) => text,
        })
    }

    fn key(&self, caching: &Caching, environment: &Environment) -> io::Result<Option<Sha256>> {
        let renamer = caching.aliases.to_common();
        let dir = environment.current_dir();
        let mut key = KeyBuilder::new("step", &renamer)
            .part(caching.compilers.as_bytes().to_vec())
            .tool(Path::new(self.tool.name()), &self.args);
        for (_, name) in self.of(Use::Input) {
            let content = fs_err::read(dir.join(name))?;
            if self.is_named_in(&content) {
                return Ok(None);
            }
            key = key.part(content);
        }
        for (name, value) in environment.variables() {
            let bytes = name.as_encoded_bytes();
            if VARIABLES.iter().any(|prefix| bytes.starts_with(prefix.as_bytes())) {
                key = key.part(bytes.to_vec()).part(value.as_encoded_bytes().to_vec());
            }
        }
        Ok(Some(key.finish()))
    }

    /// What it made, without names; `None` where they cannot be taken out.
    fn collect(&self, dir: &Path, mut outcome: Outcome) -> io::Result<Option<Outcome>> {
        for (number, name) in self.of(Use::Output) {
            let path = dir.join(name);
            let content = match fs_err::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => self.exchange(&content?, true),
            };
            let mode = fs_err::metadata(&path)?.permissions().mode() & 0o777;
            outcome.outputs.push(Output { path: marker(number).into(), mode, content });
        }
        let texts = outcome.outputs.iter().map(|output| &output.content);
        let named = texts.chain([&outcome.stdout, &outcome.stderr]).any(|t| self.is_named_in(t));
        Ok((!named).then_some(outcome))
    }

    /// Puts it where this call has it.
    fn restore(&self, dir: &Path, mut outcome: Outcome) -> io::Result<Saved> {
        for output in &mut outcome.outputs {
            let mut outputs = self.of(Use::Output);
            let (_, name) = outputs
                .find(|(number, _)| output.path == Path::new(&marker(*number)))
                .ok_or(io::ErrorKind::InvalidData)?;
            output.path = dir.join(name);
            output.content = self.exchange(&output.content, false);
        }
        outcome.restore()?;
        let _ = io::stdout().write_all(&outcome.stdout);
        let _ = io::stderr().write_all(&outcome.stderr);
        Ok(outcome.saved)
    }
}

/// What stands for a name in keys and results.
fn marker(number: usize) -> String {
    format!("<crosswheel {number}>")
}

/// Does the work of the tool, or puts in place what it did before.
pub(super) fn run(
    config: &Config,
    tool: Tool,
    args: &[OsString],
    environment: &Environment,
) -> Result<u8, WrapperError> {
    let program = cuda::tool(&config.tools.cuda, tool.name());
    let start = |source| WrapperError::Start { tool: program.clone(), source };
    let dir = environment.current_dir();
    let kept = config.cache.as_ref().zip(config.socket.as_ref());
    let kept = kept.and_then(|(caching, socket)| {
        let call = Call::understand(tool, args)?;
        let key = call.key(caching, environment).ok().flatten()?;
        // Without a server nothing is lost but a result.
        let connection = Connection::open(socket).ok()?;
        Some((caching, call, key, connection))
    });
    let Some((caching, call, key, connection)) = kept else {
        let (output, _) = execute(config, tool, &program, args, dir).map_err(start)?;
        return Ok(exit_code(output.status));
    };
    let done = StepDone { tool: tool.name().to_owned(), hit: None, kept: None };
    match find(caching, &key, &Scope::default(), |request| connection.ask(request))? {
        Found::Hit(result, outcome) => {
            if let Ok(saved) = call.restore(dir, outcome) {
                let done = StepDone { hit: Some((result, saved)), ..done };
                connection.tell(&Request::Step(done))?;
                return Ok(0);
            }
        }
        Found::Damaged(result) => connection.tell(&Request::Damaged { result })?,
        Found::Elsewhere(_) | Found::Miss => {}
    }
    let begun = Instant::now();
    let (output, is_objects_own) = execute(config, tool, &program, args, dir).map_err(start)?;
    let code = exit_code(output.status);
    if code != 0 {
        return Ok(code);
    }
    let cost = measure(begun.elapsed(), code);
    let saved = cost.saved();
    let (stdout, stderr) = (output.stdout, output.stderr);
    let outcome = Outcome { stdout, stderr, outputs: Vec::new(), saved };
    // What cannot be kept is made again; an object's own would do for no other.
    let file = match is_objects_own {
        true => None,
        false => call.collect(dir, outcome).ok().flatten().and_then(|mut outcome| {
            outcome.rename(&caching.aliases.to_common());
            leave(caching, &outcome.pack().ok()?).ok()
        }),
    };
    let kept = file.map(|file| Kept { key, inputs: Vec::new(), file });
    connection.tell(&Request::Step(StepDone { kept, ..done }))?;
    Ok(0)
}

/// Runs the real tool, and hands on what it says. Says too whether what it made is this object's
/// alone.
fn execute(
    config: &Config,
    tool: Tool,
    program: &Path,
    args: &[OsString],
    dir: &Path,
) -> io::Result<(process::Output, bool)> {
    let mut output = run_captured(program, args)?;
    let settled = match tool == Tool::Cudafe && output.status.success() {
        true => settle_module_id(config, args, dir)?,
        false => None,
    };
    if let Some(args) = &settled {
        output = run_captured(program, args)?;
    }
    let _ = io::stdout().write_all(&output.stdout);
    let _ = io::stderr().write_all(&output.stderr);
    Ok((output, settled.is_some()))
}

/// Gives an object its own module id, where cudafe++ made one of its process: returns the arguments
/// by which it takes that one.
fn settle_module_id(
    config: &Config,
    args: &[OsString],
    dir: &Path,
) -> io::Result<Option<Vec<OsString>>> {
    let named = args.windows(2).find(|pair| pair[0] == "--module_id_file_name");
    let (Some(named), true) = (named, args.iter().any(|arg| arg == GENERATE)) else {
        return Ok(None);
    };
    let path = dir.join(&named[1]);
    let object = config.canonical(&path.to_string_lossy());
    let Some(id) = module_id::settled(&fs_err::read_to_string(&path)?, &object) else {
        return Ok(None);
    };
    fs_err::write(&path, id)?;
    Ok(Some(args.iter().filter(|arg| *arg != GENERATE).cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDAFE: &str = "--c++17 --orig_src_file_name k.cu --orig_src_path_name /b/k.cu \
        --orig_src_path_name=k.cu --m64 --gen_c_file_name k.o.cudafe1.cpp --stub_file_name \
        k.o.cudafe1.stub.c --gen_module_id_file --module_id_file_name k.o.module_id k.o.cpp4.ii";
    const CICC: &str = "--c++17 --orig_src_file_name k.cu --orig_src_path_name /b/k.cu -arch \
        compute_110 -m64 -ftz=0 --include_file_name k.o.fatbin.c -tused --module_id_file_name \
        k.o.module_id --gen_c_file_name k.o.cudafe1.c --stub_file_name k.o.cudafe1.stub.c \
        --gen_device_file_name k.o.cudafe1.gpu k.o.cpp1.ii -o k.o.ptx";
    const PTXAS: &str = "-arch=sm_110 -m64 -v k.o.ptx -o k.o.cubin";

    fn understand(tool: Tool, text: &str) -> Option<Call> {
        let args: Vec<OsString> = text.split_ascii_whitespace().map(OsString::from).collect();
        Call::understand(tool, &args)
    }

    #[test]
    fn names_of_files_between_tools_do_not_count() {
        for (tool, text, inputs, outputs) in
            [(Tool::Cudafe, CUDAFE, 1, 2), (Tool::Cicc, CICC, 2, 4), (Tool::Ptxas, PTXAS, 1, 1)]
        {
            let call = understand(tool, text).unwrap();
            let other = understand(tool, &text.replace("k.o", "d/x.o.compute_90")).unwrap();
            assert_eq!(call.args, other.args);
            assert_ne!(call.files, other.files);
            assert_eq!(call.of(Use::Input).count(), inputs, "{text}");
            assert_eq!(call.of(Use::Output).count(), outputs, "{text}");
        }
        let path = understand(Tool::Cicc, &CICC.replace("/b/k.cu", "/c/k.cu")).unwrap();
        assert_ne!(path.args, understand(Tool::Cicc, CICC).unwrap().args);
    }

    #[test]
    fn what_nobody_knows_is_not_kept() {
        for (tool, text) in [
            (Tool::Ptxas, PTXAS.replace("-v", "-lineinfo")),
            (Tool::Ptxas, PTXAS.replace("k.o.cubin", "tmpxft_00000a_00000000-0_k.cubin")),
            (Tool::Ptxas, PTXAS.replace("k.o.cubin", "a\"b.cubin")),
            (Tool::Ptxas, "--version".to_owned()),
            (Tool::Ptxas, format!("{PTXAS} --options-file=/proc/self/cmdline")),
            (Tool::Cicc, CICC.replace("-tused", "--new_file_name x")),
            (Tool::Cicc, CICC.replace("-tused", "--generate-line-info")),
            (Tool::Cudafe, CUDAFE.replace("k.o.cpp4.ii", "")),
        ] {
            assert_eq!(understand(tool, &text), None, "{text}");
        }
    }

    #[test]
    fn names_in_results_are_those_of_the_call() {
        let first = understand(Tool::Cicc, CICC).unwrap();
        let second = understand(Tool::Cicc, &CICC.replace("k.o", "other.o.compute_90")).unwrap();
        let text = b"# 1 \"k.o.cudafe1.stub.c\"\n#include \"k.o.fatbin.c\"\n\xff";
        let kept = first.exchange(text, true);
        assert!(!first.is_named_in(&kept));
        assert_eq!(first.exchange(&kept, false), text);
        let other = second.exchange(&kept, false);
        let expected = b"# 1 \"other.o.compute_90.cudafe1.stub.c\"\n\
            #include \"other.o.compute_90.fatbin.c\"\n\xff";
        assert_eq!(other, expected);
        assert!(first.is_named_in(b"ptxas k.o.ptx, line 5; warning"));
    }
}
