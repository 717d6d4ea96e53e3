//! Daily quotas as the mainland vendors count them: by account and message class, from midnight
//! to midnight of China Standard Time. A class without a limit is unlimited but still counted.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::time::UnixMs;

const CHINA_OFFSET_SECONDS: u64 = 8 * 3_600;
const DAY_SECONDS: u64 = 86_400;

/// Seconds since the epoch on a clock in China.
pub fn china_secs(now: UnixMs) -> u64 {
    now.secs().saturating_add(CHINA_OFFSET_SECONDS)
}

/// The counters of one vendor; `C` is its message class.
pub struct DailyQuotas<C> {
    limits: HashMap<C, u64>,
    used: HashMap<(String, C), Used>,
}

#[derive(Clone, Copy)]
struct Used {
    day: u64,
    phones: u64,
}

impl<C> Default for DailyQuotas<C> {
    fn default() -> Self {
        DailyQuotas { limits: HashMap::new(), used: HashMap::new() }
    }
}

impl<C: Copy + Eq + Hash> DailyQuotas<C> {
    /// Sets how many phones each account may reach a day in a class; `None` lifts the limit.
    pub fn set_limit(&mut self, class: C, phones: Option<u64>) {
        match phones {
            Some(phones) => self.limits.insert(class, phones),
            None => self.limits.remove(&class),
        };
    }

    /// The limit of a class.
    pub fn limit(&self, class: C) -> Option<u64> {
        self.limits.get(&class).copied()
    }

    /// Whether an account may reach `phones` more phones today.
    pub fn allows(&self, account: &str, class: C, phones: u64, now: UnixMs) -> bool {
        let used = self.used(account, class, now);
        self.limit(class).is_none_or(|limit| used.saturating_add(phones) <= limit)
    }

    /// Counts `phones` reached; how many it has been today.
    pub fn spend(&mut self, account: &str, class: C, phones: u64, now: UnixMs) -> u64 {
        let phones = self.used(account, class, now).saturating_add(phones);
        let day = china_secs(now) / DAY_SECONDS;
        self.used.insert((account.to_owned(), class), Used { day, phones });
        phones
    }

    fn used(&self, account: &str, class: C, now: UnixMs) -> u64 {
        match self.used.get(&(account.to_owned(), class)) {
            Some(used) if used.day == china_secs(now) / DAY_SECONDS => used.phones,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_fresh_after_midnight_in_china() {
        let mut quotas = DailyQuotas::default();
        let before = UnixMs::from_secs(DAY_SECONDS - CHINA_OFFSET_SECONDS - 1);
        let midnight = UnixMs::from_secs(DAY_SECONDS - CHINA_OFFSET_SECONDS);
        quotas.set_limit('p', Some(2));
        assert_eq!(quotas.spend("a", 'p', 2, before), 2);
        assert!(!quotas.allows("a", 'p', 1, before));
        assert!(quotas.allows("b", 'p', 1, before), "accounts do not share");
        assert!(quotas.allows("a", 'q', 1, before), "classes do not share");
        assert!(quotas.allows("a", 'p', 2, midnight));
        assert!(!quotas.allows("a", 'p', 3, midnight));
        quotas.set_limit('p', None);
        assert!(quotas.allows("a", 'p', 3, midnight));
    }
}
