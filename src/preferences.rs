//! What a user wants: push or none, quiet hours, sounds, and options per conversation.
//!
//! The types here are pure. An invalid one cannot be read: every limit is checked where the JSON
//! is, and the error names its field.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::preferences::window::Window;

pub mod receive;
pub mod receive_options;
pub mod times;
pub mod window;
pub mod zone;

/// Most do-not-disturb windows of one user.
pub const WINDOWS_MAX: usize = 16;
/// Longest sound file name, in bytes.
pub const SOUND_BYTES_MAX: usize = 128;

/// One user's preferences, the body of `PUT …/preferences`. Absent fields have their default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// Whether this user wants push at all.
    pub push_enabled: bool,
    /// When not; at most [`WINDOWS_MAX`].
    #[serde(deserialize_with = "windows")]
    pub do_not_disturb: Vec<Window>,
    /// Sound file of one-to-one messages.
    #[serde(deserialize_with = "sound")]
    pub c2c_sound: Option<String>,
    /// Sound file of group messages.
    #[serde(deserialize_with = "sound")]
    pub group_sound: Option<String>,
}

impl Default for Preferences {
    fn default() -> Self {
        Preferences {
            push_enabled: true,
            do_not_disturb: Vec::new(),
            c2c_sound: None,
            group_sound: None,
        }
    }
}

impl Preferences {
    /// The sound this user prefers for group or one-to-one messages.
    pub fn sound(&self, group: bool) -> Option<&str> {
        if group { self.group_sound.as_deref() } else { self.c2c_sound.as_deref() }
    }
}

fn windows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Window>, D::Error> {
    let windows = Vec::<Window>::deserialize(deserializer)?;
    if windows.len() > WINDOWS_MAX {
        return Err(de::Error::custom(format!(
            "do_not_disturb has {} windows, at most {WINDOWS_MAX} are allowed",
            windows.len()
        )));
    }
    Ok(windows)
}

/// A file name: neither a path nor unprintable. An empty one counts as absent.
fn sound<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(sound) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if sound.len() > SOUND_BYTES_MAX {
        return Err(de::Error::custom(format!(
            "the sound has {} bytes, at most {SOUND_BYTES_MAX} are allowed",
            sound.len()
        )));
    }
    if sound.chars().any(char::is_control) {
        return Err(de::Error::custom("the sound holds a control character"));
    }
    Ok(Some(sound).filter(|sound| !sound.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of_error(json: &str) -> String {
        let mut reader = serde_json::Deserializer::from_str(json);
        let read: Result<Preferences, _> = serde_path_to_error::deserialize(&mut reader);
        read.expect_err(json).path().to_string()
    }

    #[test]
    fn absent_fields_have_their_default_and_all_survive_storage() {
        let empty: Preferences = serde_json::from_str("{}").expect("no fields");
        assert_eq!(empty, Preferences::default());
        assert!(empty.push_enabled);
        let full: Preferences = serde_json::from_str(
            r#"{"push_enabled":false,"c2c_sound":"a.caf","group_sound":"",
                "do_not_disturb":[{"daily":{"start":"22:00","duration_s":28800}}]}"#,
        )
        .expect("all fields");
        assert_eq!((full.sound(false), full.sound(true)), (Some("a.caf"), None));
        let json = serde_json::to_string(&full).expect("to json");
        assert_eq!(serde_json::from_str::<Preferences>(&json).expect("its own"), full);
        let bytes = postcard::to_allocvec(&full).expect("to bytes");
        assert_eq!(postcard::from_bytes::<Preferences>(&bytes).expect("its own"), full);
    }

    #[test]
    fn each_mistake_names_its_field() {
        let window = r#"{"daily":{"start":"22:00","duration_s":1}}"#;
        let many = |n: usize| format!(r#"{{"do_not_disturb":[{}]}}"#, vec![window; n].join(","));
        assert!(serde_json::from_str::<Preferences>(&many(WINDOWS_MAX)).is_ok());
        assert_eq!(field_of_error(&many(WINDOWS_MAX + 1)), "do_not_disturb");
        let long = format!(r#"{{"c2c_sound":"{}"}}"#, "x".repeat(SOUND_BYTES_MAX + 1));
        assert_eq!(field_of_error(&long), "c2c_sound");
        assert_eq!(field_of_error(r#"{"group_sound":"a\nb"}"#), "group_sound");
        assert_eq!(field_of_error(r#"{"push_enabled":1}"#), "push_enabled");
        assert_eq!(field_of_error(r#"{"push_enabld":true}"#), "push_enabld");
        let bad = r#"{"do_not_disturb":[{"daily":{"start":"25:00","duration_s":1}}]}"#;
        assert_eq!(field_of_error(bad), "do_not_disturb[0].daily.start");
    }
}
