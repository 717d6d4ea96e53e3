//! Form bodies and content types as the vendors' servers read them.
//!
//! Decoding is the ordinary form rule: `+` is a space and `%2B` is a plus, so a secret that was
//! not percent-encoded arrives changed, exactly as it would at the vendor.

use http::{HeaderMap, header};

use crate::sim::SimRequest;

/// Media type of an HTML form body.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Media type of a JSON body.
pub const JSON: &str = "application/json";

/// Whether a request says that its body is `media_type`.
///
/// Parameters such as `charset` are ignored, and one fitting header among repeated ones is enough:
/// a well-known Go client sends two.
pub fn has_content_type(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|value| value.split(';').next())
        .any(|value| value.trim().eq_ignore_ascii_case(media_type))
}

/// A decoded form, in the order it was written.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Decodes the body of a request; `None` when its content type is not a form.
    pub fn of(request: &SimRequest) -> Option<Self> {
        if !has_content_type(&request.headers, FORM) {
            return None;
        }
        Some(Form(form_urlencoded::parse(&request.body).into_owned().collect()))
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a field, when it holds more than white space.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.trim().is_empty())
    }

    /// All fields as they came.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_content_type_is_found_with_parameters_and_in_any_case() {
        let upper = headers(&["Application/X-WWW-Form-Urlencoded;charset=UTF-8"]);
        assert!(has_content_type(&upper, FORM));
        assert!(!has_content_type(&upper, JSON));
        assert!(!has_content_type(&headers(&[]), FORM));
    }

    #[test]
    fn one_fitting_header_of_two_is_enough() {
        assert!(has_content_type(&headers(&[JSON, FORM]), FORM));
        assert!(has_content_type(&headers(&["application/json, text/plain"]), JSON));
    }

    #[test]
    fn a_plus_that_was_not_encoded_becomes_a_space() {
        let decode =
            |body: &'static [u8]| Form(form_urlencoded::parse(body).into_owned().collect());
        assert_eq!(decode(b"s=a%2Bb%2Fc").get("s"), Some("a+b/c"));
        assert_eq!(decode(b"s=a+b/c").get("s"), Some("a b/c"));
        assert_eq!(decode(b"s=+").filled("s"), None);
    }
}
