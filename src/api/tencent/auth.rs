//! Who calls the Tencent-shaped API: an admin of the app, by UserSig in the query
//! (trtc.io/document/34348).
//!
//! Failed checks are counted per app and identifier, in bounded memory. Beyond a number of them a
//! further failure is answered 70050; a valid UserSig is never locked out, so that nobody can shut
//! an admin out by failing in their name.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;

use crate::api::Api;
use crate::api::tencent::envelope::Fail;
use crate::apps::Apps;
use crate::model::app::App;
use crate::model::id::{AppId, digest128};
use crate::model::time::UnixMs;
use crate::usersig::{self, UserSigError};

/// Callers whose failures are remembered; the longest silent is forgotten first.
const CALLERS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Failed checks of one caller within [`FAILURES_WINDOW`] that are told the reason.
const FAILURES_MAX: u32 = 10;

/// After this long without a failure the count begins anew.
const FAILURES_WINDOW: Duration = Duration::from_secs(60);

/// The query of every call.
#[derive(Clone, Debug, Default)]
pub struct Query {
    app: Option<String>,
    identifier: Option<String>,
    usersig: Option<String>,
    content_type: Option<String>,
}

impl Query {
    /// Reads a query; of a repeated name the last counts.
    pub fn read(query: &str) -> Self {
        let mut read = Query::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = Some(value.into_owned()).filter(|value| !value.is_empty());
            match name.to_ascii_lowercase().as_str() {
                "sdkappid" => read.app = value,
                "identifier" => read.identifier = value,
                "usersig" => read.usersig = value,
                "contenttype" => read.content_type = value,
                _ => {}
            }
        }
        read
    }
}

/// An admin who has proved it.
pub struct Caller {
    /// The app.
    pub app: Arc<App>,
    /// The admin's account.
    pub identifier: String,
}

/// Whose UserSigs failed lately.
pub struct Failures {
    known: Mutex<LruCache<u128, (u32, UnixMs)>>,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { known: Mutex::new(LruCache::new(CALLERS_MAX)) }
    }
}

impl Failures {
    /// Counts one; answers whether there were too many.
    fn too_many(&self, app: AppId, identifier: &str, now: UnixMs) -> bool {
        let caller = digest128(&[&app.0.to_be_bytes(), identifier.as_bytes()]);
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (count, last) = known.get_or_insert_mut(caller, || (0, now));
        if now.since(*last) >= FAILURES_WINDOW {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        *count > FAILURES_MAX
    }
}

/// Checks a call.
///
/// # Errors
/// 60012, 60025, a UserSig's code, 70050 or 60010.
pub fn check(api: &Api, query: &Query) -> Result<Caller, Fail> {
    check_in(&api.apps, &api.front_door.failures, query, api.clock.now())
}

fn check_in(apps: &Apps, failures: &Failures, query: &Query, now: UnixMs) -> Result<Caller, Fail> {
    let id = query.app.as_ref().ok_or_else(|| Fail::new(60_012, "sdkappid is missing"))?;
    let id = id.parse().map(AppId).map_err(|_| Fail::new(60_025, "sdkappid must be a number"))?;
    let needed = |value: &Option<String>, name: &str| {
        value.clone().ok_or_else(|| Fail::new(60_025, format!("{name} is missing")))
    };
    let identifier = needed(&query.identifier, "identifier")?;
    let sig = needed(&query.usersig, "usersig")?;
    if query.content_type.as_ref().is_some_and(|kind| kind != "json") {
        return Err(Fail::new(60_025, "contenttype must be json"));
    }
    // Tencent says 70020 for an app that does not exist. Here it is answered as one whose key is
    // another: nobody learns by asking which apps a relay serves.
    let app = apps.get(id);
    let keys = app.as_ref().map_or(&[][..], |app| &app.settings.usersig_keys);
    let verified = usersig::verify(&sig, keys, id, &identifier, now);
    let app = match (verified, app) {
        (Ok(_), Some(app)) => app,
        (Err(error), _) => return Err(refuse(failures, id, &identifier, error, now)),
        (Ok(_), None) => {
            return Err(refuse(failures, id, &identifier, UserSigError::WrongKey, now));
        }
    };
    if !app.settings.admins.contains(&identifier) {
        return Err(Fail::new(60_010, "identifier is not among the admins of this app"));
    }
    Ok(Caller { app, identifier })
}

fn refuse(
    failures: &Failures,
    app: AppId,
    identifier: &str,
    error: UserSigError,
    now: UnixMs,
) -> Fail {
    if failures.too_many(app, identifier, now) {
        return Fail::new(70_050, "too many failed checks, try again in a minute");
    }
    Fail::new(error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_760_000_000_000);

    #[test]
    fn the_query_is_read_whatever_its_case_and_escapes() {
        let query = Query::read("SdkAppid=5&identifier=a%20b&usersig=x*-_&contenttype=&random=9");
        assert_eq!(query.app.as_deref(), Some("5"));
        assert_eq!(query.identifier.as_deref(), Some("a b"));
        assert_eq!(query.usersig.as_deref(), Some("x*-_"));
        assert_eq!(query.content_type, None);
    }

    #[test]
    fn failures_are_counted_per_caller_and_forgotten_after_a_minute() {
        let failures = Failures::default();
        for _ in 0..FAILURES_MAX {
            assert!(!failures.too_many(AppId(1), "a", NOW));
        }
        assert!(failures.too_many(AppId(1), "a", NOW));
        assert!(!failures.too_many(AppId(1), "b", NOW));
        assert!(!failures.too_many(AppId(2), "a", NOW));
        assert!(!failures.too_many(AppId(1), "a", NOW.after(FAILURES_WINDOW)));
    }
}
