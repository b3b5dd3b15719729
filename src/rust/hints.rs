//! What helps where cargo, or a crate's build script, gave up.

/// By the last lines of a build. The words are cargo's, ld's, strerror(3)'s and those of the
/// `pkg-config` and `openssl-sys` crates.
pub(crate) fn hint<'a>(lines: impl IntoIterator<Item = &'a String> + Clone) -> Option<String> {
    const NEWER: &str = "it needs a newer Rust than the one that builds: the machine's own is taken \
         where it has the target's standard library, as after `rustup update` and \
         `rustup target add aarch64-unknown-linux-gnu`";
    const LIBRARY: &str = "the target's sysroot holds the C library and nothing else: a crate that \
         links to another library needs its feature that builds it along, often called `vendored` \
         or `bundled`";
    const FOREIGN: &str = "a build script runs a program for the target, which cannot run here; what \
         a build makes by running its own programs has to come with the source";
    const UNLOCKED: &str = "only the crates of the manifests that `pyproject.toml` names, or of the \
         one at the top of the source, are locked: `manifest-path` of `[tool.maturin]` names another";
    const PERL: &str = "a crate builds OpenSSL, for which the machine needs Perl: install it, as Debian's \
         package `perl`";
    const HINTS: [(&str, &[&str]); 5] = [
        (PERL, &["Command 'perl' not found"]),
        (NEWER, &["is not supported by the following package", "requires rustc "]),
        (FOREIGN, &["Exec format error"]),
        (
            LIBRARY,
            &[
                "cannot find -l",
                "unable to find library -l",
                "The system library `",
                "Could not find directory of OpenSSL installation",
                "pkg-config command could not be found",
            ],
        ),
        (UNLOCKED, &["no matching package named `", "perhaps a crate was updated and forgotten"]),
    ];
    let tells = |words: &[&str]| {
        lines.clone().into_iter().any(|line| words.iter().any(|word| line.contains(word)))
    };
    let found = HINTS.into_iter().find(|(_, words)| tells(words));
    found.map(|(hint, _)| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_has_a_hint() {
        for (line, word) in [
            (
                "error: rustc 1.96.0 is not supported by the following packages:",
                "rustup target add",
            ),
            ("  = note: /x/ld: cannot find -lnuma: No such file or directory", "`vendored`"),
            ("  The system library `libudev` required by crate `x` was not found.", "`vendored`"),
            ("message: \"Exec format error\" }", "for the target"),
            (
                "  configuring OpenSSL build: Command 'perl' not found. Is perl installed?",
                "package `perl`",
            ),
            ("error: no matching package named `libc` found", "manifest-path"),
        ] {
            let hint = hint(&[line.to_owned()]).unwrap_or_default();
            assert!(hint.contains(word), "{line}: {hint}");
        }
        assert_eq!(hint(&["error: could not compile `a`".to_owned()]), None);
    }
}
