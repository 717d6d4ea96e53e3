//! The callback address: what may be one, and the URL of a post.

use std::net::IpAddr;

use form_urlencoded::Serializer;
use http::Uri;

use crate::model::id::AppId;
use crate::model::time::UnixMs;
use crate::results::event::Command;
use crate::transport::reach;
use crate::vendor::sign::sha256_hex;

/// Longest callback address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 1_024;

/// Checks what can be checked before a name is resolved; the transport checks the rest.
///
/// # Errors
/// One sentence for the operator.
pub fn check(url: &str, allow_http: bool, allow_private: bool) -> Result<(), String> {
    if url.len() > ADDRESS_BYTES_MAX {
        return Err(format!("callback_url is longer than {ADDRESS_BYTES_MAX} bytes"));
    }
    let parsed: Option<Uri> = url.parse().ok();
    let malformed = || "callback_url must be an http or https URL".to_owned();
    let uri = parsed.ok_or_else(malformed)?;
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err(malformed());
    };
    if authority.as_str().contains('@') {
        return Err("callback_url must not hold a user name or password".to_owned());
    }
    let bare = host.trim_matches(['[', ']']);
    let here = bare.eq_ignore_ascii_case("localhost");
    let address: Option<IpAddr> = bare.parse().ok();
    let loopback = here || address.is_some_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if allow_http || loopback => {}
        Some("http") => {
            return Err("callback_url must be https, unless callbacks.allow_http is on".to_owned());
        }
        _ => return Err(malformed()),
    }
    if !allow_private && (here || address.is_some_and(|address| !reach::is_public(address))) {
        let message = "callback_url must be a public address, unless callbacks.allow_private is on";
        return Err(message.to_owned());
    }
    Ok(())
}

/// The URL of a post: Tencent's query, signed by the SHA-256 of key and time when there is a key
/// (cloud.tencent.com/document/product/269/32431). `None` when the address is not a URL.
pub fn of_post(
    callback_url: &str,
    key: Option<&str>,
    app: AppId,
    command: Command,
    now: UnixMs,
) -> Option<Uri> {
    let address = callback_url.split('#').next().unwrap_or(callback_url);
    let mut query = Serializer::new(String::new());
    query.append_pair("SdkAppid", &app.to_string());
    query.append_pair("CallbackCommand", command.as_str());
    query.append_pair("contenttype", "json");
    // A push result has no client whose address could stand here.
    query.append_pair("ClientIP", "");
    query.append_pair("OptPlatform", "RESTAPI");
    if let Some(key) = key {
        let time = now.secs().to_string();
        query.append_pair("Sign", &sha256_hex(format!("{key}{time}").as_bytes()));
        query.append_pair("RequestTime", &time);
    }
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}{}", query.finish()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_reference() {
        let now = UnixMs::from_secs(1_669_872_112);
        let url = "https://chat.example/hook?tenant=1";
        let uri = of_post(url, Some("xxxxyyyy"), AppId(5), Command::OfflinePush, now);
        assert_eq!(
            uri.expect("a url").to_string(),
            "https://chat.example/hook?tenant=1&SdkAppid=5&CallbackCommand=Push.OfflinePush\
             &contenttype=json&ClientIP=&OptPlatform=RESTAPI\
             &Sign=17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061\
             &RequestTime=1669872112"
        );
        let uri = of_post("http://h#x", None, AppId(5), Command::DeviceRetired, now);
        let expected = "http://h/?SdkAppid=5&CallbackCommand=device.retired&contenttype=json\
                        &ClientIP=&OptPlatform=RESTAPI";
        assert_eq!(uri.expect("a url").to_string(), expected);
    }

    #[test]
    fn only_public_https_is_an_address_unless_the_operator_says_so() {
        assert_eq!(check("https://chat.example/hook", false, false), Ok(()));
        for bad in ["http://chat.example/", "ftp://chat.example/", "chat.example", "", "https://"] {
            assert!(check(bad, false, true).is_err(), "{bad}");
        }
        assert!(check("https://u:p@chat.example/", true, true).is_err());
        assert_eq!(check("http://chat.example/", true, false), Ok(()));
        for private in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://[::1]:8/",
            "https://169.254.169.254/",
            "https://10.0.0.1/",
        ] {
            assert!(check(private, true, false).is_err(), "{private}");
            assert_eq!(check(private, false, true), Ok(()), "{private}");
        }
        assert_eq!(check("http://127.0.0.1:9/", false, true), Ok(()));
    }
}
