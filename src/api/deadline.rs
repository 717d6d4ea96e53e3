//! The longest time one request may take, and who is to blame when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

use crate::api::error::ApiError;

/// Runs a request for at most `limit`. Over that, the answer is 408 when its body had not come
/// whole, and 503 when we had it all and were too slow.
pub async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let arrived = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let request = request.map(|body| Body::new(Watched { body, arrived: arrived.clone() }));
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) if arrived.load(Ordering::Relaxed) => {
            ApiError::unavailable("too_slow", "the relay took too long, try again").into_response()
        }
        Err(_) => {
            let message = "the request did not come whole in time";
            let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message);
            let mut response = error.into_response();
            // What is left of the body would be taken for the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// A body that notes when it has come whole.
struct Watched {
    body: Body,
    arrived: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.arrived.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
