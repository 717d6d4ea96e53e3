//! A lane's courier tasks. An idle courier is kept for the next parcel: its task is large, and
//! waking one is cheaper than spawning one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::queue::Held;

/// Most couriers of a lane that rest: about as many as a commit brings parcels at a time.
const RESTING_MAX: usize = 64;

/// Where the couriers of a lane rest.
#[derive(Default)]
pub struct Couriers(Mutex<Resting>);

#[derive(Default)]
struct Resting {
    /// Most recently rested courier last; it is woken first, while its memory is warm.
    desks: Vec<Arc<Desk>>,
    is_closed: bool,
}

/// Where a courier finds its next parcel.
#[derive(Default)]
pub struct Desk {
    parcel: Mutex<Option<Held>>,
    wake: Notify,
}

impl Couriers {
    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a parcel to a courier that rests; gives it back when there is none.
    pub fn give(&self, held: Held) -> Option<Held> {
        let Some(desk) = self.resting().desks.pop() else { return Some(held) };
        *desk.parcel() = Some(held);
        desk.wake.notify_one();
        None
    }

    /// Rests until there is a parcel. `None` when the courier is not needed any more.
    pub async fn rest(&self, desk: &Arc<Desk>) -> Option<Held> {
        {
            let mut resting = self.resting();
            if resting.is_closed || resting.desks.len() >= RESTING_MAX {
                return None;
            }
            resting.desks.push(desk.clone());
        }
        desk.wake.notified().await;
        desk.parcel().take()
    }

    /// Sends half of those home that rest, longest resting first.
    pub fn send_half_home(&self) {
        let mut resting = self.resting();
        let half = resting.desks.len().div_ceil(2);
        resting.desks.drain(..half).for_each(|desk| desk.wake.notify_one());
    }

    /// Sends all home that rest, and who comes to rest later.
    pub fn close(&self) {
        let mut resting = self.resting();
        resting.is_closed = true;
        resting.desks.drain(..).for_each(|desk| desk.wake.notify_one());
    }
}

impl Desk {
    fn parcel(&self) -> MutexGuard<'_, Option<Held>> {
        self.parcel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::dispatch::lane::tests::urgent;

    /// A courier that rests, if there is a place.
    fn rests(couriers: &Arc<Couriers>) -> impl Future<Output = Option<u128>> + use<> {
        let couriers = couriers.clone();
        let mut resting = Box::pin(async move {
            let next = couriers.rest(&Arc::default()).await;
            next.map(|held| held.id().0.0)
        });
        let at_once = resting.as_mut().now_or_never();
        async move {
            match at_once {
                Some(answer) => answer,
                None => resting.await,
            }
        }
    }

    #[tokio::test]
    async fn the_one_that_rests_since_the_shortest_time_gets_the_parcel() {
        let couriers = Arc::new(Couriers::default());
        assert!(couriers.give(urgent(1, 1, 100)).is_some(), "nobody rests");
        let (first, second) = (rests(&couriers), rests(&couriers));
        assert!(couriers.give(urgent(2, 1, 100)).is_none());
        assert_eq!(second.await, Some(2));
        assert!(couriers.give(urgent(3, 1, 100)).is_none());
        assert_eq!(first.await, Some(3));
        assert!(couriers.give(urgent(4, 1, 100)).is_some(), "nobody rests any more");
    }

    #[tokio::test]
    async fn who_rests_longest_is_sent_home_first_and_no_parcel_goes_with_it() {
        let couriers = Arc::new(Couriers::default());
        let (first, second, third) = (rests(&couriers), rests(&couriers), rests(&couriers));
        couriers.send_half_home();
        assert_eq!((first.await, second.await), (None, None));
        assert!(couriers.give(urgent(1, 1, 100)).is_none());
        assert_eq!(third.await, Some(1));
    }

    #[tokio::test]
    async fn nobody_rests_when_the_lane_has_ended_or_there_are_enough() {
        let couriers = Arc::new(Couriers::default());
        let resting: Vec<_> = (0..RESTING_MAX).map(|_| rests(&couriers)).collect();
        assert_eq!(rests(&couriers).now_or_never(), Some(None), "one too many");
        couriers.close();
        for one in resting {
            assert_eq!(one.await, None);
        }
        assert_eq!(rests(&couriers).now_or_never(), Some(None));
    }
}
