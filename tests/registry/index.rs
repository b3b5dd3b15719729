//! The Python index: on a server in both of its forms, and as a folder.

use std::path::Path;

use crosswheel::artifact::Sha256;
use crosswheel::environment::Environment;
use crosswheel::registry::{Registries, RegistryError};
use crosswheel::report::Silent;
use crosswheel::store::{Fetcher, Store};

use super::{Machine, client, distribution};
use crate::support::index::{Distribution, Form, Index, artifact};

#[test]
fn both_forms_of_the_index_lock_alike() {
    let mut locked = Vec::new();
    for form in [Form::Html, Form::Json] {
        let machine = Machine::new();
        let yanked =
            Distribution { yanked: Some("broken"), ..distribution("foo_bar-2.0.tar.gz", 20) };
        let files = [distribution("foo_bar-1.0.tar.gz", 10), yanked];
        machine.index.project("foo-bar", form, &files);
        let pypi = machine.registries.pypi().unwrap();
        let project = pypi.project("Foo.Bar").unwrap();
        let newest = project.sdist(None).unwrap();
        assert_eq!((newest.version.to_string().as_str(), &newest.warning), ("1.0", &None));
        let pinned = project.sdist(Some(&"2.0".parse().unwrap())).unwrap();
        assert_eq!(pinned.warning.as_deref(), Some("`foo-bar` 2.0 was yanked: broken"));
        locked.push(pypi.artifact(&project, &newest).unwrap());
        let unknown = pypi.project("nothing").unwrap_err();
        assert!(matches!(unknown, RegistryError::UnknownProject { .. }), "{unknown}");
    }
    assert_eq!(locked[0], locked[1]);
    assert_eq!(locked[0].size, 10);
}

#[test]
fn credentials_of_the_index_reach_its_files_and_no_message() {
    let index = Index::start();
    let sdist = distribution("foo-1.0.tar.gz", 10);
    index.project("foo", Form::Json, std::slice::from_ref(&sdist));
    let url = index.simple().replace("http://", "http://me:secret@");
    let environment = Environment::new([("PIP_INDEX_URL", url)], Path::new("/nonexistent"));
    let registries = Registries::new(client(), &environment);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let fetcher = Fetcher { registries: &registries, reporter: &Silent, offline: false };
    store.fetch_all(fetcher, &[artifact("foo", "1.0", &sdist)]).unwrap();
    for path in ["/simple/foo/", "/files/foo-1.0.tar.gz"] {
        // "me:secret"
        let authorization = index.requests(path)[0].authorization.clone();
        assert_eq!(authorization.as_deref(), Some("Basic bWU6c2VjcmV0"), "{path}");
    }
    let error = registries.pypi().unwrap().project("bar").unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_folder_of_files_is_an_index() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("foo-1.0.tar.gz"), "one").unwrap();
    fs_err::write(folder.path().join("bar-2.0.tar.gz"), "two").unwrap();
    let environment = Environment::new([("PIP_INDEX_URL", folder.path())], folder.path());
    let registries = Registries::new(client(), &environment);
    let pypi = registries.pypi().unwrap();
    let project = pypi.project("foo").unwrap();
    assert_eq!(project.files.len(), 1);
    let locked = pypi.artifact(&project, &project.sdist(None).unwrap()).unwrap();
    assert_eq!((locked.size, locked.sha256), (3, Sha256::of("one")));
    let store = Store::open(folder.path().join("store")).unwrap();
    let fetcher = Fetcher { registries: &registries, reporter: &Silent, offline: false };
    let found = store.fetch_all(fetcher, std::slice::from_ref(&locked)).unwrap();
    assert_eq!(fs_err::read_to_string(&found[&locked.sha256]).unwrap(), "one");
}
