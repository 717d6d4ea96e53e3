//! Tries a certificate out: does the vendor let us in, and what does it say to a push?

use std::sync::Arc;

use serde::Serialize;

use crate::credentials::Certificate;
use crate::dispatch::Dispatch;
use crate::dispatch::push::{decode, unanswered};
use crate::explain::advice;
use crate::model::id::{MessageId, Partition, Token};
use crate::model::message::Priority;
use crate::model::push_info::OfflinePushInfo;
use crate::transport::Lane as Connections;
use crate::vendor::clocks::{self, Exchange};
use crate::vendor::{Answer, Call, Kind, Notification, SignIn, Target, Verdict};

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
    /// What to do about it.
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
        // A token got before the vendor changed its mind proves nothing. One that was made here is
        // kept: APNs refuses a second one within twenty minutes, on every connection.
        let sign_in = certificate.vendor.sign_in(&certificate.sending, self.rooms.clock.now());
        if matches!(sign_in, SignIn::Exchange(_))
            && let Ok(Some(token)) = self.sender().access().current(certificate, connections).await
        {
            self.sender().access().refuse(certificate, &token);
        }
        let access = match self.sender().access().current(certificate, connections).await {
            Ok(access) => access,
            Err(answer) => return verified(certificate, answer, 0, ""),
        };
        let now = self.rooms.clock.now();
        let probe = certificate.vendor.probe(&certificate.sending, access.as_ref(), now);
        let Some(request) = probe else {
            let says = if access.is_some() {
                "the vendor gave an access token"
            } else {
                "this vendor has no way to check a credential without sending: use test-push"
            };
            return verified(certificate, Answer::new(Verdict::Accepted, "", says), 0, "");
        };
        let target =
            Target { token: Token("probe".into()), push_id: uuid::Uuid::nil(), badge: None };
        match self.transport().send(connections, &request).await {
            Ok(reply) => {
                let raw = String::from_utf8_lossy(&reply.body);
                let answer = decode(certificate.vendor, &reply, &[target], now).remove(0);
                let exchange = Exchange { sent: now, received: self.rooms.clock.now() };
                let blame = certificate.vendor.blames_clock(&answer);
                let answer = clocks::judged(answer, blame, &reply, exchange);
                verified(certificate, answer, reply.status.as_u16(), &raw)
            }
            Err(error) => verified(certificate, unanswered(certificate, &error, || true), 0, ""),
        }
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
        let access = match self.sender().access().current(certificate, connections).await {
            Ok(access) => access,
            Err(answer) => return verified(certificate, answer, 0, ""),
        };
        let now = self.rooms.clock.now();
        let message_id = MessageId::new(now, Partition::of(&[b"test"]), fastrand::u64(..));
        let notification = Notification {
            kind: Kind::Alert,
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
            return verified(certificate, Answer::new(Verdict::Refused, "", says), 0, "");
        };
        match self.transport().send(connections, &push.request).await {
            Ok(reply) => {
                let raw = String::from_utf8_lossy(&reply.body);
                let hidden = raw.replace(target.token.as_str(), "<token>");
                let answer = decode(certificate.vendor, &reply, &[target], now).remove(0);
                let mut verified = verified(certificate, answer, reply.status.as_u16(), &hidden);
                verified.ok = verified.verdict == Verdict::Accepted.as_str();
                verified
            }
            Err(error) => verified(certificate, unanswered(certificate, &error, || true), 0, ""),
        }
    }
}

fn verified(certificate: &Certificate, answer: Answer, status: u16, raw: &str) -> Verified {
    // A probe goes to a token that cannot exist: that it is called dead proves the rest.
    let ok = matches!(answer.verdict, Verdict::Accepted | Verdict::TokenDead { .. });
    let mut end = raw.len().min(RAW_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    Verified {
        ok,
        verdict: answer.verdict.as_str(),
        status,
        hint: advice::of_answer(certificate.vendor, &answer.code, answer.verdict)
            .map(str::to_owned),
        code: answer.code,
        vendor_says: answer.says,
        raw: raw[..end].to_owned(),
    }
}
