//! What is read as text: requests, index pages, metadata, recipes.

use std::path::Path;
use std::str::FromStr as _;

use crosswheel::net::Page;
use crosswheel::package::{WheelName, metadata as fields, record};
use crosswheel::pins::{Plan, Setting, TargetTorch, plan};
use crosswheel::python::pyproject::Project;
use crosswheel::python::requirements::markers;
use crosswheel::recipe::{self as recipes, Subject};
use crosswheel::registry::apt_index::PackageIndex;
use crosswheel::registry::{File, apt_sources, deb822, file_name, simple};
use crosswheel::request::Request;
use crosswheel::series::{Heading, Named, attempt};
use crosswheel::target::Arch;

use super::{folder, form};

/// A request, or a file of them.
pub fn request(data: &[u8]) {
    let Some((form, data)) = form(data, 2) else { return };
    if form == 1 {
        let folder = folder();
        let file = folder.path().join("requirements.txt");
        fs_err::write(&file, data).expect("written");
        for request in Request::read_file(&file).unwrap_or_default() {
            assert_own_name(&request);
        }
    } else if let Ok(text) = std::str::from_utf8(data)
        && let Ok(request) = Request::parse(text, Path::new("/nowhere"))
    {
        assert_own_name(&request);
    }
}

/// A request is what its own name is read as, but for paths, of which there are odder ones.
fn assert_own_name(request: &Request) {
    if matches!(request, Request::Index { .. } | Request::Git(_)) {
        let again = Request::parse(&request.to_string(), Path::new("/nowhere"));
        assert_eq!(again.ok().as_ref(), Some(request));
    }
}

/// A page of the index in each of its forms, or a file that apt reads.
pub fn index_page(data: &[u8]) {
    let Some((form, data)) = form(data, 5) else { return };
    let text = String::from_utf8_lossy(data);
    match form {
        0 => assert_plain(&simple::parse(&page("text/html", data)).expect("any text is HTML")),
        1 => assert_plain(&simple::parse(&page("application/json", data)).unwrap_or_default()),
        2 => {
            for paragraph in deb822::paragraphs(&text) {
                assert_ne!(paragraph, deb822::Paragraph::default());
            }
            PackageIndex::new("s").add(&text);
        }
        3 => drop(apt_sources::deb822(&text)),
        _ => drop(apt_sources::one_line(&text)),
    }
}

fn page(content_type: &str, body: &[u8]) -> Page {
    Page {
        url: "https://index.example/simple/foo/".parse().expect("a URL"),
        content_type: content_type.to_owned(),
        body: body.to_owned(),
    }
}

/// Files that can be fetched, under names that stay in a folder.
fn assert_plain(files: &[File]) {
    for file in files {
        assert!(file.url.starts_with("http://") || file.url.starts_with("https://"), "{file:?}");
        assert!(!file.name.contains(['/', '\\', '\0', '\n']), "{file:?}");
        assert!(!file.name.is_empty() && !file.name.starts_with(['.', '-']), "{file:?}");
        let _ = file_name::WheelName::parse(&file.name);
        let _ = file_name::sdist_version("foo", &file.name);
        let normal = file_name::normalize(&file.name);
        assert_eq!(file_name::normalize(&normal), normal);
    }
}

/// The files of `.dist-info`, a source tree's own files, and the name of a wheel.
pub fn metadata(data: &[u8]) {
    let Some((form, data)) = form(data, 5) else { return };
    match form {
        0 => {
            let Some(changed) = fields::with_version(data, "7.7") else { return };
            assert_eq!(fields::value(&changed, "Version"), Some("7.7"));
            assert_eq!(fields::values(&changed, "Name"), fields::values(data, "Name"));
        }
        1 => drop(record::parse(data)),
        2 | 3 => {
            let file = if form == 2 { "pyproject.toml" } else { "PKG-INFO" };
            let folder = folder();
            fs_err::write(folder.path().join("setup.py"), "").expect("written");
            fs_err::write(folder.path().join(file), data).expect("written");
            let Ok(project) = Project::read(folder.path()) else { return };
            for path in project.build_system.backend_path {
                assert!(path.is_relative() && !path.iter().any(|part| part == ".."), "{path:?}");
            }
        }
        _ => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            let Ok(name) = WheelName::from_str(text) else { return };
            assert_eq!(name.to_string().parse().ok(), Some(name));
        }
    }
}

/// A recipe, resolved for a version and a target.
pub fn recipe(data: &[u8]) {
    let folder = folder();
    fs_err::create_dir(folder.path().join("p")).expect("made");
    fs_err::write(folder.path().join("p/recipe.toml"), data).expect("written");
    let subject = Subject { name: Some("p"), version: Some("1.0"), target: "thor" };
    let Ok(found) = recipes::find(folder.path(), subject, &["thor".to_owned()]) else { return };
    for name in found.recipe.environment.keys() {
        assert!(!name.is_empty() && !name.contains(['=', '\0']) && name != "PATH", "{name:?}");
    }
    assert!(found.recipe.waivers.iter().all(|waiver| !waiver.reason.trim().is_empty()));
    found.recipe.requirements_digest();
}

/// The files of a source tree that pins stand in.
const PINNED: [&str; 6] =
    ["requirements.txt", "pyproject.toml", "setup.cfg", "setup.py", "CMakeLists.txt", "PKG-INFO"];

/// A file with pins: what is changed once needs no change again, and is nothing but that.
pub fn pins(data: &[u8]) {
    let Some((form, data)) = form(data, PINNED.len() as u8) else { return };
    let folder = folder();
    let file = PINNED[usize::from(form)];
    let write = |content: &[u8]| fs_err::write(folder.path().join(file), content).expect("written");
    write(data);
    let torch = TargetTorch::new("2.9.0a0+50eac811a6.nv25.09", "13.0").expect("a version");
    let markers = markers(Arch::Aarch64, (3, 12)).expect("a version");
    let setting = Setting { torch: &torch, rules: &[], markers: &markers };
    let Ok(first) = plan(folder.path(), &setting) else { return };
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(first.pins.iter().all(|pin| (1..=lines).contains(&pin.line)));
    let Some(changed) = first.files.get(Path::new(file)) else {
        return assert!(first.changes().is_empty());
    };
    write(changed);
    let Plan { pins, files } = plan(folder.path(), &setting).expect("as before");
    assert!(files.is_empty() && pins.iter().all(|pin| !pin.changes()), "{pins:?}");
}

/// A patch of a small tree: what it makes stays in there, and links lead nowhere else.
pub fn patch(data: &[u8]) {
    Heading::read(data);
    let folder = folder();
    let tree = folder.path().join("tree");
    fs_err::create_dir_all(tree.join("d")).expect("made");
    let lines: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    for file in ["a", "a.txt", "d/x", "with space"] {
        fs_err::write(tree.join(file), &lines).expect("written");
    }
    std::os::unix::fs::symlink("a", tree.join("l")).expect("linked");
    let named = Named { name: "p".to_owned(), text: data.to_owned() };
    let trial = attempt(&tree, &[named]).expect("a tree that can be read");
    if trial.check("tree").is_err() {
        return;
    }
    trial.write().expect("what fits can be written");
    assert!(trial.is_as_in(&tree).expect("readable"), "what is written is what was promised");
    assert_eq!(fs_err::read_dir(folder.path()).expect("readable").count(), 1);
    let root = tree.canonicalize().expect("a folder");
    for entry in walkdir::WalkDir::new(&tree).into_iter().map(|entry| entry.expect("readable")) {
        if let Ok(place) = entry.path().canonicalize() {
            assert!(place.starts_with(&root), "{}", entry.path().display());
        }
    }
}
