//! What is wrong with JSON, told without repeating what it says: the reader's own words quote the
//! value, which may be a secret or somebody's message, and errors end in logs and answers.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

/// An error in words that hold names and places, but no value.
pub fn without_values(error: &serde_json::Error) -> String {
    let told = error.to_string();
    if error.classify() != Category::Data {
        return told;
    }
    // What follows is the reader's place, or what it expected: both are ours to tell.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let (body, place) = match told.strip_suffix(&place) {
        Some(body) => (body, place.as_str()),
        None => (told.as_str(), ""),
    };
    let expected = body.rfind(", expected ").map_or("", |at| &body[at..]);
    for start in ["invalid type: ", "invalid value: "] {
        if let Some(given) = body.strip_prefix(start) {
            let kind = given.split(['"', '`', ',']).next().unwrap_or_default();
            return format!("{start}{}{expected}{place}", kind.trim_end());
        }
    }
    if body.starts_with("unknown variant ") {
        return format!("an unknown word{expected}{place}");
    }
    told
}

/// Reads a value that is JSON already; the error names the field and no value.
///
/// # Errors
/// One sentence.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let words = without_values(error.inner());
        match error.path().to_string().as_str() {
            "." => words,
            path => format!("{path}: {words}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    const SECRET: &str = "SECRET, expected nothing at line 7";

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        One,
        Two,
    }

    fn words<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        without_values(&serde_json::from_str::<T>(json).expect_err(json))
    }

    #[test]
    fn no_value_is_repeated() {
        let text = format!("\"{SECRET}\"");
        let at = text.len();
        for (told, wanted) in [
            (
                words::<u32>(&text),
                format!("invalid type: string, expected u32 at line 1 column {at}"),
            ),
            (
                words::<Vec<u8>>(&text),
                format!("invalid type: string, expected a sequence at line 1 column {at}"),
            ),
            (
                words::<Word>(&text),
                format!("an unknown word, expected `one` or `two` at line 1 column {at}"),
            ),
            (
                words::<u8>("777"),
                "invalid value: integer, expected u8 at line 1 column 3".to_owned(),
            ),
            (
                words::<bool>("3.25"),
                "invalid type: floating point, expected a boolean at line 1 column 4".to_owned(),
            ),
            (
                words::<String>("{}"),
                "invalid type: map, expected a string at line 1 column 0".to_owned(),
            ),
        ] {
            assert_eq!(told, wanted);
        }
        assert!(words::<BTreeMap<String, u8>>("{\"a\" 1}").contains("expected `:`"));
    }

    #[test]
    fn a_value_of_a_field_is_told_by_its_path() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only the mistake is looked at")]
        struct Holder {
            keys: Vec<String>,
        }
        let told = from_value::<Holder>(serde_json::json!({ "keys": SECRET })).expect_err("text");
        assert_eq!(told, "keys: invalid type: string, expected a sequence");
    }
}
