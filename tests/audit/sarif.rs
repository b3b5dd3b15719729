//! SARIF 2.1.0, held to what the standard asks of the parts that are written.

use std::collections::BTreeSet;

use crosswheel::audit::{Code, Policy, Waiver, audit, sarif};
use serde_json::Value;

use super::thor;
use super::wheel_fixture::WheelFixture;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

#[test]
fn every_violation_is_a_result_of_a_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fixture = WheelFixture::default();
    fixture.elf.executable_stack = true;
    fixture.elf.text_relocations = true;
    fixture.elf.trailer = b"\0/home/someone/src/a.cc\0".to_vec();
    let waivers = vec![Waiver {
        code: "text-relocations".to_owned(),
        file: "**".to_owned(),
        reason: "a test".to_owned(),
    }];
    let policy = Policy { waivers, ..Policy::default() };
    let path = fixture.write(folder.path());
    let report = audit(&path, Some(&thor()), &policy).expect("an audit");
    let document = sarif::document([&report]);

    assert_eq!(text(&document, "/version"), "2.1.0");
    assert!(text(&document, "/$schema").ends_with("sarif-2.1.0.json"));
    assert_eq!(document["runs"].as_array().map(Vec::len), Some(1));
    let run = &document["runs"][0];
    assert_eq!(text(run, "/tool/driver/name"), "crosswheel");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let ids: BTreeSet<&str> = rules.iter().map(|rule| text(rule, "/id")).collect();
    assert_eq!((ids.len(), rules.len()), (Code::ALL.len(), Code::ALL.len()), "ids are unique");
    assert!(rules.iter().all(|rule| !text(rule, "/shortDescription/text").is_empty()));

    let results = run["results"].as_array().expect("results");
    let mut found = Vec::new();
    for result in results {
        let id = text(result, "/ruleId");
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(text(&rules[index], "/id"), id);
        assert!(!text(result, "/message/text").is_empty());
        let uri = text(result, "/locations/0/physicalLocation/artifactLocation/uri");
        assert!(uri.starts_with("file:///") && uri.ends_with(".whl"), "{uri}");
        let member = text(result, "/locations/0/logicalLocations/0/fullyQualifiedName");
        assert_eq!(member, fixture.elf_path);
        found.push((id, text(result, "/level"), result.get("suppressions").is_some()));
    }
    assert_eq!(
        found,
        [
            ("executable-stack", "error", false),
            ("text-relocations", "error", true),
            ("build-path", "note", false),
        ]
    );
    assert_eq!(text(&results[1], "/suppressions/0/kind"), "external");
    assert_eq!(text(&results[1], "/suppressions/0/justification"), "a test");
}
