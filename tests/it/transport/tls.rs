//! TLS in both directions, and the way through a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use offpush::transport::tls::Mistrust;
use offpush::transport::{ClientIdentity, Lane, Protocol, TransportError};
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::transport::peers::{Authority, Peer, RecordTap, Wire, read_http1};
use crate::transport::{
    BODY, error, h2_lane, https, lane, ok, send_body, send_to, transport, trusting, warm,
};

#[tokio::test]
async fn the_client_certificate_of_the_lane_is_presented() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let transport = trusting(&authority);
    for (cert, name) in [(1, "one"), (2, "two")] {
        let identity = Arc::new(authority.identity(name));
        let lane = Lane { cert, identity: Some(identity.clone()), ..h2_lane() };
        let sent = send_to(&transport, lane, https(&peer));
        let config = authority.server("localhost", b"h2", true, ALL_VERSIONS);
        let tls = peer.accept_tls(config).await.expect("a handshake");
        let shown = tls.get_ref().1.peer_certificates().expect("a certificate").to_vec();
        assert_eq!(shown, identity.chain);
        let mut wire = Wire::begin(tls, 100).await;
        let stream = wire.request().await;
        wire.answer(stream).await;
        ok(sent).await;
    }
}

#[tokio::test]
async fn a_refused_certificate_is_a_handshake_error_in_every_tls_version() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let transport = trusting(&authority);
    let identities = [None, Some(Arc::new(stranger.identity("stranger")))];
    for (cert, version) in [(1, &TLS12), (2, &TLS13)] {
        for (generation, identity) in identities.iter().enumerate() {
            let peer = Peer::bind().await;
            let generation = u32::try_from(generation).expect("small");
            let lane = Lane { cert, generation, identity: identity.clone(), ..h2_lane() };
            let sent = send_to(&transport, lane, https(&peer));
            let config = authority.server("localhost", b"h2", true, &[version]);
            assert!(peer.accept_tls(config).await.is_err());
            let error = error(sent).await;
            assert!(matches!(error, TransportError::Handshake(_)), "{version:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_is_shown_once_however_many_wait() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let transport = trusting(&authority);
    let sent: Vec<_> = (0..5).map(|_| send_to(&transport, h2_lane(), https(&peer))).collect();
    let config = authority.server("localhost", b"h2", true, &[&TLS13]);
    assert!(peer.accept_tls(config).await.is_err());
    // Nobody accepts a second connection, so whoever opened one would wait for ever.
    for sent in sent {
        assert!(matches!(error(sent).await, TransportError::Handshake(_)));
    }
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_not_trusted_and_says_which_way() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    for (transport, name, expected) in [
        (transport(|_| ()), "localhost", Mistrust::UnknownIssuer),
        (trusting(&authority), "other", Mistrust::WrongName),
    ] {
        let sent = send_to(&transport, h2_lane(), https(&peer));
        let config = authority.server(name, b"h2", false, ALL_VERSIONS);
        assert!(peer.accept_tls(config).await.is_err());
        let TransportError::Untrusted { why, words } = error(sent).await else {
            panic!("not trusted")
        };
        assert_eq!(why, expected, "{words}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_sent_nothing_but_the_hello() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let sent = send_to(&trusting(&authority), h2_lane(), https(&peer));
    let mut socket = peer.accept().await;
    let kind = socket.read_u8().await.expect("a hello");
    assert_eq!(kind, 22, "a TLS handshake record");
    socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("the client reads");
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    let text = String::from_utf8_lossy(&rest).into_owned();
    assert!(!text.contains(BODY) && !text.contains("apns-topic"), "{text}");
    let TransportError::Untrusted { why, .. } = error(sent).await else { panic!("not trusted") };
    assert_eq!(why, Mistrust::NotTls);
}

#[tokio::test]
async fn a_handshake_that_breaks_off_means_not_sent() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let sent = send_to(&trusting(&authority), h2_lane(), https(&peer));
    drop(peer.accept().await);
    assert!(matches!(error(sent).await, TransportError::NotSent(_)));
}

#[tokio::test]
async fn a_key_that_does_not_fit_its_certificate_is_a_handshake_error() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let (one, two) = (authority.identity("one"), authority.identity("two"));
    let mixed = Arc::new(ClientIdentity { chain: one.chain, key: two.key });
    let lane = Lane { identity: Some(mixed), ..h2_lane() };
    let sent = send_to(&trusting(&authority), lane, https(&peer));
    assert!(matches!(error(sent).await, TransportError::Handshake(_)));
}

#[tokio::test]
async fn a_server_without_http2_is_not_blamed_on_the_certificate() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let sent = send_to(&trusting(&authority), h2_lane(), https(&peer));
    let config = authority.server("localhost", b"http/1.1", false, ALL_VERSIONS);
    assert!(peer.accept_tls(config).await.is_err());
    assert!(matches!(error(sent).await, TransportError::NotSent(_)));
}

#[tokio::test]
async fn any_protocol_takes_http2_when_the_server_offers_it() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let sent = send_to(&trusting(&authority), lane(Protocol::Any), https(&peer));
    let config = authority.server("localhost", b"h2", false, ALL_VERSIONS);
    let tls = peer.accept_tls(config).await.expect("a handshake");
    let mut wire = Wire::begin(tls, 100).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_sees_only_tls() {
    let (proxy, authority) = (Peer::bind().await, Authority::new());
    let url = format!("http://relay:p%40ss@127.0.0.1:{}", proxy.port);
    let transport = transport(|c| {
        c.ca_pem = Some(authority.pem.clone().into_bytes());
        c.proxy = Some(url.parse().expect("a proxy"));
    });
    let sent = send_to(&transport, h2_lane(), "https://push.example:2197/3/device/x".to_owned());
    let mut socket = proxy.accept().await;
    let asked = read_http1(&mut socket, 0).await;
    assert!(asked.starts_with("CONNECT push.example:2197 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: push.example:2197\r\n"), "{asked}");
    assert!(asked.contains("\r\nproxy-authorization: Basic cmVsYXk6cEBzcw==\r\n"), "{asked}");
    socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("open");
    let config = authority.server("push.example", b"h2", false, ALL_VERSIONS);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let mut wire = Wire::begin(acceptor.accept(socket).await.expect("a handshake"), 100).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(sent).await;
}

#[tokio::test]
async fn a_proxy_that_says_no_means_not_sent() {
    let proxy = Peer::bind().await;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let transport = transport(|c| c.proxy = Some(url.parse().expect("a proxy")));
    let sent = send_to(&transport, h2_lane(), "https://push.example/".to_owned());
    let mut socket = proxy.accept().await;
    read_http1(&mut socket, 0).await;
    let no = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(no).await.expect("open");
    let TransportError::NotSent(why) = error(sent).await else { panic!("not sent") };
    assert!(why.contains("407"), "{why}");
}

#[tokio::test]
async fn loopback_is_reached_without_the_proxy() {
    let (proxy, peer) = (Peer::bind().await, Peer::bind().await);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let transport = transport(|c| c.proxy = Some(url.parse().expect("a proxy")));
    warm(&transport, h2_lane(), &peer, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_made_at_the_same_time_share_tls_records() {
    let (peer, authority) = (Peer::bind().await, Authority::new());
    let transport = trusting(&authority);
    let uri = https(&peer);
    let first = send_to(&transport, h2_lane(), uri.clone());
    let config = authority.server("localhost", b"h2", false, &[&TLS13]);
    let records = Arc::new(AtomicUsize::new(0));
    let tap = RecordTap::new(peer.accept().await, records.clone());
    let tls = TlsAcceptor::from(Arc::new(config)).accept(tap).await.expect("a handshake");
    let mut wire = Wire::begin(tls, 100).await;
    let stream = wire.request().await;
    wire.answer(stream).await;
    ok(first).await;

    let before = records.load(Ordering::SeqCst);
    // From a task, so that all are ready before the next event is waited for.
    let sent = tokio::spawn(async move {
        let body = || "x".repeat(600);
        (0..32).map(|_| send_body(&transport, h2_lane(), uri.clone(), body())).collect::<Vec<_>>()
    });
    let sent = sent.await.expect("no panic");
    for _ in 0..sent.len() {
        let stream = wire.request().await;
        wire.answer(stream).await;
    }
    for sent in sent {
        ok(sent).await;
    }
    // 22 kilobytes are two full records; credit for the answers' window may add some.
    let records = records.load(Ordering::SeqCst) - before;
    assert!(records <= 8, "{records} records for 32 requests");
}
