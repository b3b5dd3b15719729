//! Requirements and constraints files.

use std::collections::BTreeSet;
use std::ops::Range;

use pep508_rs::PackageName;

use super::site::{Form, Place, Site};
use crate::python::requirements_file::{self as file, Line};

/// What a requirements file says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Requirements.
    pub(super) sites: Vec<Site>,
    /// The files that it includes, relative to its folder.
    pub(super) files: Vec<String>,
}

/// Looks for requirements on packages of these names.
pub(super) fn find(text: &str, place: Place, names: &BTreeSet<PackageName>) -> Found {
    let mut found = Found::default();
    for line in file::lines(text) {
        match file::included(&line.text).or_else(|| file::constrained(&line.text)) {
            Some(file) => found.files.push(file.to_owned()),
            None => found.sites.extend(site(text, &line, place, names)),
        }
    }
    found
}

fn site(text: &str, line: &Line, place: Place, names: &BTreeSet<PackageName>) -> Option<Site> {
    let raw = &text[line.span.clone()];
    let start = line.span.start + (raw.len() - raw.trim_start_matches(blank).len());
    // Options of a requirement follow it: `--hash=…`.
    let options = text[start..line.span.end].find(" --").map(|at| start + at);
    let end = options.unwrap_or(line.span.end);
    let end = start + text[start..end].trim_end_matches(blank).len();
    let joined = text[start..end].replace("\\\r\n", "").replace("\\\n", "");
    let mut site = Site::requirement(joined, start..end, place, names)?;
    if let Form::Requirement { whole, hashes, .. } = &mut site.form {
        *whole = Some(lines_of(text, line.span.clone()));
        let rest = &text[end..line.span.end];
        *hashes = rest.contains("--hash").then(|| end..end + rest.trim_end_matches(blank).len());
    }
    Some(site)
}

/// White space, and what continues a line.
fn blank(c: char) -> bool {
    c.is_whitespace() || c == '\\'
}

/// Whole lines, the break at their end included.
pub(super) fn lines_of(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hashes_and_includes_are_found() {
        let text = "-r common.txt\n--constraint=../c.txt\ntorch==2.9.0 \\\n    --hash=sha256:aa \\\n    \
                    --hash=sha256:bb\ntorchvision \\\n  == 0.24.0 # why\nnumpy\n-e .\n";
        let names = crate::pins::scan::family();
        let found = find(text, Place::Perhaps, &names);
        assert_eq!(found.files, ["common.txt", "../c.txt"]);
        let [torch, vision] = &found.sites[..] else { panic!("{found:?}") };
        assert_eq!(&text[torch.span.clone()], "torch==2.9.0");
        let Form::Requirement { hashes: Some(hashes), .. } = &torch.form else { panic!() };
        assert!(text[hashes.clone()].ends_with("sha256:bb"));
        assert_eq!(vision.text, "torchvision   == 0.24.0");
        assert_eq!(&text[vision.span.clone()], "torchvision \\\n  == 0.24.0");
    }
}
