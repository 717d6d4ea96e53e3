//! The load of a crash run: messages to people of every vendor in turn, until the relay is gone.
//! What got no answer is kept and posted again to the relay that follows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bench::load::{self, Connection};
use crate::bench::traffic::{MIXED_PEOPLE, People};

/// Requests that are posted at a time.
const SENDERS: usize = 8;

/// What the senders share; it outlives every relay.
#[derive(Default)]
pub struct Senders {
    next: AtomicU64,
    posted_again: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Texts of what was answered 202 and not yet checked.
    accepted: Vec<String>,
    /// Numbers of what got no answer.
    open: VecDeque<u64>,
}

/// Senders that run.
pub struct Load {
    senders: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// Waits until all have noticed that the relay is gone.
    ///
    /// # Errors
    /// When an answer was neither 202 nor a refusal for want of room.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.senders.join_next().await {
            ended.context("a sender")??;
        }
        Ok(())
    }
}

impl Senders {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were answered 202 since they were last taken.
    pub fn accepted(&self) -> usize {
        self.kept().accepted.len()
    }

    /// Their texts; forgets them.
    pub fn take_accepted(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().accepted)
    }

    /// Messages that were posted again, in all.
    pub fn posted_again(&self) -> u64 {
        self.posted_again.load(Ordering::Relaxed)
    }

    /// Posts to this relay until it is gone.
    pub fn post_to(self: Arc<Self>, host: &str, key: &str) -> Load {
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (this, host, key) = (self.clone(), host.to_owned(), key.to_owned());
            senders.spawn(async move {
                let Ok(mut connection) = load::connect(&host).await else { return Ok(()) };
                loop {
                    let open = this.kept().open.pop_front();
                    let number = match open {
                        Some(number) => this.again(number),
                        None => this.next.fetch_add(1, Ordering::Relaxed),
                    };
                    if !this.post(&mut connection, &host, &key, number).await? {
                        return Ok(());
                    }
                }
            });
        }
        Load { senders }
    }

    /// Posts again what got no answer, until nothing is open.
    ///
    /// # Errors
    /// When the relay does not answer or refuses.
    pub async fn post_open(&self, host: &str, key: &str) -> anyhow::Result<()> {
        let mut connection = load::connect(host).await?;
        loop {
            let Some(number) = self.kept().open.pop_front() else { return Ok(()) };
            let answered = self.post(&mut connection, host, key, self.again(number)).await?;
            anyhow::ensure!(answered, "the relay is gone although nobody killed it");
        }
    }

    fn again(&self, number: u64) -> u64 {
        self.posted_again.fetch_add(1, Ordering::Relaxed);
        number
    }

    /// Posts one message; `false` when no answer came.
    async fn post(
        &self,
        connection: &mut Connection,
        host: &str,
        key: &str,
        number: u64,
    ) -> anyhow::Result<bool> {
        let body = Bytes::from(message(number).to_string());
        match load::post(connection, host, key, body).await {
            Ok((StatusCode::ACCEPTED, _)) => {
                self.kept().accepted.push(text(number));
                Ok(true)
            }
            Ok((status, _)) if load::is_refusal(status) => {
                self.kept().open.push_back(number);
                tokio::time::sleep(load::REFUSED_PAUSE).await;
                Ok(true)
            }
            Ok((status, said)) => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&said)),
            Err(_) => {
                self.kept().open.push_back(number);
                Ok(false)
            }
        }
    }
}

/// What a message shows: no two are alike.
fn text(number: u64) -> String {
    format!("message {number}")
}

fn message(number: u64) -> Value {
    let people = People { apns: 2, certificates: 1 };
    let receiver = people.phone(number % MIXED_PEOPLE).user;
    json!({
        "From_Account": "mina",
        "To_Account": receiver,
        "MsgSeq": number as u32,
        "MsgRandom": number as u32,
        "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text(number) } }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Message;

    #[test]
    fn a_repeat_is_the_same_message() {
        assert_eq!(message(7), message(7));
        let read = |number| Message::parse(message(number).to_string().as_bytes()).expect("one");
        assert_ne!(read(7).random, read(8).random);
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn what_was_taken_is_forgotten() {
        let senders = Senders::default();
        senders.kept().accepted.push(text(1));
        assert_eq!(senders.take_accepted(), ["message 1"]);
        assert_eq!(senders.accepted(), 0);
    }
}
