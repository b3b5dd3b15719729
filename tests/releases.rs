//! Releases of an index that cannot be built, or not as they are: what the executable says.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::index::{Distribution, Fault, Form, Index};
use crate::support::xtask::{Run, xtask};

/// An sdist as `tar -cz` makes it.
pub fn sdist(folder: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let path = format!("{folder}/{name}");
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut encoder = builder.into_inner().unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

fn distribution(file: &'static str, yanked: Option<&'static str>) -> Distribution {
    Distribution { file, content: file.as_bytes().to_vec(), yanked }
}

/// What `build-wheels` says of a request to this index, with a store that has nothing.
fn ask(index: &Index, request: &str) -> Run {
    let store = tempfile::tempdir().unwrap();
    let out = store.path().join("dist");
    let (store, out) = (store.path().to_str().unwrap(), out.to_str().unwrap());
    let words = ["build-wheels", request, "--store", store, "--out", out, "--python", "3.11"];
    let run = Run::of(&xtask(words).env("PIP_INDEX_URL", index.simple()));
    assert!(!std::path::Path::new(out).exists(), "there is nothing to hand over");
    run
}

#[test]
fn what_the_index_has_not_is_told_with_what_it_has() {
    let index = Index::start();
    let files = [distribution("foo-1.0.tar.gz", None), distribution("foo-1.5.tar.gz", None)];
    index.project("foo", Form::Json, &files);
    ask(&index, "bar").fails(3, &["bar could not be built", "has no project `bar`"]);
    ask(&index, "foo==2.0").fails(3, &["`foo` has no version `2.0`", "hint: there are: 1.5, 1.0"]);
    let wheels = [distribution("baz-1.0-py3-none-any.whl", None)];
    index.project("baz", Form::Html, &wheels);
    let says = ["`baz` 1.0 has no source distribution", "baz-1.0-py3-none-any.whl", "git+URL@REF"];
    ask(&index, "baz").fails(3, &says);
    ask(&index, "baz==1.0").fails(3, &says);
    assert!(index.requests("/files/baz-1.0-py3-none-any.whl").is_empty());
}

#[test]
fn a_yanked_release_is_taken_only_where_it_is_asked_for() {
    let index = Index::start();
    let yanked = distribution("foo-2.0.tar.gz", Some("eats files"));
    index.project("foo", Form::Json, &[distribution("foo-1.0.tar.gz", None), yanked.clone()]);
    index.project("bar", Form::Json, &[Distribution { file: "bar-2.0.tar.gz", ..yanked }]);
    let says =
        ["every release of `bar`", "was yanked: eats files", "hint: a yanked release is taken"];
    ask(&index, "bar").fails(3, &says);

    // What follows needs torch, which this index has not; the release is chosen before.
    let warning = "`foo` 2.0 was yanked: eats files";
    let pinned = ask(&index, "foo==2.0");
    assert!(pinned.stderr.contains(warning), "{}", pinned.stderr);
    let newest = ask(&index, "foo");
    assert!(!newest.stderr.contains("yanked"), "{}", newest.stderr);
    for run in [pinned, newest] {
        run.fails(4, &["torch"]);
    }
}

/// The index that this machine's pip uses.
pub fn own_index() -> String {
    use crosswheel::environment::Environment;
    use crosswheel::net::{Http, Settings};
    use crosswheel::registry::Registries;
    let environment = Environment::from_process();
    let settings = Settings::discover(&environment, std::path::Path::new("/")).unwrap();
    let registries = Registries::new(Http::new(settings).unwrap(), &environment);
    registries.pypi().unwrap().index()
}

#[test]
fn a_release_with_other_bytes_than_the_index_says_is_named_with_both_hashes() {
    let index = Index::start();
    index.send_on(&own_index());
    let content = sdist("crosswheel_fault-1.0", &[("setup.py", "")]);
    let right = crosswheel::artifact::Sha256::of(&content).to_string();
    let file = "crosswheel_fault-1.0.tar.gz";
    let mut wrong = content.clone();
    wrong[0] ^= 0xff;
    let wrong = crosswheel::artifact::Sha256::of(&wrong).to_string();
    index.project("crosswheel-fault", Form::Json, &[Distribution { file, content, yanked: None }]);
    index.always_fail(&format!("/files/{file}"), Fault::WrongBytes);
    let out = tempfile::tempdir().unwrap();
    let words = ["build-wheels", "crosswheel-fault==1.0", "--out", out.path().to_str().unwrap()];
    let run = Run::of(&xtask(words).env("PIP_INDEX_URL", index.simple()));
    run.fails(5, &[&format!("has sha256 `{wrong}` where `{right}` is expected"), "hint: "]);
    assert_eq!(fs_err::read_dir(out.path()).unwrap().count(), 0);
}
