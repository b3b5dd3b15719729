//! The JSON of a report has the keys that its schema documents, and no other.

use std::collections::BTreeSet;

use crosswheel::audit::{Code, Policy, Waiver, audit};
use serde_json::Value;

use super::elf_fixture::{container, entry};
use super::thor;
use super::wheel_fixture::WheelFixture;

/// Follows a `$ref` within the schema.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the schema");
            root.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there"))
        }
        None => schema,
    }
}

/// The part of JSON Schema that `audit.schema.json` uses.
fn conforms(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(root, schema);
    if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
        let fits = options.iter().filter(|s| conforms(root, s, value, at).is_ok()).count();
        return if fits == 1 {
            Ok(())
        } else {
            Err(format!("{at} fits {fits} of `oneOf`: {value}"))
        };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if schema["type"] != kind {
        return Err(format!("{at} is {kind}, not {}", schema["type"]));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array)
        && !values.contains(value)
    {
        return Err(format!("{at} is {value}, which is not listed"));
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            conforms(root, &schema["items"], item, &format!("{at}/{index}"))?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let key = key.as_str().expect("a name");
        object.get(key).ok_or_else(|| format!("{at} lacks `{key}`"))?;
    }
    for (key, value) in object {
        let own = schema.get("properties").and_then(|p| p.get(key));
        let other = schema.get("additionalProperties").filter(|s| s.is_object());
        let schema = own.or(other).ok_or_else(|| format!("{at} has an unknown `{key}`"))?;
        conforms(root, schema, value, &format!("{at}/{key}"))?;
    }
    Ok(())
}

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
    let root = schema();
    for path in [good.write(folder.path()), faulty.write(folder.path()), so] {
        for target in [None, Some(&thor())] {
            let report = audit(&path, target, &policy).expect("an audit");
            let value = serde_json::to_value(&report).expect("JSON");
            conforms(&root, &root["$defs"]["report"], &value, "").unwrap_or_else(|e| panic!("{e}"));
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
