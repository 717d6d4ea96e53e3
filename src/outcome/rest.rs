//! What is left of a parcel: deliveries to be tried again, together where they are due together.

use crate::model::time::UnixMs;
use crate::queue::{self, Delivery, Parcel};

/// The parcels that deliveries to be tried again make up. A vendor may ask to wait long with one
/// device, and others are not to wait with it, nor is what was not tried to count as tried.
#[derive(Debug, Default)]
pub(super) struct Rest(Vec<Part>);

#[derive(Debug)]
struct Part {
    at: UnixMs,
    counts: bool,
    parcel: Parcel,
}

impl Rest {
    /// Adds a delivery of `whole`, due again at `at`; whether its try `counts`. Answers the parcel
    /// that holds it.
    pub(super) fn add(
        &mut self,
        whole: &Parcel,
        delivery: &Delivery,
        (at, counts): (UnixMs, bool),
    ) -> &mut Parcel {
        let known = self.0.iter().position(|part| (part.at, part.counts) == (at, counts));
        let index = known.unwrap_or_else(|| {
            let mut parcel = whole.emptied();
            parcel.attempts = whole.attempts.saturating_add(u16::from(counts));
            if !self.0.is_empty() {
                parcel.number = queue::split_off(whole.number, delivery.number);
            }
            self.0.push(Part { at, counts, parcel });
            self.0.len() - 1
        });
        let parcel = &mut self.0[index].parcel;
        parcel.deliveries.push(delivery.clone());
        parcel
    }

    /// The parcels and when they are due.
    pub(super) fn into_parcels(self) -> impl Iterator<Item = (UnixMs, Parcel)> {
        self.0.into_iter().map(|part| (part.at, part.parcel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{AppId, CertId, MessageId, Token};

    fn delivery(number: u16) -> Delivery {
        Delivery {
            number,
            user: "joon".into(),
            device_id: "phone".into(),
            token: Token("t".into()),
            registered_at: UnixMs(1),
            badge: None,
        }
    }

    fn whole() -> Parcel {
        Parcel {
            app: AppId(1),
            cert_id: CertId(7),
            message_id: MessageId(9),
            number: 3,
            urgency: 1,
            locale: None,
            sound: None,
            expires_at: UnixMs(1_000_000),
            attempts: 2,
            renewed: 0,
            deliveries: (10..15).map(delivery).collect(),
            content: bytes::Bytes::new(),
        }
    }

    #[test]
    fn what_waits_differently_is_parted_under_names_of_its_own() {
        let whole = whole();
        let mut rest = Rest::default();
        let fates =
            [(500, true), (900, false), (500, true), (500, false)].map(|(at, c)| (UnixMs(at), c));
        for (delivery, fate) in whole.deliveries[1..].iter().zip(fates) {
            rest.add(&whole, delivery, fate);
        }
        let parcels: Vec<_> = rest
            .into_parcels()
            .map(|(at, parcel)| {
                let numbers: Vec<_> = parcel.deliveries.iter().map(|one| one.number).collect();
                (at.0, parcel.number, parcel.attempts, numbers)
            })
            .collect();
        let of = |number| queue::split_off(3, number);
        assert_eq!(
            parcels,
            [(500, 3, 3, vec![11, 13]), (900, of(12), 2, vec![12]), (500, of(14), 2, vec![14])]
        );
        assert_ne!(of(12), of(14));
        assert_eq!(queue::split_off(of(12), 14), of(14), "however often it is parted");
    }
}
