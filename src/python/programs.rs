//! The programs that a build finds in its `PATH` beside crosswheel's tools.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::target::Arch;

/// Programs of the machine that build scripts use: a shell, the core utilities, and what reads
/// and writes archives. No compiler, no interpreter, nothing that fetches.
const SYSTEM: [&str; 66] = [
    "[",
    "awk",
    "basename",
    "bash",
    "bunzip2",
    "bzip2",
    "cat",
    "chmod",
    "cksum",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "diff",
    "dirname",
    "echo",
    "egrep",
    "env",
    "expr",
    "false",
    "fgrep",
    "find",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "install",
    "ln",
    "ls",
    "make",
    "md5sum",
    "mkdir",
    "mktemp",
    "mv",
    "od",
    "paste",
    "patch",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "split",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "uniq",
    "unzip",
    "wc",
    "which",
    "xargs",
    "xz",
    "zip",
];

/// Where the machine's programs are, in search order (the Filesystem Hierarchy Standard).
const FOLDERS: &str = "/usr/bin:/bin";

/// Links the machine's programs into a folder; what the machine lacks is left out.
pub(super) fn link_system(bin: &Path) -> std::io::Result<()> {
    for name in SYSTEM {
        if let Ok(program) =
            which::which_in_global(name, Some(FOLDERS)).map(|mut found| found.next())
            && let Some(program) = program
        {
            fs_err::os::unix::fs::symlink(program, bin.join(name))?;
        }
    }
    Ok(())
}

/// Writes `uname` and `nproc`, which answer as the target does to a script that runs them.
pub(super) fn write_answering(bin: &Path, arch: Arch, jobs: NonZeroUsize) -> std::io::Result<()> {
    write_script(&bin.join("nproc"), &format!("echo {jobs}"))?;
    // POSIX prints what is asked for in a fixed order; so does GNU's, with its own options.
    let uname = format!(
        r#"asked=
for option; do
  case $option in
    --all) asked=${{asked}}a ;;
    --kernel-name) asked=${{asked}}s ;;
    --nodename) asked=${{asked}}n ;;
    --kernel-release) asked=${{asked}}r ;;
    --kernel-version) asked=${{asked}}v ;;
    --machine) asked=${{asked}}m ;;
    --processor) asked=${{asked}}p ;;
    --hardware-platform) asked=${{asked}}i ;;
    --operating-system) asked=${{asked}}o ;;
    --* | -*[!asnrvmpio]*) echo "uname: unknown option '$option'" >&2; exit 1 ;;
    -?*) asked=$asked${{option#-}} ;;
    *) echo "uname: extra operand '$option'" >&2; exit 1 ;;
  esac
done
out=
add() {{ case ${{asked:-s}} in *[a$1]*) out="${{out:+$out }}$2" ;; esac; }}
add s Linux
add n crosswheel
add r 6.8.0
add v '#1 SMP'
add m {arch}
add p {arch}
add i {arch}
add o GNU/Linux
echo "$out""#
    );
    write_script(&bin.join("uname"), &uname)
}

pub(crate) fn write_script(path: &Path, body: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::write(path, format!("#!/bin/sh\n{body}\n"))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// The version in the name of a Python's executable, such as `python3.13`.
pub fn python_version(executable: &Path) -> Option<(u16, u16)> {
    let name = executable.file_name()?.to_str()?;
    let (major, minor) = name.strip_prefix("python")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The executable itself, whatever links lead to it.
pub fn resolve(executable: &Path) -> std::io::Result<PathBuf> {
    fs_err::canonicalize(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_tells_its_version_by_its_name() {
        assert_eq!(python_version(Path::new("/store/x/bin/python3.13")), Some((3, 13)));
        assert_eq!(python_version(Path::new("/usr/bin/python3")), None);
        assert_eq!(python_version(Path::new("/usr/bin/python3.13t")), None);
    }

    #[test]
    fn the_programs_are_sorted_and_there_is_a_shell() {
        assert!(SYSTEM.is_sorted());
        let bin = tempfile::tempdir().unwrap();
        link_system(bin.path()).unwrap();
        assert!(bin.path().join("sh").exists());
        assert!(!bin.path().join("python3").exists());
    }
}
