//! JSON held to the schemas of `docs/schemas`.

use serde_json::Value;

use super::xtask::repository;

/// Asserts that a value conforms to a schema, such as `manifest.schema.json`, or to a part of it,
/// such as `audit.schema.json#/$defs/report`.
#[track_caller]
pub fn assert_conforms(value: &Value, schema: &str) {
    let (document, pointer) = schema.split_once('#').unwrap_or((schema, ""));
    let document = Document::load(document);
    let schema = document.root.pointer(pointer).expect("a part of the schema");
    document.check(schema, value, "").unwrap_or_else(|fault| panic!("{fault}"));
}

/// One schema file.
struct Document {
    root: Value,
}

impl Document {
    fn load(name: &str) -> Self {
        let text = fs_err::read_to_string(repository().join("docs/schemas").join(name)).unwrap();
        Self { root: serde_json::from_str(&text).unwrap() }
    }

    /// The part of JSON Schema that ours use.
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let (document, pointer) = reference.split_once('#').unwrap_or((reference, ""));
            let other = (!document.is_empty()).then(|| Self::load(document));
            let document = other.as_ref().unwrap_or(self);
            let schema = document.root.pointer(pointer);
            let schema = schema.unwrap_or_else(|| panic!("`{reference}` is not there"));
            return document.check(schema, value, at);
        }
        if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
            let fits = options.iter().filter(|s| self.check(s, value, at).is_ok()).count();
            let fault = || format!("{at} fits {fits} of `oneOf`: {value}");
            return (fits == 1).then_some(()).ok_or_else(fault);
        }
        let kind = kind(value);
        if schema["type"] != kind {
            return Err(format!("{at} is {kind}, not {}", schema["type"]));
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array)
            && !values.contains(value)
        {
            return Err(format!("{at} is {value}, which is not listed"));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], item, &format!("{at}/{index}"))?;
        }
        self.check_members(schema, value, at)
    }

    fn check_members(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Some(object) = value.as_object() else { return Ok(()) };
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let key = key.as_str().expect("a name");
            object.get(key).ok_or_else(|| format!("{at} lacks `{key}`"))?;
        }
        for (key, value) in object {
            let own = schema.get("properties").and_then(|p| p.get(key));
            let other = schema.get("additionalProperties").filter(|s| s.is_object());
            let schema = own.or(other).ok_or_else(|| format!("{at} has an unknown `{key}`"))?;
            self.check(schema, value, &format!("{at}/{key}"))?;
        }
        Ok(())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
