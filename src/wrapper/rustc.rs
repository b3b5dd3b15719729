//! rustc: an action for each crate, the wrappers' linkers, and canonical paths.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::client::{Call, Subject};
use super::install::{BUILD_CC, NESTED};
use super::{Config, WrapperError};
use crate::actions::Kind;
use crate::environment::Environment;
use crate::exec::Difference;

/// rustc's options whose value is the next argument (`rustc --help -v`), as far as cargo gives them.
const WITH_VALUE: [&str; 12] = [
    "--crate-name",
    "--crate-type",
    "--out-dir",
    "--target",
    "--cfg",
    "--check-cfg",
    "--extern",
    "--edition",
    "--cap-lints",
    "-C",
    "-L",
    "-o",
];

pub(super) fn run(
    config: &Config,
    folder: &Path,
    args: Vec<OsString>,
    environment: &Environment,
) -> Result<u8, WrapperError> {
    let Some(rust) = &config.tools.rust else {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(WrapperError::Start { tool: "rustc".into(), source });
    };
    call(config, &rust.rustc, folder, args, environment).run(config, environment)
}

/// A command line, understood as far as needed.
#[derive(Debug, Default, PartialEq, Eq)]
struct CommandLine {
    name: Option<String>,
    kind: Option<String>,
    out_dir: Option<String>,
    source: Option<String>,
    for_target: bool,
    emits: bool,
    prints: bool,
}

fn parse(args: &[OsString]) -> CommandLine {
    let mut line = CommandLine::default();
    let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                (option.to_owned(), Some(value.to_owned()))
            }
            _ if WITH_VALUE.contains(&arg.as_str()) => (arg, args.next()),
            _ => (arg, None),
        };
        match option.as_str() {
            "--crate-name" => line.name = value,
            "--crate-type" => line.kind = value,
            "--out-dir" => line.out_dir = value,
            "--target" => line.for_target = true,
            "--emit" => line.emits = true,
            "--print" => line.prints = true,
            _ if !option.starts_with(['-', '@']) => line.source = Some(option),
            _ => {}
        }
    }
    line
}

fn call<'a>(
    config: &Config,
    rustc: &'a Path,
    folder: &Path,
    mut args: Vec<OsString>,
    environment: &Environment,
) -> Call<'a> {
    let line = parse(&args);
    // The last one counts: what a package's own configuration says does not.
    let linker = match line.for_target {
        // Its calls belong to rustc's own action.
        true => folder.join(NESTED).join(format!("{}-gcc", config.triple)),
        false => folder.join(BUILD_CC),
    };
    args.push(joined("-Clinker=", linker.as_os_str()));
    if line.for_target && line.kind.as_deref() == Some("bin") {
        // GCC's own libstdc++ needs a newer glibc than the sysroot's.
        args.push("-Clink-arg=-Wl,--allow-shlib-undefined".into());
    }
    let differing = config.names().rev().filter(|(real, canonical)| real != canonical);
    args.extend(differing.map(|(real, canonical)| {
        format!("--remap-path-prefix={}={}", real.display(), canonical.display()).into()
    }));
    let subject = subject(line, environment);
    let difference = Difference::default();
    Call { tool: rustc, front: None, args, subject, difference, threads: 1 }
}

fn joined(prefix: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(value);
    text
}

/// What a call makes; `None` where it only asks rustc something, or where a build script tries
/// what it understands: cargo alone sets `CARGO_CRATE_NAME`, for a crate's rustc.
fn subject(line: CommandLine, environment: &Environment) -> Option<Subject> {
    let CommandLine { name, kind, out_dir, source, emits, prints, .. } = line;
    let (name, source) = (name?, source?);
    if !emits || prints || environment.get("CARGO_CRATE_NAME").is_none() {
        return None;
    }
    let kind = kind.unwrap_or_else(|| "lib".to_owned());
    let package = |key: &str| environment.text(key).map(str::to_owned);
    let label = match (package("CARGO_PKG_NAME"), package("CARGO_PKG_VERSION")) {
        (Some(package), Some(version)) if name.starts_with("build_script_") => {
            format!("{package} {version} (build script)")
        }
        (Some(package), Some(version)) if kind == "bin" => format!("{package} {version} ({name})"),
        (Some(package), Some(version)) => format!("{package} {version}"),
        _ => name.clone(),
    };
    Some(Subject {
        kind: Kind::CompileRust,
        // Without the hash in the file's name, which another version of a dependency changes.
        output: out_dir.map(|folder| format!("{folder}/{name}.{kind}").into()),
        source: Some(source.into()),
        notes: Vec::new(),
        sms: Vec::new(),
        name: Some(label),
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::config;
    use super::*;

    fn called(args: &str, variables: &[(&str, &str)]) -> Call<'static> {
        let args = args.split(' ').map(OsString::from).collect();
        let environment = Environment::new(variables.iter().copied(), Path::new("/"));
        call(&config(), Path::new("/rustc"), Path::new("/tools"), args, &environment)
    }

    fn added(args: &str) -> Vec<String> {
        let call = called(args, &[]);
        let given = args.split(' ').count();
        call.args[given..].iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    const PACKAGE: [(&str, &str); 3] = [
        ("CARGO_CRATE_NAME", "pyo3_ffi"),
        ("CARGO_PKG_NAME", "pyo3-ffi"),
        ("CARGO_PKG_VERSION", "1.0"),
    ];

    #[test]
    fn a_crate_is_an_action_under_its_packages_name() {
        let compile = "--crate-name pyo3_ffi --edition=2021 src/lib.rs --crate-type lib \
                       --emit=dep-info,metadata,link -C opt-level=3 --out-dir /real/build/deps \
                       --target aarch64-unknown-linux-gnu";
        let subject = called(compile, &PACKAGE).subject.unwrap();
        assert_eq!((subject.kind, subject.label()), (Kind::CompileRust, "pyo3-ffi 1.0".to_owned()));
        assert_eq!(subject.source.unwrap(), "src/lib.rs");
        assert_eq!(subject.output.unwrap(), "/real/build/deps/pyo3_ffi.lib");
        let script = "--crate-name build_script_build build.rs --crate-type bin --emit=link";
        let subject = called(script, &PACKAGE).subject.unwrap();
        assert_eq!(subject.label(), "pyo3-ffi 1.0 (build script)");
        for query in ["-vV", "--print sysroot", "--crate-name ___ - --print=cfg --emit=link"] {
            assert_eq!(called(query, &PACKAGE).subject, None, "{query}");
        }
        let trial = "--crate-name autocfg_1 --crate-type=lib --emit=metadata -";
        assert_eq!(called(trial, &PACKAGE[1..]).subject, None);
    }

    #[test]
    fn what_runs_here_is_linked_by_the_machine() {
        let remaps = [
            "--remap-path-prefix=/real/store=/crosswheel/store",
            "--remap-path-prefix=/real/build=/crosswheel/build",
        ];
        let linked = |args: &str| added(args);
        assert_eq!(
            linked("--crate-name a a.rs --crate-type cdylib --target aarch64-unknown-linux-gnu"),
            ["-Clinker=/tools/nested/aarch64-linux-gnu-gcc", remaps[0], remaps[1]]
        );
        assert_eq!(
            linked("--crate-name a a.rs --crate-type proc-macro"),
            ["-Clinker=/tools/build-cc", remaps[0], remaps[1]]
        );
        let program =
            linked("--crate-name a a.rs --crate-type bin --target=aarch64-unknown-linux-gnu");
        assert_eq!(program[1], "-Clink-arg=-Wl,--allow-shlib-undefined");
    }
}
