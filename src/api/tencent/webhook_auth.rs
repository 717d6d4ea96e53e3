//! Whether a webhook comes from the app's own chat server.
//!
//! Tencent signs with `Sign = sha256(token ++ RequestTime)` in the query (trtc.io/document/34365),
//! which does not cover the body; a producer of one's own may add, or send instead, an HMAC that
//! does: `X-Offpush-Signature: hex(hmac-sha256(token, RequestTime ++ "." ++ body))`. An API key of
//! the app is accepted, too. An app without a `webhook_token` takes webhooks with a key only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use ring::{digest, hmac};

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::tencent::envelope::Fail;
use crate::model::app::App;
use crate::model::id::AppId;
use crate::model::time::UnixMs;

/// How far `RequestTime` may be from now.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// Largest body read of a webhook that only its body can prove: a list of several thousand members
/// fits, and Tencent's other webhooks are far smaller.
const UNPROVED_BYTES_MAX: usize = 1_024 * 1_024;

/// The header of the signature that covers the body.
const SIGNATURE: &str = "x-offpush-signature";

/// The code of every refusal here.
const REFUSED: u32 = 60_025;

/// The query of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookQuery {
    /// `SdkAppid`.
    pub app: Option<String>,
    /// `CallbackCommand`.
    pub command: Option<String>,
    /// `OptPlatform`.
    pub platform: Option<String>,
    sign: Option<String>,
    request_time: Option<String>,
}

impl WebhookQuery {
    /// Reads a query; the case of names does not count.
    pub fn read(query: &str) -> Self {
        let mut read = WebhookQuery::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = Some(value.into_owned()).filter(|value| !value.is_empty());
            match name.to_ascii_lowercase().as_str() {
                "sdkappid" => read.app = value,
                "callbackcommand" => read.command = value,
                "optplatform" => read.platform = value,
                "sign" => read.sign = value,
                "requesttime" => read.request_time = value,
                _ => {}
            }
        }
        read
    }
}

/// What a `Sign` by another token is answered.
const WRONG_SIGN: &str = "Sign is wrong";

fn refused(status: StatusCode, info: impl Into<String>) -> Fail {
    Fail::new(REFUSED, info).with_status(status)
}

/// Whose webhook it is, as far as its head tells.
pub enum Claim {
    /// A key or the query proved it.
    Proved(Arc<App>),
    /// The signature over the body has to be right, too.
    Signed {
        /// The app of the path, if there is one that takes signatures.
        app: Option<Arc<App>>,
        /// The signature.
        signature: String,
        /// Whether the query proves it already.
        by_query: bool,
    },
}

/// Judges the head of a webhook; what proves nothing is refused before its body is read.
///
/// # Errors
/// 60025 under 401, 403, 404 or 429.
pub async fn claim(api: &Arc<Api>, parts: &mut Parts, query: &WebhookQuery) -> Result<Claim, Fail> {
    if api.open_to_all || parts.headers.contains_key(AUTHORIZATION) {
        let by_key = OfApp::from_request_parts(parts, api).await;
        let app = by_key.map_err(|error| refused(error.status, error.message))?.app;
        return Ok(Claim::Proved(of_query(query, app)?));
    }
    let params = RawPathParams::from_request_parts(parts, api).await.ok();
    let id = params.as_ref().and_then(|params| {
        let (_, value) = params.iter().find(|(name, _)| *name == "app")?;
        value.parse().ok().map(AppId)
    });
    // The answer is the same whether the app does not exist, has no token or another one: nobody
    // learns by asking which apps a relay serves.
    let app = id.and_then(|id| api.apps.get(id)).filter(|app| token_of(app).is_some());
    if app.is_none() {
        tracing::debug!("no app takes this webhook without an API key");
    }
    let token = app.as_deref().and_then(token_of);
    let header = parts.headers.get(SIGNATURE);
    verify_query(token, query, header.is_some(), api.clock.now())
        .map_err(|why| strangers(api, why))?;
    let by_query = query.sign.is_some();
    match (header, app) {
        (Some(header), app) => {
            if let Some(app) = app.as_ref().filter(|_| by_query) {
                api.limits.may_ask(app.app)?;
            }
            let signature = header.to_str().unwrap_or_default().to_owned();
            Ok(Claim::Signed { app, signature, by_query })
        }
        (None, Some(app)) => {
            api.limits.may_ask(app.app)?;
            Ok(Claim::Proved(of_query(query, app)?))
        }
        (None, None) => Err(strangers(api, WRONG_SIGN)),
    }
}

impl Claim {
    /// Most bytes to read of the body; `None` when no limit of its own is needed.
    pub fn body_bytes_max(&self, api: &Api) -> Option<usize> {
        match self {
            Claim::Proved(_) | Claim::Signed { by_query: true, .. } => None,
            Claim::Signed { .. } => Some(UNPROVED_BYTES_MAX.min(api.body_bytes_max)),
        }
    }

    /// The app a webhook is for, once its body is there.
    ///
    /// # Errors
    /// 60025 under 401, 403 or 429.
    pub fn proved(self, api: &Api, query: &WebhookQuery, body: &[u8]) -> Result<Arc<App>, Fail> {
        let (app, signature, by_query) = match self {
            Claim::Proved(app) => return Ok(app),
            Claim::Signed { app, signature, by_query } => (app, signature, by_query),
        };
        let time = query.request_time.as_deref().unwrap_or_default();
        // Without an app the same work is done for nothing: time tells nothing either.
        let token = app.as_deref().and_then(token_of).unwrap_or_default();
        let is_right = is_signature(token, time, body, &signature);
        let Some(app) = app.filter(|_| is_right) else {
            return Err(strangers(api, "X-Offpush-Signature is wrong"));
        };
        if !by_query {
            api.limits.may_ask(app.app)?;
        }
        of_query(query, app)
    }
}

fn token_of(app: &App) -> Option<&str> {
    app.settings.webhook_token()
}

/// The app, unless the query names another.
fn of_query(query: &WebhookQuery, app: Arc<App>) -> Result<Arc<App>, Fail> {
    if query.app.as_ref().is_some_and(|named| *named != app.app.to_string()) {
        return Err(refused(StatusCode::FORBIDDEN, "SdkAppid is not the app of this path"));
    }
    Ok(app)
}

/// Refuses what proves nothing. Guessing is slowed down, as it is with keys.
fn strangers(api: &Api, why: &str) -> Fail {
    match api.limits.may_fail() {
        Ok(()) => refused(StatusCode::UNAUTHORIZED, why),
        Err(too_many) => refused(too_many.status, too_many.message),
    }
}

/// Checks what the query says: the time, and `Sign` if it is there. Without it there must be a
/// signature over the body.
fn verify_query(
    token: Option<&str>,
    query: &WebhookQuery,
    has_signature: bool,
    now: UnixMs,
) -> Result<(), &'static str> {
    let time = query.request_time.as_deref().ok_or("RequestTime is missing")?;
    let at: u64 = time.parse().map_err(|_| "RequestTime must be Unix seconds")?;
    if now.secs().abs_diff(at) > SKEW_MAX.as_secs() {
        return Err("RequestTime is more than 60 seconds from now");
    }
    let Some(sign) = &query.sign else {
        return if has_signature { Ok(()) } else { Err("Sign is missing") };
    };
    let is_right = is_sign(token.unwrap_or_default(), time, sign);
    if token.is_some() && is_right { Ok(()) } else { Err(WRONG_SIGN) }
}

fn is_sign(token: &str, time: &str, sign: &str) -> bool {
    let expected = digest::digest(&digest::SHA256, format!("{token}{time}").as_bytes());
    let given = hex::decode(sign).unwrap_or_default();
    subtle::ConstantTimeEq::ct_eq(expected.as_ref(), given.as_slice()).into()
}

fn is_signature(token: &str, time: &str, body: &[u8], signature: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let signed = [time.as_bytes(), b".", body].concat();
    let given = hex::decode(signature).unwrap_or_default();
    hmac::verify(&key, &signed, &given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "xxxxyyyy";
    const TIME: &str = "1669872112";
    const SIGN: &str = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";

    fn at(seconds: u64) -> UnixMs {
        UnixMs::from_secs(seconds)
    }

    fn query(extra: &str) -> WebhookQuery {
        WebhookQuery::read(&format!("SdkAppid=5&CallbackCommand=x&RequestTime={TIME}{extra}"))
    }

    fn verify(query: &WebhookQuery, now: UnixMs) -> Result<(), &'static str> {
        verify_query(Some(TOKEN), query, false, now)
    }

    #[test]
    fn tencents_sign_is_accepted_within_a_minute_either_way() {
        let query = query(&format!("&Sign={SIGN}"));
        for seconds in [1_669_872_052, 1_669_872_112, 1_669_872_172] {
            assert_eq!(verify(&query, at(seconds)), Ok(()));
        }
        for seconds in [1_669_872_051, 1_669_872_173] {
            assert!(verify(&query, at(seconds)).is_err());
        }
        let now = at(1_669_872_112);
        assert_eq!(verify_query(Some("other"), &query, false, now), Err(WRONG_SIGN));
    }

    #[test]
    fn without_a_token_no_sign_is_right() {
        let empty = hex::encode(digest::digest(&digest::SHA256, TIME.as_bytes()));
        let query = query(&format!("&Sign={empty}"));
        let now = at(1_669_872_112);
        assert_eq!(verify_query(None, &query, false, now), Err(WRONG_SIGN));
        assert_eq!(verify_query(None, &query, true, now), Err(WRONG_SIGN));
    }

    #[test]
    fn a_sign_that_is_missing_cut_or_of_another_time_proves_nothing() {
        let now = at(1_669_872_112);
        assert!(verify(&query(""), now).is_err());
        assert!(verify(&query(&format!("&Sign={}", &SIGN[2..])), now).is_err());
        let other_time = format!("RequestTime=1669872113&Sign={SIGN}");
        assert!(verify(&WebhookQuery::read(&other_time), now).is_err());
        let no_time = WebhookQuery::read(&format!("Sign={SIGN}"));
        assert!(verify(&no_time, now).is_err());
    }

    #[test]
    fn a_signature_over_the_body_makes_up_for_no_sign_but_not_for_a_wrong_one() {
        let now = at(1_669_872_112);
        assert_eq!(verify_query(Some(TOKEN), &query(""), true, now), Ok(()));
        let wrong = query("&Sign=00");
        assert_eq!(verify_query(Some(TOKEN), &wrong, true, now), Err(WRONG_SIGN));
        let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes());
        let right = hex::encode(hmac::sign(&key, format!("{TIME}.{{}}").as_bytes()));
        assert!(is_signature(TOKEN, TIME, b"{}", &right));
        assert!(!is_signature(TOKEN, TIME, b"{ }", &right));
        assert!(!is_signature(TOKEN, TIME, b"{}", "00"));
    }
}
