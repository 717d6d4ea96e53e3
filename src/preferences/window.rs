//! Do-not-disturb windows: when a user wants no push.
//!
//! A window is daily (a time of day, a duration and a zone) or one-off (an instant and a
//! duration), as in Tencent's client API (trtc.io/document/48185); that API names no zone, so a
//! daily window here may, and else follows the device's.
//!
//! A daily window is meant by the clock on the wall: 22:00 for eight hours ends at 06:00 by that
//! clock also in the night in which it changes. Two consequences:
//!
//! * An edge that the clock skips falls on the instant of the skip.
//! * An edge that the clock shows twice widens the window: it opens at the first showing and
//!   closes at the last, so a window never closes and reopens in one night, and whenever the clock
//!   reads a time within the window, the window is open.
//!
//! Pure: the instant and the device's zone come in as arguments. Zones are those compiled in.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::model::object;
use crate::model::time::UnixMs;
use crate::preferences::times::{TimeOfDay, WindowError, read_start_at, write_start_at};
use crate::preferences::zone::{Showing, Zone, instant};

/// From this duration on, in seconds, a daily window never closes.
pub const PERMANENT_S: u32 = 86_400;
/// How many windows in a row are followed to find the next quiet end; whatever goes on longer is
/// taken for permanent. Sixteen windows that leave any gap in the day need far fewer.
const CHAIN_STEPS_MAX: usize = 64;

/// One do-not-disturb window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Every day.
    Daily(#[serde(deserialize_with = "object::only")] Daily),
    /// One time.
    Once(#[serde(deserialize_with = "object::only")] Once),
}

/// A window of every day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// When it opens.
    pub start: TimeOfDay,
    /// How long it stays open, in seconds by the clock on the wall; from [`PERMANENT_S`] on it is
    /// always open. At least 1.
    #[serde(deserialize_with = "duration")]
    pub duration_s: u32,
    /// Whose clock; the device's when absent, else UTC.
    #[serde(default)]
    pub time_zone: Option<Zone>,
}

/// A window of one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Once {
    /// When it opens. Read from Unix seconds or RFC 3339, written as Unix seconds.
    #[serde(serialize_with = "write_start_at", deserialize_with = "read_start_at")]
    pub start_at: UnixMs,
    /// How long it stays open, in seconds. At least 1.
    #[serde(deserialize_with = "duration")]
    pub duration_s: u32,
}

/// Which window is open, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The first open window's place in the list.
    pub window_index: usize,
    /// The zone that window was read in; `UTC` for a one-off window.
    pub zone: String,
    /// The next instant at which no window is open; `None` when there is none in sight.
    pub closes_at: Option<UnixMs>,
}

/// The window that is open at `now`, if any. `default_zone` is the device's; one that is not known
/// counts as absent, since the device reported it and nobody can be told.
///
/// Windows that touch or overlap are followed, so at `closes_at` push is truly allowed again.
pub fn open_at(windows: &[Window], now: UnixMs, default_zone: Option<&str>) -> Option<Open> {
    if windows.is_empty() {
        return None;
    }
    let default = Zone::or_utc(default_zone);
    let (window_index, window) =
        windows.iter().enumerate().find(|(_, window)| window.end_at(now, &default).is_some())?;
    let zone = match window {
        Window::Daily(daily) => daily.time_zone.as_ref().unwrap_or(&default).name().to_owned(),
        Window::Once(_) => "UTC".to_owned(),
    };
    Some(Open { window_index, zone, closes_at: quiet_end(windows, now, &default) })
}

/// The next instant at which no window is open, from an instant at which one is.
fn quiet_end(windows: &[Window], now: UnixMs, default: &Zone) -> Option<UnixMs> {
    let mut at = now;
    for _ in 0..CHAIN_STEPS_MAX {
        match windows.iter().filter_map(|window| window.end_at(at, default)).max() {
            Some(End::At(end)) => at = end,
            Some(End::Never) => return None,
            None => return Some(at),
        }
    }
    None
}

/// When an open window closes; a later end is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(UnixMs),
    Never,
}

impl Window {
    /// When this window closes, if it is open at `at`.
    fn end_at(&self, at: UnixMs, default: &Zone) -> Option<End> {
        match self {
            Window::Once(once) => {
                let end = once.start_at.after(Duration::from_secs(u64::from(once.duration_s)));
                (once.start_at <= at && at < end).then_some(End::At(end))
            }
            Window::Daily(daily) if daily.duration_s >= PERMANENT_S => Some(End::Never),
            Window::Daily(daily) => {
                let zone = &daily.time_zone.as_ref().unwrap_or(default).time_zone();
                daily.end_in(zone, at).map(End::At)
            }
        }
    }
}

impl Daily {
    /// When this window closes, if it is open at `at` by the clock of `zone`.
    fn end_in(&self, zone: &TimeZone, at: UnixMs) -> Option<UnixMs> {
        let at = Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
        let today = zone.to_datetime(at).date();
        // A window shorter than a day that is open now began yesterday or today; tomorrow only
        // where the clock was set back over midnight.
        [today.yesterday(), Ok(today), today.tomorrow()]
            .into_iter()
            .flatten()
            .filter_map(|date| self.span_on(zone, date))
            .filter(|(start, end)| *start <= at && at < *end)
            .filter_map(|(_, end)| u64::try_from(end.as_millisecond()).ok())
            .max()
            .map(UnixMs)
    }

    /// The instants between which the window of that date is open.
    fn span_on(&self, zone: &TimeZone, date: civil::Date) -> Option<(Timestamp, Timestamp)> {
        let start = date.to_datetime(self.start.time());
        let end = start.checked_add(SignedDuration::from_secs(i64::from(self.duration_s))).ok()?;
        Some((instant(zone, start, Showing::First)?, instant(zone, end, Showing::Last)?))
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(de::Error::custom(WindowError::Duration)),
        seconds => Ok(seconds),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 8] = [
        "America/New_York",
        "Europe/London",
        "Australia/Lord_Howe",
        "Asia/Seoul",
        "Africa/Casablanca",
        "America/Havana",
        "Asia/Kathmandu",
        "-03:30",
    ];

    fn daily(start: &str, duration_s: u32, zone: &str) -> Window {
        let time_zone = (!zone.is_empty()).then(|| Zone::parse(zone).expect(zone));
        Window::Daily(Daily { start: TimeOfDay::parse(start).expect(start), duration_s, time_zone })
    }

    fn once(start: &str, duration_s: u32) -> Window {
        Window::Once(Once { start_at: at(start), duration_s })
    }

    fn at(text: &str) -> UnixMs {
        let instant: Timestamp = text.parse().expect(text);
        UnixMs(u64::try_from(instant.as_millisecond()).expect("after 1970"))
    }

    fn closes(windows: &[Window], now: &str) -> Option<Option<UnixMs>> {
        open_at(windows, at(now), None).map(|open| open.closes_at)
    }

    fn check_span(window: &Window, opens: &str, ends: &str) {
        let windows = std::slice::from_ref(window);
        let (opens, ends) = (at(opens), at(ends));
        let is_open = |ms: u64| open_at(windows, UnixMs(ms), None);
        assert_eq!(is_open(opens.0 - 1), None, "{window:?} opens too early");
        for now in (opens.0..ends.0).step_by(60_000).chain([ends.0 - 1]) {
            let open = is_open(now).expect("open all the time between");
            assert_eq!(open.closes_at, Some(ends), "{window:?} at {}", UnixMs(now));
        }
        assert_eq!(is_open(ends.0), None, "{window:?} closes too late");
    }

    #[test]
    fn a_night_is_eight_hours_by_the_clock_on_the_wall() {
        let seoul = daily("22:00", 28_800, "Asia/Seoul");
        check_span(&seoul, "2026-11-22T13:00:00Z", "2026-11-22T21:00:00Z");
        // The same hours in spring and autumn, although these nights have seven and nine.
        let york = daily("22:00", 28_800, "America/New_York");
        check_span(&york, "2026-03-07T22:00:00-05:00", "2026-03-08T06:00:00-04:00");
        check_span(&york, "2026-10-31T22:00:00-04:00", "2026-11-01T06:00:00-05:00");
        let london = daily("23:30", 3_600 * 3, "Europe/London");
        check_span(&london, "2026-03-28T23:30:00Z", "2026-03-29T02:30:00+01:00");
    }

    #[test]
    fn an_edge_the_clock_skips_falls_on_the_skip() {
        let skip = "2026-03-08T07:00:00Z";
        check_span(&daily("02:30", 7_200, "America/New_York"), skip, "2026-03-08T08:30:00Z");
        check_span(&daily("01:00", 5_400, "America/New_York"), "2026-03-08T06:00:00Z", skip);
        // Half an hour only on Lord Howe, from 02:00 to 02:30.
        let howe = daily("02:15", 3_600, "Australia/Lord_Howe");
        check_span(&howe, "2026-10-04T02:30:00+11:00", "2026-10-04T03:15:00+11:00");
        // A window within the skip does not open that night.
        let skipped = [daily("02:10", 1_200, "America/New_York")];
        assert_eq!(open_at(&skipped, at(skip), None), None);
        assert_eq!(open_at(&skipped, at("2026-03-08T06:59:59Z"), None), None);
    }

    #[test]
    fn an_edge_the_clock_shows_twice_widens_the_window() {
        // The clock shows 01:00 to 02:00 twice.
        let york = |start, duration| daily(start, duration, "America/New_York");
        let (first, last) = ("2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00");
        check_span(&york("01:30", 7_200), first, "2026-11-01T03:30:00-05:00");
        check_span(&york("23:30", 7_200), "2026-10-31T23:30:00-04:00", last);
        // Havana's clock goes back from 01:00 to midnight.
        let havana = daily("00:30", 600, "America/Havana");
        check_span(&havana, "2025-11-02T00:30:00-04:00", "2025-11-02T00:40:00-05:00");
        // Newfoundland's clock once went back over midnight, from 00:01 to 23:01.
        let newfoundland = daily("00:00", 3_600, "America/St_Johns");
        check_span(&newfoundland, "2010-11-07T00:00:00-02:30", "2010-11-07T01:00:00-03:30");
        // Casablanca leaves and rejoins its offset around Ramadan.
        let casablanca = daily("02:30", 3_600, "Africa/Casablanca");
        check_span(&casablanca, "2026-02-15T02:30:00+01:00", "2026-02-15T03:30:00+00:00");
    }

    #[test]
    fn a_day_or_more_is_for_ever() {
        let now = "2026-11-22T12:00:00Z";
        assert_eq!(closes(&[daily("22:00", 86_400, "Asia/Seoul")], now), Some(None));
        assert_eq!(closes(&[daily("22:00", u32::MAX, "")], now), Some(None));
        assert!(closes(&[daily("22:00", 86_399, "UTC")], now).is_some_and(|end| end.is_some()));
    }

    #[test]
    fn a_one_off_window_opens_once() {
        let window = once("2026-11-22T12:00:00Z", 3_600);
        check_span(&window, "2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z");
        assert_eq!(closes(&[window], "2026-11-23T12:30:00Z"), None);
        let endless = Window::Once(Once { start_at: UnixMs(u64::MAX - 5), duration_s: 9 });
        assert!(open_at(&[endless], UnixMs(u64::MAX - 1), None).is_some());
    }

    #[test]
    fn windows_that_touch_or_overlap_end_together() {
        let windows = [
            once("2026-11-22T10:00:00Z", 600),
            daily("22:00", 3_600, "UTC"),
            daily("23:00", 3_600, "UTC"),
            daily("09:30", 7_200, "Asia/Seoul"),
        ];
        let now = at("2026-11-22T22:15:00Z");
        let open = open_at(&windows, now, None).expect("open");
        assert_eq!(open.window_index, 1);
        assert_eq!(open.zone, "UTC");
        // 09:30 in Seoul is 00:30 in UTC: there is half an hour between.
        assert_eq!(open.closes_at, Some(at("2026-11-23T00:00:00Z")));
        let longer = [windows.as_slice(), &[once("2026-11-22T23:59:00Z", 3_600)]].concat();
        let open = open_at(&longer, now, None).expect("open");
        assert_eq!(open.closes_at, Some(at("2026-11-23T02:30:00Z")));
    }

    #[test]
    fn windows_that_fill_the_day_are_for_ever() {
        let halves = [daily("00:00", 43_200, "UTC"), daily("12:00", 43_200, "UTC")];
        assert_eq!(closes(&halves, "2026-11-22T12:00:00Z"), Some(None));
        let sixteenths: Vec<Window> = (0..16)
            .map(|n| daily(&format!("{:02}:{:02}", n * 3 / 2, n % 2 * 30), 5_400, "UTC"))
            .collect();
        assert_eq!(closes(&sixteenths, "2026-11-22T12:00:00Z"), Some(None));
        // Without its last second the last sixteenth leaves a gap, and it is found.
        let gap = [&sixteenths[..15], &[daily("22:30", 5_399, "UTC")]].concat();
        let end = Some(Some(at("2026-11-22T23:59:59Z")));
        assert_eq!(closes(&gap, "2026-11-22T00:00:00Z"), end);
    }

    #[test]
    fn a_window_without_a_zone_follows_the_device() {
        let windows = [daily("22:00", 3_600, "")];
        let zone = |now, device| open_at(&windows, at(now), device).map(|open| open.zone);
        let (seoul, utc) = ("2026-11-22T13:30:00Z", "2026-11-22T22:30:00Z");
        assert_eq!(zone(seoul, Some("Asia/Seoul")).as_deref(), Some("Asia/Seoul"));
        assert_eq!(zone(seoul, Some("+0900")).as_deref(), Some("+0900"));
        assert_eq!(zone(utc, None).as_deref(), Some("UTC"));
        assert_eq!(zone(utc, Some("Mars/Olympus")).as_deref(), Some("UTC"));
        assert_eq!(zone(seoul, None), None);
    }

    #[test]
    fn the_shape_of_the_contract_is_read_and_written() {
        let json = r#"[{"daily":{"start":"22:00","duration_s":28800,"time_zone":"Asia/Seoul"}},
            {"daily":{"start":"07:05:09","duration_s":1}},
            {"once":{"start_at":1760000000,"duration_s":60}},
            {"once":{"start_at":"2025-10-09T08:53:20Z","duration_s":60}}]"#;
        let windows: Vec<Window> = serde_json::from_str(json).expect("the contract");
        assert_eq!(windows[0], daily("22:00", 28_800, "Asia/Seoul"));
        assert_eq!(windows[2], windows[3]);
        let written = serde_json::to_string(&windows).expect("to json");
        assert!(written.contains(r#""start":"07:05:09""#) && written.contains("1760000000"));
        assert_eq!(serde_json::from_str::<Vec<Window>>(&written).expect("its own"), windows);
        let bytes = postcard::to_allocvec(&windows).expect("to bytes");
        assert_eq!(postcard::from_bytes::<Vec<Window>>(&bytes).expect("its own"), windows);
    }

    /// A damaged row; found by fuzzing, since what was read was not what would be written.
    #[test]
    fn a_stored_time_that_no_calendar_has_is_refused() {
        for (start_s, is_known) in [(1_760_000_000, true), (u64::MAX / 7, false)] {
            let row = postcard::to_allocvec(&(1u32, start_s, 60u32)).expect("to bytes");
            assert_eq!(postcard::from_bytes::<Window>(&row).is_ok(), is_known, "{start_s}");
        }
    }

    #[test]
    fn each_mistake_names_its_field() {
        let daily = |start: &str, duration: &str, zone: &str| {
            format!(r#"{{"daily":{{"start":{start},"duration_s":{duration},"time_zone":{zone}}}}}"#)
        };
        let once = |start: &str| format!(r#"{{"once":{{"start_at":{start},"duration_s":9}}}}"#);
        let mut table = vec![
            (daily(r#""22:00""#, "0", "null"), "daily.duration_s"),
            (daily(r#""22:00""#, "-1", "null"), "daily.duration_s"),
            (daily("22", "1", "null"), "daily.start"),
            (once("-1"), "once.start_at"),
            (once("1760000000000"), "once.start_at"),
            (once("1.5"), "once.start_at"),
            (once(r#""yesterday""#), "once.start_at"),
            (once(r#""1969-12-31T00:00:00Z""#), "once.start_at"),
            (
                r#"{"once":{"start_at":1,"duration_s":1,"time_zone":"UTC"}}"#.into(),
                "once.time_zone",
            ),
        ];
        for start in ["24:00", "9:00", "22", "22:00:00:00", "22:60", "22:0x", "", "+2:00"] {
            table.push((daily(&format!("{start:?}"), "1", "null"), "daily.start"));
        }
        for zone in ["", "Mars/Olympus", "+25:00", "+09:60", "+9:0", "09:00", "Etc/Unknown", "+"] {
            let json = daily(r#""22:00""#, "1", &format!("{zone:?}"));
            table.push((json, "daily.time_zone"));
        }
        for (json, field) in table {
            let mut reader = serde_json::Deserializer::from_str(&json);
            let read: Result<Window, _> = serde_path_to_error::deserialize(&mut reader);
            let error = read.expect_err(&json);
            assert_eq!(error.path().to_string(), field, "{json}: {error}");
        }
        assert!(serde_json::from_str::<Window>(r#"{"weekly":{}}"#).is_err());
    }

    /// An instant near a change of the clock as often as not.
    fn instants() -> impl Strategy<Value = (TimeZone, i64)> {
        let zone = prop::sample::select(ZONES.as_slice());
        (zone, 1_700_000_000i64..1_900_000_000, any::<bool>(), -2_880i64..2_880).prop_map(
            |(zone, second, near_change, minutes)| {
                let zone = Zone::parse(zone).expect("a known zone").time_zone().clone();
                let second = second - second % 60;
                let instant = Timestamp::from_second(second).expect("in range");
                let change = zone.following(instant).next().map(|c| c.timestamp().as_second());
                match change {
                    Some(change) if near_change => (zone, change + minutes * 60),
                    _ => (zone, second),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn minute_by_minute_the_window_agrees_with_the_clock_on_the_wall(
            (zone, from) in instants(),
            start_minute in 0i64..1_440,
            minutes in 1u32..1_440,
        ) {
            let start = format!("{:02}:{:02}", start_minute / 60, start_minute % 60);
            let window = Daily {
                start: TimeOfDay::parse(&start).expect("a time"),
                duration_s: minutes * 60,
                time_zone: None,
            };
            let mut promised: Option<UnixMs> = None;
            for minute in 0..2_000 {
                let second = from + minute * 60;
                let now = UnixMs::from_secs(second as u64);
                let end = window.end_in(&zone, now);
                let clock = zone.to_datetime(Timestamp::from_second(second).expect("in range"));
                let into = i64::from(clock.hour()) * 60 + i64::from(clock.minute()) - start_minute;
                let reads_within = into.rem_euclid(1_440) < i64::from(minutes);
                let shown_twice = zone.to_ambiguous_timestamp(clock).is_ambiguous();
                prop_assert!(end.is_some() || !reads_within, "closed at {clock} in {zone:?}");
                prop_assert!(end.is_none() || reads_within || shown_twice, "open at {clock}");
                // Once open it closes exactly when it promised, and not before.
                if let Some(promised) = promised.filter(|promised| now < *promised) {
                    prop_assert_eq!(end, Some(promised), "at {}", clock);
                }
                prop_assert!(end.is_none_or(|end| end > now));
                promised = end;
            }
        }

        #[test]
        fn at_the_promised_end_nothing_is_open_and_before_it_something_always_is(
            (_, from) in instants(),
            given in prop::collection::vec(
                (any::<bool>(), 0i64..1_440, 1u32..900, prop::sample::select(ZONES.as_slice())),
                1..6,
            ),
        ) {
            let windows: Vec<Window> = given
                .iter()
                .map(|(is_daily, minute, minutes, zone)| {
                    let start = format!("{:02}:{:02}", minute / 60, minute % 60);
                    if *is_daily {
                        daily(&start, minutes * 60, zone)
                    } else {
                        let start_at = UnixMs::from_secs((from + minute * 60) as u64);
                        Window::Once(Once { start_at, duration_s: minutes * 60 })
                    }
                })
                .collect();
            let now = UnixMs::from_secs(from as u64 + 43_200);
            if let Some(Open { closes_at: Some(end), .. }) = open_at(&windows, now, None) {
                prop_assert_eq!(open_at(&windows, end, None), None);
                let minutes = (end.0 - now.0) / 60_000;
                for minute in 0..minutes {
                    let between = UnixMs(now.0 + minute * 60_000);
                    let open = open_at(&windows, between, None);
                    prop_assert_eq!(open.and_then(|open| open.closes_at), Some(end));
                }
            }
        }
    }
}
