//! Response files: arguments in a file, split as a shell would.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::WrapperError;

/// How deep response files may name each other, as a guard against one that names itself.
const DEPTH: usize = 8;

/// gcc's `@file` (gcc manual, "Overall Options"): replaced by its words where the file exists,
/// taken literally where it does not.
pub(super) fn expand_at_files(args: Vec<OsString>) -> Result<Vec<OsString>, WrapperError> {
    expand(args, DEPTH)
}

fn expand(args: Vec<OsString>, depth: usize) -> Result<Vec<OsString>, WrapperError> {
    let mut expanded = Vec::with_capacity(args.len());
    for arg in args {
        let file = arg.to_str().and_then(|arg| arg.strip_prefix('@')).map(Path::new);
        match file.filter(|file| depth > 0 && file.is_file()) {
            Some(file) => expanded.extend(expand(read(file)?, depth - 1)?),
            None => expanded.push(arg),
        }
    }
    Ok(expanded)
}

/// The words of a response file.
pub(super) fn read(file: &Path) -> Result<Vec<OsString>, WrapperError> {
    let path = file.to_owned();
    match fs_err::read_to_string(file) {
        Ok(text) => Ok(split(&text)),
        Err(source) => Err(WrapperError::ResponseFile { path, source }),
    }
}

/// The words of a line as a shell would see them; where quotes are not closed, what spaces part.
pub(super) fn split(text: &str) -> Vec<OsString> {
    match shlex::split(text) {
        Some(words) => words.into_iter().map(OsString::from).collect(),
        None => text.split_ascii_whitespace().map(OsString::from).collect(),
    }
}

/// Whether an argument has one of these extensions.
pub(super) fn has_extension(arg: &OsStr, extensions: &[&str]) -> bool {
    let extension = Path::new(arg).extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| extensions.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_files_are_expanded_where_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, outer) = (dir.path().join("inner"), dir.path().join("outer"));
        fs_err::write(&inner, "-DX='a b'\n-O2").unwrap();
        fs_err::write(&outer, format!("-c @{} @{}", inner.display(), outer.display())).unwrap();
        let args = vec![format!("@{}", inner.display()).into(), "@none".into()];
        assert_eq!(expand_at_files(args).unwrap(), ["-DX=a b", "-O2", "@none"]);
        // One that names itself ends.
        let args = vec![format!("@{}", outer.display()).into()];
        assert!(expand_at_files(args).unwrap().contains(&"-O2".into()));
    }
}
