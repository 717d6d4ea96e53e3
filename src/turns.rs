//! Whose turn it is. What many tasks do at the same time costs less when they take it step by step,
//! all the first step and then all the second: code and data of a step stay in the processor's
//! caches, and what all of them say goes out together.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

/// Lets the tasks that are ready have their turn first. Unlike tokio's `yield_now` it does not wait
/// for the system to be asked for events.
pub async fn give_way() {
    let mut has_given_way = false;
    poll_fn(|cx| match std::mem::replace(&mut has_given_way, true) {
        true => Poll::Ready(()),
        false => line_up(cx),
    })
    .await;
}

/// Polls `future` only when the tasks that were ready before it have had their turn, each time
/// anew. The runtime runs a task that was woken right after the one that woke it: a connection
/// would write each request by itself, a TLS record and a system call for some hundred bytes.
pub async fn after_others<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut has_given_way = false;
    poll_fn(|cx| {
        has_given_way = !has_given_way;
        if has_given_way { line_up(cx) } else { future.as_mut().poll(cx) }
    })
    .await
}

/// A task that wakes itself goes to the end of the line.
fn line_up<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn tasks_that_give_way_take_each_step_together() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let task = |name| {
            let steps = steps.clone();
            let note = move |step| steps.lock().expect("no panic").push((step, name));
            async move {
                note(1);
                give_way().await;
                note(2);
            }
        };
        let tasks: Vec<_> =
            ["a", "b", "c"].into_iter().map(|name| tokio::spawn(task(name))).collect();
        join_all(tasks).await;
        let expected = [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b"), (2, "c")];
        assert_eq!(*steps.lock().expect("no panic"), expected);
    }

    /// On a worker thread, where the one that is woken runs next.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_comes_after_others_hears_all_of_them_at_once() {
        let (say, mut hear) = mpsc::unbounded_channel();
        let (told, mut lots) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            tokio::spawn(after_others(async move {
                let mut lot = Vec::new();
                while hear.recv_many(&mut lot, usize::MAX).await > 0 {
                    told.send(std::mem::take(&mut lot)).expect("somebody listens");
                }
            }));
            // It listens before they speak.
            tokio::spawn(async move {
                give_way().await;
                give_way().await;
                for one in 0..8 {
                    let say = say.clone();
                    tokio::spawn(async move { say.send(one).expect("somebody listens") });
                }
            });
        });
        let mut first = lots.recv().await.expect("something was said");
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
