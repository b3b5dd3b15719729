//! Whole command lines and what they print: `tests/cmd/*.trycmd`. After a change that is wanted,
//! `TRYCMD=overwrite cargo xtask test cli::` writes them anew.

use std::path::Path;

use crate::support::xtask::{Run, XTASK, repository, xtask};

#[test]
fn command_lines() {
    let store = tempfile::tempdir().unwrap();
    trycmd::TestCases::new()
        .register_bin("xtask", Path::new(XTASK))
        .env("CROSSWHEEL_STORE", store.path().to_str().unwrap())
        .env("COLUMNS", "100")
        .case(repository().join("tests/cmd/*.trycmd"));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    // A pipe whose reader is gone before anything is written.
    for verb in [&["toolchain", "list"][..], &["store", "path"], &["build-wheels", "./nowhere"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        let (gone, complaints) = std::io::pipe().unwrap();
        let command = xtask(verb).stdout_file(writer).stderr_file(complaints).unchecked();
        drop((reader, gone));
        let code = command.stdin_null().run().unwrap().status.code();
        // As with a reader.
        assert_eq!(code, Run::of(&xtask(verb)).code, "{verb:?}");
    }
}

#[test]
fn the_readme_lists_the_exit_codes_that_there_are() {
    let read = |path: &str| fs_err::read_to_string(repository().join(path)).unwrap();
    let (source, readme) = (read("xtask/src/exit_codes.rs"), read("README.md"));
    let of_source = source.lines().filter_map(|line| {
        let (_, code) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
        code.trim_end_matches(';').parse::<u8>().ok()
    });
    let (_, table) = readme.split_once("## Exit codes").unwrap();
    let of_table =
        table.lines().filter_map(|line| line.split('|').nth(1)?.trim().parse::<u8>().ok());
    let of_source: Vec<_> = of_source.collect();
    assert!(of_source.len() > 10, "{of_source:?}");
    assert_eq!(of_table.collect::<Vec<_>>(), of_source);
}
