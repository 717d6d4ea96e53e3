//! The API's own description: OpenAPI 3.1 at `/openapi.json`.
//!
//! [`operations`] lists every route, the components beside it every body. Tests keep both true: the
//! list must hold exactly the router's routes, and every answer of the API's tests is checked
//! against the schema this document gives for it.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::openapi::operation::{Answer, Caller, Operation, Takes};
use crate::api::openapi::operations::OPERATIONS;

pub mod operation;
pub mod operations;

/// Schemas, parameters and ways to sign in.
const COMPONENTS: &str = include_str!("openapi/components.json");

static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));

/// `GET /openapi.json`
pub async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(operation);
    }
    let components: Value =
        serde_json::from_str(COMPONENTS).expect("the components are JSON, a test reads them");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": components,
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag()],
        "security": security(operation.caller),
        "responses": responses(operation),
    });
    let parameters: Vec<_> = operation
        .path_parameters()
        .map(str::to_owned)
        .chain(operation.query.iter().map(|name| format!("query_{name}")))
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .collect();
    if !parameters.is_empty() {
        described["parameters"] = json!(parameters);
    }
    if let Some(body) = request_body(operation.takes) {
        described["requestBody"] = body;
    }
    described
}

fn schema(name: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } })
}

fn request_body(takes: Takes) -> Option<Value> {
    let (required, content) = match takes {
        Takes::Nothing => return None,
        Takes::Json(name) => (true, json!({ "application/json": schema(name) })),
        Takes::JsonOrNothing(name) => (false, json!({ "application/json": schema(name) })),
        Takes::JsonOrForm(name, form) => {
            let content =
                json!({ "application/json": schema(name), "multipart/form-data": schema(form) });
            (true, content)
        }
    };
    Some(json!({ "required": required, "content": content }))
}

fn responses(operation: &Operation) -> Value {
    let mut responses = json!({
        "default": {
            "description": "Refused.",
            "content": { "application/json": schema("Error") },
        }
    });
    for (status, answer) in operation.answers {
        responses[status] = match answer {
            Answer::Nothing => json!({ "description": "Done." }),
            Answer::Text => json!({
                "description": "Text.",
                "content": { "text/plain": { "schema": { "type": "string" } } },
            }),
            Answer::Json(name) => json!({
                "description": name,
                "content": { "application/json": schema(name) },
            }),
        };
    }
    responses
}

fn security(caller: Caller) -> Value {
    match caller {
        Caller::Anybody | Caller::Vendor => json!([]),
        Caller::ChatServer => {
            json!([{ "key": [] }, { "webhook_sign": [] }, { "webhook_signature": [] }])
        }
        Caller::Admin | Caller::App => json!([{ "key": [] }]),
        Caller::User => json!([{ "key": [] }, { "user_sig": [] }]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    match value.as_str() {
                        Some(target) if name == "$ref" => {
                            found.insert(target.to_owned());
                        }
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(array) => array.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for kind in ["schemas", "parameters"] {
            for name in document["components"][kind].as_object().expect("components").keys() {
                let target = format!("#/components/{kind}/{name}");
                assert!(found.remove(&target), "{target} is never used");
            }
        }
        assert_eq!(found, BTreeSet::new(), "these lead nowhere");
    }

    #[test]
    fn operation_ids_are_unique() {
        let ids: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), OPERATIONS.len());
    }
}
