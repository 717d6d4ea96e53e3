//! HTTP/1.1, one request at a time on each connection.

use std::time::Duration;

use offpush::transport::{Lane, Protocol, TransportError};
use rustls::ALL_VERSIONS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::transport::peers::{Authority, Peer, read_http1};
use crate::transport::{
    BODY, error, http, https, lane, ok, request, send, send_to, transport, trusting,
};

#[tokio::test]
async fn an_http1_connection_is_kept_for_the_next_request() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let transport = trusting(&authority);
    let sent = send_to(&transport, lane(Protocol::Any), https(&peer));
    let config = authority.server("localhost", b"http/1.1", false, ALL_VERSIONS);
    let mut tls = peer.accept_tls(config).await.expect("a handshake");
    let request = read_http1(&mut tls, BODY.len()).await;
    assert!(request.starts_with("POST /3/device/x HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: localhost:{}\r\n", peer.port)), "{request}");
    assert!(request.contains("\r\napns-topic: com.example.app\r\n"), "{request}");
    assert!(request.contains(&format!("\r\ncontent-length: {}\r\n", BODY.len())), "{request}");
    assert!(!request.contains("accept-encoding"), "{request}");
    assert!(request.ends_with(BODY), "{request}");
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("open");
    assert_eq!(ok(sent).await.body, "ok");
    // It can only arrive on the same connection: no other is ever accepted.
    let next = send_to(&transport, lane(Protocol::Any), https(&peer));
    read_http1(&mut tls, BODY.len()).await;
    tls.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.expect("open");
    tls.write_all(b"2\r\nok\r\n2\r\n, \r\n0\r\n\r\n").await.expect("open");
    assert_eq!(ok(next).await.body, "ok, ");
}

#[tokio::test]
async fn http1_requests_in_parallel_take_a_connection_each_up_to_the_limit() {
    let (peer, transport) =
        (Peer::bind().await, transport(|c| c.http1_connections_per_lane_max = 2));
    let sent: Vec<_> = (0..3).map(|_| send(&transport, lane(Protocol::Any), &peer)).collect();
    let (mut one, mut two) = (peer.accept().await, peer.accept().await);
    read_http1(&mut one, BODY.len()).await;
    read_http1(&mut two, BODY.len()).await;
    two.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("open");
    read_http1(&mut two, BODY.len()).await;
    for socket in [&mut one, &mut two] {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("open");
    }
    for sent in sent {
        ok(sent).await;
    }
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_asked_on_new_connections() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    for head in ["HTTP/1.1 200 OK\r\nconnection: close\r\n", "HTTP/1.1 200 OK\r\n"] {
        let sent: Vec<_> = (0..8).map(|_| send(&transport, lane(Protocol::Any), &peer)).collect();
        for _ in 0..8 {
            let mut socket = peer.accept().await;
            read_http1(&mut socket, BODY.len()).await;
            let answer = format!("{head}content-length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.expect("open");
            socket.shutdown().await.expect("open");
        }
        for sent in sent {
            ok(sent).await;
        }
    }
}

#[tokio::test]
async fn busy_connections_are_no_failure_and_one_we_gave_up_is_replaced() {
    let (peer, transport) =
        (Peer::bind().await, transport(|c| c.http1_connections_per_lane_max = 1));
    let short = Lane { deadline: Duration::from_secs(4), ..lane(Protocol::Any) };
    let unanswered = send(&transport, short.clone(), &peer);
    let mut first = peer.accept().await;
    read_http1(&mut first, BODY.len()).await;
    let request = request(&http(&peer), BODY);
    tokio::time::pause();
    let busy = transport.room(&short, &request.uri).await.expect("there is a connection");
    assert!(busy.is_none(), "after half of its deadline");
    // The other request is given up after four seconds; whoever waits then gets a connection.
    let (waiting, uri) = (transport.clone(), request.uri.clone());
    let waiting = tokio::spawn(async move { waiting.room(&lane(Protocol::Any), &uri).await });
    let given_up = error(unanswered).await;
    assert!(matches!(given_up, TransportError::Lost(_)), "{given_up}");
    tokio::time::resume();
    let mut second = peer.accept().await;
    let room = waiting.await.expect("no panic").expect("no failure of the peer").expect("room");
    assert_eq!(room.requests_max(), Some(1));
    let answers = async {
        read_http1(&mut second, BODY.len()).await;
        second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("open");
    };
    let lane = lane(Protocol::Any);
    let (reply, ()) = tokio::join!(transport.send_in(room, &lane, &request), answers);
    assert_eq!(reply.expect("an answer").status, 200);
}

#[tokio::test]
async fn an_http1_connection_with_the_rest_of_a_cut_body_is_not_used_again() {
    let (peer, transport) = (Peer::bind().await, transport(|c| c.body_bytes_max = 1));
    for _ in 0..2 {
        let sent = send(&transport, lane(Protocol::Any), &peer);
        let mut socket = peer.accept().await;
        read_http1(&mut socket, BODY.len()).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await.expect("open");
        assert_eq!(ok(sent).await.body, "a");
    }
}

#[tokio::test]
async fn an_http1_connection_the_server_closed_while_idle_is_replaced() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    for _ in 0..3 {
        let sent = send(&transport, lane(Protocol::Any), &peer);
        let mut socket = peer.accept().await;
        read_http1(&mut socket, BODY.len()).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("open");
        ok(sent).await;
        socket.shutdown().await.expect("open");
        assert_eq!(socket.read(&mut [0]).await.expect("closed in order"), 0);
    }
}

#[tokio::test]
async fn an_http1_connection_cut_before_the_answer_means_lost() {
    let (peer, transport) = (Peer::bind().await, transport(|_| ()));
    let sent = send(&transport, lane(Protocol::Any), &peer);
    let mut socket = peer.accept().await;
    read_http1(&mut socket, BODY.len()).await;
    drop(socket);
    assert!(matches!(error(sent).await, TransportError::Lost(_)));
}
