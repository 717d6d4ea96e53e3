//! Times as windows are given them: a time of day, and an instant in one of two notations.

use std::fmt;

use jiff::Timestamp;
use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::time::UnixMs;

/// What is wrong with a window, naming its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// `start` of a daily window.
    #[error("start must be a time of day written HH:MM or HH:MM:SS")]
    Start,
    /// `time_zone` of a daily window.
    #[error("time_zone must be an IANA zone such as Asia/Seoul or a fixed offset such as +09:00")]
    TimeZone,
    /// `duration_s` of any window.
    #[error("duration_s must be at least 1")]
    Duration,
    /// `start_at` of a one-off window.
    #[error("start_at must be Unix seconds or an RFC 3339 time, not before 1970")]
    StartAt,
}

/// A time of day, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(civil::Time);

impl TimeOfDay {
    /// It, to calculate with.
    pub fn time(self) -> civil::Time {
        self.0
    }

    /// Reads `HH:MM` or `HH:MM:SS`.
    ///
    /// # Errors
    /// [`WindowError::Start`].
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let mut parts = [0i8; 3];
        let mut given = 0;
        for part in text.split(':') {
            let two_digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let place = parts.get_mut(given).filter(|_| two_digits).ok_or(WindowError::Start)?;
            *place = part.parse().map_err(|_| WindowError::Start)?;
            given += 1;
        }
        let [hour, minute, second] = parts;
        match civil::Time::new(hour, minute, second, 0) {
            Ok(time) if given >= 2 => Ok(TimeOfDay(time)),
            _ => Err(WindowError::Start),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())?;
        if self.0.second() != 0 {
            write!(f, ":{:02}", self.0.second())?;
        }
        Ok(())
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TimeOfDay::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Writes an instant as Unix seconds.
pub(crate) fn write_start_at<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.secs())
}

/// Reads Unix seconds or an RFC 3339 time, rounded down to the second.
pub(crate) fn read_start_at<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<UnixMs, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(StartAtVisitor)
    } else {
        u64::deserialize(deserializer)
            .and_then(|seconds| de::Visitor::visit_u64(StartAtVisitor, seconds))
    }
}

struct StartAtVisitor;

impl de::Visitor<'_> for StartAtVisitor {
    type Value = UnixMs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unix seconds or an RFC 3339 time")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<UnixMs, E> {
        // Whoever sends milliseconds means a time this far away.
        let known = i64::try_from(seconds).is_ok_and(|s| Timestamp::from_second(s).is_ok());
        if known { Ok(UnixMs::from_secs(seconds)) } else { Err(E::custom(WindowError::StartAt)) }
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<UnixMs, E> {
        // Only negative numbers arrive here.
        Err(E::custom(WindowError::StartAt))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UnixMs, E> {
        let at: Timestamp = text.parse().map_err(|_| E::custom(WindowError::StartAt))?;
        let seconds = u64::try_from(at.as_second());
        seconds.map(UnixMs::from_secs).map_err(|_| E::custom(WindowError::StartAt))
    }
}
