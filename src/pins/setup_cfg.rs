//! `setup.cfg`: the requirements that setuptools takes from it.

use std::collections::BTreeSet;

use pep508_rs::PackageName;

use super::listed::lines_of;
use super::site::{Place, Site};

/// What a `setup.cfg` says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Requirements.
    pub(super) sites: Vec<Site>,
    /// Requirements files that it names by `file:`.
    pub(super) files: Vec<String>,
}

/// Looks for requirements on packages of these names: of `[options]` and
/// `[options.extras_require]`, one a line, or several in a line with `;` between.
pub(super) fn find(text: &str, names: &BTreeSet<PackageName>) -> Found {
    let mut found = Found::default();
    let (mut section, mut place) = ("", None);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let begin = start;
        start += line.len();
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(named) = content.strip_prefix('[').filter(|_| !line.starts_with([' ', '\t'])) {
            section = named.split(']').next().unwrap_or_default().trim();
            place = None;
            continue;
        }
        let mut value = line;
        if !line.starts_with([' ', '\t']) {
            let Some(at) = line.find(['=', ':']) else { continue };
            place = place_of(section, line[..at].trim());
            value = &line[at + 1..];
        }
        let Some(place) = place else { continue };
        let at = begin + (line.len() - value.len());
        match value.trim().strip_prefix("file:") {
            Some(files) => found.files.extend(files.split(',').map(|f| f.trim().to_owned())),
            None => found.sites.extend(items(text, at..start, place, names)),
        }
    }
    found
}

fn place_of(section: &str, key: &str) -> Option<Place> {
    match (section, key.replace('-', "_").as_str()) {
        ("options", "install_requires") => Some(Place::Run),
        ("options", "setup_requires") => Some(Place::Build),
        ("options", "tests_require") | ("options.extras_require", _) => Some(Place::Perhaps),
        _ => None,
    }
}

/// The requirements of one line. A `;` that begins a marker is none between requirements: the
/// whole line is tried first.
fn items(
    text: &str,
    value: std::ops::Range<usize>,
    place: Place,
    names: &BTreeSet<PackageName>,
) -> Vec<Site> {
    let trimmed = |start: usize, part: &str| {
        let start = start + (part.len() - part.trim_start().len());
        start..start + part.trim().len()
    };
    let whole = trimmed(value.start, &text[value.clone()]);
    let alone = text[..whole.start].ends_with(char::is_whitespace)
        && text[..whole.start].trim_end_matches([' ', '\t']).ends_with('\n');
    if let Some(site) =
        Site::requirement(text[whole.clone()].to_owned(), whole.clone(), place, names)
    {
        return vec![if alone { site.within(lines_of(text, whole)) } else { site.within(whole) }];
    }
    let mut at = value.start;
    let mut sites = Vec::new();
    for part in text[value].split(';') {
        let span = trimmed(at, part);
        let gone = at..at + part.len();
        at += part.len() + 1;
        let site = Site::requirement(text[span.clone()].to_owned(), span, place, names);
        sites.extend(site.map(|site| site.within(gone)));
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = "[metadata]\nname = torch==1\n[options]\ninstall_requires =\n    numpy\n    # why\n    \
                    torch==2.9.1 ; python_version > '3'\nsetup_requires = wheel; torch == 2.9.1\n\
                    packages = find:\n[options.extras_require]\nvision: torchvision~=0.24\n\
                    all = file: requirements/all.txt, b.txt\n";
        let found = find(text, &crate::pins::scan::family());
        let texts: Vec<_> = found.sites.iter().map(|s| (s.text.as_str(), s.place)).collect();
        assert_eq!(
            texts,
            [
                ("torch==2.9.1 ; python_version > '3'", Place::Run),
                ("torch == 2.9.1", Place::Build),
                ("torchvision~=0.24", Place::Perhaps),
            ]
        );
        assert!(found.sites.iter().all(|site| text[site.span.clone()] == site.text));
        assert_eq!(found.files, ["requirements/all.txt", "b.txt"]);
    }
}
