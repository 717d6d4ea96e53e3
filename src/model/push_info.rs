//! `OfflinePushInfo`: what the sender asks the notification to look like.
//!
//! Field names, types and ranges follow Tencent Cloud Chat's REST object (trtc.io/document/77715,
//! cloud.tencent.com/document/product/269/133879). Unknown fields are ignored. A missing or empty
//! value leaves the certificate's value in force.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::model::object;

/// Largest number that is added to a badge, and that is set where the vendor keeps the count
/// (Huawei, Honor, Harmony).
pub const BADGE_MAX: u32 = 99;

/// The whole object. Every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfflinePushInfo {
    /// 0 pushes, 1 asks for no offline push.
    #[serde(deserialize_with = "object::or_default")]
    pub push_flag: u8,
    /// Notification title of every platform.
    pub title: Option<String>,
    /// Notification text; beats whatever the elements would say.
    pub desc: Option<String>,
    /// Pass-through text for the app; JSON text, since several vendors refuse anything else.
    pub ext: Option<String>,
    /// Title and text by device language.
    #[serde(deserialize_with = "object::list")]
    pub multi_language_content: Vec<LanguageContent>,
    /// Android vendors.
    pub android_info: Seldom<AndroidInfo>,
    /// Apple.
    pub apns_info: Seldom<ApnsInfo>,
    /// HarmonyOS.
    pub harmony_info: Seldom<HarmonyInfo>,
    /// Adds to the badge, 1..=[`BADGE_MAX`].
    pub badge_add_num: Option<u32>,
    /// Sets the badge, 0..=999 on APNs and 0..=99 on Huawei; beats `badge_add_num`.
    pub badge_set_num: Option<u32>,
}

/// A setting outside of what its field may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The field, dotted, below `OfflinePushInfo`.
    pub field: &'static str,
    /// What goes after the field's name in a sentence: `must be …`.
    pub wanted: String,
}

impl OfflinePushInfo {
    /// Whether it holds words to show, in any language.
    pub fn has_text(&self) -> bool {
        let either = |title, desc| filled(title).or(filled(desc)).is_some();
        let mut contents = self.multi_language_content.iter();
        either(&self.title, &self.desc)
            || contents.any(|content| either(&content.title, &content.desc))
    }

    /// Checks what Tencent's documents close: ranges, and sets of words and numbers. What is for
    /// vendors that the relay does not send to is left alone.
    ///
    /// # Errors
    /// The first setting outside.
    pub fn check(&self) -> Result<(), Misfit> {
        let (android, apns) = (&self.android_info, &self.apns_info);
        let misfit = |field, wanted| Err(Misfit { field, wanted });
        let small = |given: Option<u8>| given.map(u32::from);
        let intent_param = small(android.ext_as_huawei_intent_param);
        let ranges: [(&str, Option<u32>, u32, u32); 9] = [
            ("PushFlag", Some(u32::from(self.push_flag)), 0, 1),
            ("BadgeAddNum", self.badge_add_num, 1, BADGE_MAX),
            ("BadgeSetNum", self.badge_set_num, 0, 999),
            ("ApnsInfo.BadgeMode", small(apns.badge_mode), 0, 1),
            ("ApnsInfo.MutableContent", small(apns.mutable_content), 0, 1),
            ("ApnsInfo.ContentAvailable", small(apns.content_available), 0, 1),
            ("ApnsInfo.IsVoipPush", small(apns.is_voip_push), 0, 1),
            ("AndroidInfo.PushStyle", small(android.push_style), 0, 1),
            ("AndroidInfo.ExtAsHuaweiIntentParam", intent_param, 0, 1),
        ];
        for (name, given, low, high) in ranges {
            if given.is_some_and(|given| given < low || given > high) {
                return misfit(name, format!("must be from {low} to {high}"));
            }
        }
        // 0 is what client SDKs hold where nobody set a level.
        if android.oppo_notify_level.is_some_and(|level| ![0, 1, 2, 16].contains(&level)) {
            return misfit("AndroidInfo.OPPONotifyLevel", "must be one of 1, 2, 16".into());
        }
        let activity = apns.live_activity.as_ref();
        if activity.is_some_and(|activity| activity.la_id.len() > LA_ID_BYTES_MAX) {
            let wanted = format!("is longer than {LA_ID_BYTES_MAX} bytes");
            return misfit("ApnsInfo.LiveActivity.LaId", wanted);
        }
        self.check_words()
    }

    fn check_words(&self) -> Result<(), Misfit> {
        let (android, apns) = (&self.android_info, &self.apns_info);
        let level = filled(&apns.interruption_level);
        let event = apns.live_activity.as_ref().map(|activity| activity.event.as_str());
        // Adapters write these two as their vendor wants them. Tencent does not name HIGH: Huawei
        // takes it from apps with the right to it.
        let importance = filled(&android.huawei_importance).map(str::to_ascii_uppercase);
        let priority = filled(&android.google_priority).map(str::to_ascii_lowercase);
        let levels: &[&str] = &["passive", "active", "time-sensitive", "critical"];
        let words: [(&str, Option<&str>, &[&str]); 4] = [
            ("ApnsInfo.InterruptionLevel", level, levels),
            ("ApnsInfo.LiveActivity.Event", event, &["update", "end"]),
            ("AndroidInfo.HuaWeiImportance", importance.as_deref(), &["LOW", "NORMAL", "HIGH"]),
            ("AndroidInfo.GooglePriority", priority.as_deref(), &["normal", "high"]),
        ];
        for (field, given, known) in words {
            if given.is_some_and(|given| !known.contains(&given)) {
                return Err(Misfit {
                    field,
                    wanted: format!("must be one of {}", known.join(", ")),
                });
            }
        }
        Ok(())
    }
}

/// A part that most messages leave out: one word as long as nothing in it was set.
#[derive(Clone, Debug)]
pub struct Seldom<T>(Option<Box<T>>);

/// What a [`Seldom`] is as long as nothing in it was set.
pub trait Unset: Default + 'static {
    /// The one value that stands for all of them.
    fn unset() -> &'static Self;
}

macro_rules! unset {
    ($($part:ty),*) => {$(
        impl Unset for $part {
            fn unset() -> &'static Self {
                static UNSET: LazyLock<$part> = LazyLock::new(<$part>::default);
                &UNSET
            }
        }
    )*};
}

unset!(AndroidInfo, ApnsInfo, HarmonyInfo);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T> From<T> for Seldom<T> {
    fn from(part: T) -> Self {
        Seldom(Some(Box::new(part)))
    }
}

impl<T: Unset> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(part) => part,
            None => T::unset(),
        }
    }
}

impl<T: Unset> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Unset + PartialEq> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Unset + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Seldom(object::optional(deserializer)?.map(Box::new)))
    }
}

/// Title and text for one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LanguageContent {
    /// The device language this is for, such as `en` or `zh-Hans`.
    #[serde(deserialize_with = "object::or_default")]
    pub language: String,
    /// Title in that language.
    pub title: Option<String>,
    /// Text in that language.
    pub desc: Option<String>,
}

/// `AndroidInfo`: one field per vendor setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AndroidInfo {
    /// Sound file name without extension.
    #[serde(rename = "Sound")]
    pub sound: Option<String>,
    /// 0 default style, 1 big text (Huawei, Honor, OPPO).
    #[serde(rename = "PushStyle")]
    pub push_style: Option<u8>,
    /// Xiaomi channel.
    #[serde(rename = "XiaoMiChannelID", deserialize_with = "text_or_number")]
    pub xiaomi_channel_id: Option<String>,
    /// OPPO channel.
    #[serde(rename = "OPPOChannelID", deserialize_with = "text_or_number")]
    pub oppo_channel_id: Option<String>,
    /// OPPO message class, such as `IM`.
    #[serde(rename = "OPPOCategory")]
    pub oppo_category: Option<String>,
    /// OPPO notify level: 1, 2 or 16. Needs a category.
    #[serde(rename = "OPPONotifyLevel")]
    pub oppo_notify_level: Option<u32>,
    /// OPPO private-message template.
    #[serde(rename = "OPPOPrivateMsgTemplateId")]
    pub oppo_private_msg_template_id: Option<String>,
    /// Values of the template's title.
    #[serde(rename = "OPPOPrivateTitleParameters")]
    pub oppo_private_title_parameters: Option<BTreeMap<String, Value>>,
    /// Values of the template's text.
    #[serde(rename = "OPPOPrivateContentParameters")]
    pub oppo_private_content_parameters: Option<BTreeMap<String, Value>>,
    /// vivo: 0 operational, 1 system.
    #[serde(rename = "VIVOClassification")]
    pub vivo_classification: Option<u8>,
    /// vivo message class.
    #[serde(rename = "VIVOCategory")]
    pub vivo_category: Option<String>,
    /// vivo: 1 none, 2 ring, 3 vibrate, 4 both. Text or number.
    #[serde(rename = "VIVONotifyType", deserialize_with = "text_or_number")]
    pub vivo_notify_type: Option<String>,
    /// Huawei channel.
    #[serde(rename = "HuaWeiChannelID")]
    pub huawei_channel_id: Option<String>,
    /// Huawei importance: `LOW` or `NORMAL`.
    #[serde(rename = "HuaWeiImportance")]
    pub huawei_importance: Option<String>,
    /// Huawei message class.
    #[serde(rename = "HuaWeiCategory")]
    pub huawei_category: Option<String>,
    /// Huawei picture, https.
    #[serde(rename = "HuaWeiImage")]
    pub huawei_image: Option<String>,
    /// 1 makes `Ext` an Intent parameter, 0 an Action parameter.
    #[serde(rename = "ExtAsHuaweiIntentParam")]
    pub ext_as_huawei_intent_param: Option<u8>,
    /// Honor importance: `LOW` or `NORMAL`.
    #[serde(rename = "HonorImportance")]
    pub honor_importance: Option<String>,
    /// Honor picture, https.
    #[serde(rename = "HonorImage")]
    pub honor_image: Option<String>,
    /// FCM channel.
    #[serde(rename = "GoogleChannelID")]
    pub google_channel_id: Option<String>,
    /// FCM picture, https.
    #[serde(rename = "GoogleImage")]
    pub google_image: Option<String>,
    /// FCM priority: `normal` or `high`.
    #[serde(rename = "GooglePriority")]
    pub google_priority: Option<String>,
    /// Meizu: 0 public, 1 private.
    #[serde(rename = "MeiZuNoticeMsgType")]
    pub meizu_notice_msg_type: Option<u8>,
}

/// `ApnsInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ApnsInfo {
    /// 0 counts this message in the badge, 1 leaves the badge alone.
    pub badge_mode: Option<u8>,
    /// Replaces the title on Apple devices.
    pub title: Option<String>,
    /// Line under the title.
    pub sub_title: Option<String>,
    /// Picture, carried as the custom key `image` for the app's notification service extension.
    pub image: Option<String>,
    /// 1 sets `mutable-content`.
    pub mutable_content: Option<u8>,
    /// Sound file with extension.
    pub sound: Option<String>,
    /// `passive`, `active`, `time-sensitive` or `critical`.
    pub interruption_level: Option<String>,
    /// 1 makes it a silent background push.
    pub content_available: Option<u8>,
    /// 1 makes it a VoIP push.
    pub is_voip_push: Option<u8>,
    /// Updates or ends a Live Activity.
    #[serde(deserialize_with = "object::optional")]
    pub live_activity: Option<LiveActivity>,
}

/// Longest `LaId`, in bytes.
pub const LA_ID_BYTES_MAX: usize = 64;

/// `ApnsInfo.LiveActivity`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LiveActivity {
    /// The activity, at most [`LA_ID_BYTES_MAX`].
    pub la_id: String,
    /// `update` or `end`.
    pub event: String,
    /// What the activity shows.
    pub content_state: serde_json::Map<String, Value>,
    /// Unix seconds at which an ended activity leaves the screen.
    #[serde(default)]
    pub dismissal_date: Option<u64>,
}

/// `HarmonyInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HarmonyInfo {
    /// Replaces the title.
    pub title: Option<String>,
    /// Message class.
    pub category: Option<String>,
    /// Picture, https.
    pub image: Option<String>,
    /// Sound file in rawfile.
    pub sound: Option<String>,
    /// Seconds, 1..=60, only together with `sound`.
    pub sound_duration: Option<u32>,
}

/// Some senders write a channel as a number; the vendors take text.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrNumber {
        Text(String),
        Number(i64),
    }
    let given = Option::<TextOrNumber>::deserialize(deserializer)?;
    Ok(given.map(|given| match given {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    }))
}

/// `Some` only when the text is there and not empty: an empty value never overrides.
pub fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_reference_is_read_whole() {
        let info: OfflinePushInfo = serde_json::from_str(
            r#"{"PushFlag":0,"Title":"Mina","Desc":"See you","Ext":"{\"room\":\"r-17\"}",
                "AndroidInfo":{"OPPOChannelID":"chat","OPPOCategory":"IM","OPPONotifyLevel":2,
                "VIVOCategory":"IM","HuaWeiCategory":"IM","XiaoMiChannelID":130001,
                "VIVONotifyType":4,"GooglePriority":"high"},
                "ApnsInfo":{"Sound":"ding.caf","BadgeMode":0,"MutableContent":1,
                "InterruptionLevel":"time-sensitive"},"HarmonyInfo":{"Category":"IM"}}"#,
        )
        .expect("the sample");
        assert_eq!(info.android_info.xiaomi_channel_id.as_deref(), Some("130001"));
        assert_eq!(info.android_info.vivo_notify_type.as_deref(), Some("4"));
        assert_eq!(info.apns_info.mutable_content, Some(1));
        assert_eq!(info.harmony_info.category.as_deref(), Some("IM"));
    }

    #[test]
    fn null_is_as_good_as_absent_for_every_part() {
        let names = [
            "PushFlag",
            "Title",
            "Desc",
            "Ext",
            "MultiLanguageContent",
            "AndroidInfo",
            "ApnsInfo",
            "HarmonyInfo",
            "BadgeAddNum",
            "BadgeSetNum",
        ];
        let nulls: BTreeMap<&str, Value> = names.map(|name| (name, Value::Null)).into();
        let info = serde_json::to_value(&nulls).expect("json");
        let info: OfflinePushInfo = serde_json::from_value(info).expect("nulls");
        assert_eq!(info, OfflinePushInfo::default());
        let written = serde_json::to_value(&info).expect("json");
        let written = written.as_object().expect("an object");
        assert!(written.keys().eq(nulls.keys()), "every field is tried: {written:?}");
        let nested = r#"{"ApnsInfo":{"LiveActivity":null,"BadgeMode":null},
                         "AndroidInfo":{"OPPOChannelID":null,"OPPOPrivateTitleParameters":null},
                         "MultiLanguageContent":[{"Language":null,"Title":null}]}"#;
        let info: OfflinePushInfo = serde_json::from_str(nested).expect("nulls");
        assert_eq!(info.apns_info, ApnsInfo::default().into());
        assert_eq!(info.multi_language_content, [LanguageContent::default()]);
    }

    #[test]
    fn an_empty_value_never_overrides() {
        assert_eq!(filled(&Some(String::new())), None);
        assert_eq!(filled(&Some("x".into())), Some("x"));
    }
}
