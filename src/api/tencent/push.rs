//! Pure pushes: to named users, `timpush/batch`, and to all, `timpush/push`
//! (trtc.io/document/67553 and cloud.tencent.com/document/product/269/45934).
//!
//! Nothing is derived from elements here: a push says by `Title` or `Desc` what it shows, or is
//! refused. Only the older `all_member_push/im_push` may come with a `MsgBody` alone, and shows
//! what that says (trtc.io/document/37166). The Apple badge stays as it is unless the push says
//! otherwise. A push to all is a task; its progress is read below `/v1`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::error::ApiError;
use crate::api::tencent::auth::Caller;
use crate::api::tencent::envelope::{Answer, Fail, fields};
use crate::api::tencent::fields::{Fields, MessageJson, users};
use crate::api::tencent::send::{RECEIVER_CODES, sender, take, unknown};
use crate::dedupe::DedupeRule;
use crate::model::addressed::addressed;
use crate::model::message::{LIFE_TIME_S_MAX, Message, NAMED_TASK};
use crate::push_tasks::{Task, TaskError};

/// Most receivers of one push to named users.
const NAMED_MAX: usize = 500;

/// Largest body of a push to all members, in bytes.
const ALL_BYTES_MAX: usize = 10 * 1_024;

/// `OfflinePushInfo` is malformed, or says nothing.
const BAD_PUSH_INFO: u32 = 90_043;

/// `MsgRandom` is missing or no number: pushes number it otherwise than messages do.
const NO_RANDOM: u32 = 90_001;

/// The relay keeps neither tags nor attributes.
const NO_CONDITIONS: u32 = 90_022;

/// The push with its badge mode: a pure push leaves the Apple badge alone unless it says so.
fn with_badge_mode(mut push: Value) -> Result<Value, Fail> {
    let malformed = |name: &str| Fail::new(BAD_PUSH_INFO, format!("{name} must be an object"));
    let Some(object) = push.as_object_mut() else { return Err(malformed("OfflinePushInfo")) };
    let apple = object.entry("ApnsInfo").or_insert(Value::Null);
    if apple.is_null() {
        *apple = json!({});
    }
    let Some(apple) = apple.as_object_mut() else {
        return Err(malformed("OfflinePushInfo.ApnsInfo"));
    };
    let mode = apple.entry("BadgeMode").or_insert(Value::Null);
    if mode.is_null() {
        *mode = json!(1);
    }
    Ok(push)
}

/// Where a push to all may have its text from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFrom {
    /// `OfflinePushInfo` only: `timpush/push`.
    PushInfo,
    /// `MsgBody` too: `all_member_push/im_push`, which is older than the pure pushes.
    Message,
}

/// The `OfflinePushInfo` of a push to all, made when there is none. `MsgBody` counts only where it
/// may, and where nothing rings: then there is no text to derive.
fn push_to_all(given: &Fields<'_>, text: TextFrom) -> Result<(Value, bool), Fail> {
    let push: Option<Value> = given.optional("OfflinePushInfo", BAD_PUSH_INFO)?;
    let push = with_badge_mode(push.unwrap_or_else(|| json!({})))?;
    let with_body = text == TextFrom::Message || push["PushFlag"] == 1;
    Ok((push, with_body))
}

/// Checks the message of a push to all. A pure push that says nothing is wrong in its push info.
fn check(message: &[u8], text: TextFrom) -> Result<(), Fail> {
    let parsed = Message::parse(&addressed(message, &["nobody".into()]));
    parsed.map(drop).map_err(|invalid| match text {
        TextFrom::PushInfo => Fail::from(invalid).renumbered(&[(90_002, BAD_PUSH_INFO)]),
        TextFrom::Message => invalid.into(),
    })
}

/// `timpush/batch`
pub async fn named(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let from = given.id("From_Account", 90_008)?;
    let receivers = users(given, "To_Account", NAMED_MAX, &RECEIVER_CODES)?;
    let random: u32 = given.required("MsgRandom", NO_RANDOM)?;
    let push: Value = given.required("OfflinePushInfo", BAD_PUSH_INFO)?;
    let message = MessageJson::begin()
        .value("From_Account", &json!(from))
        .value("MsgRandom", &json!(random))
        .value("OfflinePushInfo", &with_badge_mode(push)?)
        .value("TaskId", &json!(NAMED_TASK))
        .copy(given, &["DataId"])
        .finish();
    let sent = take(api, &caller.app, &message, &receivers, DedupeRule::NamedPush)
        .await
        .map_err(|fail| fail.renumbered(&[(90_002, BAD_PUSH_INFO)]))?;
    let first = sent.of.or(sent.message_ids.first().copied());
    let task_id = first.map(|id| format!("{NAMED_TASK}_{id}")).unwrap_or_default();
    let unknown = unknown(api, caller.app.app, &receivers).await?;
    Ok(fields(json!({
        "TaskId": task_id, "ErrorList": unknown, "MessageIds": sent.ids() })))
}

/// `timpush/push` and `all_member_push/im_push`
pub async fn all(
    api: &Arc<Api>,
    caller: &Caller,
    given: &Fields<'_>,
    body_bytes: usize,
    text: TextFrom,
) -> Answer {
    if body_bytes > ALL_BYTES_MAX {
        let info = format!("the body has {body_bytes} bytes, at most {ALL_BYTES_MAX} are allowed");
        return Err(Fail::new(90_056, info));
    }
    let conditions: Option<Value> = given.optional("Condition", NO_CONDITIONS)?;
    if conditions.is_some_and(|given| given.as_object().is_none_or(|given| !given.is_empty())) {
        let info = "this relay keeps no tags and no attributes: leave Condition out to push to all";
        return Err(Fail::new(NO_CONDITIONS, info));
    }
    let random: u32 = given.required("MsgRandom", NO_RANDOM)?;
    let life_s = given.optional::<u64>("MsgLifeTime", 90_044)?.unwrap_or(0);
    if life_s > u64::from(LIFE_TIME_S_MAX) {
        let info = format!("MsgLifeTime must be at most {LIFE_TIME_S_MAX}");
        return Err(Fail::new(90_026, info));
    }
    let (push, with_body) = push_to_all(given, text)?;
    let mut message = MessageJson::begin()
        .value("From_Account", &json!(sender(caller, given)?))
        .value("OfflinePushInfo", &push)
        .copy(given, &["MsgRandom", "CloudCustomData"]);
    // Zero, the default here, says that nothing is kept for the client; it rings nevertheless.
    if life_s > 0 {
        message = message.value("MsgLifeTime", &json!(life_s));
    }
    let whole = message.clone().copy(given, &["MsgBody"]).finish();
    // Nobody could be told of a mistake later.
    check(&whole, text)?;
    let message = match with_body {
        true => whole,
        false => message.finish(),
    };
    check(&message, text)?;
    let made = api.front_door.tasks.make(caller.app.app, random, message).await;
    let task = made.map_err(|error| match error {
        TaskError::TooSoon => Fail::new(90_024, error.to_string()),
        TaskError::TooMany => Fail::new(90_047, error.to_string()),
        TaskError::Store(error) => error.into(),
    })?;
    Ok(fields(json!({ "TaskId": task.task_id })))
}

fn view(task: &Task) -> Value {
    json!({
        "task_id": task.task_id,
        "msg_random": task.random,
        "state": if task.finished_at.is_some() { "finished" } else { "running" },
        "users": task.users,
        "receivers": task.receivers,
        "created_at": task.created_at.to_string(),
        "finished_at": task.finished_at.map(|at| at.to_string()),
    })
}

/// `GET …/push-tasks`
pub async fn list(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
) -> Result<Json<Value>, ApiError> {
    let mut tasks = api.front_door.tasks.list(app.app).await?;
    tasks.sort_by_key(|task| std::cmp::Reverse(task.created_at));
    Ok(Json(json!({ "push_tasks": tasks.iter().map(view).collect::<Vec<_>>() })))
}

/// `GET …/push-tasks/{task_id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, task_id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let task = api.front_door.tasks.get(app.app, &task_id).await?;
    let missing = || {
        let message = "there is no such push to all members in this app, or it is too old";
        ApiError::not_found("push_task_not_found", message).field("task_id")
    };
    Ok(Json(view(&task.ok_or_else(missing)?)))
}
