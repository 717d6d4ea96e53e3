//! The form of a Xiaomi send request (dev.mi.com document 1559).

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use crate::model::certificate::{ClickAction, Options};
use crate::model::id::digest128;
use crate::model::push_info::filled;
use crate::vendor::upload::{self, CredentialError};
use crate::vendor::xiaomi::XIAOMI;
use crate::vendor::{Call, Notification, request};

/// Most `extra.` pairs of one message.
const EXTRAS_MAX: usize = 10;

/// Most characters of all keys and values of the extras; more is refused with code 65015. The keys
/// are counted with `extra.`, as the documents do not say whether it belongs to them.
const EXTRAS_CHARS_MAX: usize = 1_024;

/// What a tap does.
const EFFECT: &str = "extra.notify_effect";

/// Characters of a message id, which is a ULID.
const MESSAGE_ID_CHARS: usize = 26;

/// Digits of a job key; Xiaomi takes at most 20 of `[0-9A-Za-z_-]`.
const JOB_KEY_DIGITS: usize = 20;

/// Longest offline life of a push without a template. Xiaomi keeps pushes of the public class for
/// a day and refuses a longer wish; the private class, for which a template is approved, may ask
/// for the profile's ten days (dev.mi.com document 2321).
const PUBLIC_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Receipts asked for: delivered 1, clicked 2, dead registration id 16.
const CALLBACK_TYPES: &str = "19";

type Field<'a> = (&'static str, Cow<'a, str>);

/// Every field but `registration_id`.
pub fn fields<'a>(call: &Call<'a>, package_name: &'a str) -> Vec<Field<'a>> {
    let notification = call.notification;
    let (title, body) = request::texts(notification, &XIAOMI, false);
    let private = filled(&call.certificate.options.template_id).is_some();
    let ttl_max = if private { XIAOMI.ttl_max } else { PUBLIC_TTL_MAX };
    let ttl = request::time_to_live(notification, call.now, ttl_max).as_millis();
    let mut fields: Vec<Field<'a>> = vec![
        ("restricted_package_name", package_name.into()),
        ("pass_through", "0".into()),
        ("title", title),
        ("description", body),
        ("payload", request::pass_through(notification)),
        ("time_to_live", ttl.to_string().into()),
        // Sound, vibration and light, as far as the channel allows them.
        ("notify_type", "-1".into()),
        ("notify_id", notification.notify_id.to_string().into()),
    ];
    fields.extend(extras(&call.certificate.options, notification, package_name));
    fields
}

/// The extras, the most needed first; what belongs together comes or is left out together. Xiaomi
/// takes ten pairs and 1,024 characters: what does not fit beside what is more needed is left out.
fn extras<'a>(
    options: &'a Options,
    notification: &'a Notification,
    package_name: &str,
) -> Vec<Field<'a>> {
    let mut extras: Vec<Field<'a>> = Vec::with_capacity(EXTRAS_MAX);
    let mut chars = 0;
    let mut add = |group: Vec<Field<'a>>| {
        let size = chars_of(&group);
        let fits = extras.len() + group.len() <= EXTRAS_MAX && chars + size <= EXTRAS_CHARS_MAX;
        if fits {
            chars += size;
            extras.extend(group);
        }
        fits
    };
    for group in groups(options, notification, package_name) {
        let opens = group.iter().any(|(key, _)| *key == EFFECT);
        if !add(group) && opens {
            // Without its page the tap opens the app, not nothing.
            add(click_action(&ClickAction::OpenApp, package_name));
        }
    }
    extras
}

fn groups<'a>(
    options: &'a Options,
    notification: &'a Notification,
    package_name: &str,
) -> Vec<Vec<Field<'a>>> {
    let info = &notification.info.android_info;
    let mut groups = vec![vec![("extra.jobkey", job_key(notification).into())]];
    if let Some(channel) = request::chosen(&info.xiaomi_channel_id, &options.channel_id) {
        groups.push(vec![("extra.channel_id", channel.into())]);
    }
    if let Some(template) = filled(&options.template_id) {
        let (title, body) = request::texts(notification, &XIAOMI, false);
        let parameters = json!({ "title": title, "desc": body }).to_string();
        groups.push(vec![
            ("extra.mi_template_id", template.into()),
            ("extra.mi_template_param", parameters.into()),
        ]);
    }
    groups.push(click_action(&options.click_action, package_name));
    if let Some(url) = filled(&options.receipt_url) {
        groups.push(callback(url, &notification.message_id));
    }
    // The relay rings nobody who looks at the app; a late push must not show there either.
    groups.push(vec![("extra.notify_foreground", "0".into())]);
    // Last, since from Android 8 on the channel decides about the sound.
    if let Some(sound) = filled(&notification.sound) {
        let name = request::sound_name(sound);
        let uri = format!("android.resource://{package_name}/raw/{name}");
        groups.push(vec![("extra.sound_uri", uri.into())]);
    }
    groups
}

fn callback<'a>(url: &'a str, message_id: &'a str) -> Vec<Field<'a>> {
    vec![
        ("extra.callback", url.into()),
        ("extra.callback.param", message_id.into()),
        ("extra.callback.type", CALLBACK_TYPES.into()),
    ]
}

/// Characters of keys and values.
fn chars_of(pairs: &[Field<'_>]) -> usize {
    pairs.iter().map(|(key, value)| key.len() + value.chars().count()).sum()
}

/// Checks that each option fits into the extras beside the job key.
///
/// # Errors
/// The option that does not.
pub fn check_options(options: &Options, package_name: &str) -> Result<(), CredentialError> {
    let job_key = "extra.jobkey".len() + JOB_KEY_DIGITS;
    let message_id = "0".repeat(MESSAGE_ID_CHARS);
    let [channel_id, template_id, receipt_url] =
        [&options.channel_id, &options.template_id, &options.receipt_url]
            .map(|option| filled(option).unwrap_or_default());
    let groups = [
        ("channel_id", vec![("extra.channel_id", channel_id.into())]),
        ("template_id", vec![("extra.mi_template_id", template_id.into())]),
        ("click_action", click_action(&options.click_action, package_name)),
        ("receipt_url", callback(receipt_url, &message_id)),
    ];
    match groups.iter().find(|(_, group)| job_key + chars_of(group) > EXTRAS_CHARS_MAX) {
        None => Ok(()),
        Some((name, _)) => {
            let why = "is too long: Xiaomi takes 1,024 characters of extras in all";
            Err(upload::bad_option(name, why))
        }
    }
}

/// The same on every attempt, so that the phone shows the first only; never begins with `_`.
fn job_key(notification: &Notification) -> String {
    let digest = digest128(&[b"jobkey", notification.message_id.as_bytes()]);
    let mut key = format!("{digest:032x}");
    key.truncate(JOB_KEY_DIGITS);
    key
}

fn click_action<'a>(action: &'a ClickAction, package_name: &str) -> Vec<Field<'a>> {
    let effect = |number: &'static str| (EFFECT, number.into());
    match action {
        ClickAction::OpenApp => vec![effect("1")],
        ClickAction::OpenIntent { intent } => {
            vec![effect("2"), ("extra.intent_uri", intent.as_str().into())]
        }
        ClickAction::OpenActivity { activity } => {
            // Xiaomi opens a page by intent only; the package keeps it inside the app.
            let intent = if request::is_action(activity) {
                format!("intent:#Intent;action={activity};package={package_name};end")
            } else {
                format!("intent:#Intent;component={package_name}/{activity};end")
            };
            vec![effect("2"), ("extra.intent_uri", intent.into())]
        }
        ClickAction::OpenUrl { url } => vec![effect("3"), ("extra.web_uri", url.as_str().into())],
    }
}
