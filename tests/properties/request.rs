//! Requests, and files of them.

use std::path::Path;

use crosswheel::request::Request;
use proptest::prelude::*;

fn parse(text: &str) -> Request {
    Request::parse(text, Path::new("/nowhere")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]([-_.]{0,2}[A-Za-z0-9]){0,8}"
}

/// Versions in every form that PEP 440 has, spelt as people spell them.
fn version() -> impl Strategy<Value = String> {
    "v?([0-9]{1,2}!)?[0-9]{1,3}(\\.[0-9]{1,4}){0,4}([-_.]?(a|alpha|b|beta|c|rc|pre)[-_.]?[0-9]{0,2})?\
     ((-[0-9]{1,2})|([-_.]?(post|rev|r)[-_.]?[0-9]{0,2}))?([-_.]?dev[-_.]?[0-9]{0,2})?\
     (\\+[a-z0-9]{1,4}([-_.][a-z0-9]{1,4}){0,2})?"
}

fn git() -> impl Strategy<Value = String> {
    let reference = "[A-Za-z0-9][A-Za-z0-9._/+-]{0,12}";
    let url = "(https|http|file)://[a-z]{1,6}(\\.example)?(/[A-Za-z0-9._@~%+-]{1,8}){1,3}|ssh://git@[a-z]{1,6}(:22)?(/[a-z.]{1,6}){1,2}";
    (url, reference).prop_map(|(url, reference)| format!("git+{url}@{reference}"))
}

/// What a line of a requirements file may say, with nothing of this machine in it.
fn request() -> impl Strategy<Value = String> {
    let space = " {0,2}";
    let pinned = (name(), space, prop::sample::select(vec!["==", "==="]), space, version());
    prop_oneof![
        name().prop_filter("an archive's name", |name| !is_path(name)),
        pinned
            .prop_map(|(name, before, is, after, version)| format!(
                "{name}{before}{is}{after}{version}"
            ))
            .prop_filter("an archive's name", |text| !is_path(text)),
        git(),
    ]
}

/// What is read as a path, whatever else it could be.
fn is_path(text: &str) -> bool {
    [".tar.gz", ".tgz", ".zip"].iter().any(|ending| text.ends_with(ending))
}

/// What may stand around a request and means nothing.
fn noise() -> impl Strategy<Value = (&'static str, &'static str)> {
    let before = vec!["", "  ", "\t", "# a comment\n", "\n\n", "# no \\\n", "\u{c}"];
    let after = vec!["", " ", "\r", " # why", "\t#", " \\\n", " \\\n  # not continued", "\n"];
    (prop::sample::select(before), prop::sample::select(after))
}

proptest! {
    #[test]
    fn a_request_is_what_its_own_name_says(text in request()) {
        let request = parse(&text);
        prop_assert_eq!(&parse(&request.to_string()), &request, "{}", text);
        prop_assert_eq!(parse(&request.to_string()).to_string(), request.to_string());
    }

    #[test]
    fn spellings_of_a_name_are_one_request(name in name(), separators in "[-_.]{1,3}") {
        let other: String = name.to_uppercase().chars().map(|c| if "-_.".contains(c) { '-' } else { c }).collect();
        prop_assume!(!is_path(&name) && !is_path(&other));
        let respelt = name.replace('-', &separators);
        prop_assume!(!is_path(&respelt));
        prop_assert_eq!(parse(&name), parse(&other));
        prop_assert_eq!(parse(&name), parse(&respelt));
    }

    #[test]
    fn any_text_is_a_request_or_an_error(text in "\\PC{0,30}") {
        if let Ok(request) = Request::parse(&text, Path::new("/nowhere")) {
            let own = Request::parse(&request.to_string(), Path::new("/nowhere"));
            prop_assert_eq!(own.ok(), Some(request));
        }
    }

    #[test]
    fn a_folder_is_found_under_its_own_name(name in "[^/\0]{1,12}") {
        prop_assume!(name != "." && name != "..");
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join(&name)).unwrap();
        let request = Request::parse(&format!("./{name}/"), folder.path()).unwrap();
        let real = fs_err::canonicalize(folder.path()).unwrap().join(&name);
        prop_assert_eq!(&request, &Request::Folder(real));
        prop_assert_eq!(Request::parse(&request.to_string(), Path::new("/")).ok(), Some(request));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_file_of_requests_reads_back(lines in prop::collection::vec((request(), noise()), 0..8)) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("requirements.txt");
        let text: String =
            lines.iter().map(|(request, (before, after))| format!("{before}{request}{after}\n")).collect();
        fs_err::write(&file, &text).unwrap();
        let expected: Vec<_> = lines.iter().map(|(request, _)| parse(request)).collect();
        let read = Request::read_file(&file);
        prop_assert_eq!(read.map_err(|error| format!("{error:?} {text}")), Ok(expected));
    }

    #[test]
    fn files_include_each_other_in_order(first in request(), inner in request(), last in request()) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs_err::write(folder.path().join(name), text).unwrap();
        write("all.txt", format!("{first}\n-r more.txt\n{last}\n"));
        write("more.txt", format!("{inner}\n"));
        let read = Request::read_file(&folder.path().join("all.txt")).unwrap();
        prop_assert_eq!(read, [parse(&first), parse(&inner), parse(&last)]);
    }
}
