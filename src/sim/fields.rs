//! Typed reading of JSON objects: a field is absent, of the right type, or a mistake that is
//! named. `null` counts as absent, because client libraries write it for what was not set.

use serde_json::{Map, Value};

/// A field has another type than the vendor's document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The field.
    pub field: &'static str,
    /// What it should be.
    pub expected: &'static str,
}

/// A JSON object whose fields are read with their types.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// A field of any type.
    pub fn get(self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn typed<T>(
        self,
        field: &'static str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, WrongType> {
        let Some(value) = self.get(field) else { return Ok(None) };
        read(value).map(Some).ok_or(WrongType { field, expected })
    }

    /// A string.
    pub fn text(self, field: &'static str) -> Result<Option<&'a str>, WrongType> {
        self.typed(field, "a string", Value::as_str)
    }

    /// A string that holds more than white space; an empty one counts as absent.
    pub fn filled(self, field: &'static str) -> Result<Option<&'a str>, WrongType> {
        Ok(self.text(field)?.filter(|text| !text.trim().is_empty()))
    }

    /// A whole number.
    pub fn integer(self, field: &'static str) -> Result<Option<i64>, WrongType> {
        self.typed(field, "a whole number", Value::as_i64)
    }

    /// `true` or `false`.
    pub fn flag(self, field: &'static str) -> Result<Option<bool>, WrongType> {
        self.typed(field, "a boolean", Value::as_bool)
    }

    /// An object.
    pub fn object(self, field: &'static str) -> Result<Option<Fields<'a>>, WrongType> {
        self.typed(field, "an object", |value| value.as_object().map(Fields))
    }

    /// A list of strings, none of them empty.
    pub fn texts(self, field: &'static str) -> Result<Option<Vec<&'a str>>, WrongType> {
        let filled = |value: &'a Value| value.as_str().filter(|text| !text.is_empty());
        self.typed(field, "a list of strings", |value| {
            value.as_array().and_then(|list| list.iter().map(filled).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_absent_and_a_wrong_type_is_named() {
        let value = json!({"a": null, "b": 1, "c": "x", "d": ["", "y"], "e": " "});
        let fields = Fields(value.as_object().expect("an object"));
        assert_eq!(fields.text("a"), Ok(None));
        assert_eq!(fields.integer("b"), Ok(Some(1)));
        assert_eq!(fields.text("c"), Ok(Some("x")));
        let wrong = WrongType { field: "b", expected: "a string" };
        assert_eq!(fields.text("b"), Err(wrong));
        assert!(fields.texts("d").is_err());
        assert_eq!(fields.filled("e"), Ok(None));
    }
}
