//! gcc and g++: the cross compiler driver, kept away from the machine's own files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::client::{Call, Subject};
use super::response::{expand_at_files, has_extension};
use super::{Config, WrapperError, lines};
use crate::actions::Kind;
use crate::environment::Environment;
use crate::exec::Difference;

/// Which driver is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    C,
    Cxx,
}

/// What gcc compiles (gcc manual, "Overall Options").
const SOURCES: [&str; 13] =
    ["c", "cc", "cpp", "cxx", "C", "c++", "i", "ii", "s", "S", "sx", "m", "f90"];

/// Those of them that are C++.
const CXX_SOURCES: [&str; 6] = ["cc", "cpp", "cxx", "C", "c++", "ii"];

/// Options whose value is the next argument and begins with no prefix of its own, beside those
/// that are handled by name.
const WITH_VALUE: [&str; 17] = [
    "-D",
    "-U",
    "-l",
    "-x",
    "-include",
    "-imacros",
    "-MF",
    "-MT",
    "-MQ",
    "-T",
    "-u",
    "-z",
    "-e",
    "-aux-info",
    "--param",
    "-A",
    "-G",
];

/// Search paths, joined or followed by their folder.
const SEARCH: [&str; 7] =
    ["-isystem", "-idirafter", "-iquote", "-iprefix", "-iwithprefix", "-I", "-L"];

/// Variables by which gcc finds other folders than it is told (gcc manual, "Environment
/// Variables"); `LD_RUN_PATH` is ld's.
const HIDDEN: [&str; 8] = [
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "GCC_EXEC_PREFIX",
    "LD_RUN_PATH",
    "DEPENDENCIES_OUTPUT",
];

/// A driver's command line, understood as far as needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct CommandLine {
    args: Vec<OsString>,
    sources: Vec<OsString>,
    inputs: bool,
    output: Option<OsString>,
    notes: Vec<String>,
    preprocess: bool,
    compile: bool,
    query: bool,
}

pub(super) fn run(
    config: &Config,
    language: Language,
    args: Vec<OsString>,
    nested: bool,
    environment: &Environment,
) -> Result<u8, WrapperError> {
    let tool = match language {
        Language::C => &config.tools.cc,
        Language::Cxx => &config.tools.cxx,
    };
    let markers = if nested { lines::output(&args) } else { None };
    let code = call(config, tool, args, nested)?.run(config, environment)?;
    if let Some(file) = markers.filter(|_| code == 0) {
        lines::rename(config, environment.current_dir(), &file)?;
    }
    Ok(code)
}

fn call<'a>(
    config: &Config,
    tool: &'a Path,
    args: Vec<OsString>,
    nested: bool,
) -> Result<Call<'a>, WrapperError> {
    let mut line = parse(config, expand_at_files(args)?);
    let kind = line.kind();
    if let Some(torch) = config.torch.as_ref().filter(|_| line.compiles_cxx()) {
        line.notes.extend(torch.raise_standard(&mut line.args));
    }
    let mut args = placement(config);
    if kind.is_some() {
        args.extend(config.prefix_map_flags().into_iter().map(OsString::from));
    }
    if matches!(kind, Some(Kind::Compile | Kind::Preprocess)) {
        args.extend(config.compile_flags.iter().map(OsString::from));
        // gcc draws names of its own from it, with -flto and --coverage, at random else.
        if let Some(source) = line.sources.first() {
            let seed = config.canonical(&source.to_string_lossy());
            args.push(format!("-frandom-seed={seed}").into());
        }
    }
    args.extend(line.args);
    // After all others, as if they were the system's: CMake finds the toolkit by the real nvcc.
    for folder in config.tools.cuda_include.iter().filter(|_| kind.is_some()) {
        args.extend(["-idirafter".into(), folder.into()]);
    }
    if kind == Some(Kind::Link) {
        args.extend(config.link_flags.iter().map(OsString::from));
    }
    // What is preprocessed to be read by who asks makes nothing.
    let printed = line.output.as_deref().is_none_or(|output| output == "-");
    let made = kind.filter(|kind| !(nested || *kind == Kind::Preprocess && printed));
    let subject = made.map(|kind| Subject {
        kind,
        source: line.sources.into_iter().next(),
        output: line.output,
        notes: line.notes,
        sms: Vec::new(),
        name: None,
    });
    let difference = Difference::without(&HIDDEN);
    Ok(Call { tool, front: None, args, subject, difference, threads: 1 })
}

/// Where the driver finds the target's files and the binutils.
fn placement(config: &Config) -> Vec<OsString> {
    let mut args = Vec::new();
    if let Some(sysroot) = &config.sysroot {
        args.push(joined("--sysroot=", sysroot.as_os_str()));
    }
    if let Some(binutils) = &config.binutils {
        // gcc takes it for a prefix: with the slash it is a folder.
        args.push(joined("-B", binutils.join("").as_os_str()));
    }
    args
}

fn joined(prefix: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(value);
    text
}

impl CommandLine {
    /// What the call does; `None` where it only asks the driver something.
    fn kind(&self) -> Option<Kind> {
        if self.query || !self.inputs {
            None
        } else if self.preprocess {
            Some(Kind::Preprocess)
        } else if self.compile {
            Some(Kind::Compile)
        } else {
            Some(Kind::Link)
        }
    }

    /// Whether C++ is read; a driver for C reads it too, by the source's name.
    fn compiles_cxx(&self) -> bool {
        self.sources.iter().any(|source| has_extension(source, &CXX_SOURCES))
    }

    fn drop(&mut self, what: &OsStr, why: &str) {
        self.notes.push(format!("dropped `{}`: {why}", what.to_string_lossy()));
    }
}

fn parse(config: &Config, args: Vec<OsString>) -> CommandLine {
    let mut line = CommandLine::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        if let Some(option) = SEARCH.iter().find(|option| text.starts_with(**option)) {
            let value = text[option.len()..].trim_start_matches('=').to_owned();
            let separate = if value.is_empty() { args.next() } else { None };
            let folder = separate.clone().map_or_else(|| PathBuf::from(value), PathBuf::from);
            if config.is_host(&folder) {
                line.drop(folder.as_os_str(), "a search path of the build machine");
            } else {
                line.args.push(arg);
                line.args.extend(separate);
            }
            continue;
        }
        match text.as_str() {
            "-march=native" | "-mcpu=native" | "-mtune=native" => {
                line.drop(&arg, "the build machine is not the target");
            }
            "--sysroot" | "-isysroot" => drop(args.next()),
            _ if text.starts_with("--sysroot=") => {}
            "-o" => {
                line.output = args.next();
                line.args.push(arg);
                line.args.extend(line.output.clone());
            }
            "-Xlinker" => linker_words(config, &mut line, &mut args),
            _ if text.starts_with("-Wl,") => {
                let words = text["-Wl,".len()..].split(',').map(str::to_owned).collect();
                let kept = without_local_run_paths(config, &mut line, words);
                if !kept.is_empty() {
                    line.args.push(format!("-Wl,{}", kept.join(",")).into());
                }
            }
            _ if WITH_VALUE.contains(&text.as_str()) => {
                line.args.push(arg);
                line.args.extend(args.next());
            }
            _ if lines::is_option(&arg) => {}
            _ => other(&mut line, arg, &text),
        }
    }
    line
}

/// Modes, inputs and queries.
fn other(line: &mut CommandLine, arg: OsString, text: &str) {
    match text {
        "-c" | "-S" => line.compile = true,
        "-E" | "-M" | "-MM" => line.preprocess = true,
        "-###" | "--version" | "--help" | "-dumpmachine" | "-dumpversion" | "-dumpspecs"
        | "-dumpfullversion" => line.query = true,
        "-" => line.inputs = true,
        _ if text.starts_with("-print-") || text.starts_with("--print-") => line.query = true,
        _ if text.starts_with("-o") && text.len() > 2 => {
            line.output = Some(text[2..].to_owned().into());
        }
        _ if !text.starts_with('-') => {
            line.inputs = true;
            if has_extension(&arg, &SOURCES) {
                line.sources.push(arg.clone());
            }
        }
        _ => {}
    }
    line.args.push(arg);
}

/// `-Xlinker` hands on one word at a time; a run of them is one list.
fn linker_words(config: &Config, line: &mut CommandLine, args: &mut std::vec::IntoIter<OsString>) {
    let mut words = Vec::new();
    words.extend(args.next());
    while args.as_slice().first().is_some_and(|arg| arg == "-Xlinker") {
        args.next();
        words.extend(args.next());
    }
    let words = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    for word in without_local_run_paths(config, line, words) {
        line.args.extend(["-Xlinker".into(), word.into()]);
    }
}

/// Linker words without run paths into the build folder or the store, which no target has. In
/// `-Wl,-rpath -Wl,/path` the path comes in an argument of its own; a path that is alone in its
/// argument is taken for that.
fn without_local_run_paths(
    config: &Config,
    line: &mut CommandLine,
    words: Vec<String>,
) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        match run_path_value(&word) {
            Some(value) if !value.is_empty() => {
                let paths = global_paths(config, line, value);
                kept.extend((!paths.is_empty()).then(|| format!("-rpath={paths}")));
            }
            _ if kept.last().is_some_and(|last| RUN_PATH.contains(&last.as_str())) => {
                let paths = global_paths(config, line, &word);
                if paths.is_empty() {
                    kept.pop();
                } else {
                    kept.push(paths);
                }
            }
            _ => kept.push(word),
        }
    }
    kept
}

/// The spellings of ld's option (ld manual, "Command-line Options").
const RUN_PATH: [&str; 3] = ["-rpath", "--rpath", "-R"];

/// What a linker word gives as run path: nothing yet where the next word does.
fn run_path_value(word: &str) -> Option<&str> {
    let rest = RUN_PATH.iter().find_map(|option| word.strip_prefix(option))?;
    // `-rpath-link` is another option, and `-R` of a relative path another meaning.
    (rest.is_empty() || rest.starts_with(['=', '/', '$'])).then(|| rest.trim_start_matches('='))
}

/// The folders of a run path that may exist on a target.
fn global_paths(config: &Config, line: &mut CommandLine, value: &str) -> String {
    let (local, global): (Vec<_>, Vec<_>) =
        value.split(':').partition(|path| config.is_local(Path::new(path)));
    for path in local {
        line.drop(OsStr::new(path), "a run path of the build machine");
    }
    global.join(":")
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::config;
    use super::*;

    fn called(args: &str) -> Call<'static> {
        let args = args.split(' ').map(OsString::from).collect();
        call(&config(), Path::new("/store/g++"), args, false).unwrap()
    }

    fn rest(args: &str) -> String {
        let line = parse(&config(), args.split(' ').map(OsString::from).collect());
        let words: Vec<_> = line.args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn calls_are_told_apart() {
        for (args, kind) in [
            ("-c a.cpp -o a.o", Some(Kind::Compile)),
            ("-S a.c", Some(Kind::Compile)),
            ("-E -x c++ - -o a.ii", Some(Kind::Preprocess)),
            ("-E -x c++ -", None),
            ("-M a.c", None),
            ("-MD -MF a.d -c a.c", Some(Kind::Compile)),
            ("a.o b.o -shared -o x.so", Some(Kind::Link)),
            ("a.c -o a", Some(Kind::Link)),
            ("--version", None),
            ("-print-file-name=libc.so a.c", None),
            ("-dumpmachine", None),
            ("-v", None),
            ("-MT a.o -MF a.d", None),
        ] {
            assert_eq!(called(args).subject.map(|s| s.kind), kind, "{args}");
        }
    }

    #[test]
    fn a_compile_gets_the_targets_files_and_canonical_paths() {
        let call = called("-c /real/build/src/a.cpp -o /real/build/a.o");
        let args: Vec<_> = call.args.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(
            args,
            [
                "--sysroot=/real/store/sysroot",
                "-B/real/store/binutils/",
                "-ffile-prefix-map=/real/store=/crosswheel/store",
                "-ffile-prefix-map=/real/build=/crosswheel/build",
                "-frandom-seed=/crosswheel/build/src/a.cpp",
                "-c",
                "/real/build/src/a.cpp",
                "-o",
                "/real/build/a.o",
                "-idirafter",
                "/real/store/cudnn/include",
            ]
        );
        let subject = call.subject.unwrap();
        assert_eq!(subject.label(), "a.o");
        assert_eq!(subject.source.unwrap(), "/real/build/src/a.cpp");
    }

    #[test]
    fn queries_see_the_sysroot_and_nothing_else() {
        let call = called("-print-sysroot");
        assert_eq!(
            call.args,
            ["--sysroot=/real/store/sysroot", "-B/real/store/binutils/", "-print-sysroot"]
        );
    }

    #[test]
    fn the_machines_own_folders_and_processor_are_dropped() {
        for (given, kept) in [
            ("-I/usr/include -I /usr/include -Iinc a.c", "-Iinc a.c"),
            ("-isystem /usr/local/include -isystem inc a.c", "-isystem inc a.c"),
            ("-L/usr/lib/x86_64-linux-gnu -L/lib64 -L. a.o", "-L. a.o"),
            (
                "-I/usrlocal -I/real/store/usr/include a.c",
                "-I/usrlocal -I/real/store/usr/include a.c",
            ),
            ("-march=native -mtune=native -march=armv8.2-a a.c", "-march=armv8.2-a a.c"),
            ("--sysroot=/x --sysroot /y a.c", "a.c"),
        ] {
            assert_eq!(rest(given), kept, "{given}");
        }
        let line = parse(&config(), ["-march=native", "-I/usr/include"].map(OsString::from).into());
        assert_eq!(
            line.notes,
            [
                "dropped `-march=native`: the build machine is not the target",
                "dropped `/usr/include`: a search path of the build machine",
            ]
        );
    }

    #[test]
    fn run_paths_into_the_build_are_dropped() {
        for (given, kept) in [
            ("-Wl,-rpath,/real/store/lib x.o", "x.o"),
            ("-Wl,-rpath=/real/build/lib:$ORIGIN x.o", "-Wl,-rpath=$ORIGIN x.o"),
            ("-Wl,-R/real/build/lib x.o", "x.o"),
            ("-Wl,--enable-new-dtags,-rpath,/real/build,-z,now", "-Wl,--enable-new-dtags,-z,now"),
            ("-Wl,-rpath,$ORIGIN/../torch/lib", "-Wl,-rpath,$ORIGIN/../torch/lib"),
            ("-Wl,-rpath-link,/real/store/lib", "-Wl,-rpath-link,/real/store/lib"),
            ("-Xlinker -rpath -Xlinker /real/build x.o", "x.o"),
            ("-Xlinker -z -Xlinker now x.o", "-Xlinker -z -Xlinker now x.o"),
        ] {
            assert_eq!(rest(given), kept, "{given}");
        }
    }

    #[test]
    fn a_nested_call_is_no_action() {
        let args = vec!["-c".into(), "a.cpp".into()];
        let call = call(&config(), Path::new("/g++"), args, true).unwrap();
        assert_eq!(call.subject, None);
    }
}
