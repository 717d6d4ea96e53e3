//! Everything notable that can happen. One function per event: log line and metric together.
//!
//! Levels: error, a person must act; warn, odd but handled; info, a normal day; debug, per
//! delivery. Label arguments are `&'static str`, so that they can only come from a closed set:
//! a vendor's profile name, `Verdict::as_str`, `Terminal::as_str`, `Reason::as_str`.

use std::fmt::Display;
use std::time::Duration;

use metrics::{
    Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use tracing::{debug, error, info, warn};

use crate::model::reason::Terminal;

/// Messages taken, by kind.
pub const MESSAGES_ACCEPTED: &str = "offpush_messages_accepted_total";
/// Messages refused because the relay was full or unwell, by cause.
pub const MESSAGES_TURNED_AWAY: &str = "offpush_messages_turned_away_total";
/// Repeats recognised.
pub const DUPLICATES: &str = "offpush_duplicates_total";
/// Deliveries that ended, by state and reason.
pub const DELIVERIES: &str = "offpush_deliveries_total";
/// Answers of vendors, one per delivery and attempt.
pub const PUSHES: &str = "offpush_pushes_total";
/// From sending a request to its answer.
pub const PUSH_LATENCY_SECONDS: &str = "offpush_push_latency_seconds";
/// From reading a message to its commit.
pub const ACCEPT_SECONDS: &str = "offpush_accept_seconds";
/// One durable commit.
pub const STORE_COMMIT_SECONDS: &str = "offpush_store_commit_seconds";
/// How long a generation of rows took from the journal into the engine.
pub const STORE_CHECKPOINT_SECONDS: &str = "offpush_store_checkpoint_seconds";
/// Parcels that wait or are being sent.
pub const QUEUE_PARCELS: &str = "offpush_queue_parcels";
/// Bytes of the queue.
pub const QUEUE_BYTES: &str = "offpush_queue_bytes";
/// How long the oldest parcel has waited that could be on its way, in seconds.
pub const QUEUE_OLDEST_SECONDS: &str = "offpush_queue_oldest_seconds";
/// Lanes by condition.
pub const LANES: &str = "offpush_lanes";
/// Deliveries at vendors right now.
pub const PUSHES_IN_FLIGHT: &str = "offpush_pushes_in_flight";
/// Requests of the API.
pub const HTTP_REQUESTS: &str = "offpush_http_requests_total";
/// Tokens that vendors declared dead.
pub const TOKENS_RETIRED: &str = "offpush_tokens_retired_total";
/// Certificates that vendors refused.
pub const CERTIFICATES_BROKEN: &str = "offpush_certificates_broken_total";
/// Requests to vendors that got no answer, by vendor and cause.
pub const REQUESTS_UNANSWERED: &str = "offpush_requests_unanswered_total";
/// Refusals that clocks which differ explain, by vendor.
pub const CLOCK_REFUSALS: &str = "offpush_clock_refusals_total";
/// Runs of tokens called dead that were not believed.
pub const TOKENS_DOUBTED: &str = "offpush_tokens_doubted_total";
/// Certificates by status.
pub const CERTIFICATES: &str = "offpush_certificates";
/// Push results that chat servers took, by kind.
pub const RESULTS_POSTED: &str = "offpush_results_posted_total";
/// Posts of push results that failed and will be repeated, by kind.
pub const RESULTS_POSTS_FAILED: &str = "offpush_results_posts_failed_total";
/// Push results given up, by cause.
pub const RESULTS_DROPPED: &str = "offpush_results_dropped_total";
/// Receipts of vendors, by vendor and what became of them.
pub const RECEIPTS: &str = "offpush_receipts_total";
/// 1 while the ledger adds up.
pub const LEDGER_BALANCED: &str = "offpush_ledger_balanced";

/// Gives every metric its help text.
pub(in crate::telemetry) fn describe_all() {
    describe_counter!(MESSAGES_ACCEPTED, "Messages accepted, by kind.");
    describe_counter!(MESSAGES_TURNED_AWAY, "Messages answered 503 or 429, by cause.");
    describe_counter!(DUPLICATES, "Messages recognised as repeats.");
    describe_counter!(DELIVERIES, "Deliveries that reached a terminal state.");
    describe_counter!(PUSHES, "Vendor answers, one per delivery and attempt.");
    describe_histogram!(PUSH_LATENCY_SECONDS, Unit::Seconds, "Vendor request to answer.");
    describe_histogram!(ACCEPT_SECONDS, Unit::Seconds, "Reading a message to its commit.");
    describe_histogram!(STORE_COMMIT_SECONDS, Unit::Seconds, "One durable store commit.");
    describe_histogram!(STORE_CHECKPOINT_SECONDS, Unit::Seconds, "From the journal to the engine.");
    describe_gauge!(QUEUE_PARCELS, "Parcels waiting or being sent.");
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes of queued parcels.");
    describe_gauge!(QUEUE_OLDEST_SECONDS, Unit::Seconds, "Longest wait of what could go now.");
    describe_gauge!(LANES, "Lanes, by condition.");
    describe_gauge!(PUSHES_IN_FLIGHT, "Deliveries at vendors right now, by vendor.");
    describe_counter!(HTTP_REQUESTS, "API requests, by route and status.");
    describe_counter!(TOKENS_RETIRED, "Tokens retired on a vendor's word.");
    describe_counter!(CERTIFICATES_BROKEN, "Times a vendor refused a certificate.");
    describe_counter!(REQUESTS_UNANSWERED, "Requests to vendors without an answer, by cause.");
    describe_counter!(
        TOKENS_DOUBTED,
        "Runs of tokens called dead that were not believed, by vendor."
    );
    describe_counter!(CLOCK_REFUSALS, "Refusals that clocks which differ explain, by vendor.");
    describe_gauge!(CERTIFICATES, "Certificates, by status.");
    describe_counter!(RESULTS_POSTED, "Push results that chat servers took, by kind.");
    describe_counter!(RESULTS_POSTS_FAILED, "Posts of push results that will be repeated.");
    describe_counter!(RESULTS_DROPPED, "Push results given up, by cause.");
    describe_counter!(RECEIPTS, "Receipts of vendors, by vendor and what became of them.");
    describe_gauge!(LEDGER_BALANCED, "1 while accepted equals terminals plus in flight.");
}

/// What kind of conversation a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// One-to-one.
    C2c,
    /// Group.
    Group,
}

impl MessageKind {
    /// That of a message said in a group, or not.
    pub const fn of(in_group: bool) -> Self {
        if in_group { MessageKind::Group } else { MessageKind::C2c }
    }

    /// The label and the `kind` of explain.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageKind::C2c => "c2c",
            MessageKind::Group => "group",
        }
    }
}

/// A message is committed. `message_id` is its id as text.
pub fn message_accepted(message_id: impl Display, kind: MessageKind, receivers: usize) {
    debug!(%message_id, kind = kind.as_str(), receivers, "message accepted");
}

/// So many messages of a request are committed; `took` is the time from reading the first.
pub fn messages_counted(kind: MessageKind, messages: usize, took: Duration) {
    if messages > 0 {
        counter!(MESSAGES_ACCEPTED, "kind" => kind.as_str()).increment(messages as u64);
        histogram!(ACCEPT_SECONDS).record_many(took, messages);
    }
}

/// Why new messages are refused although they are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// The queue has reached a limit.
    QueueFull,
    /// The oldest parcel that could go has waited too long.
    QueueOverdue,
    /// The disk is full.
    StoreFull,
    /// The store cannot be used.
    StoreUnavailable,
    /// The key sends too fast.
    RateLimited,
    /// The relay is stopping.
    Draining,
}

impl TurnedAway {
    /// Every cause.
    pub const ALL: [TurnedAway; 6] = [
        TurnedAway::QueueFull,
        TurnedAway::QueueOverdue,
        TurnedAway::StoreFull,
        TurnedAway::StoreUnavailable,
        TurnedAway::RateLimited,
        TurnedAway::Draining,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            TurnedAway::QueueFull => "queue_full",
            TurnedAway::QueueOverdue => "queue_overdue",
            TurnedAway::StoreFull => "store_full",
            TurnedAway::StoreUnavailable => "store_unavailable",
            TurnedAway::RateLimited => "rate_limited",
            TurnedAway::Draining => "draining",
        }
    }
}

/// Messages were answered 503 or 429.
pub fn messages_turned_away(cause: TurnedAway, messages: u64) {
    counter!(MESSAGES_TURNED_AWAY, "cause" => cause.as_str()).increment(messages);
    debug!(cause = cause.as_str(), messages, "messages turned away");
}

/// A repeat was recognised; `of` is the message it lost against.
pub fn duplicate_dropped(of: impl Display) {
    counter!(DUPLICATES).increment(1);
    debug!(%of, "duplicate dropped");
}

/// What parcels that were settled together add to the counters. Most of it is alike: each counter
/// is looked up once.
#[derive(Debug, Default)]
pub struct Settled {
    ended: Vec<(Terminal, u64)>,
    pushes: Vec<((&'static str, &'static str), u64)>,
}

impl Settled {
    /// A delivery reached its terminal state.
    pub fn delivery_ended(&mut self, message_id: impl Display, terminal: Terminal) {
        let (state, reason) = labels_of(terminal);
        debug!(%message_id, state, reason, "delivery ended");
        tally(&mut self.ended, terminal);
    }

    /// A vendor answered for one delivery. `code` is the vendor's own; it is logged, not a label.
    pub fn push_answered(
        &mut self,
        message_id: impl Display,
        vendor: &'static str,
        verdict: &'static str,
        code: &str,
    ) {
        debug!(%message_id, vendor, verdict, code, "vendor answered");
        tally(&mut self.pushes, (vendor, verdict));
    }

    /// Adds it to the counters.
    pub fn count(self) {
        for (terminal, deliveries) in self.ended {
            let (state, reason) = labels_of(terminal);
            counter!(DELIVERIES, "state" => state, "reason" => reason).increment(deliveries);
        }
        for ((vendor, verdict), pushes) in self.pushes {
            counter!(PUSHES, "vendor" => vendor, "verdict" => verdict).increment(pushes);
        }
    }
}

fn tally<T: PartialEq>(counts: &mut Vec<(T, u64)>, one: T) {
    match counts.iter_mut().find(|(known, _)| *known == one) {
        Some((_, count)) => *count += 1,
        None => counts.push((one, 1)),
    }
}

/// The labels of a terminal, `state` and `reason`.
pub(in crate::telemetry) fn labels_of(terminal: Terminal) -> (&'static str, &'static str) {
    let reason = match terminal {
        Terminal::Suppressed(reason) => reason.as_str(),
        _ => "",
    };
    (terminal.as_str(), reason)
}

/// How long requests to a vendor take, in seconds. Callers that send often should keep
/// the handle.
pub fn request_latency(vendor: &'static str) -> Histogram {
    histogram!(PUSH_LATENCY_SECONDS, "vendor" => vendor)
}

/// One request to a vendor got no answer; `cause` is [`TransportError::cause`]'s.
///
/// [`TransportError::cause`]: crate::transport::TransportError::cause
pub fn request_unanswered(vendor: &'static str, cause: &'static str) {
    counter!(REQUESTS_UNANSWERED, "vendor" => vendor, "cause" => cause).increment(1);
    debug!(vendor, cause, "no answer");
}

/// A vendor refused a good credential because the clocks differ; what was refused is kept.
pub fn clocks_differ(cert_id: u32, vendor: &'static str, why: &str) {
    counter!(CLOCK_REFUSALS, "vendor" => vendor).increment(1);
    error!(cert_id, vendor, why, "the clocks differ, set this machine's clock right");
}

/// How many deliveries are at a vendor right now.
pub fn pushes_in_flight(vendor: &'static str, deliveries: usize) {
    gauge!(PUSHES_IN_FLIGHT, "vendor" => vendor).set(deliveries as f64);
}

/// One commit became durable.
pub fn store_committed(took: Duration) {
    histogram!(STORE_COMMIT_SECONDS).record(took);
}

/// A generation of rows went from the journal into the engine.
pub fn store_checkpointed(rows: usize, took: Duration) {
    histogram!(STORE_CHECKPOINT_SECONDS).record(took);
    tracing::debug!(rows, took_ms = took.as_millis() as u64, "rows went to the engine");
}

/// How much waits, and how long the oldest has that could go.
pub fn queue_measured(parcels: u64, bytes: u64, oldest: Duration) {
    gauge!(QUEUE_PARCELS).set(parcels as f64);
    gauge!(QUEUE_BYTES).set(bytes as f64);
    gauge!(QUEUE_OLDEST_SECONDS).set(oldest.as_secs_f64());
}

/// How many lanes are in this condition, of a closed set.
pub fn lanes_measured(condition: &'static str, lanes: usize) {
    gauge!(LANES, "condition" => condition).set(lanes as f64);
}

/// A lane's breaker opened after a run of failures.
pub fn breaker_opened(cert_id: u32, vendor: &'static str, failures: u32, why: &str) {
    warn!(cert_id, vendor, failures, why, "breaker opened, the vendor does not answer");
}

/// A vendor called so many tokens in a row dead that its credential must be wrong. They are kept.
pub fn tokens_doubted(cert_id: u32, vendor: &'static str, tokens: usize) {
    counter!(TOKENS_DOUBTED, "vendor" => vendor).increment(1);
    error!(
        cert_id,
        vendor,
        tokens,
        "one token after the other is called dead: they are kept, check bundle id, package name \
         and environment of the certificate"
    );
}

/// A lane's breaker closed again.
pub fn breaker_closed(cert_id: u32, vendor: &'static str) {
    info!(cert_id, vendor, "breaker closed, the vendor answers again");
}

/// The API answered. `route` is the route's pattern, never the path asked for.
pub fn request_answered(route: &str, status: u16) {
    counter!(HTTP_REQUESTS, "route" => route.to_owned(), "status" => status_label(status))
        .increment(1);
}

/// The statuses the API gives; others are counted by their class.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        202 => "202",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        other => match other / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

/// A token was retired; `token_hash` is its short hash, never the token.
pub fn token_retired(vendor: &'static str, cert_id: u32, token_hash: &str) {
    counter!(TOKENS_RETIRED, "vendor" => vendor).increment(1);
    info!(vendor, cert_id, token_hash, "token retired, the vendor says it is dead");
}

/// A vendor refused a certificate: its deliveries wait until a person replaces it.
pub fn certificate_broken(cert_id: u32, vendor: &'static str, code: &str) {
    counter!(CERTIFICATES_BROKEN, "vendor" => vendor).increment(1);
    error!(cert_id, vendor, code, "certificate broken, replace it: offpush cert rotate");
}

/// How many certificates are in which status; `ends_soon` ones are active still.
pub fn certificates_measured(counts: &[(&'static str, usize)]) {
    for (status, certificates) in counts {
        gauge!(CERTIFICATES, "status" => *status).set(*certificates as f64);
    }
}

/// A certificate ends within so many days.
pub fn certificate_ends_soon(cert_id: u32, vendor: &str, days: u64) {
    warn!(cert_id, vendor, days, "certificate ends soon, replace it: offpush cert rotate");
}

/// A certificate has ended: nothing rings with it until it is replaced.
pub fn certificate_expired(cert_id: u32, vendor: &str) {
    error!(cert_id, vendor, "certificate expired, replace it: offpush cert rotate");
}

/// A stored certificate cannot be used, and the relay starts without it.
pub fn certificate_set_aside(app: u64, cert_id: u32, why: &str) {
    error!(app, cert_id, why, "certificate cannot be used: rotate or delete it, or mend the cause");
}

/// A broken certificate works again.
pub fn certificate_mended(cert_id: u32, vendor: &'static str) {
    info!(cert_id, vendor, "certificate works again");
}

/// A chat server took push results of this kind.
pub fn results_posted(kind: &'static str, results: u64) {
    counter!(RESULTS_POSTED, "kind" => kind).increment(results);
    debug!(kind, results, "push results posted");
}

/// A chat server did not take push results; they are posted again.
pub fn results_post_failed(app: impl Display, kind: &'static str, why: &str) {
    counter!(RESULTS_POSTS_FAILED, "kind" => kind).increment(1);
    warn!(%app, kind, why, "push results could not be posted, trying again");
}

/// Push results are given up: `too_old`, `too_many`, or `no_address`.
pub fn results_dropped(app: impl Display, cause: &'static str, results: u64) {
    counter!(RESULTS_DROPPED, "cause" => cause).increment(results);
    warn!(%app, cause, results, "push results dropped");
}

/// A vendor reported about pushes: `counted`, `repeated`, `unknown` or `unreadable`.
pub fn receipts_read(vendor: &'static str, result: &'static str, receipts: u64) {
    if receipts > 0 {
        counter!(RECEIPTS, "vendor" => vendor, "result" => result).increment(receipts);
        debug!(vendor, result, receipts, "receipts read");
    }
}

/// The ledger was added up.
pub fn ledger_balanced(balanced: bool) {
    gauge!(LEDGER_BALANCED).set(if balanced { 1.0 } else { 0.0 });
    if !balanced {
        error!("the ledger does not add up, accepted differs from terminals plus in flight");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::Reason;
    use crate::telemetry::tests::recorded;

    #[test]
    fn a_suppressed_delivery_is_counted_under_its_reason() {
        let text = recorded(|| {
            let mut settled = Settled::default();
            settled.delivery_ended("01J", Terminal::Suppressed(Reason::StaleLogin));
            settled.delivery_ended("01K", Terminal::DeadLetter);
            settled.delivery_ended("01L", Terminal::Suppressed(Reason::StaleLogin));
            settled.count();
        });
        let suppressed = r#"offpush_deliveries_total{state="suppressed",reason="stale_login"} 2"#;
        assert!(text.contains(suppressed), "{text}");
        assert!(text.contains(r#"{state="dead_letter",reason=""} 1"#), "{text}");
    }

    #[test]
    fn an_unusual_status_is_counted_by_its_class() {
        assert_eq!(status_label(418), "4xx");
        assert_eq!(status_label(599), "5xx");
        assert_eq!(status_label(202), "202");
    }
}
