//! Group messages and the member list behind them
//! (cloud.tencent.com/document/product/269/1629, /1621 to /1624, /1615).

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::body::{self, Body};
use crate::api::devices::PageQuery;
use crate::api::error::ApiError;
use crate::api::tencent::auth::Caller;
use crate::api::tencent::envelope::{Answer, BAD_PARAMETER, Fail, fields};
use crate::api::tencent::fields::{
    Fields, ListCodes, MessageJson, checked, ids_in, names_in, users,
};
use crate::api::tencent::send::{self, NO_MESSAGE, Sent, take, withdraw_named};
use crate::dedupe::DedupeRule;
use crate::members::MEMBERS_MAX;
use crate::message_names::Name;
use crate::model::app::App;
use crate::model::id::{AppId, Conversation, GroupId, UserId};
use crate::model::message::checked_id;
use crate::preferences::receive::ReceiveOption;

/// Most receivers a targeted group message names.
const TARGETS_MAX: usize = 50;

/// Most messages one call recalls (trtc.io/document/34965). They are looked for one by one.
const RECALLED_MAX: usize = 10;

/// Most members one call adds or removes.
const CHANGED_MAX: usize = 1_000;

/// Members read at a time.
const PAGE: usize = 1_000;

/// No such group.
const NO_GROUP: u32 = 10_010;

/// Group APIs number mistakes in a message their own way.
const NUMBERS: &[(u32, u32)] = &[
    (90_001, BAD_PARAMETER),
    (90_002, BAD_PARAMETER),
    (90_003, BAD_PARAMETER),
    (90_005, BAD_PARAMETER),
    (90_007, BAD_PARAMETER),
    (90_008, BAD_PARAMETER),
    (90_012, BAD_PARAMETER),
    (93_000, 80_002),
];

const LIST: ListCodes = ListCodes {
    missing: BAD_PARAMETER,
    malformed: BAD_PARAMETER,
    empty: BAD_PARAMETER,
    too_many: BAD_PARAMETER,
};

const COPIED: &[&str] = &[
    "MsgPriority",
    "MsgBody",
    "CloudCustomData",
    "OfflinePushInfo",
    "OnlineOnlyFlag",
    "SendMsgControl",
    "GroupAtInfo",
    "GroupName",
    "FromNick",
];

fn group_of(given: &Fields<'_>) -> Result<GroupId, Fail> {
    Ok(GroupId::from(given.id("GroupId", BAD_PARAMETER)?.as_str()))
}

/// Takes a group message for the members the relay knows, but not for its sender.
///
/// # Errors
/// 10010 when it knows none.
pub async fn take_for_members(
    api: &Api,
    app: &App,
    group: &GroupId,
    from: &str,
    message: &[u8],
) -> Result<Sent, Fail> {
    let members = &api.front_door.members;
    let (mut receivers, mut after) = (Vec::new(), None);
    loop {
        let page = members.page(app.app, group, after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().cloned();
        receivers.extend(page.into_iter().filter(|user| user.as_str() != from));
        if is_last {
            break;
        }
    }
    if receivers.is_empty() {
        if members.count(app.app, group).await? == 0 {
            let info = format!("the relay knows no members of group {group}");
            return Err(Fail::new(NO_GROUP, info));
        }
        return Ok(Sent { message_ids: Vec::new(), of: None });
    }
    take(api, app, message, &receivers, DedupeRule::Chat).await
}

/// `group_open_http_svc/send_group_msg`
pub async fn send(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let app = &caller.app;
    let group = group_of(given)?;
    let random: u32 = given.required("Random", BAD_PARAMETER)?;
    if given.raw("MsgBody").is_none() {
        return Err(Fail::new(BAD_PARAMETER, "MsgBody is missing"));
    }
    let online_only = given.optional::<i64>("OnlineOnlyFlag", BAD_PARAMETER)?.unwrap_or(0) > 0;
    if online_only && given.raw("SendMsgControl").is_some() {
        let info = "SendMsgControl cannot be given together with OnlineOnlyFlag";
        return Err(Fail::new(BAD_PARAMETER, info));
    }
    let targets = match given.raw("To_Account") {
        None => None,
        Some(_) => Some(users(given, "To_Account", TARGETS_MAX, &LIST)?),
    };
    let from = send::sender(caller, given)?;
    let seq = api.front_door.members.next_seq(app.app, &group).await?;
    let message = MessageJson::begin()
        .value("From_Account", &json!(from))
        .value("GroupId", &json!(group))
        .value("MsgSeq", &json!(seq))
        .value("MsgRandom", &json!(random))
        .copy(given, COPIED)
        .finish();
    let sent = match &targets {
        Some(targets) => take(api, app, &message, targets, DedupeRule::Chat).await,
        None => take_for_members(api, app, &group, &from, &message).await,
    };
    let sent = sent.map_err(|fail| fail.renumbered(NUMBERS))?;
    let original = send::original(api, app.app, sent.of).await?;
    let time_s = sent.of.map_or(api.clock.now(), |of| of.accepted_at()).secs();
    let seq = original.and_then(|opening| opening.seq).unwrap_or(seq);
    Ok(fields(json!({ "MsgTime": time_s, "MsgSeq": seq, "MessageIds": sent.ids() })))
}

/// `group_open_http_svc/group_msg_recall`, and the webhook that tells of one. A message that is not
/// known keeps no other from being withdrawn.
pub async fn recall(api: &Api, app: &App, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    let mut results = Vec::new();
    for seq in seqs(given)? {
        let code = match withdraw_named(api, app, Name::InGroup(&group, seq)).await {
            Ok(_) => 0,
            Err(fail) if fail.code == NO_MESSAGE => 10_030,
            Err(fail) => return Err(fail),
        };
        results.push(json!({ "MsgSeq": seq, "RetCode": code }));
    }
    Ok(fields(json!({ "RecallRetList": results })))
}

/// The message numbers of a `MsgSeqList`.
///
/// # Errors
/// 10004 when it is malformed, or names none or too many.
pub fn seqs(given: &Fields<'_>) -> Result<Vec<u32>, Fail> {
    let list: Vec<Value> = given.required("MsgSeqList", BAD_PARAMETER)?;
    if list.is_empty() || list.len() > RECALLED_MAX {
        let info = format!("MsgSeqList must name 1 to {RECALLED_MAX} messages");
        return Err(Fail::new(BAD_PARAMETER, info));
    }
    let seq = |entry: &Value| u32::try_from(entry.get("MsgSeq")?.as_u64()?).ok();
    list.iter().map(seq).collect::<Option<_>>().ok_or_else(|| {
        Fail::new(BAD_PARAMETER, "MsgSeqList must hold objects with a MsgSeq from 0 to 4294967295")
    })
}

/// Who is in a group from the start: the members named, and the owner if there is one.
///
/// # Errors
/// 10004.
pub fn founders(given: &Fields<'_>) -> Result<Vec<UserId>, Fail> {
    let mut members = ids_in(given, "MemberList", "Member_Account", BAD_PARAMETER)?;
    let owner: Option<String> = given.optional("Owner_Account", BAD_PARAMETER)?;
    if let Some(owner) = owner.filter(|owner| !owner.is_empty()) {
        checked(&owner, "Owner_Account", BAD_PARAMETER)?;
        members.push(UserId::from(owner.as_str()));
    }
    Ok(members)
}

/// `group_open_http_svc/create_group` and `…/import_group`: only the members are kept. The relay
/// makes no group ids, the chat server does.
pub async fn create(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    let members = founders(given)?;
    api.front_door.members.join(caller.app.app, &group, &members).await?;
    Ok(fields(
        json!({ "GroupId": group, "Type": given.optional::<String>("Type", BAD_PARAMETER)? }),
    ))
}

/// `group_open_http_svc/destroy_group`
pub async fn destroy(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    if api.front_door.members.count(caller.app.app, &group).await? == 0 {
        return Err(Fail::new(NO_GROUP, format!("the relay knows no members of group {group}")));
    }
    api.front_door.members.dismiss(caller.app.app, &group).await?;
    Ok(fields(json!({})))
}

/// `group_open_http_svc/add_group_member` and `…/import_group_member`
pub async fn add_members(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    let named = names_in(given, "MemberList", "Member_Account", BAD_PARAMETER)?;
    if named.is_empty() || named.len() > CHANGED_MAX {
        let info = format!("MemberList must name 1 to {CHANGED_MAX} members");
        return Err(Fail::new(BAD_PARAMETER, info));
    }
    let joins = |id: &str| checked(id, "Member_Account", BAD_PARAMETER).is_ok();
    let joining: Vec<UserId> =
        named.iter().filter(|id| joins(id)).map(|id| id.as_str().into()).collect();
    api.front_door.members.join(caller.app.app, &group, &joining).await?;
    // Tencent's numbers: 0 is a member who could not be added.
    let result = |id: &String| json!({ "Member_Account": id, "Result": u8::from(joins(id)) });
    Ok(fields(json!({ "MemberList": named.iter().map(result).collect::<Vec<_>>() })))
}

/// `group_open_http_svc/delete_group_member`
pub async fn delete_members(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    let leaving = users(given, "MemberToDel_Account", CHANGED_MAX, &LIST)?;
    api.front_door.members.leave(caller.app.app, &group, &leaving).await?;
    Ok(fields(json!({})))
}

/// `group_open_http_svc/modify_group_member_info`: only `MsgFlag`, which is a receive option.
pub async fn modify_member(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let group = group_of(given)?;
    let user = UserId::from(given.id("Member_Account", BAD_PARAMETER)?.as_str());
    let Some(flag) = given.optional::<String>("MsgFlag", BAD_PARAMETER)? else {
        let info = "MsgFlag is missing: it is the only member setting this relay keeps";
        return Err(Fail::new(BAD_PARAMETER, info));
    };
    let option = match flag.as_str() {
        "AcceptAndNotify" => ReceiveOption::Receive,
        "AcceptNotNotify" => ReceiveOption::Mute,
        "Discard" => ReceiveOption::Block,
        _ => {
            let info = "MsgFlag must be AcceptAndNotify, AcceptNotNotify or Discard";
            return Err(Fail::new(BAD_PARAMETER, info));
        }
    };
    let conversation = Conversation::Group(group);
    api.receive_options.write(caller.app.app, &user, &conversation, option).await?;
    let used = ["GroupId", "Member_Account", "MsgFlag"];
    let ignored: Vec<&str> = given.names().filter(|name| !used.contains(name)).collect();
    if ignored.is_empty() {
        return Ok(fields(json!({})));
    }
    let info = format!("not kept by this relay: {}", ignored.join(", "));
    Ok(fields(json!({ "ErrorInfo": info })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    members: Vec<UserId>,
}

fn group_in_path(text: &str) -> Result<GroupId, ApiError> {
    Ok(GroupId::from(checked_id(text, "group", "group_malformed")?))
}

fn read_members(body: Body) -> Result<Vec<UserId>, ApiError> {
    let Listed { members } = body::read(body)?;
    if members.is_empty() || members.len() > MEMBERS_MAX {
        let message = format!("members must name 1 to {MEMBERS_MAX} users");
        return Err(ApiError::bad("field_malformed", "members", message));
    }
    for user in &members {
        checked_id(user.as_str(), "members", "field_malformed")?;
    }
    let mut seen = HashSet::with_capacity(members.len());
    Ok(members.iter().filter(|user| seen.insert(*user)).cloned().collect())
}

async fn counted(api: &Api, app: AppId, group: &GroupId) -> Result<Json<Value>, ApiError> {
    let count = api.front_door.members.count(app, group).await?;
    Ok(Json(json!({ "group": group, "count": count })))
}

/// `GET …/groups/{group}/members`
pub async fn list(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, group)): Path<(String, String)>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let group = group_in_path(&group)?;
    let Query(query) = query?;
    let after = query.cursor.as_deref();
    let after = after.map(|user| checked_id(user, "cursor", "field_malformed")).transpose()?;
    let after = after.map(UserId::from);
    let members = &api.front_door.members;
    let page = members.page(app.app, &group, after.as_ref(), query.limit()).await?;
    let cursor = page.last().filter(|_| page.len() == query.limit()).cloned();
    let count = members.count(app.app, &group).await?;
    Ok(Json(json!({ "group": group, "count": count, "members": page, "cursor": cursor })))
}

/// `POST …/groups/{group}/members`: adds `{"members": […]}`.
pub async fn add(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, group)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let group = group_in_path(&group)?;
    let joining = read_members(body)?;
    api.front_door.members.join(app.app, &group, &joining).await?;
    counted(&api, app.app, &group).await
}

/// `DELETE …/groups/{group}/members`: removes `{"members": […]}`, or without a body the group.
pub async fn remove(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, group)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let group = group_in_path(&group)?;
    let members = &api.front_door.members;
    if body.as_ref().is_ok_and(|body| body.is_empty()) {
        members.dismiss(app.app, &group).await?;
    } else {
        let leaving = read_members(body)?;
        members.leave(app.app, &group, &leaving).await?;
    }
    counted(&api, app.app, &group).await
}
