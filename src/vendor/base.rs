//! The base URL of an endpoint, ready to be joined with many paths.

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};

/// Scheme, authority and path prefix of an endpoint; joining copies no more than the path.
pub struct Base {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    prefix: String,
}

impl Base {
    /// The base that `url` names. Config has checked it; what cannot be read leads nowhere, which
    /// the transport reports as not sent.
    pub fn of(url: &str) -> Self {
        let parts = url.parse::<Uri>().unwrap_or_default().into_parts();
        let prefix = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let prefix = prefix.trim_end_matches('/').to_owned();
        Base { scheme: parts.scheme, authority: parts.authority, prefix }
    }

    /// This base with the concatenation of `segments` as its path; they begin with a slash.
    pub fn join(&self, segments: &[&str]) -> Uri {
        let length = self.prefix.len() + segments.iter().map(|part| part.len()).sum::<usize>();
        let mut path = String::with_capacity(length);
        path.push_str(&self.prefix);
        segments.iter().for_each(|part| path.push_str(part));
        let mut parts = Parts::default();
        parts.scheme = self.scheme.clone();
        parts.authority = self.authority.clone();
        parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(path)).ok();
        Uri::from_parts(parts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_to_the_endpoint() {
        let join = |url| Base::of(url).join(&["/3/device/", "00ff"]).to_string();
        assert_eq!(join("https://api.example"), "https://api.example/3/device/00ff");
        assert_eq!(join("http://127.0.0.1:9/apns/"), "http://127.0.0.1:9/apns/3/device/00ff");
    }

    #[test]
    fn an_unreadable_base_or_path_never_panics() {
        assert_eq!(Base::of("not a url").join(&["/x"]).host(), None);
        assert_eq!(Base::of("https://a").join(&["/with blank"]).host(), None);
    }
}
