//! Tries a certificate out: does the vendor let us in, and what does it say to a push?

use std::sync::Arc;

use serde::Serialize;

use crate::access::Refused;
use crate::credentials::Certificate;
use crate::dispatch::Dispatch;
use crate::dispatch::push::{decode, unanswered};
use crate::explain::advice;
use crate::model::id::{MessageId, Partition, Token};
use crate::model::message::Priority;
use crate::model::push_info::OfflinePushInfo;
use crate::transport::Lane as Connections;
use crate::vendor::clocks::{self, Exchange};
use crate::vendor::{Answer, Call, Kind, Notification, Target, Verdict};

/// Longest part of a raw answer that is shown.
const RAW_BYTES_MAX: usize = 4_096;

/// What a vendor said when a certificate was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Whether the certificate works.
    pub ok: bool,
    /// Name of the verdict.
    pub verdict: &'static str,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The vendor's code.
    pub code: String,
    /// The vendor's own words.
    pub vendor_says: String,
    /// What to do about it; `None` when it works.
    pub hint: Option<String>,
    /// The vendor's raw answer, cut.
    pub raw: String,
}

impl Dispatch {
    /// Connections used for one trial only: what is wrong with them disturbs no lane, and the next
    /// trial must not present an identity from before a rotation.
    fn trial(&self, certificate: &Certificate) -> Connections {
        self.sender().connections(certificate, u32::MAX)
    }

    /// Asks the vendor whether a certificate works, without ringing anyone where it can.
    pub async fn verify(self: &Arc<Self>, certificate: &Certificate) -> Verified {
        let connections = self.trial(certificate);
        let verified = self.verify_over(&connections, certificate).await;
        self.transport().leave(&connections);
        verified
    }

    async fn verify_over(
        self: &Arc<Self>,
        connections: &Connections,
        certificate: &Certificate,
    ) -> Verified {
        let access = match self.sender().access().anew(certificate, connections).await {
            Ok(access) => access,
            Err(refused) => return Heard::of(*refused).verified(certificate, proves),
        };
        let (access, signed_in) = access.unzip();
        let now = self.rooms.clock.now();
        let probe = certificate.vendor.probe(&certificate.sending, access.as_ref(), now);
        let Some(request) = probe else {
            let says = if access.is_some() {
                "the vendor gave an access token"
            } else {
                "this vendor has no way to check a credential without sending: use test-push"
            };
            let answer = Answer::new(Verdict::Accepted, "", says);
            let status = signed_in.unwrap_or(0);
            return Heard { answer, status, raw: String::new() }.verified(certificate, proves);
        };
        let target =
            Target { token: Token("probe".into()), push_id: uuid::Uuid::nil(), badge: None };
        let heard = match self.transport().send(connections, &request).await {
            Ok(reply) => {
                let raw = String::from_utf8_lossy(&reply.body).into_owned();
                let answer = decode(certificate.vendor, &reply, &[target], now).remove(0);
                let exchange = Exchange { sent: now, received: self.rooms.clock.now() };
                let blame = certificate.vendor.blames_clock(&answer);
                let answer = clocks::judged(answer, blame, &reply, exchange);
                Heard { answer, status: reply.status.as_u16(), raw }
            }
            Err(error) => Heard::nothing(unanswered(certificate, &error, || true)),
        };
        heard.verified(certificate, proves)
    }

    /// Sends one push to a token that need not be registered, and answers what the vendor said.
    pub async fn test_push(
        self: &Arc<Self>,
        certificate: &Certificate,
        token: Token,
        title: String,
        desc: String,
    ) -> Verified {
        let connections = self.trial(certificate);
        let sent = self.test_push_over(&connections, certificate, token, (title, desc)).await;
        self.transport().leave(&connections);
        sent
    }

    async fn test_push_over(
        self: &Arc<Self>,
        connections: &Connections,
        certificate: &Certificate,
        token: Token,
        (title, desc): (String, String),
    ) -> Verified {
        let accepted = |verdict: Verdict| verdict == Verdict::Accepted;
        let access = match self.sender().access().anew(certificate, connections).await {
            Ok(access) => access.map(|(token, _)| token),
            Err(refused) => return Heard::of(*refused).verified(certificate, accepted),
        };
        let now = self.rooms.clock.now();
        let message_id = MessageId::new(now, Partition::of(&[b"test"]), fastrand::u64(..));
        let notification = Notification {
            // A token for calls takes nothing else.
            kind: if certificate.info.options.voip { Kind::Voip } else { Kind::Alert },
            title,
            body: desc,
            subtitle: None,
            ext: None,
            image: None,
            sound: None,
            message_id: message_id.to_string(),
            conversation: "c2c:offpush".to_owned(),
            notify_id: (message_id.0 as u32) & 0x7FFF_FFFF | 1,
            replaces: None,
            expires_at: now.after(std::time::Duration::from_secs(3_600)),
            priority: Priority::High,
            info: Arc::new(OfflinePushInfo::default()),
        };
        let target = Target { token, push_id: message_id.push_id(0), badge: None };
        let call = Call {
            certificate: &certificate.sending,
            access: access.as_ref(),
            notification: &notification,
            targets: std::slice::from_ref(&target),
            now,
        };
        let Some(push) = certificate.vendor.encode(&call).into_iter().next() else {
            let says = "the push could not be built";
            let answer = Answer::new(Verdict::Refused, "", says);
            return Heard::nothing(answer).verified(certificate, accepted);
        };
        let heard = match self.transport().send(connections, &push.request).await {
            Ok(reply) => {
                let raw = String::from_utf8_lossy(&reply.body);
                let raw = raw.replace(target.token.as_str(), "<token>");
                let answer = decode(certificate.vendor, &reply, &[target], now).remove(0);
                Heard { answer, status: reply.status.as_u16(), raw }
            }
            Err(error) => Heard::nothing(unanswered(certificate, &error, || true)),
        };
        heard.verified(certificate, accepted)
    }
}

/// What a probe's answer proves: it goes to a token that cannot exist, so that it is called dead
/// proves the rest.
fn proves(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Accepted | Verdict::TokenDead { .. })
}

/// What was heard of a vendor.
struct Heard {
    answer: Answer,
    /// HTTP status; 0 when there was no answer.
    status: u16,
    raw: String,
}

impl Heard {
    /// There was no answer to show.
    fn nothing(answer: Answer) -> Self {
        Heard { answer, status: 0, raw: String::new() }
    }

    /// The sign-in was refused.
    fn of(refused: Refused) -> Self {
        let Refused { answer, status, raw } = refused;
        Heard { answer, status, raw }
    }

    /// As it is shown; what to do is said only when something is wrong.
    fn verified(self, certificate: &Certificate, works: impl Fn(Verdict) -> bool) -> Verified {
        let Heard { answer, status, mut raw } = self;
        let mut end = raw.len().min(RAW_BYTES_MAX);
        while !raw.is_char_boundary(end) {
            end -= 1;
        }
        raw.truncate(end);
        let ok = works(answer.verdict);
        let advice = || advice::of_answer(certificate.vendor, &answer.code, answer.verdict);
        Verified {
            ok,
            verdict: answer.verdict.as_str(),
            status,
            hint: if ok { None } else { advice().map(str::to_owned) },
            code: answer.code,
            vendor_says: answer.says,
            raw,
        }
    }
}
