//! One request on one connection: hand it over, read the answer, judge a failure.

use std::error::Error;
use std::sync::PoisonError;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;

use crate::transport::connection::{Body, Sender, Slot};
use crate::transport::{Reply, Request};

type HyperRequest = http::Request<Body>;

/// Most characters kept of a peer's words about its leaving.
const WORDS_MAX: usize = 256;

/// Why there is no answer, and what that says about a repeat.
#[derive(Debug)]
pub enum Failure {
    /// The connection was already over. The peer has seen nothing; the connection left the pool.
    Stale(String),
    /// The peer said that it did not begin with this request.
    Refused(String),
    /// The peer may have acted on it.
    Lost(String),
    /// The peer refused our certificate.
    Handshake(String),
}

impl Slot {
    /// Sends `request` and reads the answer, its body cut at `body_bytes_max`. `handed` becomes
    /// true at the moment from which the peer may see the request.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn exchange(
        mut self,
        request: &Request,
        body_bytes_max: usize,
        handed: &mut bool,
    ) -> Result<Reply, Failure> {
        match &self.connection.sender {
            Sender::Http2(sender) => {
                let has_body = !request.body.is_empty();
                *handed = true;
                let sending = sender.clone().try_send_request(http2_request(request));
                self.asked = Some(self.connection.answers());
                let sent = sending.await;
                self.asked = None;
                let answer = sent.map_err(|why| self.judge(why, has_body))?;
                self.connection.answered();
                let (reply, _) = self.read(answer, body_bytes_max).await?;
                Ok(reply)
            }
            Sender::Http1(shared) => {
                let taken = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Left untaken it stays `None`, and dropping the slot retires the connection.
                let Some(mut sender) = taken else { return Err(self.stale("already used up")) };
                if sender.ready().await.is_err() {
                    return Err(self.stale("closed by the server"));
                }
                let request = http1_request(request)?;
                *handed = true;
                let sent = sender.try_send_request(request).await;
                let answer = sent.map_err(|why| self.judge(why, false))?;
                self.connection.answered();
                let (reply, whole) = self.read(answer, body_bytes_max).await?;
                if whole {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
                }
                Ok(reply)
            }
        }
    }

    async fn read(
        &self,
        answer: Response<Incoming>,
        body_bytes_max: usize,
    ) -> Result<(Reply, bool), Failure> {
        let (head, body) = answer.into_parts();
        let (body, whole) = read_body(body, body_bytes_max)
            .await
            .map_err(|why| Failure::Lost(format!("the answer broke off: {why}")))?;
        Ok((Reply { status: head.status, headers: head.headers, body }, whole))
    }

    fn stale(&self, why: &str) -> Failure {
        self.connection.leave_pool();
        match self.connection.refusal() {
            Some(refusal) => Failure::Handshake(refusal.clone()),
            None => Failure::Stale(why.to_owned()),
        }
    }

    /// What a failed request means. `body_follows`: the request has a body, so the peer cannot
    /// act on its header alone.
    fn judge(&self, mut failed: TrySendError<HyperRequest>, body_follows: bool) -> Failure {
        if let Some(refusal) = self.connection.refusal() {
            self.connection.leave_pool();
            return Failure::Handshake(refusal.clone());
        }
        if failed.take_message().is_some() || failed.error().is_canceled() {
            return self.stale("the connection was closed");
        }
        let error = failed.into_error();
        if let Some(h2) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>())
            && h2.is_remote()
        {
            if h2.is_go_away() {
                // h2 reports GOAWAY only for streams above the last one the peer will answer.
                let words = go_away_words(h2);
                if self.connection.leave_pool() {
                    let words = words.as_str();
                    tracing::info!(words, "a server closes a connection, its requests move");
                }
                return Failure::Refused(format!("the server goes away: {words}"));
            }
            if h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM) {
                return Failure::Refused("the server refused the stream".to_owned());
            }
        }
        if error.is_user() && body_follows {
            // hyper gives up a stream that still waited for its turn when the connection ended.
            // Its header may have gone out, its body cannot have.
            return self.stale("the connection was closed");
        }
        Failure::Lost(with_source(&error))
    }
}

/// The reason of a GOAWAY and its debug data, for APNs a JSON object with a `reason`. h2 shows
/// the data in its words only, as Rust writes bytes.
fn go_away_words(error: &h2::Error) -> String {
    let words = error.to_string().replace("\\\"", "\"");
    words.trim_start_matches("connection error received: ").chars().take(WORDS_MAX).collect()
}

fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn http2_request(request: &Request) -> HyperRequest {
    let mut sent = http::Request::new(Full::new(request.body.clone()));
    *sent.method_mut() = request.method.clone();
    *sent.uri_mut() = request.uri.clone();
    *sent.headers_mut() = request.headers.clone();
    sent
}

/// HTTP/1.1 names the host in a header and only the path in the request line.
fn http1_request(request: &Request) -> Result<HyperRequest, Failure> {
    let unusable = |_| Failure::Refused("uri: cannot be sent".to_owned());
    let mut sent = http2_request(request);
    let authority = request.uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|_| unusable(()))?;
    let path = request.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    sent.headers_mut().insert(header::HOST, host);
    *sent.uri_mut() = Uri::from(path);
    Ok(sent)
}

/// The body and whether that is all of it.
async fn read_body(mut body: Incoming, max: usize) -> hyper::Result<(Bytes, bool)> {
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(mut data) = frame?.into_data() else { continue };
        let room = max - first.len().max(rest.len());
        let cut = data.len() > room;
        data.truncate(room);
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                // Only an answer in several pieces is copied.
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
        if cut {
            return Ok((joined(first, rest), false));
        }
    }
    Ok((joined(first, rest), true))
}

fn joined(first: Bytes, rest: BytesMut) -> Bytes {
    if rest.is_empty() { first } else { rest.freeze() }
}
