//! The names that `-lineinfo` leaves in device code.
//!
//! nvcc's host compiler preprocesses for the device, and `ptxas` writes a line table by the line
//! markers it left. Its names are absolute, and no option maps them; beside each stands the time
//! at which the file was last changed, where there is such a file (nvcc 13.0: an object with
//! `-lineinfo` differs when its source was touched). So the markers of what was preprocessed are
//! renamed: the folders of the build to what stands for them, below a folder that is nowhere. And
//! `fatbinary` writes the source's name as nvcc was given it before the code: it is made relative
//! to the folder that nvcc runs in.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::Config;
use super::nvcc::SOURCES;
use super::response::has_extension;

/// What the nvcc wrapper hands to its host compiler where line markers are to be renamed. The
/// wrapper around that takes it away again.
pub(super) const OPTION: &str = "-fcrosswheel-line-names";

/// What stands for `/crosswheel`, the root of all canonical names, in line tables: there is no such
/// folder inside a sandbox either, so that no times are found.
const NOWHERE: &str = "/crosswheel/sources";

/// Whether nvcc is asked for a line table of which names and times are the only machine's parts.
/// With `-src-in-ptx`, it reads the sources by the names.
pub(super) fn wanted(args: &[OsString]) -> bool {
    let given = |names: &[&str]| args.iter().any(|arg| names.iter().any(|name| arg == name));
    given(&["-lineinfo", "--generate-line-info"])
        && !given(&["-src-in-ptx", "--source-in-ptx", "-G", "--device-debug"])
}

/// Makes absolute sources in the build folder relative to the folder that nvcc runs in.
pub(super) fn make_relative(config: &Config, dir: &Path, args: &mut [OsString]) {
    let Ok(dir) = dir.strip_prefix(&config.build) else { return };
    for arg in args.iter_mut().filter(|arg| has_extension(arg, &SOURCES)) {
        let Ok(source) = Path::new(arg).strip_prefix(&config.build) else { continue };
        let common = dir.iter().zip(source).take_while(|(a, b)| a == b).count();
        let up = dir.iter().skip(common).map(|_| OsStr::new(".."));
        let relative: PathBuf = up.chain(source.iter().skip(common)).collect();
        *arg = relative.into_os_string();
    }
}

/// The file of a preprocessor call whose line markers are to be renamed.
pub(super) fn output(args: &[OsString]) -> Option<PathBuf> {
    let given = |option: &str| args.iter().any(|arg| arg == option);
    if !given(OPTION) || !given("-E") {
        return None;
    }
    let output = args.iter().skip_while(|arg| *arg != "-o").nth(1)?;
    Some(PathBuf::from(output))
}

/// Renames the line markers of a preprocessed file (GCC manual, "Preprocessor Output").
pub(super) fn rename(config: &Config, dir: &Path, file: &Path) -> io::Result<()> {
    static MARKER: LazyLock<Regex> = LazyLock::new(|| {
        let regex = Regex::new(r#"(?m)^(# [0-9]+ ")((?:[^"\\\r\n]|\\.)*)""#);
        regex.unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
    });
    let text = fs_err::read(file)?;
    let renamed = MARKER.replace_all(&text, |marker: &Captures<'_>| {
        let name = String::from_utf8_lossy(&marker[2]);
        let mut line = marker[1].to_vec();
        line.extend(source_name(config, dir, &name).as_bytes());
        line.push(b'"');
        line
    });
    fs_err::write(file, renamed)
}

/// The file that nvcc lists a source's headers in, where it is asked to beside a compile (nvcc's
/// `-MD` and `-MMD`; without `-MF` it is called after the object).
pub(super) fn dependency_file(args: &[OsString]) -> Option<PathBuf> {
    const ASKED: [&str; 4] = [
        "-MD",
        "-MMD",
        "--generate-dependencies-with-compile",
        "--generate-nonsystem-dependencies-with-compile",
    ];
    let after = |names: &[&str]| {
        args.iter()
            .skip_while(|arg| !names.iter().any(|name| arg == name))
            .nth(1)
            .map(PathBuf::from)
    };
    if !args.iter().any(|arg| ASKED.iter().any(|name| arg == name)) {
        return None;
    }
    let named = after(&["-MF", "--dependency-output"]);
    named.or_else(|| Some(after(&["-o", "--output-file"])?.with_extension("d")))
}

/// Gives the headers in such a file their own names again, which nvcc takes from the line markers:
/// what is nowhere is newer than any object, and all would be compiled at every build.
pub(super) fn restore(config: &Config, file: &Path) -> io::Result<()> {
    let text = match fs_err::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let mut named: Vec<(String, String)> = config
        .prefix_map
        .iter()
        .filter_map(|(real, canonical)| {
            let below = canonical.strip_prefix("/crosswheel").ok()?;
            // As in a makefile.
            let real = real.to_str()?.replace(' ', "\\ ");
            Some((format!("{NOWHERE}/{}/", below.display()), format!("{real}/")))
        })
        .collect();
    // A component's folder before the store's, in which it is.
    named.sort_by_key(|(nowhere, _)| std::cmp::Reverse(nowhere.len()));
    let restored = named.iter().fold(text, |text, (from, to)| text.replace(from, to));
    fs_err::write(file, restored)
}

/// What a source is called in line tables; `name` is as the preprocessor wrote it, escapes and all.
fn source_name(config: &Config, dir: &Path, name: &str) -> String {
    // `<built-in>` and the like are no files.
    if name.is_empty() || name.starts_with('<') {
        return name.to_owned();
    }
    let absolute = dir.join(name);
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let canonical = config.canonical(&plain.to_string_lossy());
    match canonical.strip_prefix("/crosswheel/") {
        Some(below) => format!("{NOWHERE}/{below}"),
        None => canonical,
    }
}

/// An argument that only this module knows.
pub(super) fn is_option(arg: &OsStr) -> bool {
    arg == OPTION
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::config;
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn markers_are_named_after_no_machine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.cpp1.ii");
        let text = "# 0 \"csrc/k.cu\"\n# 0 \"<built-in>\"\n# 31 \"/real/store/cuda/a \\\"b\\\".h\" 1 3\n\
                    char text[] = \"x\n# 1 not a marker\";\n#pragma once\n# 7 \"/elsewhere/c.h\" 2\n";
        fs_err::write(&file, text).unwrap();
        rename(&config(), Path::new("/real/build/source"), &file).unwrap();
        let expected = "# 0 \"/crosswheel/sources/build/source/csrc/k.cu\"\n# 0 \"<built-in>\"\n\
                        # 31 \"/crosswheel/sources/store/cuda/a \\\"b\\\".h\" 1 3\n\
                        char text[] = \"x\n# 1 not a marker\";\n#pragma once\n# 7 \"/elsewhere/c.h\" 2\n";
        assert_eq!(fs_err::read_to_string(&file).unwrap(), expected);
    }

    #[test]
    fn only_line_tables_without_the_source_are_renamed() {
        assert!(wanted(&words("-c k.cu -lineinfo")));
        assert!(wanted(&words("-c k.cu --generate-line-info -O3")));
        for other in ["-c k.cu", "-c k.cu -lineinfo -G", "-c k.cu -lineinfo -src-in-ptx"] {
            assert!(!wanted(&words(other)), "{other}");
        }
    }

    #[test]
    fn sources_of_the_build_are_relative() {
        let mut args =
            words("-c /real/build/source/csrc/k.cu -o /real/build/o/k.o /elsewhere/a.cu");
        make_relative(&config(), Path::new("/real/build/source/build/temp"), &mut args);
        assert_eq!(args, words("-c ../../csrc/k.cu -o /real/build/o/k.o /elsewhere/a.cu"));
        let mut args = words("-c /real/build/k.cu");
        make_relative(&config(), Path::new("/elsewhere"), &mut args);
        assert_eq!(args, words("-c /real/build/k.cu"));
    }

    #[test]
    fn headers_have_their_own_names_where_a_build_tool_reads_them() {
        let given = |text: &str| dependency_file(&words(text));
        assert_eq!(given("-c k.cu -MD -MF k.o.d -o k.o"), Some("k.o.d".into()));
        assert_eq!(given("-c k.cu -MMD -o a/k.o"), Some("a/k.d".into()));
        assert_eq!(given("-c k.cu -MF k.o.d -o k.o"), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.o.d");
        let text = "k.o : ../../csrc/k.cu \\\n  /crosswheel/sources/build/csrc/k.h \\\n  \
                    /crosswheel/sources/store/components/gcc/a.h /crosswheel/sources/store/b.h\n";
        fs_err::write(&file, text).unwrap();
        let mut config = config();
        let gcc =
            ("/real/store/components/gcc-1".into(), "/crosswheel/store/components/gcc".into());
        config.prefix_map.push(gcc);
        restore(&config, &file).unwrap();
        let expected = "k.o : ../../csrc/k.cu \\\n  /real/build/csrc/k.h \\\n  \
                        /real/store/components/gcc-1/a.h /real/store/b.h\n";
        assert_eq!(fs_err::read_to_string(&file).unwrap(), expected);
        restore(&config, &folder.path().join("none")).unwrap();
    }

    #[test]
    fn only_what_is_preprocessed_is_renamed() {
        let given = |text: &str| output(&words(&text.replace("OPTION", OPTION)));
        assert_eq!(given("-E OPTION k.cu -o k.ii"), Some("k.ii".into()));
        assert_eq!(given("-E k.cu -o k.ii"), None);
        assert_eq!(given("-c OPTION k.cu -o k.o"), None);
        assert_eq!(given("-E OPTION k.cu"), None);
    }
}
