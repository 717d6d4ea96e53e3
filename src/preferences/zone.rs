//! Time zones as windows name them, and what a clock on the wall shows there.

use std::fmt;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::preferences::times::WindowError;

/// Largest fixed offset, in hours. The world uses -12 to +14.
const OFFSET_HOURS_MAX: i32 = 18;

/// A time zone by name or fixed offset, parsed once.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Reads an IANA zone (`Asia/Seoul`) or a fixed offset (`+09:00`, `+0900`, `+09`, `UTC+9`).
    ///
    /// # Errors
    /// [`WindowError::TimeZone`].
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let zone = match offset(text) {
            Some(offset) => TimeZone::fixed(offset),
            // Parsed zones are cached by the library.
            None => TimeZone::get(text).map_err(|_| WindowError::TimeZone)?,
        };
        if zone.is_unknown() {
            return Err(WindowError::TimeZone);
        }
        Ok(Zone { name: text.to_owned(), zone })
    }

    /// The name it was given by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It, to calculate with.
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The zone of that name; UTC when there is none or it is not known.
    pub fn or_utc(name: Option<&str>) -> Self {
        name.and_then(|name| Zone::parse(name).ok())
            .unwrap_or_else(|| Zone { name: "UTC".to_owned(), zone: TimeZone::UTC })
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({:?})", self.name)
    }
}

/// `+09:00`, `-0330`, `+9`, each also after `UTC` or `GMT`.
fn offset(text: &str) -> Option<Offset> {
    let text = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT")).unwrap_or(text);
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "00"),
    };
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(hours) || !plain(minutes) || !(1..=2).contains(&hours.len()) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if hours > OFFSET_HOURS_MAX || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()
}

/// Which of two instants is meant when a clock shows the same time twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    /// The earlier.
    First,
    /// The later.
    Last,
}

/// The instant at which the clock of `zone` shows `time`; that of the skip if it never does.
pub fn instant(zone: &TimeZone, time: civil::DateTime, showing: Showing) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let offset = match (ambiguous.offset(), showing) {
        (AmbiguousOffset::Unambiguous { offset }, _) => offset,
        (AmbiguousOffset::Fold { before, .. }, Showing::First) => before,
        (AmbiguousOffset::Fold { after, .. }, Showing::Last) => after,
        (AmbiguousOffset::Gap { .. }, _) => {
            // Read with the offset after the skip, the time lies shortly before the skip.
            let before = ambiguous.earlier().ok()?;
            return zone.following(before).next().map(|skip| skip.timestamp());
        }
    };
    offset.to_timestamp(time).ok()
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Zone::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_offset_may_be_written_in_several_ways() {
        for text in ["+09:00", "+0900", "+09", "+9", "UTC+9", "GMT+09:00"] {
            let zone = Zone::parse(text).expect(text);
            assert_eq!(zone.zone, TimeZone::fixed(Offset::constant(9)), "{text}");
            assert_eq!(zone.name(), text);
        }
        assert_eq!(offset("-03:30"), Offset::from_seconds(-12_600).ok());
    }
}
