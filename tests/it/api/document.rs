//! The document of `/openapi.json` and the router say the same.

use std::collections::BTreeSet;

use offpush::api::openapi::operation::Operation;
use offpush::api::openapi::operations::OPERATIONS;
use serde_json::Value;

use crate::api::Bench;

/// Where the router is written.
const ROUTER: &str = include_str!("../../../src/api/mod.rs");

/// Not of this API: the page for people, and what speaks other documents' language.
const UNDOCUMENTED: [&str; 3] = ["/console", "/v3/", "/v4/"];

/// The text between the parenthesis at the beginning of `text` and its partner.
fn within(text: &str) -> &str {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..at];
        }
    }
    panic!("a parenthesis is never closed");
}

fn literal(text: &str) -> &str {
    text.split('"').nth(1).expect("a path")
}

/// Method and path of every `.route(…)` of one router.
fn routes(router: &str, found: &mut BTreeSet<(String, String)>) {
    for (at, _) in router.match_indices(".route(") {
        let arguments = within(&router[at + ".route".len()..]);
        let path = literal(arguments);
        for method in ["get", "put", "post", "delete", "patch", "any"] {
            let call = format!("{method}(");
            let called = arguments.match_indices(&call).any(|(at, _)| {
                !arguments[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
            });
            if called {
                found.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
}

#[test]
fn the_document_holds_exactly_the_routes_of_the_router() {
    let start = ROUTER.find("pub fn router").expect("the router");
    let end = start + ROUTER[start..].find("\n}").expect("its end");
    let router = &ROUTER[start..end];
    let mut found = BTreeSet::new();
    routes(router, &mut found);
    for (at, _) in router.match_indices(".merge(") {
        let call = within(&router[at + ".merge".len()..]);
        let (file, _) = call.split_once("::").expect("a function of another file");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/");
        let text = std::fs::read_to_string(format!("{folder}{file}.rs")).expect("its file");
        routes(text.split("#[cfg(test)]").next().expect("a text"), &mut found);
    }
    assert!(found.len() > 30, "the router is read: {found:?}");
    let documented: BTreeSet<_> = OPERATIONS
        .iter()
        .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
        .collect();
    found.retain(|(_, path)| !UNDOCUMENTED.iter().any(|prefix| path.starts_with(prefix)));
    assert_eq!(found, documented);
}

/// A path of an operation, with something in every parameter.
fn some_path(operation: &Operation) -> String {
    let mut path = operation.path.to_owned();
    for name in operation.path_parameters() {
        let value = match name {
            "app" => crate::harness::APP.to_string(),
            "conversation" => "c2c:mina".to_owned(),
            _ => "7".to_owned(),
        };
        path = path.replace(&format!("{{{name}}}"), &value);
    }
    path
}

#[tokio::test]
async fn every_documented_operation_is_answered() {
    let bench = Bench::start().await;
    for operation in OPERATIONS {
        let method = operation.method.to_ascii_uppercase();
        let path = some_path(operation);
        let answer = bench.admin.raw(&method, &path, "application/json", b"{}".to_vec()).await;
        let code = answer.body["error"]["code"].as_str().unwrap_or_default();
        assert_ne!((code, answer.status), ("route_not_found", 404), "{method} {path}");
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(answer.status < 500, "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let bench = Bench::start().await;
    let served = bench.with_key(None).get("/openapi.json").await;
    assert_eq!(served, offpush::api::openapi::document());
    assert_eq!(served["openapi"], "3.1.0");
}

/// What a client generator trips over: undeclared path parameters.
#[test]
fn every_path_parameter_is_declared() {
    let document = offpush::api::openapi::document();
    for operation in OPERATIONS {
        let described = &document["paths"][operation.path][operation.method];
        let declared: BTreeSet<String> = described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| parameter["$ref"].as_str().expect("a reference"))
            .map(|reference| document.pointer(&reference[1..]).expect("a parameter"))
            .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
            .map(|parameter: &Value| parameter["name"].as_str().expect("a name").to_owned())
            .collect();
        let named: BTreeSet<_> = operation.path_parameters().map(str::to_owned).collect();
        assert_eq!(declared, named, "{}", operation.id);
    }
}

/// Every field of a message that the API's page describes is in the document as well.
#[test]
fn the_messages_fields_are_in_the_document() {
    let document = offpush::api::openapi::document();
    let described = &document["components"]["schemas"]["Message"]["properties"];
    let page = include_str!("../../../docs/api.md");
    for field in ["From_Account", "MsgRandom", "TaskId", "DataId", "MsgLifeTime", "SendMsgResult"] {
        assert!(page.contains(&format!("`{field}`")), "{field} is on the page");
        assert!(described[field].is_object(), "{field} is in the document");
    }
}
