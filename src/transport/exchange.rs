//! One request on one connection: hand it over, read the answer, judge a failure.

use std::sync::PoisonError;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;

use crate::transport::connection::{Body, Sender, Slot, with_source};
use crate::transport::http2::{self, Unanswered};
use crate::transport::{Reply, Request};

/// Whether a server closes its HTTP/1.1 connection after this answer.
fn is_last(headers: &HeaderMap) -> bool {
    let says = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    says.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("close"))
}

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
                *handed = true;
                // Asked before, so that what is written afterwards may be this request.
                let writes = self.connection.writes();
                self.asked = Some(self.connection.answers());
                let asked = http2::ask(sender.clone(), self.connection.protocol, request).await;
                self.asked = None;
                let answer = asked.map_err(|why| self.judge_http2(why, writes))?;
                self.connection.answered();
                http2::read(answer, body_bytes_max).await.map_err(broke_off)
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
                self.asked = Some(self.connection.answers());
                self.connection.excuse();
                let sent = sender.try_send_request(request).await;
                self.asked = None;
                let answer = sent.map_err(|why| self.judge_http1(why))?;
                self.connection.answered();
                let (reply, whole) = self.read(answer, body_bytes_max).await?;
                if whole && !is_last(&reply.headers) {
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
        let (body, whole) = read_body(body, body_bytes_max).await.map_err(broke_off)?;
        Ok((Reply { status: head.status, headers: head.headers, body }, whole))
    }

    fn stale(&self, why: &str) -> Failure {
        self.connection.leave_pool();
        match self.connection.refusal() {
            Some(refusal) => Failure::Handshake(refusal.clone()),
            None => Failure::Stale(why.to_owned()),
        }
    }

    /// What a failed request means; `writes` were attempted before it was handed over.
    fn judge_http2(&self, why: Unanswered, writes: u64) -> Failure {
        if let Some(refusal) = self.connection.refusal() {
            self.connection.leave_pool();
            return Failure::Handshake(refusal.clone());
        }
        let (error, handed) = match why {
            Unanswered::NotHanded(error) => (error, false),
            Unanswered::Handed(error) => (error, true),
        };
        if error.is_remote() && error.is_go_away() {
            // h2 reports GOAWAY only for streams above the last one the peer will answer.
            let words = go_away_words(&error);
            if self.connection.leave_pool() {
                let words = words.as_str();
                tracing::info!(words, "a server closes a connection, its requests move");
            }
            // What was not even begun costs nothing.
            return match handed {
                true => Failure::Refused(format!("the server goes away: {words}")),
                false => Failure::Stale(format!("the server goes away: {words}")),
            };
        }
        if error.is_remote() && error.is_reset() {
            return match error.reason() {
                Some(h2::Reason::REFUSED_STREAM) => {
                    Failure::Refused("the server refused the stream".to_owned())
                }
                _ => Failure::Lost(with_source(&error)),
            };
        }
        if !handed || self.connection.writes() == writes {
            return self.stale("the connection was closed");
        }
        Failure::Lost(with_source(&error))
    }

    fn judge_http1(&self, mut failed: TrySendError<HyperRequest>) -> Failure {
        if let Some(refusal) = self.connection.refusal() {
            self.connection.leave_pool();
            return Failure::Handshake(refusal.clone());
        }
        if failed.take_message().is_some() || failed.error().is_canceled() {
            return self.stale("the connection was closed");
        }
        Failure::Lost(with_source(failed.error()))
    }
}

fn broke_off(why: impl std::fmt::Display) -> Failure {
    Failure::Lost(format!("the answer broke off: {why}"))
}

/// The reason of a GOAWAY and its debug data, for APNs a JSON object with a `reason`. h2 shows
/// the data in its words only, as Rust writes bytes.
fn go_away_words(error: &h2::Error) -> String {
    let words = error.to_string().replace("\\\"", "\"");
    words.trim_start_matches("connection error received: ").chars().take(WORDS_MAX).collect()
}

/// HTTP/1.1 names the host in a header and only the path in the request line.
fn http1_request(request: &Request) -> Result<HyperRequest, Failure> {
    let unusable = |_| Failure::Refused("uri: cannot be sent".to_owned());
    let mut sent = http::Request::new(Full::new(request.body.clone()));
    *sent.method_mut() = request.method.clone();
    *sent.headers_mut() = request.headers.clone();
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
    let mut answer = Answer::new(max);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame?.into_data() else { continue };
        if !answer.take(data) {
            return Ok((answer.body(), false));
        }
    }
    Ok((answer.body(), true))
}

/// The body of an answer, as far as it has come. Only one in several pieces is copied.
pub struct Answer {
    first: Bytes,
    rest: BytesMut,
    max: usize,
}

impl Answer {
    /// An empty one, to be cut at `max` bytes.
    pub fn new(max: usize) -> Self {
        Answer { first: Bytes::new(), rest: BytesMut::new(), max }
    }

    /// Takes what came. Answers whether there is room for more.
    pub fn take(&mut self, mut data: Bytes) -> bool {
        let room = self.max - self.first.len().max(self.rest.len());
        let is_cut = data.len() > room;
        data.truncate(room);
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&self.first);
            }
            self.rest.extend_from_slice(&data);
        }
        !is_cut
    }

    /// What came.
    pub fn body(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}
