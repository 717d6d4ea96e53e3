//! A point in time, as the relay stores and compares it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// Displays as RFC 3339 with milliseconds. Only `clock.rs` makes one for "now".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The instant `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        UnixMs(seconds.saturating_mul(1_000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000
    }

    /// This instant moved later; saturates instead of wrapping.
    pub fn after(self, span: Duration) -> Self {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        UnixMs(self.0.saturating_add(span_ms))
    }

    /// How long after `earlier` this instant is; zero when it is not.
    pub fn since(self, earlier: UnixMs) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Serialises a [`UnixMs`] as RFC 3339 text, for answers people read.
///
/// Use with `#[serde(with = "crate::model::time::rfc3339")]`.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::time::UnixMs;

    /// Writes RFC 3339 with milliseconds.
    pub fn serialize<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    /// Reads RFC 3339.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMs, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let millis = u64::try_from(at.as_millisecond()).map_err(D::Error::custom)?;
        Ok(UnixMs(millis))
    }

    /// The same for an optional instant; `null` when absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        use crate::model::time::UnixMs;

        /// Writes RFC 3339 with milliseconds, or `null`.
        pub fn serialize<S: Serializer>(
            at: &Option<UnixMs>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.collect_str(at),
                None => serializer.serialize_none(),
            }
        }

        /// Reads RFC 3339 or `null`.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<UnixMs>, D::Error> {
            let Some(text) = Option::<String>::deserialize(deserializer)? else {
                return Ok(None);
            };
            let at: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
            Ok(u64::try_from(at.as_millisecond()).ok().map(UnixMs))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339_with_milliseconds() {
        assert_eq!(UnixMs(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(UnixMs(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn moving_past_the_end_saturates() {
        assert_eq!(UnixMs(u64::MAX).after(Duration::from_secs(1)), UnixMs(u64::MAX));
        assert_eq!(UnixMs(5).since(UnixMs(9)), Duration::ZERO);
    }
}
