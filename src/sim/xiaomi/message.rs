//! The rules of Xiaomi's form fields. Lengths are counted in characters, and the `extra.` fields
//! are flat form keys that count together against their own limits.

use std::collections::HashSet;
use std::time::Duration;

use crate::model::time::UnixMs;
use crate::sim::form::Form;
use crate::sim::xiaomi::{ChannelClass, MISSING, Refusal, XiaomiAccount};

const INVALID: u32 = 10017;
const CHANNEL: u32 = 27001;
const TOO_LONG: u32 = 65009;
const TOO_MANY_EXTRAS: u32 = 65014;
const EXTRAS_TOO_LONG: u32 = 65015;
const CALLBACK_PARAM_TOO_LONG: u32 = 65036;
const CALLBACK_URL: u32 = 65038;

/// A title stays under this many characters.
const TITLE_CHARS: usize = 50;
/// A description stays under this many characters.
const DESCRIPTION_CHARS: usize = 128;
const PAYLOAD_BYTES_MAX: usize = 4_096;
const TOKENS_MAX: usize = 1_000;
const EXTRAS_MAX: usize = 10;
const EXTRAS_CHARS_MAX: usize = 1_024;
const JOBKEY_CHARS_MAX: usize = 20;
const CALLBACK_PARAM_BYTES_MAX: usize = 256;
/// Sum of the documented callback kinds: 1, 2, 16, 32, 64, 128 and 1024.
const CALLBACK_TYPES: i64 = 1 | 2 | 16 | 32 | 64 | 128 | 1_024;
const PRIVATE_OFFLINE_MS_MAX: i64 = 10 * 86_400_000;
const PUBLIC_OFFLINE_MS_MAX: i64 = 86_400_000;
const SCHEDULE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A message that passed every check.
pub(crate) struct Message<'a> {
    /// Phones, each once.
    pub tokens: Vec<&'a str>,
    /// Title; may be empty for a pass-through message.
    pub title: &'a str,
    /// Text.
    pub description: &'a str,
    /// Pass-through text, decoded once.
    pub payload: Option<&'a str>,
    /// The sender's id; a phone shows only the first of each.
    pub jobkey: Option<&'a str>,
    /// What it replaces.
    pub notify_id: Option<i64>,
    /// The class it counts against.
    pub class: ChannelClass,
}

fn missing(field: &str) -> Refusal {
    Refusal::new(MISSING, format!("{field} is missing"))
}

fn invalid(field: &str) -> Refusal {
    Refusal::new(INVALID, format!("{field} is invalid"))
}

impl<'a> Message<'a> {
    /// Checks a form for an app.
    pub(crate) fn read(
        form: &'a Form,
        account: &XiaomiAccount,
        now: UnixMs,
    ) -> Result<Self, Refusal> {
        let tokens = tokens(form)?;
        let notifies = !matches!(number(form, "pass_through", 0..=1)?, Some(1));
        let description = form.filled("description").ok_or_else(|| missing("description"))?;
        let title = form.filled("title");
        if notifies && title.is_none() {
            return Err(missing("title"));
        }
        let title = title.unwrap_or_default();
        shorter(title, TITLE_CHARS, "title")?;
        shorter(description, DESCRIPTION_CHARS, "description")?;
        let payload = form.get("payload").filter(|payload| !payload.is_empty());
        if payload.is_some_and(|payload| payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(Refusal::new(TOO_LONG, "payload is too long"));
        }
        number(form, "notify_type", -1..=7)?;
        let notify_id = number(form, "notify_id", 0..=i64::from(i32::MAX))?;
        check_extras(form)?;
        let class = channel(form, account, notifies)?;
        let offline_max = match class {
            ChannelClass::Private => PRIVATE_OFFLINE_MS_MAX,
            ChannelClass::Public => PUBLIC_OFFLINE_MS_MAX,
        };
        number(form, "time_to_live", 0..=offline_max)?;
        let latest = i64::try_from(now.after(SCHEDULE_MAX).0).unwrap_or(i64::MAX);
        number(form, "time_to_send", 0..=latest)?;
        Ok(Message { tokens, title, description, payload, jobkey: jobkey(form)?, notify_id, class })
    }
}

fn tokens(form: &Form) -> Result<Vec<&str>, Refusal> {
    let list = form.filled("registration_id").ok_or_else(|| missing("registration_id"))?;
    let tokens: Vec<&str> = list.split(',').map(str::trim).collect();
    if tokens.len() > TOKENS_MAX || tokens.iter().any(|token| token.is_empty()) {
        return Err(invalid("registration_id"));
    }
    let mut seen = HashSet::new();
    Ok(tokens.into_iter().filter(|token| seen.insert(*token)).collect())
}

/// The class of the message's channel. A pass-through message needs no channel.
fn channel(form: &Form, account: &XiaomiAccount, notifies: bool) -> Result<ChannelClass, Refusal> {
    let id = form.filled("extra.channel_id");
    match id.and_then(|id| account.channels.get(id)) {
        Some(class) => Ok(*class),
        None if id.is_none() && !notifies => Ok(ChannelClass::Public),
        None => Err(Refusal::new(CHANNEL, "channel info does not match")),
    }
}

fn jobkey(form: &Form) -> Result<Option<&str>, Refusal> {
    let Some(key) = form.get("extra.jobkey") else { return Ok(None) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = (1..=JOBKEY_CHARS_MAX).contains(&key.len())
        && !key.starts_with('_')
        && key.bytes().all(allowed);
    if fits { Ok(Some(key)) } else { Err(invalid("extra.jobkey")) }
}

fn check_extras(form: &Form) -> Result<(), Refusal> {
    let extras =
        form.fields().filter_map(|(key, value)| Some((key.strip_prefix("extra.")?, value)));
    let (mut pairs, mut chars) = (0, 0);
    for (key, value) in extras {
        pairs += 1;
        chars += key.chars().count() + value.chars().count();
    }
    if pairs > EXTRAS_MAX {
        return Err(Refusal::new(TOO_MANY_EXTRAS, "too many extra pairs"));
    }
    if chars > EXTRAS_CHARS_MAX {
        return Err(Refusal::new(EXTRAS_TOO_LONG, "extra pairs are too long"));
    }
    check_effect(form)?;
    for flag in ["extra.notify_foreground", "extra.only_send_once"] {
        number(form, flag, 0..=1)?;
    }
    if let Some(sound) = form.get("extra.sound_uri")
        && !sound.starts_with("android.resource://")
    {
        return Err(invalid("extra.sound_uri"));
    }
    check_callback(form)
}

fn check_effect(form: &Form) -> Result<(), Refusal> {
    match number(form, "extra.notify_effect", 1..=3)? {
        Some(2) if form.filled("extra.intent_uri").is_none() => Err(missing("extra.intent_uri")),
        Some(3) => {
            let url = form.filled("extra.web_uri").ok_or_else(|| missing("extra.web_uri"))?;
            if is_http(url) { Ok(()) } else { Err(invalid("extra.web_uri")) }
        }
        _ => Ok(()),
    }
}

fn check_callback(form: &Form) -> Result<(), Refusal> {
    if form.get("extra.callback").is_some_and(|url| !is_http(url)) {
        return Err(Refusal::new(CALLBACK_URL, "extra.callback is not a URL"));
    }
    let param = form.get("extra.callback.param");
    if param.is_some_and(|param| param.len() > CALLBACK_PARAM_BYTES_MAX) {
        return Err(Refusal::new(CALLBACK_PARAM_TOO_LONG, "extra.callback.param is too long"));
    }
    match number(form, "extra.callback.type", 1..=CALLBACK_TYPES)? {
        Some(kinds) if kinds & !CALLBACK_TYPES != 0 => Err(invalid("extra.callback.type")),
        _ => Ok(()),
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn shorter(text: &str, limit: usize, field: &str) -> Result<(), Refusal> {
    if text.chars().count() < limit {
        return Ok(());
    }
    Err(Refusal::new(TOO_LONG, format!("{field} is too long")))
}

/// A whole number in a range, when the field is there.
fn number(
    form: &Form,
    field: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Refusal> {
    let Some(text) = form.get(field) else { return Ok(None) };
    let value = text.parse::<i64>().ok().filter(|value| range.contains(value));
    value.map(Some).ok_or_else(|| invalid(field))
}
