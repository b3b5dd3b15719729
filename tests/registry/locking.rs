//! Locking components from an index and from a signed mirror.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use crosswheel::artifact::Sha256;
use crosswheel::environment::Environment;
use crosswheel::registry::{Registries, RegistryTable};
use crosswheel::report::Silent;
use crosswheel::store::Store;
use crosswheel::toolchain::lock::ComponentsLock;
use crosswheel::toolchain::relock::{Relock, Relocked, changes};
use crosswheel::toolchain::spec::Components;
use crosswheel::{Class, Error};
use tempfile::TempDir;

use super::{client, distribution};
use crate::support::index::{Fault, Form, Index};

/// A gpgv that takes what is between the armour's lines, and refuses what says that it is forged.
const FAKE_GPGV: &str = r#"#!/bin/sh
[ "$1" = --keyring ] && [ -s "$2" ] && [ "$3 $4" = "--output -" ] || exit 2
if grep -q Forged "$5"; then echo "gpgv: BAD signature" >&2; exit 1; fi
sed -e '1,/^$/d' -e '/^-----BEGIN PGP SIGNATURE/,$d' "$5"
"#;

const COMPONENTS: &str = r#"
[[component]]
name = "ninja"
build = "x86_64"
wheel = [{ project = "ninja", version = ">=1.13,<2", arch = "x86_64" }]

[[component]]
name = "gcc"
build = "x86_64"
apt = [{ registry = "debian", suite = "trixie", arch = "x86_64", packages = ["g++"], depends = true, exclude = ["perl"] }]

[[component]]
name = "python-headers"
python = "3.12"
apt = [{ registry = "ubuntu", suite = "noble", arch = "aarch64", packages = ["libpython3.12-dev"] }]
"#;

/// A machine with a Debian mirror of three packages, and an index with ninja.
struct Mirror {
    index: Index,
    registries: Registries,
    store: Store,
    spec: Components,
    _folder: TempDir,
}

impl Mirror {
    fn new() -> Self {
        let index = Index::start();
        let folder = tempfile::tempdir().unwrap();
        let gpgv = folder.path().join("gpgv");
        fs_err::write(&gpgv, FAKE_GPGV).unwrap();
        fs_err::set_permissions(&gpgv, PermissionsExt::from_mode(0o755)).unwrap();
        let keyring = folder.path().join("keys.gpg");
        fs_err::write(&keyring, "keys").unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let variables = [("PIP_INDEX_URL", index.simple()), ("PATH", path)];
        let debian = RegistryTable {
            url: index.url("/debian"),
            keyring: Some(keyring),
            components: vec!["main".to_owned()],
        };
        let registries = Registries::new(client(), &Environment::new(variables, folder.path()))
            .with_tables(BTreeMap::from([("debian".to_owned(), debian)]));
        let wheels = [
            distribution("ninja-1.12.0-py3-none-manylinux1_x86_64.whl", 1),
            distribution("ninja-1.13.0-py3-none-manylinux1_x86_64.whl", 2),
            distribution("ninja-2.0-py3-none-manylinux1_x86_64.whl", 3),
        ];
        index.project("ninja", Form::Html, &wheels);
        let store = Store::open(folder.path().join("store")).unwrap();
        let spec = toml::from_str(COMPONENTS).unwrap();
        let mirror = Self { index, registries, store, spec, _folder: folder };
        mirror.release("14-1", "Debian");
        mirror
    }

    /// Puts a release of the suite up, with this version of g++.
    fn release(&self, version: &str, origin: &str) {
        let entry = |name: &str, version: &str, fields: &str| {
            let digest = Sha256::of(format!("{name}{version}"));
            format!(
                "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 7\n\
                 SHA256: {digest}\n{fields}\n"
            )
        };
        let packages = entry("g++", version, "Depends: perl, cpp (>= 14)\n")
            + &entry("cpp-14", "14-1", "Provides: cpp (= 14)\n")
            + &entry("other", "1", "");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), Default::default()).unwrap();
        xz.write_all(packages.as_bytes()).unwrap();
        let xz = xz.finish().unwrap();
        let (digest, size) = (Sha256::of(&xz), xz.len());
        let release = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: {origin}\nSHA256:\n \
             {digest} {size} main/binary-amd64/Packages.xz\n-----BEGIN PGP SIGNATURE-----\nx\n"
        );
        self.index.file("/debian/dists/trixie/InRelease", release);
        self.index.file("/debian/dists/trixie/main/binary-amd64/Packages.xz", xz);
    }

    fn relock(&self, previous: &ComponentsLock, names: &[&str]) -> Result<Relocked, Error> {
        let (registries, store) = (&self.registries, &self.store);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let relock = Relock { folder: store.root(), registries, store, reporter: &Silent };
        relock.relock(&self.spec, previous, &names)
    }
}

#[test]
fn locking_takes_the_newest_that_fits_and_what_it_needs() {
    let mirror = Mirror::new();
    let first = mirror.relock(&ComponentsLock::default(), &[]).unwrap();
    let files: Vec<_> = first
        .lock
        .component
        .iter()
        .map(|component| {
            let files = component.artifact.iter().map(|artifact| artifact.file.as_str());
            (component.key.name.as_str(), files.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        files,
        [
            ("gcc", vec!["pool/cpp-14_14-1.deb", "pool/g++_14-1.deb"]),
            ("ninja", vec!["ninja-1.13.0-py3-none-manylinux1_x86_64.whl"]),
        ]
    );
    let skipped: Vec<_> = first.skipped.iter().map(|(key, r)| format!("{key}: {r}")).collect();
    assert_eq!(skipped, ["python-headers for Python 3.12: ubuntu"]);
    assert_eq!(mirror.relock(&first.lock, &[]).unwrap().lock, first.lock);

    mirror.release("14-2", "Debian");
    let other = mirror.relock(&first.lock, &["ninja"]).unwrap();
    assert_eq!(other.lock, first.lock, "only what is named is locked anew");
    let second = mirror.relock(&first.lock, &["gcc"]).unwrap();
    let changed: Vec<_> =
        changes(&first.lock, &second.lock).iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["gcc on x86_64:   g++ 14-1 → 14-2"]);
    let unknown = mirror.relock(&first.lock, &["gxx"]).unwrap_err();
    assert_eq!(unknown.class(), Class::Usage, "{unknown}");
}

#[test]
fn an_index_that_is_not_signed_or_not_what_was_signed_is_refused() {
    let mirror = Mirror::new();
    mirror.release("14-1", "Forged");
    let error = mirror.relock(&ComponentsLock::default(), &["gcc"]).unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    assert_eq!(error.hint().as_deref(), Some("gpgv: BAD signature"));

    mirror.release("14-1", "Debian");
    let path = "/debian/dists/trixie/main/binary-amd64/Packages.xz";
    mirror.index.fail(path, &[Fault::WrongBytes]);
    let error = mirror.relock(&ComponentsLock::default(), &["gcc"]).unwrap_err();
    assert!(error.to_string().contains("the signed Release file says"), "{error}");
    assert!(mirror.relock(&ComponentsLock::default(), &["gcc"]).is_ok());
}
