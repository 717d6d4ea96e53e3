//! How many pushes were tried, taken, shown and tapped: per app, day and vendor.
//!
//! Counters, added in the very commit of what they count. Everything about a push counts on the
//! day (UTC) its message was accepted, so that the rates of one day never exceed one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::model::id::AppId;
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Key, Scope, Store, StoreError, decode_counter};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Most days of one answer.
pub const DAYS_MAX: u32 = 92;

/// Days kept.
pub const DAYS_KEPT: u32 = 400;

/// Most counters read for one day: kinds times vendors times partitions is far below.
const COUNTERS_MAX: usize = 65_536;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Count {
    /// A push was made and its vendor asked, whatever came of it.
    Sendable = 0,
    /// The vendor took it.
    Sent = 1,
    /// The vendor reported that the device has it.
    Reached = 2,
    /// The vendor reported a tap.
    Clicked = 3,
}

/// A day of UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub u32);

impl Day {
    /// The day of an instant.
    pub fn of(at: UnixMs) -> Self {
        Day(u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX))
    }

    /// Its date, `2026-11-22`.
    pub fn date(self) -> String {
        let at = UnixMs(u64::from(self.0) * DAY_MS).to_string();
        at.split('T').next().unwrap_or_default().to_owned()
    }

    /// This many days earlier.
    pub fn before(self, days: u32) -> Self {
        Day(self.0.saturating_sub(days))
    }
}

/// Adds to a counter.
pub fn add(app: AppId, day: Day, vendor: &str, count: Count, by: i64, batch: &mut Batch) {
    let key = KeyBuilder::new(Class::Statistic).u32(day.0).u64(app.0).text(vendor);
    batch.add.push((key.u16(count as u16).finish(), by));
}

/// Every counter of days before `day`.
pub fn outdated(day: Day) -> Range<Key> {
    let start = KeyBuilder::new(Class::Statistic).finish();
    start..KeyBuilder::new(Class::Statistic).u32(day.0).finish()
}

/// One vendor on one day. A rate is `null` while its divisor is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Pushes whose vendor was asked.
    pub sendable: i64,
    /// Of these, taken by the vendor.
    pub sent: i64,
    /// Of these, on the device, as far as the vendor reports it.
    pub reached: i64,
    /// Of these, tapped, as far as the vendor reports it.
    pub clicked: i64,
    /// `sent / sendable`.
    pub delivery_rate: Option<f64>,
    /// `reached / sent`.
    pub reach_rate: Option<f64>,
    /// `clicked / reached`.
    pub click_rate: Option<f64>,
}

impl Figures {
    fn count(&mut self, slot: u16, by: i64) {
        match slot {
            0 => self.sendable += by,
            1 => self.sent += by,
            2 => self.reached += by,
            3 => self.clicked += by,
            // A later version's counter.
            _ => {}
        }
    }

    fn divide(&mut self) {
        let rate = |part: i64, whole: i64| (whole > 0).then(|| part as f64 / whole as f64);
        self.delivery_rate = rate(self.sent, self.sendable);
        self.reach_rate = rate(self.reached, self.sent);
        self.click_rate = rate(self.clicked, self.reached);
    }

    fn plus(&mut self, other: &Figures) {
        self.sendable += other.sendable;
        self.sent += other.sent;
        self.reached += other.reached;
        self.clicked += other.clicked;
    }
}

/// One day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayFigures {
    /// `2026-11-22`, UTC.
    pub date: String,
    /// By vendor.
    pub vendors: BTreeMap<String, Figures>,
}

/// Some days, days without a push left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Oldest first.
    pub days: Vec<DayFigures>,
    /// All days and vendors together.
    pub total: Figures,
}

/// The statistics of an app from `first` to `last`, both included; at most [`DAYS_MAX`] days,
/// counted back from `last`.
///
/// # Errors
/// The store's.
pub async fn read(
    store: &Arc<dyn Store>,
    app: AppId,
    first: Day,
    last: Day,
) -> Result<Statistics, StoreError> {
    let mut statistics = Statistics::default();
    for day in first.max(last.before(DAYS_MAX - 1)).0..=last.0 {
        let range = KeyBuilder::new(Class::Statistic).u32(day).u64(app.0).prefix();
        let rows = store.scan(Scope::Everywhere, range, COUNTERS_MAX).await?;
        let mut vendors: BTreeMap<String, Figures> = BTreeMap::new();
        for (key, value) in rows {
            let damaged = || StoreError::Corrupt { key: key.clone() };
            let by = decode_counter(Some(&value)).ok_or_else(damaged)?;
            let (vendor, slot) = names(&key).ok_or_else(damaged)?;
            vendors.entry(vendor).or_default().count(slot, by);
        }
        if vendors.is_empty() {
            continue;
        }
        for figures in vendors.values_mut() {
            statistics.total.plus(figures);
            figures.divide();
        }
        statistics.days.push(DayFigures { date: Day(day).date(), vendors });
    }
    statistics.total.divide();
    Ok(statistics)
}

fn names(key: &Key) -> Option<(String, u16)> {
    let mut reader = KeyReader::new(Class::Statistic, key)?;
    reader.u32()?;
    reader.u64()?;
    Some((reader.text()?.to_owned(), reader.u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Partition;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn counters_add_up_per_vendor_day_and_app() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let day = Day::of(UnixMs(DAY_MS * 20_000 + 5));
        assert_eq!(day.date(), "2024-10-04");
        let mut batch = Batch::default();
        let mut count = |app, day, vendor, count, by| {
            add(AppId(app), day, vendor, count, by, &mut batch);
        };
        count(1, day, "v", Count::Sendable, 4);
        count(1, day, "v", Count::Sent, 2);
        count(1, day, "v", Count::Reached, 1);
        count(1, day, "w", Count::Sendable, 1);
        count(1, day.before(1), "v", Count::Sendable, 8);
        count(2, day, "v", Count::Sendable, 16);
        store.commit(Partition::of_hash(0), batch).await.expect("committed");
        let one = read(&store, AppId(1), day, day).await.expect("read");
        assert_eq!(one.days.len(), 1);
        let vendor = &one.days[0].vendors["v"];
        assert_eq!((vendor.sendable, vendor.sent, vendor.reached), (4, 2, 1));
        assert_eq!((vendor.delivery_rate, vendor.click_rate), (Some(0.5), Some(0.0)));
        assert_eq!((one.total.sendable, one.days[0].vendors["w"].reach_rate), (5, None));
        let both = read(&store, AppId(1), day.before(1), day).await.expect("read");
        assert_eq!((both.days.len(), both.total.sendable), (2, 13));
        assert!(
            outdated(day)
                .contains(&KeyBuilder::new(Class::Statistic).u32(day.0 - 1).u64(9).finish())
        );
    }
}
