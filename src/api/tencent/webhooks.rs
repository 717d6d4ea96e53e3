//! Tencent's webhooks as a source of events (trtc.io/document/34365, /34375, /34357 and
//! cloud.tencent.com/document/product/269/2570).
//!
//! A webhook names no receivers of a group message, says nothing about how a push should look and
//! may come twice. The first is made good by the member list; the second may travel in
//! `CloudCustomData`, as `{"offpush": {"OfflinePushInfo": {…}, "FromNick": …, "GroupName": …}}`;
//! the third by the identity that a message has anyway.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::body;
use crate::api::tencent::envelope::{Answer, Fail, TOO_OFTEN, TRY_AGAIN, UNKNOWN_COMMAND, fields};
use crate::api::tencent::envelope::{BAD_PARAMETER, respond};
use crate::api::tencent::fields::{Fields, MessageJson, ids_in, names_in};
use crate::api::tencent::groups::{self, take_for_members};
use crate::api::tencent::send::{Sent, take as take_message, withdraw_named};
use crate::api::tencent::webhook_auth::{self, WebhookQuery};
use crate::dedupe::DedupeRule;
use crate::message_names::Name;
use crate::model::app::App;
use crate::model::device::{Device, Platform, Presence};
use crate::model::id::{Conversation, GroupId, UserId};
use crate::model::message::WITH_MUTE;
use crate::model::time::UnixMs;
use crate::telemetry::events::{self, TurnedAway};

/// The key of `CloudCustomData` under which what a webhook lacks may travel.
pub const CUSTOM_DATA_KEY: &str = "offpush";

/// The `OptPlatform` of a message that a server sent by the REST API; any other is a user's client.
const REST_API: &str = "RESTAPI";

/// Longest command that is shown whole; those that are used have half of it.
const COMMAND_SHOWN_MAX: usize = 64;

/// How much later than an event its device may have reported, by the other clock, and the event
/// still counts.
const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// Read marks come in seconds: what came within that second was read as well.
const WITHIN_SECOND: Duration = Duration::from_millis(999);

/// `POST …/webhooks/tencent`
pub async fn take(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = WebhookQuery::read(query.as_deref().unwrap_or_default());
    let answer = answer(&api, &query, request).await.map_err(|fail| match fail.code {
        // The one thing a server that does retry can do something about.
        TRY_AGAIN => fail.with_status(StatusCode::SERVICE_UNAVAILABLE),
        TOO_OFTEN => fail.with_status(StatusCode::TOO_MANY_REQUESTS),
        _ => fail,
    });
    if let Err(fail) = &answer {
        let command = shown(query.command.as_deref().unwrap_or_default());
        // Strangers, and whoever comes too often, shall not fill the log.
        if matches!(fail.status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) {
            tracing::debug!(command, fail.code, fail.info, "a webhook was refused");
        } else {
            tracing::warn!(command, fail.code, fail.info, "a webhook was not processed");
        }
    }
    respond(answer)
}

async fn answer(api: &Arc<Api>, query: &WebhookQuery, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let claim = webhook_auth::claim(api, &mut parts, query).await?;
    if api.is_draining() {
        events::messages_turned_away(TurnedAway::Draining, 1);
        return Err(Fail::new(TRY_AGAIN, "the relay is stopping"));
    }
    let body = body::of(Request::from_parts(parts, body), claim.body_bytes_max(api)).await?;
    let app = claim.proved(api, query, &body)?;
    let given = Fields::parse(&body)?;
    let named: Option<String> = given.optional("CallbackCommand", BAD_PARAMETER)?;
    let command = named.or_else(|| query.command.clone()).unwrap_or_default();
    let hook = Hook { api, app: &app, given: &given, platform: query.platform.as_deref() };
    hook.run(&command).await
}

/// One webhook.
struct Hook<'a> {
    api: &'a Arc<Api>,
    app: &'a App,
    given: &'a Fields<'a>,
    platform: Option<&'a str>,
}

impl Hook<'_> {
    async fn run(&self, command: &str) -> Answer {
        match command {
            "C2C.CallbackAfterSendMsg" => self.c2c_message().await,
            "Group.CallbackAfterSendMsg" => self.group_message().await,
            "State.StateChange" => self.state_change().await,
            "C2C.CallbackAfterMsgReport" => self.read().await,
            "C2C.CallbackAfterMsgWithDraw" => self.withdrawn().await,
            "Group.CallbackAfterRecallMsg" => groups::recall(self.api, self.app, self.given).await,
            "Group.CallbackAfterCreateGroup" => self.joined(groups::founders(self.given)?).await,
            "Group.CallbackAfterNewMemberJoin" => self.joined(self.members("NewMemberList")?).await,
            "Group.CallbackAfterMemberExit" => self.left().await,
            "Group.CallbackAfterGroupDestroyed" => self.dismissed().await,
            // Any other answer would refuse the message itself.
            "C2C.CallbackBeforeSendMsg" | "Group.CallbackBeforeSendMsg" => {
                noted("passed: the relay pushes after a message was sent, not before")
            }
            _ => {
                let info = format!("this relay does not use the webhook {:?}", shown(command));
                Err(Fail::new(UNKNOWN_COMMAND, info))
            }
        }
    }

    /// The part of a message that both kinds have.
    fn message(&self) -> Result<(String, MessageJson), Fail> {
        let given = self.given;
        let from = given.id("From_Account", 90_008)?;
        let random = given.number("MsgRandom").or_else(|| given.number("Random"));
        let random = random
            .and_then(|random| u32::try_from(random).ok())
            .ok_or_else(|| Fail::new(90_005, "MsgRandom or Random must be a number"))?;
        let mut message = MessageJson::begin()
            .value("From_Account", &json!(from))
            .value("MsgRandom", &json!(random));
        for name in ["MsgSeq", "MsgTime", "OnlineOnlyFlag", "SendMsgResult", "UnreadMsgNum"] {
            if let Some(number) = given.number(name) {
                message = message.value(name, &json!(number));
            }
        }
        // The exception that `honour_mute` makes is for what servers send. Who sent it must be in
        // the message, which is decided again before it is sent.
        if !self.platform.is_some_and(|from| from.eq_ignore_ascii_case(REST_API)) {
            message = message.value("SendMsgControl", &json!([WITH_MUTE]));
        }
        message = message.copy(given, &["MsgKey", "MsgBody", "CloudCustomData", "GroupAtInfo"]);
        let custom: String = given.optional("CloudCustomData", 10_004)?.unwrap_or_default();
        // Most custom data is not meant for the relay, and need not even be JSON.
        if let Ok(custom) = Fields::parse(custom.as_bytes())
            && let Some(own) = custom.raw(CUSTOM_DATA_KEY)
            && let Ok(own) = Fields::parse(own.get().as_bytes())
        {
            message = message.copy(&own, &["OfflinePushInfo", "FromNick", "GroupName"]);
        }
        Ok((from, message))
    }

    async fn c2c_message(&self) -> Answer {
        let receiver = UserId::from(self.given.id("To_Account", 90_003)?.as_str());
        let (_, message) = self.message()?;
        let message = message.finish();
        let rule = DedupeRule::Chat;
        let sent = take_message(self.api, self.app, &message, &[receiver], rule).await?;
        Ok(answer_of(&sent))
    }

    async fn group_message(&self) -> Answer {
        let group = self.group()?;
        let kind: Option<String> = self.given.optional("Type", BAD_PARAMETER)?;
        if kind.as_deref() == Some("AVChatRoom") {
            return noted("not pushed: messages of live groups never are");
        }
        let (from, message) = self.message()?;
        let message = message.value("GroupId", &json!(group)).finish();
        let targets = self.members("To_Account")?;
        let sent = if targets.is_empty() {
            take_for_members(self.api, self.app, &group, &from, &message).await?
        } else {
            take_message(self.api, self.app, &message, &targets, DedupeRule::Chat).await?
        };
        Ok(answer_of(&sent))
    }

    fn group(&self) -> Result<GroupId, Fail> {
        Ok(GroupId::from(self.given.id("GroupId", BAD_PARAMETER)?.as_str()))
    }

    /// When the event happened; now when it does not say, and never later than now.
    fn happened_at(&self, now: UnixMs) -> UnixMs {
        let ms = self.given.number("EventTime").and_then(|ms| u64::try_from(ms).ok());
        ms.filter(|ms| *ms > 0).map_or(now, |ms| UnixMs(ms).min(now))
    }

    async fn state_change(&self) -> Answer {
        let info = self.given.raw("Info").ok_or_else(|| bad("Info is missing"))?;
        let info = Fields::parse(info.get().as_bytes())?;
        let user = UserId::from(info.id("To_Account", BAD_PARAMETER)?.as_str());
        let action: String = info.required("Action", BAD_PARAMETER)?;
        let now = self.api.clock.now();
        let at = self.happened_at(now);
        let on = platform(self.platform.unwrap_or_default());
        let here = |device: &Device| {
            let is_old_news = device.presence_at > at.after(CLOCK_SKEW);
            on.is_none_or(|on| on.covers(device)) && !is_old_news
        };
        // Who registered since has logged in again, and told the relay before the chat server did.
        let registered_since = |device: &Device| device.registered_at > at;
        for kicked in names_in(self.given, "KickedDevice", "Platform", BAD_PARAMETER)? {
            let on = platform(&kicked);
            // The device that logged in may have registered already: only older ones were removed.
            let was_kicked = |device: &Device| {
                on.is_some_and(|on| on.covers(device)) && device.registered_at < at
            };
            self.set_presence(&user, Presence::Kicked, now, was_kicked).await?;
        }
        match action.as_str() {
            // The client itself knows better whether it is in front.
            "Login" => {
                let offline =
                    |device: &Device| here(device) && device.presence == Presence::Offline;
                self.set_presence(&user, Presence::Background, now, offline).await?;
            }
            "Logout" => {
                let left = |device: &Device| here(device) && !registered_since(device);
                self.set_presence(&user, Presence::LoggedOut, now, left).await?;
            }
            "Disconnect" => self.set_presence(&user, Presence::Offline, now, here).await?,
            _ => return noted("not used: the relay knows Login, Logout and Disconnect"),
        }
        Ok(fields(json!({})))
    }

    async fn set_presence(
        &self,
        user: &UserId,
        presence: Presence,
        now: UnixMs,
        applies: impl Fn(&Device) -> bool,
    ) -> Result<(), Fail> {
        self.api.registry.set_presence(self.app.app, user, presence, now, applies).await?;
        Ok(())
    }

    async fn read(&self) -> Answer {
        let user = UserId::from(self.given.id("Report_Account", BAD_PARAMETER)?.as_str());
        let peer = UserId::from(self.given.id("Peer_Account", BAD_PARAMETER)?.as_str());
        let now = self.api.clock.now();
        let unread = self.unread();
        let at = match self.given.number("LastReadTime").and_then(|s| u64::try_from(s).ok()) {
            Some(seconds) if unread != Some(0) => UnixMs::from_secs(seconds).after(WITHIN_SECOND),
            _ => self.happened_at(now),
        };
        let conversation = Conversation::C2c(peer);
        let registry = &self.api.registry;
        // What waits is looked at once more before it goes, and ends then.
        registry.mark_read(self.app.app, &user, &conversation, at.min(now), unread).await?;
        Ok(fields(json!({})))
    }

    /// How many messages the user has not read on the whole; nothing when the number is none.
    fn unread(&self) -> Option<u32> {
        self.given.number("UnreadMsgNum").and_then(|number| u32::try_from(number).ok())
    }

    async fn withdrawn(&self) -> Answer {
        let key: String = self.given.required("MsgKey", 90_054)?;
        // True whether the relay knows the message or not, and before a notice takes its place.
        if let Some(unread) = self.unread()
            && self.given.raw("To_Account").is_some()
        {
            let user = UserId::from(self.given.id("To_Account", 90_003)?.as_str());
            self.api.registry.set_unread(self.app.app, &user, unread).await?;
        }
        withdraw_named(self.api, self.app, Name::Key(&key)).await?;
        Ok(fields(json!({})))
    }

    fn members(&self, list: &str) -> Result<Vec<UserId>, Fail> {
        ids_in(self.given, list, "Member_Account", BAD_PARAMETER)
    }

    async fn joined(&self, joining: Vec<UserId>) -> Answer {
        let group = self.group()?;
        self.api.front_door.members.join(self.app.app, &group, &joining).await?;
        Ok(fields(json!({})))
    }

    async fn left(&self) -> Answer {
        let group = self.group()?;
        let leaving = self.members("ExitMemberList")?;
        self.api.front_door.members.leave(self.app.app, &group, &leaving).await?;
        Ok(fields(json!({})))
    }

    async fn dismissed(&self) -> Answer {
        let group = self.group()?;
        self.api.front_door.members.dismiss(self.app.app, &group).await?;
        Ok(fields(json!({})))
    }
}

/// A command as it may be shown: short and printable, for it is whatever the caller wrote.
fn shown(command: &str) -> String {
    let plain = |char: char| if char.is_ascii_graphic() { char } else { '?' };
    command.chars().take(COMMAND_SHOWN_MAX).map(plain).collect()
}

fn bad(info: &str) -> Fail {
    Fail::new(BAD_PARAMETER, info)
}

/// Well received, but nothing came of it: the reason is told.
fn noted(info: &str) -> Answer {
    Ok(fields(json!({ "ErrorInfo": info })))
}

fn answer_of(sent: &Sent) -> serde_json::Map<String, Value> {
    fields(json!({ "MessageIds": sent.ids() }))
}

/// Which devices a platform's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// Those of one operating system.
    One(Platform),
    /// None: nothing registers a push token there.
    Nowhere,
}

impl On {
    fn covers(self, device: &Device) -> bool {
        self == On::One(device.platform)
    }
}

/// The platform of that name, whatever its case; `None` when it names none.
fn platform(name: &str) -> Option<On> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ios" => On::One(Platform::Ios),
        "ipad" => On::One(Platform::Ipados),
        "mac" => On::One(Platform::Macos),
        "android" => On::One(Platform::Android),
        "harmony" | "harmonyos" | "openharmony" => On::One(Platform::Harmony),
        "web" | "windows" | "linux" | "miniprogram" => On::Nowhere,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_short_and_printable() {
        assert_eq!(shown("C2C.CallbackAfterSendMsg"), "C2C.CallbackAfterSendMsg");
        let long = format!("a\n\u{1b}[31m é{}", "x".repeat(10_000));
        assert_eq!(shown(&long), format!("a??[31m??{}", "x".repeat(64 - 9)));
    }

    #[test]
    fn platforms_are_told_apart_whatever_their_case() {
        assert_eq!(platform("IOS"), platform("iOS"));
        assert_eq!(platform("Android"), Some(On::One(Platform::Android)));
        assert_eq!(platform("Web"), Some(On::Nowhere));
        for unnamed in ["", "Unknown", "RESTAPI"] {
            assert_eq!(platform(unnamed), None);
        }
    }
}
