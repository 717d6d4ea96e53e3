//! The command line from the outside: the real program against a scripted server, its output,
//! its errors and its exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request as the scripted server saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    line: String,
    key: Option<String>,
    body: Value,
}

/// A server that gives the next scripted answer to every request.
struct Scripted {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    async fn start(answers: Vec<(u16, &'static str)>) -> Scripted {
        Scripted::start_with(answers, None).await
    }

    async fn start_with(answers: Vec<(u16, &'static str)>, tls: Option<TlsAcceptor>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (shared.clone(), answers.clone());
                match tls.clone() {
                    None => drop(tokio::spawn(serve(stream, seen, answers))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, seen, answers).await;
                        }
                    })),
                }
            }
        });
        Scripted { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the list").clone()
    }

    /// Runs the program against this server.
    async fn run(&self, args: &[&str]) -> Output {
        let mut command = program(args);
        command.env("OFFPUSH_SERVER", &self.address).env("OFFPUSH_KEY", "app-key");
        tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
            .await
            .expect("the program ends")
    }
}

/// Answers the requests of one connection from the script.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<std::vec::IntoIter<(u16, &'static str)>>>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (seen, answers) = (seen.clone(), answers.clone());
        async move {
            let request = read(request).await;
            seen.lock().expect("the list").push(request);
            let next = answers.lock().expect("the script").next();
            let (status, body) = next.unwrap_or((500, "the script is over"));
            Response::builder()
                .status(StatusCode::from_u16(status).expect("a status"))
                .header("x-request-id", "req-1")
                .header("retry-after", "3")
                .body(Full::new(Bytes::from(body)))
        }
    });
    // The program closes the connection as it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn read(request: Request<Incoming>) -> Seen {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let key = parts.headers.get("authorization");
    Seen {
        line: format!("{} {}", parts.method, parts.uri),
        key: key.map(|key| key.to_str().expect("text").to_owned()),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// The program with these arguments and none of this process's settings.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpush"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OFFPUSH") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test]
async fn a_list_is_a_table_and_with_json_the_answer_itself() {
    let answer = r#"{"certificates":[{"cert_id":7,"vendor":"fcm","status":"active"}]}"#;
    let server = Scripted::start(vec![(200, answer), (200, answer)]).await;
    let table = server.run(&["cert", "list", "--app", "1"]).await;
    assert_eq!(text(&table.stdout), "CERT_ID  VENDOR  STATUS\n7        fcm     active\n");
    assert_eq!(text(&table.stderr), "");
    assert_eq!(table.status.code(), Some(0));
    let raw = server.run(&["cert", "list", "--app", "1", "-o", "json"]).await;
    let raw: Value = serde_json::from_slice(&raw.stdout).expect("JSON");
    assert_eq!(raw, serde_json::from_str::<Value>(answer).expect("JSON"));
    let expected = Seen {
        line: "GET /v1/apps/1/certificates".to_owned(),
        key: Some("Bearer app-key".to_owned()),
        body: Value::Null,
    };
    assert_eq!(server.seen(), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_refusal_shows_code_message_field_and_a_hint() {
    let answer = r#"{"error":{"code":"cert_not_found","message":"there is no certificate 9",
        "field":"cert_id"}}"#;
    let server = Scripted::start(vec![(404, answer)]).await;
    let output = server.run(&["cert", "show", "9", "--app", "1"]).await;
    let expected = "\
error: there is no certificate 9 (cert_not_found, 404)
  field: cert_id
  retry after: 3
  request: req-1
  hint: `offpush cert list` shows the certificates of the app
";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_refused_message_shows_its_own_error() {
    let answer = r#"{"results":[{"status":"invalid","error":{"code":"90005",
        "message":"MsgRandom is missing","field":"MsgRandom"}}]}"#;
    let server = Scripted::start(vec![(400, answer)]).await;
    let args = ["send", "--app", "1", "--from", "mina", "--to", "joon", "--text", "hi"];
    let output = server.run(&args).await;
    assert!(text(&output.stderr).starts_with("error: MsgRandom is missing (90005, 400)\n"));
    assert_eq!(output.status.code(), Some(1));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1/apps/1/messages");
    assert_eq!(seen.body["From_Account"], "mina");
    assert!(seen.body["MsgRandom"].is_u64());
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_named_as_such() {
    let server = Scripted::start(vec![(502, "<html>bad\ngateway</html>")]).await;
    let output = server.run(&["ledger"]).await;
    let errors = text(&output.stderr);
    assert!(errors.contains("answered 502 Bad Gateway and no JSON: <html>badgateway"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let output = program(&["ledger", "--server", &address]).output().expect("the program runs");
    let errors = text(&output.stderr);
    assert!(errors.starts_with(&format!("error: no answer from {address}: ")), "{errors}");
    assert!(errors.contains("hint: is `offpush serve` running there?"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn an_unbalanced_ledger_fails_the_process() {
    let answer = r#"{"accepted":2,"in_flight":0,"terminals":{"pushed":1},"balanced":false}"#;
    let server = Scripted::start(vec![(200, answer)]).await;
    let output = server.run(&["ledger"]).await;
    assert!(text(&output.stdout).contains("balanced   NO"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_rotation_asks_for_the_vendor_and_puts_the_credential() {
    let server = Scripted::start(vec![
        (200, r#"{"cert_id":7,"vendor":"huawei"}"#),
        (200, r#"{"cert_id":7,"revision":2}"#),
    ])
    .await;
    let args = ["cert", "rotate", "7", "--app", "1", "--field", "type=oauth"];
    let output = server.run(&args).await;
    assert_eq!(text(&output.stdout), "cert_id   7\nrevision  2\n");
    let seen = server.seen();
    assert_eq!(seen[0].line, "GET /v1/apps/1/certificates/7");
    assert_eq!(seen[1].line, "PUT /v1/apps/1/certificates/7");
    assert_eq!(seen[1].body, json!({"credential": {"type": "oauth"}}));
}

#[tokio::test]
async fn a_flag_beats_the_variable_for_server_and_key() {
    let server = Scripted::start(vec![(200, "{}"), (200, "{}")]).await;
    let mut command = program(&["app", "list", "--server", &server.address, "--key", "flag"]);
    command.env("OFFPUSH_SERVER", "http://127.0.0.1:1").env("OFFPUSH_ADMIN_KEY", "variable");
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
        .await
        .expect("the program ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(server.seen()[0].key.as_deref(), Some("Bearer flag"));
}

#[tokio::test]
async fn an_https_server_is_trusted_through_its_ca_file_only() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a certificate");
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Scripted::start_with(vec![(200, r#"{"accepted":1}"#)], Some(tls)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, made.cert.pem()).expect("written");

    let strange = server.run(&["ledger"]).await;
    assert_eq!(strange.status.code(), Some(1), "{}", text(&strange.stdout));
    assert!(text(&strange.stderr).contains("no answer from https://"), "{strange:?}");
    let trusted = server.run(&["ledger", "--ca-file", ca_file.to_str().expect("text")]).await;
    assert!(text(&trusted.stdout).contains("accepted   1"), "{trusted:?}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn trust_roots_that_cannot_be_used_are_named_as_such() {
    let directory = tempfile::tempdir().expect("a directory");
    let garbage = directory.path().join("garbage.pem");
    fs::write(&garbage, "garbage").expect("written");
    for file in [garbage, directory.path().join("absent.pem")] {
        let file = file.to_str().expect("text");
        let args = ["ledger", "--server", "https://127.0.0.1:1", "--ca-file", file];
        let output = program(&args).output().expect("the program runs");
        let errors = text(&output.stderr);
        assert!(errors.contains(file) && errors.contains("hint: --ca-file or"), "{errors}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test]
async fn every_flag_that_searches_is_enough_to_explain() {
    let searches = [
        ("--random", "5", "msg_random=5"),
        ("--since", "2026-11-22", "since=2026-11-22"),
        ("--until", "2026-11-22", "until=2026-11-22"),
        ("--cursor", "c", "cursor=c"),
    ];
    let server = Scripted::start(vec![(200, r#"{"messages":[]}"#); searches.len()]).await;
    for (flag, value, _) in searches {
        let output = server.run(&["explain", "--app", "1", flag, value]).await;
        assert_eq!(text(&output.stdout), "no message found\n", "{}", text(&output.stderr));
    }
    let lines: Vec<_> = server.seen().into_iter().map(|seen| seen.line).collect();
    let expected = searches.map(|(.., query)| format!("GET /v1/apps/1/explain?{query}"));
    assert_eq!(lines, expected);
}

#[test]
fn wrong_arguments_exit_with_2_and_help_with_0() {
    let wrong = program(&["cert", "list"]).output().expect("the program runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("--app"), "{}", text(&wrong.stderr));
    let help = program(&["--help"]).output().expect("the program runs");
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Exit codes: 0"), "{}", text(&help.stdout));
}

#[test]
fn check_lists_every_mistake_on_standard_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("offpush.toml");
    fs::write(&file, "[store]\nengine = \"mysql\"\n[log]\ncolour = true\n").expect("written");
    let output = check(directory.path(), &file, &[]);
    let errors = text(&output.stderr);
    for key in ["auth.admin_key_file", "store.engine", "log.colour"] {
        assert!(errors.contains(&format!("\n  {key}: ")), "{key} in {errors}");
    }
    assert!(errors.starts_with("error: 3 mistakes in the settings:"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_is_content_with_good_settings_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("offpush.toml");
    fs::write(&file, "").expect("written");
    let output = check(directory.path(), &file, &["--dev"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok   store: redb in data"));
    let output = check(directory.path(), &file, &["--dev", "-o", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["ok"], &told["findings"][1]["what"]), (&json!(true), &json!("store")));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

fn check(directory: &Path, file: &Path, more: &[&str]) -> Output {
    let file = file.to_str().expect("text");
    let mut command = program(&["check", "--config", file]);
    command.args(more).current_dir(directory);
    command.output().expect("the program runs")
}
