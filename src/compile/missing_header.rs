//! A compile that failed for a header which a recipe can bring.

use std::error::Error as StdError;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Class, Diagnose, Error};
use crate::toolchain::cuda::Detector;

/// A failed build whose log names a header of a CUDA library: the same error, with a hint that
/// says how the header is had.
#[derive(Debug)]
pub struct MissingHeader {
    header: String,
    library: String,
    failed: Error,
}

impl MissingHeader {
    /// The error of a build that failed, with what its log says.
    pub(super) fn explain(failed: Error, log: &str, detector: &Detector) -> Error {
        static MISSING: LazyLock<Regex> = LazyLock::new(|| {
            let pattern = r"fatal error: (\S+): No such file or directory";
            Regex::new(pattern).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
        });
        let known = MISSING.captures_iter(log).find_map(|found| {
            let header = &found[1];
            let library = detector.libraries(header).next()?.to_owned();
            Some((header.to_owned(), library))
        });
        match known {
            Some((header, library)) => Self { header, library, failed }.into(),
            None => failed,
        }
    }
}

impl fmt::Display for MissingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failed.fmt(f)
    }
}

impl StdError for MissingHeader {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failed.source()
    }
}

impl Diagnose for MissingHeader {
    fn class(&self) -> Class {
        self.failed.class()
    }

    fn hint(&self) -> Option<String> {
        let Self { header, library, failed } = self;
        let recipe = format!(
            "`{header}` is of the CUDA library `{library}`, and nothing in the source includes it \
             by its name: `cuda = [\"{library}\"]` in the package's recipe brings it"
        );
        Some(match failed.hint() {
            Some(hint) => format!("{recipe}; {hint}"),
            None => recipe,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::configure::ConfigureError;
    use crate::toolchain::cuda::CudaLibraries;

    fn hint(log: &str) -> Option<String> {
        let toolchains = Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains");
        let detector = CudaLibraries::load(&toolchains).unwrap().detector().unwrap();
        let failed = Error::from(ConfigureError::NotPython("/python".into()));
        let text = failed.to_string();
        let error = MissingHeader::explain(failed, log, &detector);
        assert_eq!((error.to_string(), error.class()), (text, Class::Toolchain));
        error.hint()
    }

    #[test]
    fn the_hint_names_the_library() {
        let line = |header| format!("a.cpp:1:10: fatal error: {header}: No such file or directory");
        let log = format!("{}\ncompilation terminated.\n{}", line("own.h"), line("cufftXt.h"));
        let hint = hint(&log).unwrap();
        assert!(hint.starts_with("`cufftXt.h` is of the CUDA library `cufft`"), "{hint}");
        assert!(hint.contains("`cuda = [\"cufft\"]`"), "{hint}");
    }

    #[test]
    fn other_failures_stay_as_they_are() {
        for log in [
            "",
            "a.cpp:1:10: fatal error: own.h: No such file or directory",
            "a.cpp:3: error: `cudnn.h` was not declared",
        ] {
            assert_eq!(hint(log), None, "{log}");
        }
    }
}
