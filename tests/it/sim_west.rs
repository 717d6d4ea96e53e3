//! The simulator server over real sockets: TLS, HTTP/2 and 1.1, client certificates, stream
//! windows, fault rules and the control API; with APNs and FCM behind it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use offpush::clock::Clock;
use offpush::model::certificate::Environment;
use offpush::sim;
use offpush::sim::apns::accounts::{BUNDLE_ID, P12_PASSWORD};
use offpush::sim::ca::{Ca, ClientCertificate, Issued};
use offpush::sim::server::{SimConfig, SimServer};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod faults;

const TOKEN: &str = "00ff00ff";
/// Longer than any answer takes; only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

type Answer = (StatusCode, http::HeaderMap, Bytes);

async fn start(config: SimConfig) -> SimServer {
    SimServer::start(config, sim::all(), Clock::system()).await.expect("the ports are free")
}

fn authority(url: &str) -> String {
    url.split("://").nth(1).expect("a URL").split('/').next().expect("an authority").to_owned()
}

async fn connect(
    server: &SimServer,
    name: &str,
    alpn: &[&str],
    identity: Option<Issued>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).expect("PEM");
    roots.add(ca).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("default versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(issued) => builder.with_client_auth_cert(issued.chain, issued.key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(authority(&server.endpoint(name))).await?;
    let host = ServerName::try_from("127.0.0.1").expect("an address");
    TlsConnector::from(Arc::new(config)).connect(host, tcp).await
}

async fn http2(server: &SimServer, name: &str) -> http2::SendRequest<Full<Bytes>> {
    let tls = connect(server, name, &["h2"], None).await.expect("TLS");
    let io = TokioIo::new(tls);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Runs `work`, or fails instead of hanging.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("an answer in time")
}

async fn send(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    let (head, body) = soon(sender.send_request(request)).await?.into_parts();
    let body = soon(body.collect()).await?.to_bytes();
    Ok((head.status, head.headers, body))
}

fn provider_token(p8: &Value) -> String {
    let field = |name: &str| p8[name].as_str().expect("text").to_owned();
    let der = PrivatePkcs8KeyDer::from_pem_slice(field("key").as_bytes()).expect("PEM");
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({"alg": "ES256", "kid": field("key_id")}));
    let claims = encode(json!({"iss": field("team_id"), "iat": Clock::system().now().secs()}));
    let signed = format!("{head}.{claims}");
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der(), &random).expect("p8");
    let signature = pair.sign(&random, signed.as_bytes()).expect("signed");
    format!("bearer {signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

struct Apns {
    server: SimServer,
    bearer: String,
}

impl Apns {
    async fn start(config: SimConfig) -> Self {
        let server = start(config).await;
        let (_, credentials) = control(&server, "GET", "/credentials", None).await;
        let bearer = provider_token(&credentials["apns"][0]["credential"]);
        Apns { server, bearer }
    }

    fn push(&self, token: &str) -> Request<Full<Bytes>> {
        Request::post(format!("{}/3/device/{token}", self.server.endpoint("apns")))
            .header("authorization", &self.bearer)
            .header("apns-topic", BUNDLE_ID)
            .body(Full::from(r#"{"aps":{"alert":"hi"}}"#))
            .expect("a request")
    }

    async fn fault(&self, rule: Value) {
        let (status, body) = control(&self.server, "POST", "/faults", Some(rule)).await;
        assert_eq!(status, 201, "{body}");
    }
}

async fn control(
    server: &SimServer,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let tcp = TcpStream::connect(authority(server.control())).await.expect("control listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "control")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(body.map(|body| body.to_string()).unwrap_or_default()))
        .expect("a request");
    let (head, body) = soon(sender.send_request(request)).await.expect("answered").into_parts();
    let body = soon(body.collect()).await.expect("a body").to_bytes();
    let text = Value::String(String::from_utf8_lossy(&body).into_owned());
    (head.status, serde_json::from_slice(&body).unwrap_or(text))
}

#[tokio::test]
async fn a_push_over_tls_rings_a_phone() {
    let apns = Apns::start(SimConfig::default()).await;
    let mut sender = http2(&apns.server, "apns").await;
    let (status, headers, body) = send(&mut sender, apns.push(TOKEN)).await.expect("answered");
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert!(headers.contains_key("apns-id"));
    let (_, shown) = control(&apns.server, "GET", "/phones?vendor=apns&limit=5", None).await;
    assert_eq!((&shown[0]["token"], &shown[0]["body"]), (&json!(TOKEN), &json!("hi")));
    let (_, counts) = control(&apns.server, "GET", "/counts", None).await;
    assert_eq!(counts["apns"], json!({"requests": 1, "rung": 1, "rejected": 0}));
    apns.server.shutdown().await;
}

#[tokio::test]
async fn apns_speaks_http_2_only_and_fcm_both() {
    let server = start(SimConfig::default()).await;
    assert!(connect(&server, "apns", &["http/1.1"], None).await.is_err());
    let without_alpn = connect(&server, "apns", &[], None).await.expect("TLS");
    let io = TokioIo::new(without_alpn);
    let handshake = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io);
    assert!(handshake.await.is_ok());
    let tls = connect(&server, "fcm", &["http/1.1"], None).await.expect("TLS");
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let request = Request::post("/token").header("host", "fcm").body(Full::<Bytes>::default());
    let reply = soon(sender.send_request(request.expect("a request"))).await.expect("answered");
    assert_eq!(reply.status(), 400);
    let mut sender = http2(&server, "fcm").await;
    let url = server.token_endpoint("fcm").expect("FCM has one");
    let request = Request::post(url).body(Full::default()).expect("a request");
    assert_eq!(send(&mut sender, request).await.expect("answered").0, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_certificate_of_the_ca_signs_in() {
    let apns = Apns::start(SimConfig::default()).await;
    let (_, credentials) = control(&apns.server, "GET", "/credentials", None).await;
    let p12 = &credentials["apns"][1]["credential"];
    let data = BASE64_STANDARD.decode(p12["data"].as_str().expect("text")).expect("base64");
    let policy = p12_keystore::Pkcs12ImportPolicy::Strict;
    let store = p12_keystore::KeyStore::from_pkcs12(&data, P12_PASSWORD, policy).expect("opens");
    let (_, found) = store.private_key_chain().expect("a key");
    let chain = found.certs().iter().map(|cert| CertificateDer::from(cert.as_der().to_vec()));
    let key = PrivateKeyDer::Pkcs8(found.key().as_der().to_vec().into());
    let identity = Issued { chain: chain.collect(), key };
    let tls = connect(&apns.server, "apns", &["h2"], Some(identity)).await.expect("TLS");
    let io = TokioIo::new(tls);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut push = apns.push(TOKEN);
    push.headers_mut().remove("authorization");
    assert_eq!(send(&mut sender, push).await.expect("answered").0, 200);
    apns.server.shutdown().await;
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_is_refused_in_the_handshake() {
    let apns = Apns::start(SimConfig::default()).await;
    let wanted = ClientCertificate {
        bundle_id: BUNDLE_ID,
        environments: &[Environment::Production],
        not_after: (2096, 1, 1),
    };
    let stranger = Ca::new().expect("a CA").issue_client(&wanted).expect("issued");
    // With TLS 1.3 the client learns of the refusal from its first read.
    if let Ok(tls) = connect(&apns.server, "apns", &["h2"], Some(stranger)).await {
        let io = TokioIo::new(tls);
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.expect("starts");
        tokio::spawn(connection);
        assert!(send(&mut sender, apns.push(TOKEN)).await.is_err());
    }
    assert_eq!(apns.server.phones().requests("apns"), 0);
    apns.server.shutdown().await;
}

#[tokio::test]
async fn a_fresh_connection_has_one_stream_until_its_first_accepted_push() {
    let config = SimConfig { refusals_narrow: true, ..SimConfig::default() };
    let apns = Apns::start(config).await;
    let tls = connect(&apns.server, "apns", &["h2"], None).await.expect("TLS");
    let io = TokioIo::new(tls);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    let mut connection = Box::pin(connection);
    let streams = |connection: &http2::Connection<_, Full<Bytes>, TokioExecutor>| {
        connection.current_max_send_streams()
    };
    // The client learns of a window when it reads the answer that comes after it.
    let mut ask = async |token: &str| {
        let answer = async {
            let (head, body) =
                sender.send_request(apns.push(token)).await.expect("answered").into_parts();
            soon(body.collect()).await.expect("a body");
            head.status
        };
        tokio::select! {
            status = answer => (status, streams(&connection)),
            _ = &mut connection => panic!("the connection ended"),
        }
    };
    assert_eq!(ask("0").await, (StatusCode::BAD_REQUEST, 1));
    assert_eq!(ask(TOKEN).await, (StatusCode::OK, 1_000));
    assert_eq!(ask("0").await, (StatusCode::BAD_REQUEST, 1));
    assert_eq!(ask(TOKEN).await, (StatusCode::OK, 1_000));
    apns.server.shutdown().await;
}

#[tokio::test]
async fn many_pushes_share_a_connection() {
    let apns = Apns::start(SimConfig::default()).await;
    let sender = http2(&apns.server, "apns").await;
    let pushes = (0..500).map(|_| {
        let mut sender = sender.clone();
        let push = apns.push(TOKEN);
        async move { send(&mut sender, push).await.expect("answered").0 }
    });
    let statuses = futures_util::future::join_all(pushes).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(apns.server.phones().rung("apns"), 500);
    apns.server.shutdown().await;
}

#[tokio::test]
async fn phones_die_on_order() {
    let apns = Apns::start(SimConfig::default()).await;
    let dead = json!({"vendor": "apns", "token": TOKEN, "life": "dead",
        "since": "2026-01-02T03:04:05Z"});
    assert_eq!(control(&apns.server, "POST", "/phones", Some(dead)).await.0, 204);
    let mut sender = http2(&apns.server, "apns").await;
    let (status, _, body) = send(&mut sender, apns.push(TOKEN)).await.expect("answered");
    assert_eq!(status, 410);
    assert_eq!(body, r#"{"reason":"Unregistered","timestamp":1767323045000}"#);
    let live = json!({"vendor": "apns", "token": TOKEN, "life": "live"});
    assert_eq!(control(&apns.server, "POST", "/phones", Some(live)).await.0, 204);
    assert_eq!(send(&mut sender, apns.push(TOKEN)).await.expect("answered").0, 200);
    assert_eq!(control(&apns.server, "DELETE", "/phones", None).await.0, 204);
    assert_eq!(control(&apns.server, "GET", "/phones", None).await.1, json!([]));
    apns.server.shutdown().await;
}

#[tokio::test]
async fn control_tells_where_everything_is() {
    let server = start(SimConfig::default()).await;
    let (_, endpoints) = control(&server, "GET", "/endpoints", None).await;
    assert_eq!(endpoints["apns_sandbox"]["endpoint"], server.endpoint("apns_sandbox"));
    let token_endpoint = server.token_endpoint("fcm").expect("FCM has one");
    assert_eq!(endpoints["fcm"]["token_endpoint"], token_endpoint);
    let (_, pem) = control(&server, "GET", "/ca.pem", None).await;
    assert_eq!(pem, server.ca_pem());
    let (_, credentials) = control(&server, "GET", "/credentials", None).await;
    let fcm = &credentials["fcm"][0];
    assert_eq!((&fcm["vendor"], &fcm["environment"]), (&json!("fcm"), &json!("production")));
    assert_eq!(credentials["apns_sandbox"][0]["environment"], "sandbox");
    let (status, error) =
        control(&server, "POST", "/faults", Some(json!({"action": {"body": 1}}))).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (400, &json!("invalid_rule")));
    server.shutdown().await;
}
