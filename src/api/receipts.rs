//! Where vendors post their receipts. The proof is in the post or in the path, never an API key.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;

use crate::api::Api;
use crate::api::body::Body;
use crate::api::error::ApiError;
use crate::receipts::ReceiptsError;
use crate::vendor;
use crate::vendor::receipt::{ReceiptError, ReceiptPost};

/// Largest post of receipts, in bytes: a thousand of the longest take a good half of it.
const RECEIPT_BYTES_MAX: usize = 1_024 * 1_024;

/// The routes: ours, and the addresses that vendors' consoles hold for Tencent.
pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/receipts/{vendor}", post(signed))
        .route("/v1/receipts/{vendor}/{secret}", post(secret))
        .route("/v3/offline_push_report/{vendor}", post(signed))
        .route("/v3/offline_push_report/{vendor}/{secret}", post(secret))
        .layer(DefaultBodyLimit::max(RECEIPT_BYTES_MAX))
}

async fn signed(
    State(api): State<Arc<Api>>,
    Path(vendor): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    take(&api, &vendor, None, &headers, &body?).await
}

async fn secret(
    State(api): State<Arc<Api>>,
    Path((vendor, secret)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    take(&api, &vendor, Some(&secret), &headers, &body?).await
}

async fn take(
    api: &Api,
    vendor: &str,
    secret: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<impl IntoResponse + use<>, ApiError> {
    let known = vendor::named(vendor);
    let post = ReceiptPost { headers, body };
    let proven = known.map(|vendor| (vendor, api.receipts.proven(vendor, secret, &post)));
    let Some((vendor, certificates)) = proven.filter(|(_, proven)| !proven.is_empty()) else {
        api.limits.may_fail()?;
        return Err(ApiError::unauthorized("nothing proves that this post is the vendor's"));
    };
    api.receipts.take(vendor, &certificates, &post).await.map_err(refused)?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::OK, kind, vendor.receipts_taken()))
}

fn refused(error: ReceiptsError) -> ApiError {
    match error {
        ReceiptsError::Store(error) => error.into(),
        ReceiptsError::Post(error @ ReceiptError::TooMany) => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            ApiError::new(status, "too_many_receipts", error.to_string())
        }
        ReceiptsError::Post(error) => {
            ApiError::new(StatusCode::BAD_REQUEST, "receipts_malformed", error.to_string())
        }
    }
}
