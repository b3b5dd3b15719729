//! The JSON of a report has the keys that its schema documents, and no other.

use std::collections::BTreeSet;

use crosswheel::audit::{Code, Policy, Waiver, audit};
use serde_json::Value;

use super::elf_fixture::{container, entry};
use super::thor;
use super::wheel_fixture::WheelFixture;
use crate::support::schema::assert_conforms;

fn schema() -> Value {
    let text = include_str!("../../docs/schemas/audit.schema.json");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn reports_conform_to_the_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = WheelFixture::default();
    let mut faulty = WheelFixture { file_name: "odd.whl".to_owned(), ..WheelFixture::default() };
    faulty.elf.device_code.extend(container(&[entry(2, 90, 0x10_a000), entry(8, 90, 0x20_2000)]));
    faulty.elf.executable_stack = true;
    let so = folder.path().join("x.so");
    fs_err::write(&so, faulty.elf.build()).expect("written");
    let waivers = vec![Waiver {
        code: "executable-stack".to_owned(),
        file: "**".to_owned(),
        reason: "a test".to_owned(),
    }];
    let policy = Policy { waivers, ..Policy::default() };
    for path in [good.write(folder.path()), faulty.write(folder.path()), so] {
        for target in [None, Some(&thor())] {
            let report = audit(&path, target, &policy).expect("an audit");
            let value = serde_json::to_value(&report).expect("JSON");
            assert_conforms(&value, "audit.schema.json#/$defs/report");
        }
    }
}

#[test]
fn the_schema_lists_every_code() {
    let root = schema();
    let listed = root["$defs"]["code"]["enum"].as_array().expect("a list");
    let listed: BTreeSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(listed, codes);
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).expect("JSON"), code.name());
    }
}
