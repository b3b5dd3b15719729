//! nvcc: narrowed to the target's SMs, with the cross compiler as its host compiler.

use std::ffi::OsString;
use std::path::Path;

use super::client::{Call, Subject};
use super::install::front_nvcc;
use super::narrow::{Code, Gencode, NVCC_DEFAULT, narrow, shorthand};
use super::response::{has_extension, read, split};
use super::{Arch, Config, InvalidArch, WrapperError, lines};
use crate::actions::Kind;
use crate::environment::Environment;
use crate::exec::Difference;

/// What nvcc compiles (nvcc manual, "Supported Input File Suffixes").
pub(super) const SOURCES: [&str; 7] = ["cu", "c", "cc", "cxx", "cpp", "C", "c++"];

/// Flags by the environment (nvcc manual, "NVCC Environment Variables"): narrowed with the rest,
/// then kept from the real nvcc.
const PREPEND: &str = "NVCC_PREPEND_FLAGS";
const APPEND: &str = "NVCC_APPEND_FLAGS";
/// `NVCC_CCBIN` would name another host compiler.
const HIDDEN: [&str; 3] = [PREPEND, APPEND, "NVCC_CCBIN"];

/// Options that crosswheel sets itself, or whose parallelism its own job number replaces; all have
/// a value.
const DROPPED: [(&str, &str); 4] = [
    ("--threads", "-t"),
    ("--split-compile", "-split-compile"),
    ("--split-compile-extended", "-split-compile-extended"),
    ("--compiler-bindir", "-ccbin"),
];

/// A command line, understood as far as needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct CommandLine {
    args: Vec<OsString>,
    gencodes: Vec<Gencode>,
    arch: Option<String>,
    code: Option<String>,
    sources: Vec<OsString>,
    inputs: bool,
    output: Option<OsString>,
    notes: Vec<String>,
    mode: Mode,
}

/// What nvcc is asked to do; of several, the last in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    /// To go all the way: objects become a library or executable.
    #[default]
    Link,
    /// To make an object, a fatbin or the like.
    Compile,
    /// To make PTX or the like, which is for no chip.
    Ptx,
    /// To link device code only.
    DeviceLink,
    /// To preprocess or list dependencies.
    Preprocess,
    /// To say what it would do.
    DryRun,
    /// To say something.
    Query,
}

pub(super) fn run(
    config: &Config,
    ccbin: &Path,
    args: Vec<OsString>,
    environment: &Environment,
) -> Result<u8, WrapperError> {
    let nvcc = config.nvcc();
    let words = |name| environment.text(name).map(split).unwrap_or_default();
    let args = [words(PREPEND), args, words(APPEND)].concat();
    let mut call = call(config, &nvcc, ccbin, args)?;
    if !lines::wanted(&call.args) {
        return call.run(config, environment);
    }
    let dir = environment.current_dir();
    lines::make_relative(config, dir, &mut call.args);
    let dependencies = lines::dependency_file(&call.args);
    let code = call.run(config, environment)?;
    if let Some(file) = dependencies.filter(|_| code == 0) {
        lines::restore(config, &dir.join(file))?;
    }
    Ok(code)
}

fn call<'a>(
    config: &Config,
    nvcc: &'a Path,
    ccbin: &Path,
    args: Vec<OsString>,
) -> Result<Call<'a>, WrapperError> {
    let mut line = CommandLine::default();
    parse(config, &mut line, args)?;
    let difference = Difference::without(&HIDDEN);
    if line.mode == Mode::Query || !line.inputs {
        let args = line.original_args();
        return Ok(Call { tool: nvcc, front: None, args, subject: None, difference, threads: 1 });
    }
    let mut args = vec!["-ccbin".into(), ccbin.into()];
    let kind = line.kind();
    if let Some(torch) = config.torch.as_ref().filter(|_| !line.sources.is_empty()) {
        line.notes.extend(torch.raise_standard(&mut line.args));
    }
    if kind == Kind::CompileCuda {
        args.extend(stable_names(config, &line));
        if lines::wanted(&line.args) {
            args.extend(["-Xcompiler".into(), lines::OPTION.into()]);
        }
        args.extend(config.nvcc_flags.iter().map(OsString::from));
    }
    let gencodes = line.narrowed(config)?;
    let sms = sass(&gencodes);
    args.append(&mut line.args);
    args.extend(gencodes.iter().map(|gencode| format!("-gencode={gencode}").into()));
    let subject = (line.mode != Mode::DryRun).then(|| Subject {
        kind,
        source: line.sources.into_iter().next(),
        output: line.output,
        notes: line.notes,
        sms: if kind == Kind::CompileCuda { sms } else { Vec::new() },
        name: None,
    });
    let front = (kind == Kind::CompileCuda).then(|| front_nvcc(ccbin)).filter(|nvcc| nvcc.exists());
    let threads = if kind == Kind::CompileCuda { gencodes.len().max(1) } else { 1 };
    Ok(Call { tool: nvcc, front, args, subject, difference, threads })
}

/// What keeps an object the same from run to run: nvcc writes the name of a temporary file, with
/// its process's number, and the source's absolute path into symbols.
fn stable_names(config: &Config, line: &CommandLine) -> Vec<OsString> {
    let mut flags = Vec::new();
    if line.output.is_some() {
        flags.push("-objtemp".into());
    }
    let names: Vec<_> =
        line.sources.iter().map(|source| config.canonical(&source.to_string_lossy())).collect();
    // A comma would end the value.
    if let Some(name) = names.first().filter(|name| names.len() == 1 && !name.contains(',')) {
        flags.push("-Xcudafe".into());
        flags.push(format!("--orig_src_path_name={name}").into());
    }
    flags
}

fn sass(gencodes: &[Gencode]) -> Vec<String> {
    let codes = gencodes.iter().flat_map(|gencode| &gencode.codes);
    let mut names: Vec<_> =
        codes.filter(|code| matches!(code, Code::Sass(_))).map(Code::to_string).collect();
    names.sort();
    names.dedup();
    names
}

impl CommandLine {
    fn kind(&self) -> Kind {
        match self.mode {
            Mode::Preprocess => Kind::Preprocess,
            Mode::Compile | Mode::Ptx => Kind::CompileCuda,
            Mode::Link if !self.sources.is_empty() => Kind::CompileCuda,
            Mode::Link | Mode::DeviceLink | Mode::DryRun | Mode::Query => Kind::Link,
        }
    }

    /// All that was given, for a call that is handed on as it is.
    fn original_args(&self) -> Vec<OsString> {
        let mut args = self.args.clone();
        args.extend(self.gencodes.iter().map(|g| format!("-gencode={g}").into()));
        args.extend(self.arch.iter().map(|arch| format!("-arch={arch}").into()));
        args.extend(self.code.iter().map(|code| format!("-code={code}").into()));
        args
    }

    /// What is compiled instead of what was asked for.
    fn narrowed(&mut self, config: &Config) -> Result<Vec<Gencode>, WrapperError> {
        let mut asked = self.gencodes.clone();
        asked.extend(self.as_gencode(config)?);
        if self.mode == Mode::Ptx {
            return Ok(asked);
        }
        if asked.is_empty() {
            let arch = Arch::plain(NVCC_DEFAULT);
            asked.push(Gencode { arch, codes: vec![Code::Sass(arch)] });
            self.notes
                .push(format!("no architecture was asked for: nvcc's default, compute_{arch}"));
        }
        let made = narrow(&asked, &config.sms).map_err(|source| {
            let file = self.sources.first().or(self.output.as_ref());
            let file = file.map_or_else(|| "nvcc".into(), |file| file.to_string_lossy());
            WrapperError::NotCovered { file: file.into_owned(), source }
        })?;
        for gencode in &made {
            if !asked.iter().any(|asked| asked.arch == gencode.arch) {
                let arch = gencode.arch;
                self.notes.push(format!("compute_{arch}: nvcc knows no older one"));
            }
        }
        Ok(made)
    }

    /// `-arch` and `-code`, which are one `-gencode` in another spelling.
    fn as_gencode(&self, config: &Config) -> Result<Vec<Gencode>, WrapperError> {
        let (option, asked) = match (&self.arch, &self.code) {
            (None, None) => return Ok(Vec::new()),
            (Some(arch), None) => (format!("-arch={arch}"), shorthand(arch, &config.sms)),
            (arch, Some(codes)) => (
                format!("-arch={} -code={codes}", arch.as_deref().unwrap_or_default()),
                arch_with_codes(arch.as_deref(), codes).map(|gencode| vec![gencode]),
            ),
        };
        asked.map_err(|source| WrapperError::Gencode { option, source })
    }
}

/// `-arch=compute_80 -code=sm_80,sm_86`; without an `-arch`, that of the first code.
fn arch_with_codes(arch: Option<&str>, codes: &str) -> Result<Gencode, InvalidArch> {
    let bare = codes.trim_matches(['"', '[', ']', '\'']);
    let codes: Vec<Code> = bare.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let arch = match arch {
        Some(arch) => arch.parse::<Code>()?.arch(),
        None => codes.first().ok_or_else(|| InvalidArch(bare.to_owned()))?.arch(),
    };
    Ok(Gencode { arch, codes })
}

/// The value of an option in either spelling, joined by `=` or in the next argument.
fn value_of(text: &str, names: &[&str], args: &mut std::vec::IntoIter<OsString>) -> Option<String> {
    names.iter().find_map(|name| {
        let rest = text.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => {
                Some(args.next().unwrap_or_default().to_string_lossy().into_owned())
            }
            None => None,
        }
    })
}

fn parse(config: &Config, line: &mut CommandLine, args: Vec<OsString>) -> Result<(), WrapperError> {
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        if let Some(value) = value_of(&text, &["-gencode", "--generate-code"], &mut args) {
            let gencode = value.parse().map_err(|source| WrapperError::Gencode {
                option: format!("-gencode={value}"),
                source,
            })?;
            line.gencodes.push(gencode);
        } else if let Some(value) = value_of(&text, &["-arch", "--gpu-architecture"], &mut args) {
            line.arch = Some(value);
        } else if let Some(value) = value_of(&text, &["-code", "--gpu-code"], &mut args) {
            line.code = Some(value);
        } else if let Some(value) = value_of(&text, &["-optf", "--options-file"], &mut args) {
            for file in value.split(',') {
                parse(config, line, read(Path::new(file))?)?;
            }
        } else if let Some(value) = value_of(&text, &["-o", "--output-file"], &mut args) {
            line.args.extend(["-o".into(), OsString::from(&value)]);
            line.output = Some(value.into());
        } else if let Some(name) = dropped(&text, &mut args) {
            line.notes.push(format!("dropped `{name}`: crosswheel decides it"));
        } else if let Some((name, folder)) = search_path(&text, &mut args) {
            if config.is_host(Path::new(&folder)) {
                line.notes.push(format!("dropped `{folder}`: a search path of the build machine"));
            } else {
                line.args.extend([name.into(), folder.into()]);
            }
        } else {
            other(line, arg, &text, &mut args);
        }
    }
    Ok(())
}

fn dropped(text: &str, args: &mut std::vec::IntoIter<OsString>) -> Option<String> {
    if matches!(text, "-jobserver" | "--jobserver") {
        return Some(text.to_owned());
    }
    DROPPED.iter().find_map(|(long, short)| {
        value_of(text, &[long, short], args).map(|value| format!("{long} {value}"))
    })
}

fn search_path(
    text: &str,
    args: &mut std::vec::IntoIter<OsString>,
) -> Option<(&'static str, String)> {
    for (name, names) in [
        ("-isystem", &["-isystem", "--system-include"][..]),
        ("-I", &["-I", "--include-path"]),
        ("-L", &["-L", "--library-path"]),
    ] {
        if let Some(folder) = value_of(text, names, args) {
            return Some((name, folder));
        }
        // `-I/folder`, joined with no sign between.
        let joined = text.strip_prefix(name).filter(|_| name.len() == 2);
        if let Some(folder) = joined {
            return Some((name, folder.to_owned()));
        }
    }
    None
}

/// Options that hand words on, whose value must not be taken for an input or a mode.
const HANDED_ON: [&str; 16] = [
    "-Xcompiler",
    "--compiler-options",
    "-Xlinker",
    "--linker-options",
    "-Xptxas",
    "--ptxas-options",
    "-Xcudafe",
    "-Xarchive",
    "-Xfatbin",
    "-Xnvlink",
    "-D",
    "-U",
    "-MF",
    "-MT",
    "-include",
    "-x",
];

fn other(
    line: &mut CommandLine,
    arg: OsString,
    text: &str,
    args: &mut std::vec::IntoIter<OsString>,
) {
    if HANDED_ON.contains(&text) {
        line.args.push(arg);
        line.args.extend(args.next());
        return;
    }
    line.mode = line.mode.max(mode(text));
    if !text.starts_with('-') {
        line.inputs |= Path::new(text).extension().is_some();
        if has_extension(&arg, &SOURCES) {
            line.sources.push(arg.clone());
        }
    }
    line.args.push(arg);
}

/// The mode that an option asks for.
fn mode(option: &str) -> Mode {
    match option {
        "-c" | "-dc" | "-dw" | "--compile" | "--device-c" | "--device-w" | "-cuda" | "--cuda"
        | "-cubin" | "--cubin" | "-fatbin" | "--fatbin" => Mode::Compile,
        "-ptx" | "--ptx" | "-optix-ir" | "--optix-ir" | "-ltoir" | "--ltoir" => Mode::Ptx,
        "-E"
        | "--preprocess"
        | "-M"
        | "-MM"
        | "--generate-dependencies"
        | "--generate-nonsystem-dependencies" => Mode::Preprocess,
        "-dlink" | "--device-link" => Mode::DeviceLink,
        "-dryrun" | "--dryrun" => Mode::DryRun,
        "-V" | "--version" | "-h" | "--help" | "-arch-ls" | "--list-gpu-arch" | "-code-ls"
        | "--list-gpu-code" => Mode::Query,
        _ => Mode::Link,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::config;
    use super::*;
    use crate::Diagnose as _;

    fn called(args: &str) -> Result<Call<'static>, WrapperError> {
        let args = args.split(' ').map(OsString::from).collect();
        call(&config(), Path::new("/real/nvcc"), Path::new("/t/g++"), args)
    }

    fn command(args: &str) -> String {
        let call = called(args).unwrap();
        let words: Vec<_> = call.args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn every_spelling_of_an_architecture_is_narrowed() {
        for asked in [
            "-gencode arch=compute_80,code=sm_80",
            "-gencode=arch=compute_80,code=sm_80",
            "--generate-code arch=compute_80,code=[compute_80,sm_80]",
            "--generate-code=arch=compute_80,code=[compute_80,sm_80]",
            "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a",
            "-arch=sm_80",
            "-arch sm_80",
            "--gpu-architecture=compute_80",
            "-arch=compute_80 -code=sm_80,sm_86",
            "--gpu-architecture compute_80 --gpu-code sm_80,compute_80",
        ] {
            assert_eq!(
                command(&format!("-c x.cu {asked} -O3")),
                "-ccbin /t/g++ -Xcudafe --orig_src_path_name=x.cu -c x.cu -O3 \
                 -gencode=arch=compute_80,code=sm_110",
                "{asked}"
            );
        }
    }

    #[test]
    fn no_architecture_is_nvccs_default() {
        let call = called("-c x.cu").unwrap();
        assert_eq!(call.args.last().unwrap(), "-gencode=arch=compute_75,code=sm_110");
        let subject = call.subject.unwrap();
        assert_eq!(subject.sms, ["sm_110"]);
        assert_eq!(subject.notes, ["no architecture was asked for: nvcc's default, compute_75"]);
    }

    #[test]
    fn architectures_in_a_response_file_count() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flags.rsp");
        fs_err::write(&file, "-gencode arch=compute_90,code=sm_90 -DA='b c'").unwrap();
        let call = called(&format!("-c x.cu --options-file {}", file.display())).unwrap();
        assert_eq!(call.args.last().unwrap(), "-gencode=arch=compute_90,code=sm_110");
        assert!(call.args.contains(&"-DA=b c".into()));
        let missing = called("-c x.cu -optf /nowhere.rsp").unwrap_err();
        assert_eq!(missing.to_string(), "the response file `/nowhere.rsp` cannot be read");
    }

    #[test]
    fn a_file_for_other_chips_alone_is_named() {
        let error = called("-c csrc/x.cu -gencode arch=compute_90a,code=sm_90a").unwrap_err();
        assert!(
            error.to_string().starts_with("`csrc/x.cu`: nothing that runs on sm_110"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }

    #[test]
    fn what_crosswheel_decides_is_dropped() {
        let given = "-c x.cu -o x.o --threads 4 -t=2 -ccbin /usr/bin/g++ -I/usr/include -Iinc \
                     -jobserver -arch=native -Xcompiler -march=native";
        assert_eq!(
            command(given),
            "-ccbin /t/g++ -objtemp -Xcudafe --orig_src_path_name=x.cu -c x.cu -o x.o -I inc \
             -Xcompiler -march=native -gencode=arch=compute_110,code=sm_110"
        );
        let notes = called(given).unwrap().subject.unwrap().notes;
        assert_eq!(notes.len(), 5);
        assert_eq!(notes[0], "dropped `--threads 4`: crosswheel decides it");
    }

    #[test]
    fn calls_are_told_apart() {
        for (args, kind) in [
            ("-c x.cu -arch=sm_110", Some(Kind::CompileCuda)),
            ("-MD -MF x.d -c x.cu -arch=sm_110", Some(Kind::CompileCuda)),
            ("x.cu -o x -arch=sm_110", Some(Kind::CompileCuda)),
            ("-E x.cu -arch=sm_110", Some(Kind::Preprocess)),
            ("-M -c x.cu -arch=sm_110", Some(Kind::Preprocess)),
            ("a.o b.o -o x.so -shared", Some(Kind::Link)),
            ("-dlink a.o -o d.o", Some(Kind::Link)),
            ("-V", None),
            ("--list-gpu-arch", None),
            ("-dryrun -c x.cu -arch=sm_110", None),
        ] {
            assert_eq!(called(args).unwrap().subject.map(|s| s.kind), kind, "{args}");
        }
        assert_eq!(command("--version"), "--version");
        assert!(command("-dryrun -c x.cu -arch=sm_80").ends_with("arch=compute_80,code=sm_110"));
    }

    #[test]
    fn ptx_stays_what_was_asked_for() {
        let ptx = command("-ptx x.cu -arch=compute_80 -o x.ptx");
        assert!(ptx.ends_with("-gencode=arch=compute_80,code=compute_80"), "{ptx}");
    }

    #[test]
    fn the_sources_name_is_the_same_on_every_machine() {
        let call = command("-c /real/build/csrc/x.cu -o x.o -arch=sm_110");
        assert!(call.contains("--orig_src_path_name=/crosswheel/build/csrc/x.cu"), "{call}");
    }
}
