//! The messages of an OPPO send request (open.oppomobile.com documents 11236 and 11238).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::certificate::{ClickAction, Options, Privacy};
use crate::model::push_info::filled;
use crate::vendor::oppo::OPPO;
use crate::vendor::upload::{self, CredentialError};
use crate::vendor::{Badge, Call, Notification, Target, request};

/// `target_type` of a registration id.
const REGISTRATION_ID: u8 = 2;

/// Largest badge: OPPO reads a signed 32-bit number.
const BADGE_MAX: u32 = i32::MAX.unsigned_abs();

/// Longest callback address in characters.
const CALLBACK_URL_MAX: usize = 200;

/// Longest name of a page to open, in characters.
const ACTIVITY_MAX: usize = 500;

/// Longest address or intent to open, in characters.
const CLICK_URL_MAX: usize = 2_000;

/// Every notify level; one of another number is refused with code 67.
const NOTIFY_LEVELS: [u32; 3] = [1, 2, 16];

/// Classes that OPPO counts as marketing: a private template is not for them.
const MARKETING: [&str; 3] = ["MARKETING", "NEWS", "CONTENT"];

#[derive(Serialize)]
struct Message<'a> {
    target_type: u8,
    target_value: &'a str,
    notification: Body<'a>,
}

/// `notification`: what the target adds, then what all targets share.
#[derive(Serialize)]
struct Body<'a> {
    app_message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge_operation_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge_message_count: Option<u32>,
    #[serde(flatten)]
    shared: &'a Shared<'a>,
}

#[derive(Default, Serialize)]
struct Shared<'a> {
    style: u8,
    title: Cow<'a, str>,
    content: Cow<'a, str>,
    click_action_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_action_activity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_action_url: Option<&'a str>,
    action_parameters: Cow<'a, str>,
    off_line: bool,
    off_line_ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_level: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_msg_template_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_title_parameters: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_content_parameters: Option<BTreeMap<String, Value>>,
    notify_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_back_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_back_parameter: Option<&'a str>,
}

/// Last part of the path, name of the form field and its JSON: `unicast` for one target,
/// `unicast_batch` for more. The broadcast is not for private messages, which chat is.
pub fn body(call: &Call<'_>, targets: &[Target]) -> (&'static str, &'static str, String) {
    let shared = shared(call);
    let messages: Vec<Message<'_>> = targets.iter().map(|target| of(target, &shared)).collect();
    let (path, name, json) = match messages.as_slice() {
        [one] => ("unicast", "message", serde_json::to_string(one)),
        all => ("unicast_batch", "messages", serde_json::to_string(all)),
    };
    (path, name, json.expect("plain texts and numbers are always JSON"))
}

fn of<'a>(target: &'a Target, shared: &'a Shared<'a>) -> Message<'a> {
    let badge = target.badge.map(|badge| match badge {
        Badge::Set(number) => (0, number.min(BADGE_MAX)),
        Badge::Add(number) => (1, number.min(BADGE_MAX)),
    });
    let notification = Body {
        app_message_id: target.push_id.to_string(),
        badge_operation_type: badge.map(|(operation, _)| operation),
        badge_message_count: badge.map(|(_, count)| count),
        shared,
    };
    Message { target_type: REGISTRATION_ID, target_value: target.token.as_str(), notification }
}

fn shared<'a>(call: &Call<'a>) -> Shared<'a> {
    let (notification, options) = (call.notification, &call.certificate.options);
    let info = &notification.info.android_info;
    let big = info.push_style == Some(1);
    let (title, content) = request::texts(notification, &OPPO, big);
    let ttl = request::time_to_live(notification, call.now, OPPO.ttl_max).as_secs();
    let callback =
        filled(&options.receipt_url).filter(|url| url.chars().count() <= CALLBACK_URL_MAX);
    let mut shared = Shared {
        style: if big { 2 } else { 1 },
        action_parameters: action_parameters(notification),
        off_line: true,
        off_line_ttl: ttl,
        channel_id: request::chosen(&info.oppo_channel_id, &options.channel_id),
        notify_id: notification.notify_id,
        call_back_url: callback,
        call_back_parameter: callback.map(|_| notification.message_id.as_str()),
        ..click_action(&options.click_action)
    };
    classify(&mut shared, notification, options, [&title, &content]);
    Shared { title, content, ..shared }
}

/// Class, level and template. None is sent unasked: a class without an approved template is
/// refused with code 54, a wrong pair with 67. A level or a template needs a class: it is `IM`.
fn classify<'a>(
    shared: &mut Shared<'a>,
    notification: &'a Notification,
    options: &'a Options,
    texts: [&Cow<'a, str>; 2],
) {
    let info = &notification.info.android_info;
    let levels = [info.oppo_notify_level, options.notify_level];
    let level = levels.into_iter().flatten().find(|level| NOTIFY_LEVELS.contains(level));
    let template = request::chosen(&info.oppo_private_msg_template_id, &options.template_id);
    let category = request::chosen(&info.oppo_category, &options.category)
        .or_else(|| (level.is_some() || template.is_some()).then_some("IM"));
    let Some(category) = category.map(str::to_ascii_uppercase) else { return };
    shared.notify_level = level;
    if let Some(template) = template.filter(|_| !MARKETING.contains(&category.as_str())) {
        shared.private_msg_template_id = Some(template);
        // The message's own values are text of the message: only full privacy lets them out.
        let own = options.privacy == Privacy::Full;
        let title = info.oppo_private_title_parameters.clone().filter(|_| own);
        let content = info.oppo_private_content_parameters.clone().filter(|_| own);
        if title.is_none() && content.is_none() && category == "IM" {
            // As Tencent's console describes it: title and text fill the variables of these names.
            let variable = |name: &str, text: &str| {
                Some(BTreeMap::from([(name.to_owned(), Value::from(text))]))
            };
            shared.private_title_parameters = variable("title", texts[0]);
            shared.private_content_parameters = variable("desc", texts[1]);
        } else {
            (shared.private_title_parameters, shared.private_content_parameters) = (title, content);
        }
    }
    shared.category = Some(category);
}

/// Checks the options that OPPO would refuse with every push, or that would be left out of it.
///
/// # Errors
/// The first that is wrong.
pub fn check_options(options: &Options) -> Result<(), CredentialError> {
    if options.notify_level.is_some_and(|level| !NOTIFY_LEVELS.contains(&level)) {
        let why = "must be 1, 2 or 16: OPPO knows no other level";
        return Err(upload::bad_option("notify_level", why));
    }
    let shared = click_action(&options.click_action);
    let receipt_url = filled(&options.receipt_url);
    for (name, text, most) in [
        ("receipt_url", receipt_url, CALLBACK_URL_MAX),
        ("click_action", shared.click_action_activity, ACTIVITY_MAX),
        ("click_action", shared.click_action_url, CLICK_URL_MAX),
    ] {
        if text.is_some_and(|text| text.chars().count() > most) {
            let why = format!("is too long: OPPO takes {most} characters");
            return Err(upload::bad_option(name, &why));
        }
    }
    Ok(())
}

fn click_action(action: &ClickAction) -> Shared<'_> {
    let (kind, activity, url) = match action {
        ClickAction::OpenApp => (0, None, None),
        ClickAction::OpenActivity { activity } if request::is_action(activity) => {
            (1, Some(activity.as_str()), None)
        }
        ClickAction::OpenUrl { url } => (2, None, Some(url.as_str())),
        ClickAction::OpenActivity { activity } => (4, Some(activity.as_str()), None),
        ClickAction::OpenIntent { intent } => (5, None, Some(intent.as_str())),
    };
    Shared {
        click_action_type: kind,
        click_action_activity: activity,
        click_action_url: url,
        ..Shared::default()
    }
}

/// The pass-through text as a JSON object, which is all that OPPO takes: any other text is wrapped
/// as `{"ext": "<text>"}`.
pub fn action_parameters(notification: &Notification) -> Cow<'_, str> {
    let text = request::pass_through(notification);
    if serde_json::from_str::<Map<String, Value>>(&text).is_ok() {
        return text;
    }
    json!({ "ext": text }).to_string().into()
}
