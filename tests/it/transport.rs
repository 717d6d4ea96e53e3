//! The HTTP client against servers on loopback: what it sends, when it opens connections, and
//! what it says about requests that got no answer.

mod http1;
mod peers;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use offpush::transport::{
    Lane, Protocol, Reply, Request, Transport, TransportConfig, TransportError,
};
use tokio::task::JoinHandle;

use crate::transport::peers::{
    Authority, Peer, Wire, answer, data, go_away, go_away_saying, head, reset, settings,
};

const BODY: &str = "{\"aps\":{}}";
const DEADLINE: Duration = Duration::from_secs(600);

type Sent = JoinHandle<Result<Reply, TransportError>>;

fn lane(protocol: Protocol) -> Lane {
    Lane { cert: 1, generation: 1, protocol, identity: None, deadline: DEADLINE }
}

fn h2_lane() -> Lane {
    lane(Protocol::Http2)
}

fn transport(change: impl FnOnce(&mut TransportConfig)) -> Transport {
    let mut config = TransportConfig::default();
    change(&mut config);
    Transport::new(config).expect("a transport")
}

fn send_to(transport: &Transport, lane: Lane, uri: String) -> Sent {
    send_body(transport, lane, uri, BODY)
}

fn request(uri: &str, body: impl Into<Bytes>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("apns-topic", HeaderValue::from_static("com.example.app"));
    Request { method: Method::POST, uri: uri.parse().expect("a uri"), headers, body: body.into() }
}

fn send_body(transport: &Transport, lane: Lane, uri: String, body: impl Into<Bytes>) -> Sent {
    let request = request(&uri, body);
    let transport = transport.clone();
    tokio::spawn(async move { transport.send(&lane, &request).await })
}

fn send(transport: &Transport, lane: Lane, peer: &Peer) -> Sent {
    send_to(transport, lane, http(peer))
}

fn http(peer: &Peer) -> String {
    format!("http://127.0.0.1:{}/3/device/x", peer.port)
}

fn https(peer: &Peer) -> String {
    format!("https://localhost:{}/3/device/x", peer.port)
}

fn trusting(authority: &Authority) -> Transport {
    transport(|c| c.ca_pem = Some(authority.pem.clone().into_bytes()))
}

/// The answer, which must be 200.
async fn ok(sent: Sent) -> Reply {
    let reply = sent.await.expect("no panic").expect("an answer");
    assert_eq!(reply.status, StatusCode::OK);
    reply
}

/// The error, which there must be.
async fn error(sent: Sent) -> TransportError {
    sent.await.expect("no panic").expect_err("no answer")
}

/// A connection that has answered one request and takes `streams`.
async fn warm(transport: &Transport, lane: Lane, peer: &Peer, streams: u32) -> Wire {
    let sent = send(transport, lane, peer);
    let mut wire = peer.accept_http2(streams).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;
    wire
}

#[tokio::test]
async fn many_requests_are_in_flight_on_one_connection() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent: Vec<_> = (0..50).map(|_| send(&transport, h2_lane(), &peer)).collect();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(wire.request().await);
    }
    // The last comes first: the answers need not keep the order of the requests.
    for stream in streams.into_iter().rev() {
        wire.answer(stream).await;
    }
    for sent in sent {
        ok(sent).await;
    }
}

#[tokio::test]
async fn a_burst_on_a_cold_lane_waits_for_the_first_answer() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let sent: Vec<_> = (0..20).map(|_| send(&transport, h2_lane(), &peer)).collect();
    let mut wire = peer.accept_http2(1).await;
    let first = wire.request().await;
    wire.send(&[settings(100), answer(first)]).await;
    let mut streams = Vec::new();
    for _ in 1..20 {
        streams.push(wire.request().await);
    }
    for stream in streams {
        wire.answer(stream).await;
    }
    for sent in sent {
        ok(sent).await;
    }
}

#[tokio::test]
async fn a_second_connection_is_opened_when_the_streams_run_out() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut first = warm(&transport, h2_lane(), &peer, 1).await;
    let on_first = send(&transport, h2_lane(), &peer);
    let stream = first.request().await;
    let on_second = send(&transport, h2_lane(), &peer);
    let mut second = peer.accept_http2(1).await;
    let other = second.request().await;
    second.answer(other).await;
    ok(on_second).await;
    first.answer(stream).await;
    ok(on_first).await;
}

#[tokio::test]
async fn our_own_limit_on_streams_counts_too() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.streams_per_connection_max = 1));
    let mut first = warm(&transport, h2_lane(), &peer, 100).await;
    let on_first = send(&transport, h2_lane(), &peer);
    let stream = first.request().await;
    let second = warm(&transport, h2_lane(), &peer, 100).await;
    first.answer(stream).await;
    ok(on_first).await;
    drop(second);
}

#[tokio::test]
async fn no_more_connections_than_allowed_so_the_next_request_waits() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.connections_per_lane_max = 1));
    let mut wire = warm(&transport, h2_lane(), &peer, 1).await;
    let sent: Vec<_> = (0..3).map(|_| send(&transport, h2_lane(), &peer)).collect();
    for _ in 0..3 {
        let stream = wire.request().await;
        wire.answer(stream).await;
    }
    for sent in sent {
        ok(sent).await;
    }
}

#[tokio::test]
async fn a_request_beyond_the_goaway_is_replayed_and_the_others_finish() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let kept = send(&transport, h2_lane(), &peer);
    let kept_stream = wire.request().await;
    let moved = send(&transport, h2_lane(), &peer);
    let moved_stream = wire.request().await;
    assert!(moved_stream > kept_stream);
    wire.send(&[go_away(kept_stream)]).await;
    let mut fresh = peer.accept_http2(100).await;
    let stream = fresh.request().await;
    fresh.answer(stream).await;
    ok(moved).await;
    wire.answer(kept_stream).await;
    ok(kept).await;
}

#[tokio::test]
async fn after_a_goaway_new_requests_take_another_connection() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let kept = send(&transport, h2_lane(), &peer);
    let kept_stream = wire.request().await;
    wire.send_and_wait(go_away(kept_stream)).await;
    let new = send(&transport, h2_lane(), &peer);
    let mut fresh = peer.accept_http2(100).await;
    let stream = fresh.request().await;
    fresh.answer(stream).await;
    ok(new).await;
    wire.answer(kept_stream).await;
    ok(kept).await;
    wire.closed().await;
}

#[tokio::test]
async fn a_refused_stream_is_replayed_once_and_then_not_sent() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    wire.send(&[reset(stream, h2::Reason::REFUSED_STREAM)]).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;

    let sent = send(&transport, h2_lane(), &peer);
    for _ in 0..2 {
        let stream = wire.request().await;
        wire.send(&[reset(stream, h2::Reason::REFUSED_STREAM)]).await;
    }
    assert!(matches!(error(sent).await, TransportError::NotSent(_)));
}

#[tokio::test]
async fn any_other_reset_means_lost_before_and_inside_the_answer() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    wire.send(&[reset(stream, h2::Reason::INTERNAL_ERROR)]).await;
    assert!(matches!(error(sent).await, TransportError::Lost(_)));

    let sent = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    let cut = [head(stream), data(stream, b"{", false), reset(stream, h2::Reason::CANCEL)];
    wire.send(&cut).await;
    assert!(matches!(error(sent).await, TransportError::Lost(_)));

    let sent = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;
}

#[tokio::test]
async fn a_connection_cut_in_flight_means_lost() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent = send(&transport, h2_lane(), &peer);
    wire.request().await;
    drop(wire);
    assert!(matches!(error(sent).await, TransportError::Lost(_)));
}

#[tokio::test]
async fn an_idle_connection_the_server_closed_is_not_used_again() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    wire.send(&[go_away(1)]).await;
    wire.closed().await;
    warm(&transport, h2_lane(), &peer, 100).await;
}

#[tokio::test]
async fn nobody_listening_means_not_sent_for_everyone_waiting() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let uri = format!("http://127.0.0.1:{}/", peer.port);
    drop(peer);
    let sent: Vec<_> = (0..5).map(|_| send_to(&transport, h2_lane(), uri.clone())).collect();
    for sent in sent {
        assert!(matches!(error(sent).await, TransportError::NotSent(_)));
    }
}

#[tokio::test]
async fn the_deadline_is_lost_after_handing_over_and_not_sent_before() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 1).await;
    let lane = Lane { deadline: Duration::from_secs(1), ..h2_lane() };
    let handed = send(&transport, lane.clone(), &peer);
    wire.request().await;
    // The second finds the connection full, and the one opened for it never speaks TLS.
    let silent = Peer::bind().await;
    let waiting = send_to(&transport, lane, format!("https://localhost:{}/", silent.port));
    let _socket = silent.accept().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(error(handed).await, TransportError::Lost(_)));
    assert!(matches!(error(waiting).await, TransportError::NotSent(_)));
}

#[tokio::test]
async fn a_connection_that_is_left_no_streams_carries_nothing_until_it_gets_some() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.connections_per_lane_max = 1));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    wire.send_and_wait(settings(0)).await;
    let lane = Lane { deadline: Duration::from_secs(1), ..h2_lane() };
    tokio::time::pause();
    let late = error(send(&transport, lane, &peer)).await;
    assert!(matches!(late, TransportError::NotSent(_)), "it was never handed over: {late}");
    tokio::time::resume();
    let sent = send(&transport, h2_lane(), &peer);
    wire.send(&[settings(1)]).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;
}

#[tokio::test]
async fn a_connection_that_was_silent_for_a_whole_deadline_is_left() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let hurried = Lane { deadline: Duration::from_secs(1), ..h2_lane() };
    // Another request that is answered meanwhile shows that the peer is alive.
    let slow = send(&transport, hurried.clone(), &peer);
    wire.request().await;
    let quick = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(quick).await;
    tokio::time::pause();
    assert!(matches!(error(slow).await, TransportError::Lost(_)));
    let silent = send(&transport, hurried, &peer);
    wire.request().await;
    assert!(matches!(error(silent).await, TransportError::Lost(_)));
    tokio::time::resume();
    warm(&transport, h2_lane(), &peer, 100).await;
}

#[tokio::test]
async fn a_peer_that_ends_its_direction_means_lost_and_is_left() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent = send(&transport, h2_lane(), &peer);
    wire.request().await;
    wire.half_close().await;
    assert!(matches!(error(sent).await, TransportError::Lost(_)));
    warm(&transport, h2_lane(), &peer, 100).await;
}

#[tokio::test]
async fn a_goaway_with_last_words_moves_what_was_not_processed() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let kept = send(&transport, h2_lane(), &peer);
    let processed = wire.request().await;
    let moved = send(&transport, h2_lane(), &peer);
    wire.request().await;
    let shutdown = go_away_saying(processed, br#"{"reason":"Shutdown"}"#);
    wire.send(&[answer(processed), shutdown]).await;
    ok(kept).await;
    // Refused once more on the second connection, it is given up for now, with the last words.
    let mut fresh = peer.accept_http2(100).await;
    fresh.request().await;
    fresh.send(&[go_away_saying(0, br#"{"reason":"IdleTimeout"}"#)]).await;
    let words = error(moved).await.to_string();
    assert!(
        words.starts_with("not sent") && words.contains(r#"{"reason":"IdleTimeout"}"#),
        "{words}"
    );
}

#[tokio::test]
async fn a_long_body_is_cut_and_a_short_one_is_whole() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.body_bytes_max = 6));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    for (pieces, expected) in [
        (["abc", "def"], "abcdef"),
        (["abc", "defg"], "abcdef"),
        (["abcdefg", ""], "abcdef"),
        (["", "ab"], "ab"),
    ] {
        let sent = send(&transport, h2_lane(), &peer);
        let stream = wire.request().await;
        let (one, two) = (pieces[0].as_bytes(), pieces[1].as_bytes());
        wire.send(&[head(stream), data(stream, one, false), data(stream, two, true)]).await;
        assert_eq!(ok(sent).await.body, expected, "{pieces:?}");
    }
}

#[tokio::test]
async fn lanes_and_generations_do_not_share_connections_and_old_ones_retire() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let old = h2_lane();
    let new = Lane { generation: 2, ..h2_lane() };
    let other = Lane { cert: 2, ..h2_lane() };
    let mut old_wire = warm(&transport, old.clone(), &peer, 100).await;
    let mut new_wire = warm(&transport, new.clone(), &peer, 100).await;
    let mut other_wire = warm(&transport, other.clone(), &peer, 100).await;

    let in_flight = send(&transport, old, &peer);
    let stream = old_wire.request().await;
    transport.retire(1, 2);
    old_wire.answer(stream).await;
    ok(in_flight).await;
    old_wire.closed().await;

    for (lane, wire) in [(new, &mut new_wire), (other, &mut other_wire)] {
        let sent = send(&transport, lane, &peer);
        let stream = wire.request().await;
        wire.answer(stream).await;
        ok(sent).await;
    }
}

#[tokio::test]
async fn shutting_down_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let in_flight = send(&transport, h2_lane(), &peer);
    let stream = wire.request().await;
    transport.shutdown();
    let late = send(&transport, h2_lane(), &peer);
    assert!(matches!(error(late).await, TransportError::NotSent(_)));
    wire.answer(stream).await;
    ok(in_flight).await;
    wire.closed().await;
}

#[tokio::test]
async fn an_idle_connection_and_an_old_one_are_closed() {
    for change in
        [(|c| c.idle_timeout = Duration::from_secs(60)) as fn(&mut TransportConfig), |c| {
            c.max_age = Duration::from_secs(60)
        }]
    {
        let (peer, transport) = (Peer::bind().await, transport(change));
        let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
        tokio::time::pause();
        wire.closed().await;
        tokio::time::resume();
        warm(&transport, h2_lane(), &peer, 100).await;
    }
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up_long_before_the_deadline() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let mut wire = warm(&transport, h2_lane(), &peer, 100).await;
    let sent = send(&transport, h2_lane(), &peer);
    wire.request().await;
    tokio::time::pause();
    let since = tokio::time::Instant::now();
    assert!(matches!(error(sent).await, TransportError::Lost(_)));
    assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
    warm(&transport, h2_lane(), &peer, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_contention_every_request_gets_its_turn() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.connections_per_lane_max = 3));
    let sent: Vec<_> = (0..2_000).map(|_| send(&transport, h2_lane(), &peer)).collect();
    let server = tokio::spawn(async move {
        loop {
            let mut wire = peer.accept_http2(5).await;
            tokio::spawn(async move {
                loop {
                    let stream = wire.request().await;
                    wire.answer(stream).await;
                }
            });
        }
    });
    for sent in sent {
        ok(sent).await;
    }
    server.abort();
}
