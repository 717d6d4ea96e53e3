//! A way out through an HTTP proxy: CONNECT, with basic authentication when the proxy wants it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::transport::TransportError;

/// Where the proxy is: `http://[user:password@]host[:port]`, user and password percent-encoded.
///
/// `Debug` does not show the password.
#[derive(Clone)]
pub struct ProxyUrl {
    /// Host name or address, without brackets.
    pub(crate) host: String,
    /// TCP port; 80 when the URL names none.
    pub(crate) port: u16,
    authorization: Option<HeaderValue>,
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| "proxy: must begin with http://".to_owned())?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user_info, host_port) = match rest.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, rest),
        };
        // Parsed apart from the password, so no error can repeat it.
        let uri: Uri = format!("http://{host_port}/")
            .parse()
            .map_err(|why| format!("proxy: host and port cannot be read: {why}"))?;
        let host = uri.host().filter(|host| !host.is_empty() && uri.path() == "/");
        let host = host.ok_or_else(|| "proxy: must be http://host:port".to_owned())?;
        let authorization = user_info.map(basic).transpose()?;
        Ok(ProxyUrl {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization,
        })
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({}:{})", self.host, self.port)
    }
}

/// The `Proxy-Authorization` value of RFC 7617 for a URL's user part.
fn basic(user_info: &str) -> Result<HeaderValue, String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let mut pair = percent_decoded(user)?;
    pair.push(b':');
    pair.extend(percent_decoded(password)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "proxy: user and password cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "proxy: user or password is not percent-encoded".to_owned();
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = tail.get(..2).ok_or_else(wrong)?;
            decoded.extend(hex::decode(digits).map_err(|_| wrong())?);
            rest = &tail[2..];
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    Ok(decoded)
}

/// Asks the proxy on `stream` for a tunnel to `host:port` and returns the stream as that tunnel.
///
/// # Errors
///
/// [`TransportError::NotSent`]: whatever goes wrong here, the vendor has seen nothing.
pub(crate) async fn tunnel(
    proxy: &ProxyUrl,
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, TransportError> {
    let failed = |why: &dyn fmt::Display| TransportError::NotSent(format!("proxy: {why}"));
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut request = http::Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority.parse().map_err(|why| failed(&why))?;
    let name = HeaderValue::from_str(&authority).map_err(|why| failed(&why))?;
    request.headers_mut().insert(header::HOST, name);
    if let Some(authorization) = &proxy.authorization {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|why| failed(&why))?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|why| failed(&why))?;
        if !answer.status().is_success() {
            return Err(failed(&format_args!("it answered {} to CONNECT", answer.status())));
        }
        hyper::upgrade::on(answer).await.map_err(|why| failed(&why))
    };
    // Both run here, not in a task of its own: giving up the connect gives up the proxy too.
    let (_, upgraded) = tokio::join!(connection.with_upgrades(), answer);
    let parts = upgraded?
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| failed(&"the tunnel is not the stream it was opened on"))?;
    if !parts.read_buf.is_empty() {
        return Err(failed(&"it sent bytes before the tunnel was used"));
    }
    Ok(parts.io.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_url_names_host_port_and_credentials() {
        let proxy: ProxyUrl = "http://us%40er:p%3Ass@proxy.local:3128/".parse().expect("valid");
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.local", 3128));
        let expected = format!("Basic {}", STANDARD.encode("us@er:p:ss"));
        assert_eq!(proxy.authorization.as_ref().expect("given"), expected.as_str());
        let plain: ProxyUrl = "http://[::1]".parse().expect("valid");
        assert_eq!((plain.host.as_str(), plain.port), ("::1", 80));
        assert!(plain.authorization.is_none());
    }

    #[test]
    fn what_is_no_proxy_url_is_refused_without_repeating_the_password() {
        for text in ["https://h:1", "h:1", "http://", "http://u:secret%zz@h", "http://u:secret@h/x"]
        {
            let error = text.parse::<ProxyUrl>().expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let proxy: ProxyUrl = "http://u:secret@h:1".parse().expect("valid");
        assert_eq!(format!("{proxy:?}"), "ProxyUrl(h:1)");
    }
}
