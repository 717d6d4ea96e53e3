//! How fast callers may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::api::error::ApiError;
use crate::model::id::AppId;

/// Unknown keys tried per second, from everybody together, before all of them are slowed down.
const FAILURES_PER_S: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// Rates of callers.
pub struct Limits {
    apps: Option<DefaultKeyedRateLimiter<AppId>>,
    failures: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Limits {
    /// So many requests per second and at once per app; 0 is no limit.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let apps = NonZeroU32::new(per_s).map(|per_s| {
            let burst = NonZeroU32::new(burst).unwrap_or(per_s);
            RateLimiter::keyed(Quota::per_second(per_s).allow_burst(burst))
        });
        Limits {
            apps,
            failures: RateLimiter::direct(Quota::per_second(FAILURES_PER_S)),
            clock: DefaultClock::default(),
        }
    }

    /// Whether an app may ask now.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn may_ask(&self, app: AppId) -> Result<(), ApiError> {
        let Some(apps) = &self.apps else { return Ok(()) };
        apps.check_key(&app).map_err(|not_until| {
            too_many(not_until.wait_time_from(self.clock.now()), "too many requests")
        })
    }

    /// Whether an unknown key may be tried now; else how long to wait.
    ///
    /// # Errors
    /// The time to wait.
    pub fn may_try(&self) -> Result<(), Duration> {
        self.failures.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// An unknown key was tried.
    pub fn note_failure(&self) {
        tracing::warn!("a request came with a key that is nobody's");
    }
}

/// 429 with `Retry-After`.
pub fn too_many(after: Duration, message: &str) -> ApiError {
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
    error.retry_after = Some(after);
    error
}
