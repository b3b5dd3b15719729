//! Requirements files: what is to be built, one request a line, in the form that pip reads.

use std::path::{Path, PathBuf};

use super::{Request, RequestError};
use crate::python::requirements_file::{Line, has_option, included, lines};

impl Request {
    /// Reads a requirements file and those that it includes by `-r`, in the order in which they
    /// stand. Paths in a file are relative to it.
    ///
    /// # Errors
    /// [`RequestError::InFile`] names the line of what is no request: a range of versions, a
    /// marker, or any option but `-r`, since nothing else of pip's applies here.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, RequestError> {
        let mut requests = Vec::new();
        read(path, &mut Vec::new(), &mut requests)?;
        Ok(requests)
    }
}

fn read(
    path: &Path,
    includes: &mut Vec<PathBuf>,
    requests: &mut Vec<Request>,
) -> Result<(), RequestError> {
    let fail = |source| RequestError::File { path: path.to_owned(), source };
    let path = &fs_err::canonicalize(path).map_err(fail)?;
    if includes.contains(path) {
        return Err(RequestError::Cycle(path.clone()));
    }
    let text = fs_err::read_to_string(path).map_err(fail)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    includes.push(path.clone());
    for Line { number: line, text, .. } in lines(&text) {
        let in_file = |source| {
            let source = Box::new(source);
            RequestError::InFile { path: path.clone(), line, source }
        };
        match included(&text) {
            Some(file) => read(&folder.join(file), includes, requests).map_err(in_file)?,
            None if has_option(&text) => return Err(in_file(RequestError::Option { text })),
            None => requests.push(Request::parse(&text, folder).map_err(in_file)?),
        }
    }
    includes.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Diagnose as _;

    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, RequestError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let requests = Request::read_file(&folder.path().join(files[0].0))?;
        let root = fs_err::canonicalize(folder.path()).unwrap();
        let relative =
            |request: &Request| request.to_string().replace(root.to_str().unwrap(), "ROOT");
        Ok(requests.iter().map(relative).collect())
    }

    #[test]
    fn names_pins_comments_continuations_and_paths_are_read() {
        let text = "\u{feff}# what we build\r\ncausal_conv1d==1.7.0  # pinned\r\n\r\n\
                    torch-scatter \\\n  == 2.1.2\n./own\n   # indented \\\nmamba-ssm\n";
        let requests = read(&[("requirements.txt", text), ("own/setup.py", "")]).unwrap();
        let expected = ["causal-conv1d==1.7.0", "torch-scatter==2.1.2", "ROOT/own", "mamba-ssm"];
        assert_eq!(requests, expected);
    }

    #[test]
    fn included_files_stand_where_they_are_named_and_know_their_own_folder() {
        let requests = read(&[
            ("requirements.txt", "a\n-r more/one.txt\n--requirement=more/two.txt\nb\n-rlast.txt"),
            ("more/one.txt", "./x\n-r two.txt"),
            ("more/two.txt", "c"),
            ("more/x/setup.py", ""),
            ("last.txt", "d"),
        ]);
        assert_eq!(requests.unwrap(), ["a", "ROOT/more/x", "c", "c", "b", "d"]);
    }

    #[test]
    fn what_is_no_request_is_named_with_its_line() {
        for (text, line, reason) in [
            ("a\n\n--index-url https://example.com/simple", 3, "`--index-url"),
            ("a\n-e .", 2, "`-e .`"),
            ("-c constraints.txt", 1, "`-c"),
            ("a==1 \\\n    --hash=sha256:00", 1, "--hash"),
            ("# c\na>=1", 2, "does not name one version"),
            ("a==1; python_version < '3.12'", 1, "marker"),
            ("a b", 1, "is not a package"),
            ("git+https://example.com/a.git", 1, "names no commit"),
        ] {
            let error = read(&[("r.txt", text)]).unwrap_err();
            let RequestError::InFile { line: found, source, .. } = &error else {
                panic!("{text}: {error}")
            };
            assert_eq!(*found, line, "{text}");
            assert!(source.to_string().contains(reason), "{text}: {source}");
            assert_eq!(error.class(), source.class());
        }
    }

    #[test]
    fn files_that_include_each_other_or_are_missing_are_errors() {
        let innermost = |error: RequestError| {
            let mut error = error;
            while let RequestError::InFile { source, .. } = error {
                error = *source;
            }
            error
        };
        let error = read(&[("a.txt", "-r b.txt"), ("b.txt", "x\n-r a.txt")]).unwrap_err();
        assert!(matches!(innermost(error), RequestError::Cycle(path) if path.ends_with("a.txt")));
        let error = read(&[("a.txt", "-r missing.txt")]).unwrap_err();
        assert!(
            matches!(innermost(error), RequestError::File { path, .. } if path.ends_with("missing.txt"))
        );
    }
}
