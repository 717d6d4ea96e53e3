//! What was decided and what vendors answered: the memory behind `explain`.
//!
//! A message has one **opening** row, written in the commit that accepts it, and one **step** row
//! per settled sending, written in the commit that settles it. Keys begin with the message id,
//! which begins with its time, so what is too old is one range at the front.
//!
//! Never in a row: message text (unless the operator asks for it), tokens, secrets.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::id::{AppId, CertId, DeviceId, GroupId, MessageId, Partition, UserId};
use crate::model::message::Message;
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::policy::{DeviceFacts, MessageFacts, ReceiverFacts, RuleSettings};
use crate::store::keys::{Class, KeyBuilder, KeyReader, after_prefix};
use crate::store::{Batch, Expect, Key, Row, StoreError};
use crate::vendor::Verdict;

/// Room for an opening's row without its deliveries, and for one of them; usually enough.
const OPENING_FRAME: usize = 128;
const DELIVERY_USUAL: usize = 144;

/// Room for a step's row without its results, and for one of them; usually enough.
const STEP_FRAME: usize = 16;
const RESULT_USUAL: usize = 96;

/// The code of a push that was too large to be sent; it is no vendor's.
pub const PAYLOAD_TOO_LARGE: &str = "payload_too_large";

/// A message as it was accepted and decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// App.
    pub app: AppId,
    /// Sender.
    pub from: UserId,
    /// Group, if said in one.
    pub group: Option<GroupId>,
    /// `MsgRandom`.
    pub random: u32,
    /// `MsgSeq`.
    pub seq: Option<u32>,
    /// `MsgKey`.
    pub key: Option<String>,
    /// `MsgTime`, Unix seconds.
    pub time_s: Option<u64>,
    /// `TaskId`.
    pub task_id: Option<String>,
    /// `DataId`.
    pub data_id: Option<String>,
    /// Fields of the message that were not known.
    pub unknown_fields: u32,
    /// Title and text as first rendered, when the operator keeps text.
    pub text: Option<(String, String)>,
    /// What the rules saw of the message.
    pub facts: MessageFacts,
    /// The settings the rules obeyed.
    pub settings: RuleSettings,
    /// Every delivery, in the order of their numbers.
    pub deliveries: Vec<DeliveryOpening>,
}

/// One delivery as decided when the message was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryOpening {
    /// Receiver.
    pub user: UserId,
    /// What the rules saw of the receiver.
    pub receiver: ReceiverFacts,
    /// The device; `None` for a receiver who has none.
    pub device: Option<DeviceOpening>,
    /// How it ended right away; `None` when it went to the queue.
    pub ended: Option<Terminal>,
    /// When it would have been allowed.
    pub next_allowed_at: Option<UnixMs>,
    /// Which parcel carries it.
    pub parcel: Option<u16>,
}

/// The device part of a [`DeliveryOpening`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceOpening {
    /// Device.
    pub device_id: DeviceId,
    /// Certificate.
    pub cert_id: CertId,
    /// Vendor, empty when the certificate does not exist.
    pub vendor: Cow<'static, str>,
    /// Short hash of the token.
    pub token_hash: String,
    /// What the rules saw of the device.
    pub facts: DeviceFacts,
}

/// One settled sending of one parcel, or part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When it was settled.
    pub at: UnixMs,
    /// What became of each delivery it touched.
    pub results: Vec<StepResult>,
}

/// What one sending did to one delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Number of the delivery.
    pub delivery: u16,
    /// What the rules saw before sending, when one of them refused.
    pub refused: Option<Recheck>,
    /// What the vendor said, when it was asked.
    pub attempt: Option<Attempt>,
    /// How the delivery ended; `None` when it will be tried again.
    pub ended: Option<Terminal>,
    /// When it will be tried again.
    pub retry_at: Option<UnixMs>,
    /// The vendor's receipt, when this step is one.
    pub receipt: Option<Receipt>,
}

impl StepResult {
    /// A result in which nothing happened yet.
    pub fn of(delivery: u16) -> Self {
        StepResult {
            delivery,
            refused: None,
            attempt: None,
            ended: None,
            retry_at: None,
            receipt: None,
        }
    }
}

/// The facts on which a rule refused before sending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recheck {
    /// Receiver.
    pub receiver: ReceiverFacts,
    /// Device; `None` when it is gone.
    pub device: Option<DeviceFacts>,
}

/// One request to a vendor, as far as one delivery is concerned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The vendor's code.
    pub code: String,
    /// The vendor's words.
    pub says: String,
    /// Name of the verdict.
    pub verdict: Cow<'static, str>,
    /// From request to answer.
    pub latency_ms: u32,
    /// The vendor's id of the accepted push.
    pub vendor_id: Option<String>,
}

impl Attempt {
    /// None was made, for the push cannot be made small enough; `why` in one sentence.
    pub fn too_large(why: String) -> Self {
        Attempt {
            status: 0,
            code: PAYLOAD_TOO_LARGE.to_owned(),
            says: why,
            verdict: Verdict::Refused.as_str().into(),
            latency_ms: 0,
            vendor_id: None,
        }
    }
}

/// What a vendor reported later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The device has it.
    Reached,
    /// The user tapped it.
    Clicked,
    /// The device could not take it: the vendor's status.
    NotShown(u32),
}

/// A message's whole trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The message.
    pub message_id: MessageId,
    /// How it began.
    pub opening: Opening,
    /// What followed, oldest first.
    pub steps: Vec<Step>,
}

impl Opening {
    /// The message's part of an opening; the decisions are filled in by the stage.
    pub fn of(app: AppId, message: &Message, facts: MessageFacts, settings: RuleSettings) -> Self {
        Opening {
            app,
            from: message.from.clone(),
            group: message.group.clone(),
            random: message.random,
            seq: message.seq,
            key: message.key.clone(),
            time_s: message.time_s,
            task_id: message.task_id.clone(),
            data_id: message.data_id.clone(),
            unknown_fields: message.unknown_fields,
            text: None,
            facts,
            settings,
            deliveries: Vec::new(),
        }
    }
}

fn key(message_id: MessageId, at: UnixMs, parcel: u16, order: u16) -> Key {
    KeyBuilder::new(Class::Trace).u128(message_id.0).u64(at.0).u16(parcel).u16(order).finish()
}

/// Adds a message's opening.
pub fn open(message_id: MessageId, opening: &Opening, batch: &mut Batch) {
    let room = OPENING_FRAME + DELIVERY_USUAL * opening.deliveries.len();
    let row = postcard::to_extend(opening, Vec::with_capacity(room));
    let row = row.expect("an opening is plain data");
    batch.put.push((key(message_id, UnixMs(0), 0, 0), Bytes::from(row)));
}

/// Where a message's opening is.
pub fn opening_key(message_id: MessageId) -> Key {
    key(message_id, UnixMs(0), 0, 0)
}

/// Reads an opening's row.
///
/// # Errors
/// `Corrupt` when it cannot be read.
pub fn read_opening(message_id: MessageId, row: &[u8]) -> Result<Opening, StoreError> {
    let damaged = |_| StoreError::Corrupt { key: opening_key(message_id) };
    postcard::from_bytes(row).map_err(damaged)
}

/// Adds a receipt that came at `at`, unless the same one is there already: then the batch
/// conflicts. Its key is made from what it says, so that a repeat meets it.
pub fn receipt(
    message_id: MessageId,
    delivery: u16,
    receipt: Receipt,
    at: UnixMs,
    batch: &mut Batch,
) {
    let order = match receipt {
        Receipt::Reached => 0,
        Receipt::Clicked => 1,
        Receipt::NotShown(status) => {
            u16::try_from(status.min(4_093)).map_or(2, |status| status + 2)
        }
    };
    // Behind every sending: whatever the clocks say, a receipt follows what it is about.
    let key = key(message_id, UnixMs(u64::MAX), delivery, order);
    let result = StepResult { receipt: Some(receipt), ..StepResult::of(delivery) };
    let step = Step { at, results: vec![result] };
    let row = postcard::to_allocvec(&step).expect("a step is plain data");
    batch.expect.push((key.clone(), Expect::Absent));
    batch.put.push((key, Bytes::from(row)));
}

/// Adds a settled sending. `parcel` and `order` keep two steps of one millisecond apart.
pub fn step(message_id: MessageId, parcel: u16, order: u16, step: &Step, batch: &mut Batch) {
    let room = STEP_FRAME + RESULT_USUAL * step.results.len();
    let row = postcard::to_extend(step, Vec::with_capacity(room)).expect("a step is plain data");
    batch.put.push((key(message_id, step.at, parcel, order), Bytes::from(row)));
}

/// Every row of one message.
pub fn of_message(message_id: MessageId) -> Range<Key> {
    KeyBuilder::new(Class::Trace).u128(message_id.0).prefix()
}

/// Every row of messages accepted from `since` up to, but not at, `until`.
pub fn between(since: UnixMs, until: UnixMs) -> Range<Key> {
    let first = |at: UnixMs| {
        let id = MessageId::new(at, Partition::of_hash(0), 0);
        KeyBuilder::new(Class::Trace).u128(id.0).finish()
    };
    first(since)..first(until)
}

/// Every row older than `at`.
pub fn outdated(at: UnixMs) -> Range<Key> {
    between(UnixMs(0), at)
}

/// When the message of a row was accepted.
pub fn accepted_at(row: &Key) -> Option<UnixMs> {
    let id = KeyReader::new(Class::Trace, row)?.u128()?;
    Some(MessageId(id).accepted_at())
}

/// The key behind every row of the message that `row` belongs to: where to go on after it.
pub fn behind(row: &Key) -> Option<Key> {
    let prefix = row.get(..17)?;
    Some(after_prefix(prefix))
}

/// Reads rows, in key order, into traces. A message whose opening is not among them is left out.
///
/// # Errors
/// `Corrupt` when a row cannot be read.
pub fn read(rows: Vec<Row>) -> Result<Vec<Trace>, StoreError> {
    let mut traces: Vec<Trace> = Vec::new();
    for (key, row) in rows {
        let damaged = || StoreError::Corrupt { key: key.clone() };
        let mut reader = KeyReader::new(Class::Trace, &key).ok_or_else(damaged)?;
        let message_id = MessageId(reader.u128().ok_or_else(damaged)?);
        let at = reader.u64().ok_or_else(damaged)?;
        if at == 0 {
            let opening = postcard::from_bytes(&row).map_err(|_| damaged())?;
            traces.push(Trace { message_id, opening, steps: Vec::new() });
        } else if let Some(trace) = traces.last_mut()
            && trace.message_id == message_id
        {
            trace.steps.push(postcard::from_bytes(&row).map_err(|_| damaged())?);
        }
    }
    Ok(traces)
}
