//! A small client of the API: one request, one JSON answer, errors an operator can act on.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::cli::tls::Connector;

/// Largest answer read.
const ANSWER_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Most characters of an answer that is not JSON shown to the operator.
const EXCERPT_CHARS_MAX: usize = 200;

/// Why there is no answer to print. Each says what to do next with [`ClientError::hint`].
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address makes no sense.
    #[error("{0}")]
    Address(String),
    /// The file of trust roots cannot be used.
    #[error("the trust roots cannot be used: {0}")]
    Roots(String),
    /// No header can carry the key.
    #[error("the key holds characters that no header can carry")]
    Key,
    /// Nobody answers there.
    #[error("no answer from {server}: {why}")]
    Unreachable {
        /// As given.
        server: String,
        /// In the words of the connection.
        why: String,
    },
    /// The server said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Something answers that is not this API.
    #[error("{server} answered {status} and no JSON: {excerpt}")]
    NotJson {
        /// As given.
        server: String,
        /// Its status.
        status: StatusCode,
        /// The beginning of its answer.
        excerpt: String,
    },
}

/// An error of the API: `{"error":{"code","message","field"}}`.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What it is about.
    pub field: Option<String>,
    /// When to try again, in the server's words.
    pub retry_after: Option<String>,
    /// Finds the request in the server's log.
    pub request_id: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.message, self.code, self.status.as_u16())?;
        let lines = [
            ("field", &self.field),
            ("retry after", &self.retry_after),
            ("request", &self.request_id),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                write!(f, "\n  {name}: {value}")?;
            }
        }
        Ok(())
    }
}

impl ClientError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ClientError::Address(_) => Some("an address looks like http://127.0.0.1:8080"),
            ClientError::Roots(_) => {
                Some("--ca-file or OFFPUSH_CA_FILE names a PEM file of certificates")
            }
            ClientError::Key => Some("look at --key, OFFPUSH_KEY and OFFPUSH_ADMIN_KEY"),
            ClientError::Unreachable { .. } => {
                Some("is `offpush serve` running there? --server or OFFPUSH_SERVER says where")
            }
            ClientError::NotJson { .. } => Some("is this the address of an offpush server?"),
            ClientError::Refused(refusal) => hint_for(refusal.status, &refusal.code),
        }
    }
}

fn hint_for(status: StatusCode, code: &str) -> Option<&'static str> {
    let by_code = match code {
        "app_not_found" => Some("`offpush app list` shows the apps, `offpush app put` makes one"),
        "cert_not_found" => Some("`offpush cert list` shows the certificates of the app"),
        "device_not_found" => Some("`offpush device list` shows the devices of a user"),
        "message_not_found" => Some("traces are kept for trace.keep_h hours; is the app right?"),
        _ => None,
    };
    by_code.or(match status {
        StatusCode::UNAUTHORIZED => Some("give --key, or set OFFPUSH_KEY or OFFPUSH_ADMIN_KEY"),
        StatusCode::FORBIDDEN => Some("this key may not do that: it needs an admin key"),
        StatusCode::TOO_MANY_REQUESTS => Some("the key sends too fast, wait and try again"),
        StatusCode::SERVICE_UNAVAILABLE => {
            Some("the server is full or stopping; /readyz and `offpush queue` say more")
        }
        status if status.is_server_error() => Some("the server's log has the request's id"),
        _ => None,
    })
}

/// Asks one server. Connections are kept between requests.
pub struct Client {
    server: String,
    key: Option<String>,
    timeout: Duration,
    http: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// A client of the server at `server` (`http://host:port` or `https://…`), which signs with
    /// `key` and trusts the PEM roots in `ca_file` beside the usual ones.
    ///
    /// # Errors
    /// When the address cannot be one, or the file holds no certificates.
    pub fn new(
        server: &str,
        key: Option<&str>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Client, ClientError> {
        let server = server.trim_end_matches('/').to_owned();
        let uri: Uri =
            server.parse().map_err(|_| ClientError::Address(format!("`{server}` is not a URL")))?;
        let connector = match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => Connector::plain(),
            (Some("https"), Some(_)) => Connector::tls(ca_file).map_err(ClientError::Roots)?,
            _ => {
                let text = format!("`{server}` does not start with http:// or https://");
                return Err(ClientError::Address(text));
            }
        };
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Client { server, key: key.map(str::to_owned), timeout, http })
    }

    /// The key it signs with.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Asks for what is at `path`.
    ///
    /// # Errors
    /// See [`ClientError`]; the same for the other methods.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// Removes what is at `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, None).await
    }

    /// Writes `body` to `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Hands `body` in at `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let request = self.request(method, path, body)?;
        let exchange = async {
            let reply = self.http.request(request).await.map_err(|error| reason(&error))?;
            let (parts, body) = reply.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((parts.status, parts.headers, body))
        };
        let answered = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("nothing within {} s", self.timeout.as_secs())),
        };
        let (status, headers, body) = answered
            .map_err(|why: String| ClientError::Unreachable { server: self.server.clone(), why })?;
        self.read(status, &headers, &body)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(ACCEPT, "application/json");
        if let Some(key) = &self.key {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request
            .body(Full::new(bytes))
            .map_err(|error| ClientError::Address(format!("not a request: {error}")))
    }

    fn read(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, ClientError> {
        let parsed = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
        match parsed {
            Ok(answer) if status.is_success() => Ok(answer),
            Ok(answer) => Err(ClientError::Refused(Box::new(refusal(status, headers, &answer)))),
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                let excerpt = text.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS_MAX);
                Err(ClientError::NotJson {
                    server: self.server.clone(),
                    status,
                    excerpt: excerpt.collect(),
                })
            }
        }
    }
}

/// Reads the error out of an answer; a refused message carries it in its result.
fn refusal(status: StatusCode, headers: &HeaderMap, answer: &Value) -> Refusal {
    let error = answer.get("error").or_else(|| answer.pointer("/results/0/error"));
    let text = |name: &str| Some(error?.get(name)?.as_str()?.to_owned());
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let usual = status.canonical_reason().unwrap_or("refused").to_ascii_lowercase();
    Refusal {
        status,
        code: text("code").unwrap_or_else(|| usual.replace(' ', "_")),
        message: text("message").unwrap_or(usual),
        field: text("field"),
        retry_after: header(RETRY_AFTER.as_str()),
        request_id: header("x-request-id"),
    }
}

/// The innermost cause says what happened; the outer ones only that something did.
fn reason(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// An absolute path of the API from its segments, each escaped: ids may hold any character.
pub fn path(segments: &[&str]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        for byte in segment.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    path.push(char::from(byte));
                }
                other => path.push_str(&format!("%{other:02X}")),
            }
        }
    }
    path
}

/// The same with the parameters that have a value.
pub fn path_with(segments: &[&str], parameters: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let path = path(segments);
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_any_character_stay_one_segment() {
        assert_eq!(path(&["v1", "c2c:a/b", "김"]), "/v1/c2c%3Aa%2Fb/%EA%B9%80");
        let parameters = [("user", Some("a b".to_owned())), ("since", None)];
        assert_eq!(path_with(&["v1"], &parameters), "/v1?user=a+b");
        assert_eq!(path_with(&["v1"], &[("since", None)]), "/v1");
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_asking() {
        for bad in ["127.0.0.1:8080", "ftp://h", ""] {
            assert!(Client::new(bad, None, None, Duration::from_secs(1)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_without_the_usual_shape_still_has_a_code() {
        let read = refusal(StatusCode::NOT_FOUND, &HeaderMap::new(), &Value::Null);
        assert_eq!(read.to_string(), "not found (not_found, 404)");
    }
}
