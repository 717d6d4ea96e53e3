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

/// The app a webhook is for, once it has proved that it may.
///
/// # Errors
/// 60025 under 401, 403, 404 or 429.
pub async fn check(
    api: &Arc<Api>,
    parts: &mut Parts,
    query: &WebhookQuery,
    body: &[u8],
) -> Result<Arc<App>, Fail> {
    let app = if api.open_to_all || parts.headers.contains_key(AUTHORIZATION) {
        let by_key = OfApp::from_request_parts(parts, api).await;
        by_key.map_err(|error| refused(error.status, error.message))?.app
    } else {
        by_signature(api, parts, query, body).await?
    };
    let named = query.app.as_ref();
    if named.is_some_and(|named| *named != app.app.to_string()) {
        return Err(refused(StatusCode::FORBIDDEN, "SdkAppid is not the app of this path"));
    }
    Ok(app)
}

async fn by_signature(
    api: &Arc<Api>,
    parts: &mut Parts,
    query: &WebhookQuery,
    body: &[u8],
) -> Result<Arc<App>, Fail> {
    let params = RawPathParams::from_request_parts(parts, api).await.ok();
    let id = params.as_ref().and_then(|params| {
        let (_, value) = params.iter().find(|(name, _)| *name == "app")?;
        value.parse().ok().map(AppId)
    });
    let app = id.and_then(|id| api.apps.get(id));
    let token = app.as_ref().and_then(|app| app.settings.webhook_token.as_deref());
    let signature = parts.headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default());
    let token = token.filter(|token| !token.is_empty());
    // The answer is the same whether the app does not exist, has no token or another one: nobody
    // learns by asking which apps a relay serves.
    let proved =
        match (verify(token.unwrap_or_default(), query, signature, body, api.clock.now()), token) {
            (Ok(()), None) => Err(WRONG_SIGN),
            (proved, Some(_)) => proved,
            (proved, None) => {
                tracing::debug!("no app takes this webhook without an API key");
                proved
            }
        };
    match (proved, app) {
        (Ok(()), Some(app)) => {
            api.limits.may_ask(app.app)?;
            Ok(app)
        }
        (proved, _) => {
            // Guessing is slowed down, as it is with keys.
            api.limits.may_fail().map_err(|error| refused(error.status, error.message))?;
            let why = proved.err().unwrap_or("there is no such app");
            Err(refused(StatusCode::UNAUTHORIZED, why))
        }
    }
}

/// Checks `Sign`, the signature over the body, or both: what is there must be right, and one must
/// be there.
fn verify(
    token: &str,
    query: &WebhookQuery,
    signature: Option<&str>,
    body: &[u8],
    now: UnixMs,
) -> Result<(), &'static str> {
    let time = query.request_time.as_deref().ok_or("RequestTime is missing")?;
    let at: u64 = time.parse().map_err(|_| "RequestTime must be Unix seconds")?;
    if now.secs().abs_diff(at) > SKEW_MAX.as_secs() {
        return Err("RequestTime is more than 60 seconds from now");
    }
    if query.sign.is_none() && signature.is_none() {
        return Err("Sign is missing");
    }
    if let Some(sign) = &query.sign
        && !is_sign(token, time, sign)
    {
        return Err(WRONG_SIGN);
    }
    if let Some(signature) = signature
        && !is_signature(token, time, body, signature)
    {
        return Err("X-Offpush-Signature is wrong");
    }
    Ok(())
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

    #[test]
    fn tencents_sign_is_accepted_within_a_minute_either_way() {
        let query = query(&format!("&Sign={SIGN}"));
        for seconds in [1_669_872_052, 1_669_872_112, 1_669_872_172] {
            assert_eq!(verify(TOKEN, &query, None, b"", at(seconds)), Ok(()));
        }
        for seconds in [1_669_872_051, 1_669_872_173] {
            assert!(verify(TOKEN, &query, None, b"", at(seconds)).is_err());
        }
        assert!(verify("other", &query, None, b"", at(1_669_872_112)).is_err());
    }

    #[test]
    fn a_sign_that_is_missing_cut_or_of_another_time_proves_nothing() {
        let now = at(1_669_872_112);
        assert!(verify(TOKEN, &query(""), None, b"", now).is_err());
        assert!(verify(TOKEN, &query(&format!("&Sign={}", &SIGN[2..])), None, b"", now).is_err());
        let other_time = format!("RequestTime=1669872113&Sign={SIGN}");
        assert!(verify(TOKEN, &WebhookQuery::read(&other_time), None, b"", now).is_err());
        let no_time = WebhookQuery::read(&format!("Sign={SIGN}"));
        assert!(verify(TOKEN, &no_time, None, b"", now).is_err());
    }

    #[test]
    fn a_signature_over_the_body_suffices_and_a_wrong_one_spoils_a_right_sign() {
        let now = at(1_669_872_112);
        let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes());
        let right = hex::encode(hmac::sign(&key, format!("{TIME}.{{}}").as_bytes()));
        assert_eq!(verify(TOKEN, &query(""), Some(&right), b"{}", now), Ok(()));
        assert!(verify(TOKEN, &query(""), Some(&right), b"{ }", now).is_err());
        let both = query(&format!("&Sign={SIGN}"));
        assert_eq!(verify(TOKEN, &both, Some(&right), b"{}", now), Ok(()));
        assert!(verify(TOKEN, &both, Some("00"), b"{}", now).is_err());
    }
}
