//! The body of an answer: whole, or broken off on purpose.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// An answer's body.
#[derive(Debug)]
pub struct SimBody {
    rest: Option<Bytes>,
    announced: u64,
    breaks: bool,
}

impl SimBody {
    /// The whole body.
    pub fn whole(bytes: Bytes) -> Self {
        let announced = bytes.len() as u64;
        SimBody { rest: Some(bytes).filter(|bytes| !bytes.is_empty()), announced, breaks: false }
    }

    /// Announces the whole body, sends half of it and breaks off.
    pub fn truncated(bytes: Bytes) -> Self {
        let announced = bytes.len().max(2) as u64;
        SimBody { rest: Some(bytes.slice(..bytes.len() / 2)), announced, breaks: true }
    }
}

/// Ends a body early; hyper answers it with a reset stream or a closed connection.
#[derive(Debug, thiserror::Error)]
#[error("broken off on purpose")]
pub struct BrokenOff;

impl Body for SimBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(bytes) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        Poll::Ready(if self.breaks { Some(Err(BrokenOff)) } else { None })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_truncated_body_announces_more_than_it_sends() {
        let body = SimBody::truncated(Bytes::from_static(b"0123456789"));
        assert_eq!(body.size_hint().exact(), Some(10));
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_whole_body_arrives() {
        let body = SimBody::whole(Bytes::from_static(b"abc"));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "abc");
    }
}
