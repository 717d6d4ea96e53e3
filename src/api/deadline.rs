//! How long one request may take and how large it may be; who is to blame when it was too much.

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
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use crate::api::error::ApiError;

/// A refused body up to this length is read and dropped before the answer: a client that is still
/// writing would else see a broken connection instead of the 413.
const DROPPED_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// Runs a request for at most `time`, with a body of at most `bytes`. Over that, the answer is 413
/// for a body that says it is too large, 408 when the body had not come whole, and 503 when we had
/// it all and were too slow.
pub async fn within((time, bytes): (Duration, usize), request: Request, next: Next) -> Response {
    let arrived = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let request = request.map(|body| Body::new(Watched { body, arrived: arrived.clone() }));
    let length = request.body().size_hint().lower();
    let answered = async {
        if length > u64::try_from(bytes).unwrap_or(u64::MAX) {
            refuse(length, request).await
        } else {
            next.run(request).await
        }
    };
    match tokio::time::timeout(time, answered).await {
        Ok(response) => response,
        Err(_) if arrived.load(Ordering::Relaxed) => {
            ApiError::unavailable("too_slow", "the relay took too long, try again").into_response()
        }
        Err(_) => {
            let message = "the request did not come whole in time";
            let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message);
            closing(error)
        }
    }
}

async fn refuse(length: u64, request: Request) -> Response {
    // Who asks first waits for our word and has not begun to write.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if !asks_first && length <= DROPPED_BYTES_MAX {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
    closing(ApiError::body_too_large())
}

/// An answer after which the connection is of no use: what is left of the body would be taken for
/// the next request.
fn closing(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use futures_util::stream;
    use tower::ServiceExt;

    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    async fn status(body: Body, router: Router) -> StatusCode {
        let router = router
            .layer(axum::middleware::from_fn(|request, next| within((TIME, 16), request, next)));
        let request = Request::post("/").body(body).expect("a request");
        router.oneshot(request).await.expect("an answer").status()
    }

    fn reads() -> Router {
        Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }))
    }

    fn hangs() -> Router {
        Router::new().route("/", post(|_: Bytes| std::future::pending::<()>()))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_is_blamed() {
        let endless = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(status(endless(), reads()).await, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(status(Body::from("whole"), hangs()).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Body::empty(), hangs()).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Body::from("whole"), reads()).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_too_large_never_reaches_a_handler() {
        let just_fits = Body::from("x".repeat(16));
        assert_eq!(status(just_fits, reads()).await, StatusCode::OK);
        let too_large = Body::from("x".repeat(17));
        assert_eq!(status(too_large, hangs()).await, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
