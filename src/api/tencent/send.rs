//! One-to-one messages: `openim/sendmsg` and `openim/batchsendmsg`
//! (cloud.tencent.com/document/product/269/2282 and /1612).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::messages::{WithdrawQuery, withdraw_message};
use crate::api::tencent::auth::Caller;
use crate::api::tencent::envelope::{Answer, Fail, NO_ACCOUNT, fields};
use crate::api::tencent::fields::{Fields, ListCodes, MessageJson, users};
use crate::dedupe::DedupeRule;
use crate::explain::search;
use crate::ingest::Taken;
use crate::message_names::{self, Name};
use crate::model::addressed::addressed;
use crate::model::app::App;
use crate::model::id::{AppId, MessageId, UserId, digest128};
use crate::model::message::{RECEIVERS_MAX, Wire};
use crate::trace::Opening;

/// No message of that name.
pub const NO_MESSAGE: u32 = 20_022;

/// Most receivers of one batch.
const BATCH_MAX: usize = 500;

/// Fields of a message that are taken over as they are.
const COPIED: &[&str] = &[
    "MsgSeq",
    "MsgRandom",
    "MsgTimeStamp",
    "MsgLifeTime",
    "SendMsgControl",
    "CloudCustomData",
    "MsgBody",
    "OfflinePushInfo",
];

/// What became of one message, which may have been taken in several parts.
pub struct Sent {
    /// Every part's id.
    pub message_ids: Vec<MessageId>,
    /// The first message it repeats, when every part is a repeat.
    pub of: Option<MessageId>,
}

impl Sent {
    /// The ids, for `explain`.
    pub fn ids(&self) -> Value {
        json!(self.message_ids)
    }
}

/// Hands a message to ingest, for these receivers, in as many parts as needed.
///
/// # Errors
/// The first mistake, or "try again".
pub async fn take(
    api: &Api,
    app: &App,
    message: &[u8],
    receivers: &[UserId],
    rule: DedupeRule,
) -> Result<Sent, Fail> {
    let parts: Vec<Vec<u8>> =
        receivers.chunks(RECEIVERS_MAX).map(|users| addressed(message, users)).collect();
    let parts: Vec<_> = parts.iter().map(|json| Wire::find(json)).collect();
    let mut sent = Sent { message_ids: Vec::with_capacity(parts.len()), of: None };
    let mut accepted = false;
    for taken in api.ingest.take_as(app, &parts, rule).await? {
        match taken {
            Taken::Accepted { message_id } => {
                accepted = true;
                sent.message_ids.push(message_id);
            }
            Taken::Duplicate { message_id, of } => {
                sent.message_ids.push(message_id);
                sent.of.get_or_insert(of);
            }
            Taken::Invalid(invalid) => return Err(invalid.into()),
        }
    }
    if accepted {
        sent.of = None;
    }
    Ok(sent)
}

/// What is remembered of the message a repeat lost against.
pub async fn original(
    api: &Api,
    app: AppId,
    of: Option<MessageId>,
) -> Result<Option<Opening>, Fail> {
    let Some(of) = of else { return Ok(None) };
    Ok(search::one(&api.store, app, of).await?.map(|trace| trace.opening))
}

/// A message's `MsgKey`, as Tencent's server makes it: number, random, time in seconds.
fn msg_key(given: &Fields<'_>, from: &str, time_s: u64) -> Result<String, Fail> {
    let random: u32 = given.required("MsgRandom", 90_005)?;
    let seq = match given.optional::<u32>("MsgSeq", 10_004)? {
        Some(seq) => seq,
        // Tencent's server puts a random number; one that repeats with the message is as good.
        None => digest128(&[from.as_bytes(), &random.to_be_bytes()]) as u32,
    };
    Ok(format!("{seq}_{random}_{time_s}"))
}

/// What both APIs check before the message itself is read.
fn check(given: &Fields<'_>) -> Result<(), Fail> {
    if given.raw("MsgBody").is_none() {
        return Err(Fail::new(90_002, "MsgBody is missing"));
    }
    if let Some(sync) = given.optional::<i64>("SyncOtherMachine", 90_031)?
        && !(1..=2).contains(&sync)
    {
        return Err(Fail::new(90_031, "SyncOtherMachine must be 1 or 2"));
    }
    given.optional::<u64>("MsgTimeStamp", 90_006)?;
    Ok(())
}

/// The sender: named, or the admin who calls.
pub fn sender(caller: &Caller, given: &Fields<'_>) -> Result<String, Fail> {
    match given.raw("From_Account") {
        None => Ok(caller.identifier.clone()),
        Some(_) => given.id("From_Account", 90_008),
    }
}

async fn send(
    api: &Api,
    caller: &Caller,
    given: &Fields<'_>,
    receivers: &[UserId],
) -> Result<(Sent, String, u64), Fail> {
    check(given)?;
    let from = sender(caller, given)?;
    let time_s = api.clock.now().secs();
    let key = msg_key(given, &from, time_s)?;
    let message = MessageJson::begin()
        .value("From_Account", &json!(from))
        .value("MsgKey", &json!(key))
        .copy(given, COPIED)
        .finish();
    let sent = take(api, &caller.app, &message, receivers, DedupeRule::Chat).await?;
    let original = original(api, caller.app.app, sent.of).await?;
    let time_s = sent.of.map_or(time_s, |of| of.accepted_at().secs());
    let key = original.and_then(|opening| opening.key).unwrap_or(key);
    Ok((sent, key, time_s))
}

/// `openim/sendmsg`
pub async fn one(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let receiver = UserId::from(given.id("To_Account", 90_003)?.as_str());
    let (sent, key, time_s) = send(api, caller, given, &[receiver]).await?;
    Ok(fields(json!({ "MsgTime": time_s, "MsgKey": key, "MessageIds": sent.ids() })))
}

/// How the openim and timpush APIs number what is wrong with a list of receivers.
pub const RECEIVER_CODES: ListCodes =
    ListCodes { missing: 90_003, malformed: 90_028, empty: 90_029, too_many: 90_011 };

/// `openim/batchsendmsg`
pub async fn batch(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let receivers = users(given, "To_Account", BATCH_MAX, &RECEIVER_CODES)?;
    let (sent, key, time_s) = send(api, caller, given, &receivers)
        .await
        .map_err(|fail| fail.renumbered(&[(93_000, 90_055)]))?;
    let unknown = unknown(api, caller.app.app, &receivers).await?;
    Ok(fields(json!({
        "MsgTime": time_s, "MsgKey": key, "MessageIds": sent.ids(), "ErrorList": unknown })))
}

/// An entry per receiver the relay knows nothing of. They are traced as having no device, too.
pub async fn unknown(api: &Api, app: AppId, receivers: &[UserId]) -> Result<Vec<Value>, Fail> {
    let known = api.front_door.accounts.known(app, receivers).await?;
    let unknown = receivers.iter().zip(known).filter(|(_, known)| !known);
    Ok(unknown.map(|(user, _)| json!({ "To_Account": user, "ErrorCode": NO_ACCOUNT })).collect())
}

/// Withdraws every message of that name.
///
/// # Errors
/// 20022 when there is none.
pub async fn withdraw_named(api: &Api, app: &App, name: Name<'_>) -> Result<usize, Fail> {
    let found = message_names::find(&api.store, app.app, name, api.clock.now()).await?;
    let mut withdrawn = 0;
    for message_id in found {
        let answer = withdraw_message(api, app, message_id, &WithdrawQuery::default()).await?;
        withdrawn += usize::from(answer.is_some());
    }
    if withdrawn == 0 {
        return Err(Fail::new(NO_MESSAGE, "there is no such message, or its trace was trimmed"));
    }
    Ok(withdrawn)
}

/// `openim/admin_msgwithdraw`
pub async fn withdraw(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let key: String = given.required("MsgKey", 90_054)?;
    withdraw_named(api, &caller.app, Name::Key(&key)).await?;
    Ok(fields(json!({})))
}
