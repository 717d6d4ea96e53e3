//! Reading a body field by field, and writing messages in the relay's own form.
//!
//! What becomes part of a message is passed on as it was written: the content of a message is part
//! of its identity, whichever way it came.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::tencent::envelope::{Fail, NOT_JSON};
use crate::model::id::UserId;
use crate::model::json::without_values;
use crate::model::message::checked_id;

/// A body: its fields, found but not yet read.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Fields<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Finds the fields of a JSON object.
    ///
    /// # Errors
    /// 60003.
    pub fn parse(json: &'a [u8]) -> Result<Self, Fail> {
        serde_json::from_slice(json).map_err(|error| {
            let why = without_values(&error);
            Fail::new(NOT_JSON, format!("the body is not a JSON object: {why}"))
        })
    }

    /// A field as it was written; `null` counts as absent.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Cow::as_ref)
    }

    /// A field that may be absent.
    ///
    /// # Errors
    /// `code` when it is of another type.
    pub fn optional<T: DeserializeOwned>(&self, name: &str, code: u32) -> Result<Option<T>, Fail> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            let why = without_values(&error);
            Fail::new(code, format!("{name} is malformed: {why}"))
        })
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// `code`.
    pub fn required<T: DeserializeOwned>(&self, name: &str, code: u32) -> Result<T, Fail> {
        self.optional(name, code)?.ok_or_else(|| Fail::new(code, format!("{name} is missing")))
    }

    /// An id that must be there.
    ///
    /// # Errors
    /// `code`.
    pub fn id(&self, name: &str, code: u32) -> Result<String, Fail> {
        let id: String = self.required(name, code)?;
        checked(&id, name, code)?;
        Ok(id)
    }

    /// A number that some producers write as text.
    pub fn number(&self, name: &str) -> Option<i64> {
        let text = self.raw(name)?.get();
        text.trim_matches('"').trim().parse().ok()
    }
}

/// Checks one id.
///
/// # Errors
/// `code`.
pub fn checked(id: &str, name: &str, code: u32) -> Result<(), Fail> {
    checked_id(id, name, "").map(|_| ()).map_err(|invalid| Fail::new(code, invalid.message))
}

/// How an API numbers what can be wrong with its list of users.
pub struct ListCodes {
    /// Absent.
    pub missing: u32,
    /// Not an array of strings.
    pub malformed: u32,
    /// Empty.
    pub empty: u32,
    /// Longer than allowed.
    pub too_many: u32,
}

/// A list of user ids in `name`: 1 to `most`, each once.
///
/// # Errors
/// By `codes`.
pub fn users(
    fields: &Fields<'_>,
    name: &str,
    most: usize,
    codes: &ListCodes,
) -> Result<Vec<UserId>, Fail> {
    let raw =
        fields.raw(name).ok_or_else(|| Fail::new(codes.missing, format!("{name} is missing")))?;
    let names: Vec<String> = serde_json::from_str(raw.get())
        .map_err(|_| Fail::new(codes.malformed, format!("{name} must be an array of strings")))?;
    if names.is_empty() {
        return Err(Fail::new(codes.empty, format!("{name} is empty")));
    }
    if names.len() > most {
        let info = format!("{name} names {} users, at most {most} are allowed", names.len());
        return Err(Fail::new(codes.too_many, info));
    }
    let mut users = Vec::with_capacity(names.len());
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    for user in &names {
        checked(user, name, codes.malformed)?;
        if seen.insert(user.as_str()) {
            users.push(UserId::from(user.as_str()));
        }
    }
    Ok(users)
}

/// Names in a list of objects, such as `[{"Member_Account": "a"}]`, or of plain strings; none when
/// there is no list.
///
/// # Errors
/// `code` when it is not such a list.
pub fn names_in(
    fields: &Fields<'_>,
    name: &str,
    key: &str,
    code: u32,
) -> Result<Vec<String>, Fail> {
    let list: Vec<Value> = fields.optional(name, code)?.unwrap_or_default();
    let named =
        |entry: &Value| entry.as_str().or_else(|| entry.get(key)?.as_str()).map(str::to_owned);
    list.iter().map(named).collect::<Option<_>>().ok_or_else(|| {
        Fail::new(code, format!("{name} must hold strings, or objects with a {key}"))
    })
}

/// Ids in such a list.
///
/// # Errors
/// `code` when it is not such a list, or holds what is not an id: what was left out silently
/// would never ring.
pub fn ids_in(fields: &Fields<'_>, name: &str, key: &str, code: u32) -> Result<Vec<UserId>, Fail> {
    let names = names_in(fields, name, key, code)?;
    names.iter().map(|id| checked(id, name, code).map(|()| id.as_str().into())).collect()
}

/// A message in the relay's own form, being written.
#[derive(Clone)]
pub struct MessageJson(Vec<u8>);

impl MessageJson {
    /// An empty message.
    pub fn begin() -> Self {
        MessageJson(vec![b'{'])
    }

    /// Adds a field as it was written.
    pub fn raw(mut self, name: &str, raw: Option<&RawValue>) -> Self {
        if let Some(raw) = raw {
            self.put(name, raw.get().as_bytes());
        }
        self
    }

    /// Takes over these fields under their own names.
    pub fn copy(self, fields: &Fields<'_>, names: &[&str]) -> Self {
        names.iter().fold(self, |message, name| message.raw(name, fields.raw(name)))
    }

    /// Adds a field.
    pub fn value(mut self, name: &str, value: &Value) -> Self {
        self.put(name, value.to_string().as_bytes());
        self
    }

    fn put(&mut self, name: &str, json: &[u8]) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0.extend_from_slice(json);
    }

    /// The message but for its receivers.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addressed::addressed;

    #[test]
    fn a_message_keeps_its_fields_as_they_were_written() {
        let body = br#"{"MsgBody":[ {"b":1, "a":2} ],"CloudCustomData":null,"Other":5}"#;
        let fields = Fields::parse(body).expect("an object");
        let message = MessageJson::begin()
            .copy(&fields, &["MsgBody", "CloudCustomData"])
            .value("MsgRandom", &Value::from(7))
            .finish();
        let json = addressed(&message, &["x".into(), "y".into()]);
        let text = String::from_utf8(json).expect("text");
        assert_eq!(text, r#"{"To_Account":["x","y"],"MsgBody":[ {"b":1, "a":2} ],"MsgRandom":7}"#);
    }

    #[test]
    fn numbers_are_read_as_numbers_and_as_text() {
        let fields = Fields::parse(br#"{"a":5,"b":"6","c":"x","d":-1}"#).expect("an object");
        let read = ["a", "b", "c", "d", "e"].map(|name| fields.number(name));
        assert_eq!(read, [Some(5), Some(6), None, Some(-1), None]);
    }

    #[test]
    fn members_are_named_by_objects_or_by_strings() {
        let fields = Fields::parse(br#"{"l":[{"M":"a"},"b"]}"#).expect("an object");
        assert_eq!(ids_in(&fields, "l", "M", 7), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(ids_in(&fields, "none", "M", 7), Ok(Vec::new()));
    }

    #[test]
    fn what_names_nobody_is_refused_with_the_name_of_its_list() {
        for list in
            [r#""a""#, r#"{"M":"a"}"#, "[3]", "[null]", r#"["a",{"N":"c"}]"#, r#"[{"M":3}]"#]
        {
            let json = format!(r#"{{"l":{list}}}"#);
            let fields = Fields::parse(json.as_bytes()).expect("an object");
            let fail = names_in(&fields, "l", "M", 7).expect_err(list);
            assert!(fail.code == 7 && fail.info.starts_with("l "), "{list}: {fail:?}");
        }
        for id in ["", "a\\u0000b", &"x".repeat(129)] {
            let json = format!(r#"{{"l":["a","{id}"]}}"#);
            let fields = Fields::parse(json.as_bytes()).expect("an object");
            assert_eq!(names_in(&fields, "l", "M", 7).expect("names").len(), 2);
            let fail = ids_in(&fields, "l", "M", 7).expect_err(id);
            assert!(fail.code == 7 && fail.info.starts_with("l "), "{id}: {fail:?}");
        }
    }
}
