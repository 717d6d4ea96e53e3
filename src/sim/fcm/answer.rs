//! Google's error bodies (vendors-apns-fcm.md, B.4 and B.5).

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::sim::SimReply;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field.
    pub field: String,
    /// What is wrong.
    pub description: String,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    http: StatusCode,
    status: &'static str,
    message: String,
    details: Vec<Value>,
}

impl Failure {
    /// A failure of Google's front, not of FCM.
    pub fn without_details(http: StatusCode, status: &'static str, message: &str) -> Self {
        Failure { http, status, message: message.to_owned(), details: Vec::new() }
    }

    /// A failure of FCM with its own code.
    pub fn fcm(http: StatusCode, status: &'static str, code: &str, message: &str) -> Self {
        let details = vec![json!({"@type": FCM_ERROR, "errorCode": code})];
        Failure { http, status, message: message.to_owned(), details }
    }

    /// A request that Google's front could not read: no FCM code.
    pub fn invalid(message: &str, violation: Option<Violation>) -> Self {
        let failure =
            Failure::without_details(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message);
        failure.violated(violation)
    }

    /// A request that FCM refused.
    pub fn fcm_invalid(message: &str, violation: Option<Violation>) -> Self {
        let http = StatusCode::BAD_REQUEST;
        let failure = Failure::fcm(http, "INVALID_ARGUMENT", "INVALID_ARGUMENT", message);
        failure.violated(violation)
    }

    /// Too many messages for one device.
    pub fn device_quota(token: &str) -> Self {
        let http = StatusCode::TOO_MANY_REQUESTS;
        let message = "Quota exceeded for the device.";
        let mut failure = Failure::fcm(http, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", message);
        let violation = json!({"subject": format!("device:{token}"), "description": message});
        failure.details.push(json!({"@type": QUOTA_FAILURE, "violations": [violation]}));
        failure
    }

    fn violated(mut self, violation: Option<Violation>) -> Self {
        if let Some(Violation { field, description }) = violation {
            let violations = json!([{"field": field, "description": description}]);
            self.details.push(json!({"@type": BAD_REQUEST, "fieldViolations": violations}));
        }
        self
    }

    /// The answer.
    pub fn reply(&self) -> SimReply {
        let mut error = json!({
            "code": self.http.as_u16(), "message": self.message, "status": self.status,
        });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        SimReply::json(self.http, &json!({ "error": error }))
    }
}

/// Google's page for a path that does not exist.
pub fn not_found_page() -> SimReply {
    let mut reply = SimReply::empty(StatusCode::NOT_FOUND);
    let html = HeaderValue::from_static("text/html; charset=UTF-8");
    reply.headers.insert(header::CONTENT_TYPE, html);
    reply.body = Bytes::from_static(b"<!DOCTYPE html><title>Error 404 (Not Found)</title>");
    reply
}
