//! HTTP/2 on one connection: the handshake, a request and its answer, and whether the peer lives.
//!
//! h2 is used without a client of hyper between: a request is handed to the connection in one go,
//! head and body together, and the task that waits for the answer is woken by the answer itself.

use std::future::{pending, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};

use crate::transport::connect::Stream;
use crate::transport::exchange::Answer;
use crate::transport::{Protocol, Reply, Request};

/// HTTP/2 streams before the peer has said how many it takes: Apple permits one until the first
/// request with a good provider token ("Sending notification requests to APNs").
pub const STREAMS_AT_FIRST: usize = 1;

/// Answers are short, so these only keep a peer from ever having to wait for us.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;

/// Longest list of headers of an answer, in bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Longest wait for the answer to a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A request that got no answer, and how far it came.
pub enum Unanswered {
    /// It was not handed over whole, so that the peer cannot act on it.
    NotHanded(h2::Error),
    /// It was handed over; whether it went out is not known here.
    Handed(h2::Error),
}

/// Begins HTTP/2 on a fresh stream.
///
/// # Errors
///
/// When the stream breaks.
pub async fn shake_hands(
    stream: Stream,
) -> Result<(SendRequest<Bytes>, Connection<Stream, Bytes>), h2::Error> {
    h2::client::Builder::new()
        .enable_push(false)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .handshake(stream)
        .await
}

/// Sends `request`, head and body together, and waits for the head of its answer.
///
/// # Errors
///
/// [`Unanswered`].
pub async fn ask(
    mut sender: SendRequest<Bytes>,
    protocol: Protocol,
    request: &Request,
) -> Result<Response<RecvStream>, Unanswered> {
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(Unanswered::NotHanded)?;
    let is_empty = request.body.is_empty();
    let sent = sender.send_request(head_of(request, protocol), is_empty);
    let (response, mut body) = sent.map_err(Unanswered::NotHanded)?;
    drop(sender);
    if !is_empty {
        // Where the peer's window is too small for it, h2 keeps the rest.
        body.send_data(request.body.clone(), true).map_err(Unanswered::NotHanded)?;
    }
    response.await.map_err(Unanswered::Handed)
}

/// Frames tell how long a body is. Gateways that hand a request on over HTTP/1.1 may want to hear
/// it beforehand; a peer that speaks nothing but HTTP/2 does not (reference, A.4), and is spared
/// it.
fn head_of(request: &Request, protocol: Protocol) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = request.uri.clone();
    *head.headers_mut() = request.headers.clone();
    if protocol == Protocol::Any && !request.body.is_empty() {
        let length = HeaderValue::from(request.body.len());
        head.headers_mut().insert(CONTENT_LENGTH, length);
    }
    head
}

/// Reads an answer to its end, its body cut at `body_bytes_max`.
///
/// # Errors
///
/// When it breaks off.
pub async fn read(
    response: Response<RecvStream>,
    body_bytes_max: usize,
) -> Result<Reply, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut answer = Answer::new(body_bytes_max);
    while !body.is_end_stream() {
        match body.data().await {
            Some(Ok(data)) => {
                // An error means that nothing more is to come, which the next look tells.
                let _ = body.flow_control().release_capacity(data.len());
                if !answer.take(data) {
                    break;
                }
            }
            // An answer that is complete, from a peer that did not need the whole request
            // (RFC 9113, 8.1).
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => break,
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(Reply { status: head.status, headers: head.headers, body: answer.body() })
}

/// Returns when the peer has not answered a PING in time. One is sent each `interval` in which
/// `is_waiting` says that requests wait and none was answered.
pub async fn deaf(ping_pong: Option<PingPong>, interval: Duration, is_waiting: impl Fn() -> bool) {
    let Some(mut ping_pong) = ping_pong else { return pending().await };
    loop {
        tokio::time::sleep(interval).await;
        if is_waiting() {
            let answered = ping_pong.ping(Ping::opaque());
            match tokio::time::timeout(PING_TIMEOUT, answered).await {
                Ok(Ok(_)) => {}
                Err(_) => return,
                // The connection is over, which it says itself.
                Ok(Err(_)) => pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn a_length_is_told_where_a_gateway_may_want_it() {
        let request = |body: &'static str| Request {
            method: Method::POST,
            uri: "https://localhost/x".parse().expect("a uri"),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let length = |protocol, body| {
            let head = head_of(&request(body), protocol);
            head.headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(length(Protocol::Any, "four"), Some(HeaderValue::from_static("4")));
        assert_eq!(length(Protocol::Any, ""), None);
        assert_eq!(length(Protocol::Http2, "four"), None);
    }
}
