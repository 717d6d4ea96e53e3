//! Certificates that end: counted for the metrics, and told of in the log in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::model::certificate::{CertificateInfo, CertificateStatus, Edition};
use crate::model::id::CertId;
use crate::model::time::UnixMs;
use crate::telemetry::events;

/// Between two looks at all certificates.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Days before its end at which a certificate is told of, once each.
const TOLD_AT_DAYS: [u64; 4] = [30, 14, 7, 1];

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It ends within so many days.
    Within(u64),
    /// It has ended.
    Over,
}

/// Looks from time to time; ends when the relay stops.
pub async fn follow(api: Arc<Api>, mut stopping: watch::Receiver<bool>) {
    let mut known = Known::default();
    loop {
        let now = api.clock.now();
        let certificates = api.credentials.list(None);
        let infos = certificates.iter().map(|certificate| &certificate.info);
        let aside = api.credentials.all_set_aside(None);
        events::certificates_measured(&counts(infos.clone().chain(&aside), now));
        for info in infos {
            match known.news(info, now) {
                Some(Told::Within(days)) => {
                    events::certificate_ends_soon(info.cert_id.0, &info.vendor, days);
                }
                Some(Told::Over) => events::certificate_expired(info.cert_id.0, &info.vendor),
                None => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// How many certificates are in which status; those that end soon are active as well.
fn counts<'a>(
    infos: impl Iterator<Item = &'a CertificateInfo>,
    now: UnixMs,
) -> [(&'static str, usize); 5] {
    let mut counts =
        [("active", 0), ("ends_soon", 0), ("expired", 0), ("broken", 0), ("disabled", 0)];
    for info in infos {
        let at = match info.status(now) {
            CertificateStatus::Active => 0,
            CertificateStatus::Expired => 2,
            CertificateStatus::Broken => 3,
            CertificateStatus::Disabled => 4,
        };
        counts[at].1 += 1;
        counts[1].1 += usize::from(at == 0 && info.ends_within_days(now).is_some());
    }
    counts
}

/// What was told of which certificate, and of which edition.
#[derive(Default)]
struct Known(HashMap<CertId, (Edition, Told)>);

impl Known {
    fn news(&mut self, info: &CertificateInfo, now: UnixMs) -> Option<Told> {
        let end = info.expires_at.filter(|_| info.enabled)?;
        let told = if end <= now {
            Told::Over
        } else {
            let left = end.since(now);
            let within = |days: &&u64| left <= Duration::from_secs(**days * 86_400);
            Told::Within(*TOLD_AT_DAYS.iter().rev().find(within)?)
        };
        let news = (info.edition(), told);
        let before = self.0.insert(info.cert_id, news);
        (before != Some(news)).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::AppId;

    const DAY_MS: u64 = 86_400_000;

    fn ending(at: u64) -> CertificateInfo {
        CertificateInfo {
            app: AppId(1),
            cert_id: CertId(7),
            vendor: "anyone".to_owned(),
            name: String::new(),
            environment: Default::default(),
            options: Default::default(),
            enabled: true,
            broken: None,
            expires_at: Some(UnixMs(at)),
            revision: 1,
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
            warnings: Vec::new(),
            identity: Default::default(),
        }
    }

    #[test]
    fn an_end_is_told_at_each_threshold_once_and_again_after_a_rotation() {
        let mut known = Known::default();
        let mut info = ending(100 * DAY_MS);
        let mut at = |info: &CertificateInfo, day: u64| known.news(info, UnixMs(day * DAY_MS));
        assert_eq!(at(&info, 60), None);
        assert_eq!(at(&info, 70), Some(Told::Within(30)));
        assert_eq!(at(&info, 71), None);
        assert_eq!(at(&info, 95), Some(Told::Within(7)));
        assert_eq!(at(&info, 99), Some(Told::Within(1)));
        assert_eq!(at(&info, 100), Some(Told::Over));
        assert_eq!(at(&info, 101), None);
        info.revision = 2;
        info.expires_at = Some(UnixMs(110 * DAY_MS));
        assert_eq!(at(&info, 101), Some(Told::Within(14)));
        info.enabled = false;
        assert_eq!(at(&info, 111), None, "nobody waits for one that is switched off");
    }

    #[test]
    fn what_ends_soon_is_still_active() {
        let infos = [ending(10 * DAY_MS), ending(50 * DAY_MS), ending(DAY_MS)];
        let counts = counts(infos.iter(), UnixMs(5 * DAY_MS));
        assert_eq!(counts[..3], [("active", 2), ("ends_soon", 1), ("expired", 1)]);
    }
}
