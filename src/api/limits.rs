//! How fast callers may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::StatusCode;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed, keyed::DefaultKeyedStateStore};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::api::error::ApiError;
use crate::config::sections::Http;
use crate::model::id::AppId;

/// tokio's clock, so that tests may pause it.
#[derive(Clone, Copy, Debug)]
struct Monotonic {
    started: Instant,
}

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

type Steps = NoOpMiddleware<Duration>;
type Keyed = RateLimiter<AppId, DefaultKeyedStateStore<AppId>, Monotonic, Steps>;
type Direct = RateLimiter<NotKeyed, InMemoryState, Monotonic, Steps>;

/// Rates of callers.
pub struct Limits {
    apps: Option<Keyed>,
    unknown: Option<Direct>,
    clock: Monotonic,
}

impl Limits {
    /// Limits as the settings say; 0 is no limit.
    pub fn new(http: &Http) -> Self {
        let clock = Monotonic { started: Instant::now() };
        let apps = NonZeroU32::new(http.key_requests_per_s).map(|per_s| {
            let burst = NonZeroU32::new(http.key_burst).unwrap_or(per_s);
            let quota = Quota::per_second(per_s).allow_burst(burst);
            RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock)
        });
        let unknown = NonZeroU32::new(http.unknown_keys_per_s).map(|per_s| {
            RateLimiter::new(Quota::per_second(per_s), InMemoryState::default(), clock)
        });
        Limits { apps, unknown, clock }
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

    /// Counts a key that is nobody's.
    ///
    /// # Errors
    /// 429 with the time to wait, when too many came.
    pub fn may_fail(&self) -> Result<(), ApiError> {
        let Some(unknown) = &self.unknown else { return Ok(()) };
        unknown.check().map_err(|not_until| {
            too_many(not_until.wait_time_from(self.clock.now()), "too many unknown keys")
        })
    }
}

/// 429 with `Retry-After`.
pub fn too_many(after: Duration, message: &str) -> ApiError {
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED, message);
    error.retry_after = Some(after);
    error
}

/// The code of an answer to a caller who asks too fast.
pub const RATE_LIMITED: &str = "rate_limited";

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(&Http {
            key_requests_per_s: 2,
            key_burst: 3,
            unknown_keys_per_s: 1,
            ..Http::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_has_its_burst_and_then_its_rate() {
        let limits = limits();
        for _ in 0..3 {
            limits.may_ask(AppId(1)).expect("within the burst");
        }
        let refused = limits.may_ask(AppId(1)).expect_err("beyond the burst");
        assert_eq!((refused.status.as_u16(), refused.code.as_str()), (429, "rate_limited"));
        assert_eq!(refused.retry_after, Some(Duration::from_millis(500)));
        limits.may_ask(AppId(2)).expect("another app has its own");
        tokio::time::advance(Duration::from_millis(500)).await;
        limits.may_ask(AppId(1)).expect("half a second brings one more");
        assert!(limits.may_ask(AppId(1)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_slowed_down_together() {
        let limits = limits();
        limits.may_fail().expect("the first");
        assert!(limits.may_fail().is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        limits.may_fail().expect("a second later");
    }

    #[test]
    fn zero_is_no_limit() {
        let off = Http { key_requests_per_s: 0, unknown_keys_per_s: 0, ..Http::default() };
        let limits = Limits::new(&off);
        assert!((0..10_000).all(|_| limits.may_ask(AppId(1)).is_ok() && limits.may_fail().is_ok()));
    }
}
