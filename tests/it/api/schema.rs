//! Holds answers against the schemas of the document: as much of JSON Schema as it uses.

use std::sync::LazyLock;

use offpush::api::openapi;
use serde_json::Value;

use crate::harness::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(known, given)| known.starts_with('{') || known == given)
}

/// Asserts that an answer is one the document promises.
pub fn check(method: &str, path: &str, answer: &Answer) {
    let what = format!("{method} {path} → {}", answer.status);
    assert!(answer.headers.contains_key("x-request-id"), "{what} has no x-request-id");
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    // A fixed word beats a parameter.
    let found = paths.iter().filter(|(template, _)| fits(template, path));
    let found = found.min_by_key(|(template, _)| template.matches('{').count());
    let operation = found.map(|(_, item)| &item[method.to_ascii_lowercase().as_str()]);
    let responses = operation.map(|operation| &operation["responses"]);
    let status = answer.status.to_string();
    let promised = responses.and_then(|responses| responses.get(&status));
    let Some(promised) = promised else {
        assert!(answer.status >= 400, "{what} is not in the document: {}", answer.body);
        let error = resolve("#/components/schemas/Error");
        return validate(error, &answer.body, &what);
    };
    match promised.pointer("/content/application~1json/schema") {
        Some(schema) => validate(schema, &answer.body, &what),
        None if promised.get("content").is_some() => assert!(answer.body.is_string(), "{what}"),
        None => assert_eq!(answer.body, "", "{what} has a body"),
    }
}

fn resolve(reference: &str) -> &'static Value {
    let pointer = reference.strip_prefix('#').expect("a local reference");
    DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the document uses type {other}"),
    }
}

fn validate(schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return validate(resolve(reference), value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| {
            let required = choice["required"].as_array().cloned().unwrap_or_default();
            required.iter().all(|name| value.get(name.as_str().expect("a name")).is_some())
        };
        let choice =
            choices.iter().find(fits).unwrap_or_else(|| panic!("{at}: no choice: {value}"));
        return validate(choice, value, at);
    }
    match &schema["type"] {
        Value::String(kind) => assert!(is_of(kind, value), "{at} is not {kind}: {value}"),
        Value::Array(kinds) => {
            let any = kinds.iter().any(|kind| is_of(kind.as_str().expect("a type"), value));
            assert!(any, "{at} is none of {kinds:?}: {value}");
        }
        _ => {}
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at} is not one of {allowed:?}: {value}");
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            validate(&schema["items"], item, &format!("{at}[{index}]"));
        }
    }
    if let Some(object) = value.as_object() {
        validate_object(schema, object, at);
    }
}

fn validate_object(schema: &Value, object: &serde_json::Map<String, Value>, at: &str) {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        assert!(object.contains_key(name), "{at}.{name} is missing");
    }
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => validate(schema, value, &at),
            (None, Value::Bool(false)) => panic!("{at} is not in the document"),
            (None, Value::Object(_)) => validate(&schema["additionalProperties"], value, &at),
            (None, _) => {}
        }
    }
}
