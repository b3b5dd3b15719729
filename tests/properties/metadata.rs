//! What a wheel and a source tree say of themselves.

use std::collections::BTreeMap;

use crosswheel::artifact::Sha256;
use crosswheel::package::{WheelName, metadata, record};
use crosswheel::python::pyproject::Project;
use proptest::prelude::*;

/// A header field: its name, its value, and how the value's further lines begin.
type Field = (String, String, Vec<String>);

fn field() -> impl Strategy<Value = Field> {
    let name = prop_oneof![
        3 => "[A-Z][a-z]{1,8}(-[A-Z][a-z]{1,5})?".boxed(),
        1 => Just("Name".to_owned()).boxed(),
    ];
    // A value of its own line, without the space that is around it.
    let value = "([!-~é]([ -~é]{0,12}[!-~é])?)?";
    let further = prop::collection::vec("[ \t]{1,3}[!-~]{1,10}", 0..2);
    (name.prop_filter("one", |name| name != "Version"), value, further)
}

/// `METADATA` of these fields, a version at this place among them, and a text.
fn written(fields: &[Field], at: usize, version: &str, end: &str, text: &str) -> String {
    let mut all: Vec<Field> = fields.to_vec();
    all.insert(at, ("Version".to_owned(), version.to_owned(), Vec::new()));
    let mut written = String::new();
    for (name, value, further) in all {
        written.push_str(&format!("{name}: {value}{end}"));
        further.iter().for_each(|line| written.push_str(&format!("{line}{end}")));
    }
    written + end + text
}

/// A path in a wheel, with what CSV has to quote.
fn member() -> impl Strategy<Value = String> {
    "[a-z \",'é#;=]{1,8}(/[a-zA-Z0-9_.,\"-]{1,8}){0,3}"
}

proptest! {
    #[test]
    fn fields_read_back_and_only_the_version_changes(
        fields in prop::collection::vec(field(), 0..6), at in any::<prop::sample::Index>(),
        version in "[0-9.+a-z]{1,8}", other in "[0-9.+a-z]{1,8}",
        end in prop::sample::select(vec!["\n", "\r\n"]), text in "(Version: 9\n|[a-z:é\n]{0,20})",
    ) {
        let at = at.index(fields.len() + 1);
        let before = written(&fields, at, &version, end, &text);
        prop_assert_eq!(metadata::value(before.as_bytes(), "version"), Some(version.as_str()));
        let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value, _) in &fields {
            expected.entry(name.to_lowercase()).or_default().push(value);
        }
        for (name, values) in expected {
            prop_assert_eq!(metadata::values(before.as_bytes(), &name), values);
        }
        let changed = metadata::with_version(before.as_bytes(), &other).expect("one version");
        let after = written(&fields, at, &other, end, &text);
        prop_assert_eq!(String::from_utf8_lossy(&changed), after);
    }

    #[test]
    fn a_record_reads_back(
        members in prop::collection::btree_map(member(), any::<(u64, [u8; 4])>(), 0..8),
    ) {
        let digests: BTreeMap<_, _> =
            members.iter().map(|(path, (size, seed))| (path, (Sha256::of(seed), *size))).collect();
        let lines = digests.iter().map(|(path, (digest, size))| (path.as_str(), digest, *size));
        let written = record::write(lines, "x-1.dist-info/RECORD").unwrap();
        let mut read = record::parse(&written).unwrap();
        let own = read.remove("x-1.dist-info/RECORD").unwrap();
        prop_assert_eq!((own.hash.as_str(), own.size), ("", None));
        prop_assert_eq!(read.len(), digests.len());
        for (path, (digest, size)) in digests {
            prop_assert_eq!(&read[path].hash, &record::hash_field(&digest));
            prop_assert_eq!(read[path].size, Some(size));
        }
    }

    #[test]
    fn names_of_wheels_read_back(
        name in "[a-z0-9]{1,5}(_[a-z0-9]{1,3}){0,2}", version in "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(\\+[a-z0-9]{1,5}(\\.[a-z0-9]{1,3})?)?",
        build in prop::option::of("[0-9][a-z0-9]{0,4}"),
        python in "cp3[0-9]{1,2}|cp310\\.cp311", abi in "(abi3|none|cp3[0-9]{1,2}t?)",
        platform in "(any|linux_aarch64|manylinux_2_[0-9]{2}_aarch64)|linux_aarch64\\.manylinux_2_34_aarch64",
    ) {
        let build = build.map(|build| format!("{build}-")).unwrap_or_default();
        let text = format!("{name}-{version}-{build}{python}-{abi}-{platform}.whl");
        let read: WheelName = text.parse().unwrap();
        prop_assert_eq!((&read.name, &read.version), (&name, &version));
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn a_project_reads_back(
        requires in prop::collection::vec("[ -~é]{0,12}", 0..4), backend in prop::option::of("[a-z.:_]{1,10}"),
        path in prop::collection::vec("[a-z]{1,4}(/[a-z]{1,4})?", 0..3),
        name in prop::option::of("[a-z-]{1,8}"), version in prop::option::of("[0-9.]{1,5}"),
    ) {
        let mut system = toml::Table::new();
        system.insert("requires".to_owned(), requires.clone().into());
        system.insert("backend-path".to_owned(), path.clone().into());
        system.extend(backend.clone().map(|backend| ("build-backend".to_owned(), backend.into())));
        let mut project = toml::Table::new();
        project.extend(name.clone().map(|name| ("name".to_owned(), name.into())));
        project.extend(version.clone().map(|version| ("version".to_owned(), version.into())));
        let mut text = toml::Table::new();
        text.insert("build-system".to_owned(), system.into());
        text.insert("project".to_owned(), project.into());
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("pyproject.toml"), text.to_string()).unwrap();
        let read = Project::read(folder.path()).unwrap();
        prop_assert_eq!(read.build_system.requires, requires);
        prop_assert_eq!(read.build_system.backend_path, path.iter().map(Into::into).collect::<Vec<std::path::PathBuf>>());
        prop_assert_eq!((read.name, read.version), (name, version));
        let legacy = "setuptools.build_meta:__legacy__".to_owned();
        prop_assert_eq!(read.build_system.backend, backend.unwrap_or(legacy));
    }
}
