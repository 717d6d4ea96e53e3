//! What one caller may take: requests, time, headers.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::api::{Bench, path};
use crate::harness::{Relay, text};

/// Requests after which a limit of one per second must have been met; no machine takes a second
/// for each of them.
const ENOUGH: usize = 1_000;

#[tokio::test]
async fn an_app_that_asks_too_fast_is_told_when_to_come_back() {
    let bench = Bench::start_with(|settings| {
        settings.http.key_requests_per_s = 1;
        settings.http.key_burst = 5;
    })
    .await;
    let key = bench.app_key(crate::harness::APP).await;
    let app = bench.with_key(Some(&key));
    for (method, rest, body) in [
        ("POST", "/messages", text("mina", "joon", 1, "hi")),
        ("GET", "/users/joon/devices", json!(null)),
        ("GET", "/certificates", json!(null)),
    ] {
        let mut refused = None;
        for _ in 0..ENOUGH {
            let answer = app.call(method, &path(rest), &body).await;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("{method} {rest} is never slowed down"));
        assert_eq!(refused.body["error"]["code"], "rate_limited");
        let after = refused.headers["retry-after"].to_str().expect("text").parse::<u64>();
        assert_eq!(after, Ok(1));
    }
    // Another app is not slowed down, nor is whoever asks for the relay's health.
    let other = "/v1/apps/1400000002";
    bench.admin.ok("PUT", other, &json!({ "name": "other" })).await;
    bench.admin.get(other).await;
    bench.with_key(None).get("/healthz").await;
}

#[tokio::test]
async fn whoever_guesses_keys_is_slowed_down_and_nobody_else_is() {
    let bench = Bench::start_with(|settings| settings.http.unknown_keys_per_s = 1).await;
    let guesser = bench.with_key(Some("opk_guess"));
    let mut statuses = Vec::new();
    for _ in 0..ENOUGH {
        let answer = guesser.call("GET", &path("/certificates"), &json!(null)).await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
            break;
        }
    }
    assert_eq!((statuses[0], statuses.last()), (401, Some(&429)));
    for _ in 0..20 {
        bench.admin.get(&path("/certificates")).await;
        let user = bench.with_key(Some(&crate::api::user_sig("joon")));
        user.get(&path("/users/joon/devices")).await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_do_something_is_not_taken_for_a_guesser() {
    let bench = Bench::start_with(|settings| settings.http.unknown_keys_per_s = 1).await;
    let user = bench.with_key(Some(&crate::api::user_sig("joon")));
    let rests = ["/certificates", "/users/mina/devices", "/keys", "/messages"];
    for rest in rests.iter().cycle().take(ENOUGH) {
        let method = if *rest == "/messages" { "POST" } else { "GET" };
        assert_eq!(user.call(method, &path(rest), &json!(null)).await.status, 403, "{rest}");
    }
    let guesser = bench.with_key(Some("opk_guess"));
    let first = guesser.call("GET", &path("/certificates"), &json!(null)).await;
    assert_eq!(first.status, 401, "the first guess is still free");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let bench = Bench::start().await;
    let headers: String = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect();
    let answer = bench.wire(&format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let bench = Bench::start().await;
    let answer = bench.wire("hello there\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// The paused clock runs as soon as everybody waits, so the slow client costs no time.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let bench = Bench::start().await;
    let answer = bench.wire("GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_answered_408_and_leaves_no_trace() {
    let bench = Bench::start().await;
    let before = bench.rows().await;
    let answer = bench
        .wire(&format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-length: 100\r\n\r\n{{",
            path("/messages"),
            crate::harness::ADMIN,
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(bench.rows().await, before);
}

#[tokio::test]
async fn an_oversized_body_is_answered_before_it_is_read() {
    let bench = Bench::start_with(|settings| settings.http.body_bytes_max = 65_536).await;
    let answer = bench
        .wire(&format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-length: 99999999\r\n\r\n{{",
            path("/messages"),
            crate::harness::ADMIN,
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
}

#[tokio::test]
async fn too_long_headers_are_refused() {
    let bench = Bench::start().await;
    let long = "x".repeat(1_024 * 1_024);
    let address = bench.relay.app.as_ref().expect("running").address();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let (mut reading, mut writing) = stream.split();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    // The relay may close before it has read all of it.
    let write = async { drop(writing.write_all(request.as_bytes()).await) };
    let mut answer = Vec::new();
    let read = async { drop(reading.read_to_end(&mut answer).await) };
    tokio::join!(write, read);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    bench.admin.get("/healthz").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_cut_off() {
    let bench = Bench::start().await;
    assert_eq!(bench.wire("").await, "");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_no_more_is_cut_off() {
    let bench = Bench::start().await;
    let answer = bench.wire("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

/// Asks for far more than the system's buffers hold, and reads nothing of it.
async fn deaf(relay: &Relay) -> TcpStream {
    let address = relay.app.as_ref().expect("running").address();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("a connection");
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    stream.write_all(requests.as_bytes()).await.expect("written");
    stream
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off() {
    let bench = Bench::start().await;
    let stream = deaf(&bench.relay).await;
    // Reading would make it a client that reads: only the connection's end is waited for.
    let reset = stream.ready(Interest::ERROR);
    let reset = tokio::time::timeout(Duration::from_secs(600), reset).await;
    assert!(reset.expect("cut off").expect("a state").is_error());
    bench.admin.get("/healthz").await;
}

/// Callers and vendors share one deadline.
#[tokio::test]
async fn neither_a_deaf_client_nor_a_silent_vendor_nor_both_delay_a_stop_beyond_its_deadline() {
    let mut bench = Bench::start_with(|settings| settings.drain.deadline_s = 8).await;
    let cert_id = bench.relay.certificate(&bench.sims, "oppo").await;
    bench.relay.device("joon", "oppo", cert_id, 1).await;
    let fault = json!({ "vendor": "oppo", "action": { "never_answer": true } });
    let fault = serde_json::from_value(fault).expect("a fault");
    bench.sims.server.faults().add(fault).expect("a rule that makes sense");
    bench.relay.send(&text("mina", "joon", 1, "hi")).await;
    crate::harness::until("the vendor is silent", async || {
        bench.admin.get("/v1/lanes").await["lanes"][0]["in_flight"] == 1
    })
    .await;
    let _deaf = deaf(&bench.relay).await;
    for _ in 0..50 {
        bench.admin.get("/healthz").await;
    }
    tokio::time::pause();
    let began = Instant::now();
    let finished = bench.relay.app.take().expect("running").drain().await;
    assert!(!finished, "the vendor is silent still");
    assert_eq!(began.elapsed().as_secs(), 8);
}

/// Nothing is ever unpacked, so nothing can grow: a compressed body is no JSON.
#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let bench = Bench::start().await;
    let before = bench.rows().await;
    // A gzip stream's first bytes; what follows does not matter.
    let body = "\u{1f}\u{8}packed";
    let answer = bench
        .wire(&format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-encoding: gzip\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            path("/messages"),
            crate::harness::ADMIN,
            body.len(),
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(bench.rows().await, before);
}

/// The request says that more of its body comes, and nothing ever does. Time is not paused: whoever
/// waited for the body would be told 408 half a minute later.
#[tokio::test]
async fn who_may_not_post_is_told_so_before_the_body_is_read() {
    let bench = Bench::start().await;
    let other = "/v1/apps/1400000002";
    bench.admin.ok("PUT", other, &json!({ "name": "other" })).await;
    let foreign = bench.app_key(1_400_000_002).await;
    let messages = path("/messages");
    let hook = path("/webhooks/tencent");
    let time = offpush::clock::Clock::system().now().secs();
    let sign = "00".repeat(32);
    for (target, header, status, code) in [
        (messages.clone(), String::new(), 401, "unauthorized"),
        (messages.clone(), "authorization: Bearer opk_guess\r\n".to_owned(), 401, "unauthorized"),
        (messages, format!("authorization: Bearer {foreign}\r\n"), 403, "forbidden"),
        ("/v4/openim/sendmsg".to_owned(), String::new(), 200, "60012"),
        (
            format!("/v4/openim/sendmsg?sdkappid={}&identifier=a&usersig=b", crate::harness::APP),
            String::new(),
            200,
            "700",
        ),
        (hook.clone(), String::new(), 401, "60025"),
        (format!("{hook}?Sign={sign}&RequestTime={time}"), String::new(), 401, "60025"),
        (
            format!("{hook}?Sign={sign}&RequestTime={time}"),
            "x-offpush-signature: 00\r\n".to_owned(),
            401,
            "60025",
        ),
        (hook, format!("authorization: Bearer {foreign}\r\n"), 403, "60025"),
    ] {
        let answer = bench
            .wire(&format!(
                "POST {target} HTTP/1.1\r\nhost: x\r\n{header}content-length: 4000000\r\n\r\n{{"
            ))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {answer}");
        assert!(answer.contains(code), "{target}: {answer}");
    }
}
