//! Who takes part: one certificate per vendor and one with a mistake, and a dozen phones.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::client::path;
use crate::cli::demo::stage::{APP, Stage};

/// Name of the certificate with AppSecret where OPPO wants MasterSecret.
pub const OPPO_MISTAKE: &str = "oppo-mistake";

/// A phone of the story. Its token is made from its owner's name, so it is the same every time.
#[derive(Clone, Copy, Debug)]
pub struct Phone {
    /// Owner.
    pub user: &'static str,
    /// Device.
    pub device_id: &'static str,
    /// Name of the certificate: the vendor's, or [`OPPO_MISTAKE`].
    pub certificate: &'static str,
    platform: &'static str,
    brand: &'static str,
    locale: &'static str,
    time_zone: &'static str,
}

type Row = [&'static str; 7];

/// User, device, certificate, platform, brand, locale, zone.
const ROWS: &[Row] = &[
    ["joon", "iphone", "apns", "ios", "Apple", "ko-KR", "Asia/Seoul"],
    ["joon", "galaxy", "fcm", "android", "samsung", "ko-KR", "Asia/Seoul"],
    ["sora", "pixel", "fcm", "android", "Google", "ja-JP", "Asia/Tokyo"],
    ["wei", "mate", "huawei", "android", "HUAWEI", "zh-CN", "Asia/Shanghai"],
    ["lin", "redmi", "xiaomi", "android", "Xiaomi", "zh-TW", "Asia/Taipei"],
    ["ana", "find", "oppo", "android", "OPPO", "es-ES", "Europe/Madrid"],
    ["kofi", "galaxy", "fcm", "android", "samsung", "en-GB", "Africa/Accra"],
    ["emma", "iphone", "apns", "ios", "Apple", "en-GB", "Europe/London"],
    ["emma", "ipad", "apns", "ipados", "Apple", "en-GB", "Europe/London"],
    ["yuki", "iphone", "apns", "ios", "Apple", "ja-JP", "Asia/Tokyo"],
    ["omar", "moto", "fcm", "android", "motorola", "pt-BR", "America/Sao_Paulo"],
    ["bo", "reno", OPPO_MISTAKE, "android", "OPPO", "zh-CN", "Asia/Shanghai"],
];

impl Phone {
    /// The vendor whose simulator shows it.
    pub fn vendor(&self) -> &'static str {
        if self.certificate == OPPO_MISTAKE { "oppo" } else { self.certificate }
    }

    /// A token as its vendor would write one.
    pub fn token(&self) -> String {
        let name = format!("{}/{}", self.user, self.device_id);
        let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        let hex = hex::encode(digest.as_ref());
        match self.vendor() {
            "fcm" => format!("{}:APA91b{hex}", &hex[..22]),
            "oppo" => format!("OPPO_CN_{}", &hex[..32]),
            _ => hex,
        }
    }
}

/// Certificates and phones, registered.
pub struct Cast {
    certificates: BTreeMap<&'static str, Value>,
    /// What OPPO really wants, for the rotation.
    pub oppo_right: Value,
}

/// Every phone of the story.
pub fn phones() -> impl Iterator<Item = Phone> {
    ROWS.iter().map(|[user, device_id, certificate, platform, brand, locale, time_zone]| Phone {
        user,
        device_id,
        certificate,
        platform,
        brand,
        locale,
        time_zone,
    })
}

/// One phone of the story.
pub fn phone(user: &str, device_id: &str) -> Option<Phone> {
    phones().find(|phone| phone.user == user && phone.device_id == device_id)
}

/// A path below the app.
pub fn below(more: &[&str]) -> String {
    let app = APP.to_string();
    let mut segments = vec!["v1", "apps", &app];
    segments.extend(more);
    path(&segments)
}

impl Cast {
    /// Creates the app, uploads the certificates and registers the phones, all over HTTP. On data
    /// that was kept, certificates are rotated and phones registered again.
    ///
    /// # Errors
    /// When the relay refuses something.
    pub async fn register(stage: &Stage) -> anyhow::Result<Self> {
        stage.relay.put(&below(&[]), &json!({ "name": "demo" })).await?;
        let offered = stage.phones.get("/credentials").await?;
        let usual = |vendor: &str| offered[vendor][0].clone();
        let mut uploads = vec![];
        for vendor in ["apns", "fcm", "huawei", "xiaomi", "oppo"] {
            uploads.push((vendor, usual(vendor)));
        }
        let mistake = offered["oppo"].as_array().into_iter().flatten();
        let mistake = mistake.clone().find(|one| one["name"] == "app_secret_by_mistake");
        let mistake = mistake.context("the OPPO simulator offers no credential with the mistake")?;
        uploads.push((OPPO_MISTAKE, mistake.clone()));
        let known = stage.relay.get(&below(&["certificates"])).await?;
        let mut certificates = BTreeMap::new();
        for (name, mut body) in uploads {
            body["name"] = json!(name);
            let certificate = upload(stage, &known, name, body).await?;
            certificates.insert(name, certificate["cert_id"].clone());
        }
        let cast = Cast { certificates, oppo_right: usual("oppo")["credential"].clone() };
        for phone in phones() {
            cast.enrol(stage, &phone).await?;
        }
        Ok(cast)
    }

    /// The certificate ID of a name.
    pub fn cert_id(&self, name: &str) -> String {
        self.certificates.get(name).map(Value::to_string).unwrap_or_default()
    }

    async fn enrol(&self, stage: &Stage, phone: &Phone) -> anyhow::Result<()> {
        let body = json!({
            "cert_id": self.certificates.get(phone.certificate),
            "token": phone.token(), "platform": phone.platform, "brand": phone.brand,
            "locale": phone.locale, "time_zone": phone.time_zone,
        });
        let path = below(&["users", phone.user, "devices", phone.device_id]);
        stage.relay.put(&path, &body).await?;
        // The app went to the background, as it does before a phone is put away.
        let state = json!({ "state": "background" });
        stage.relay.post(&format!("{path}/state"), &state).await?;
        Ok(())
    }

    /// The certificates as the relay lists them.
    ///
    /// # Errors
    /// When the relay refuses.
    pub async fn certificates(&self, stage: &Stage) -> anyhow::Result<Vec<Value>> {
        let listed = stage.relay.get(&below(&["certificates"])).await?;
        Ok(listed["certificates"].as_array().cloned().unwrap_or_default())
    }

    /// The devices as the relay lists them, user by user.
    ///
    /// # Errors
    /// When the relay refuses.
    pub async fn devices(&self, stage: &Stage) -> anyhow::Result<Vec<Value>> {
        let mut devices = Vec::new();
        let mut users: Vec<_> = phones().map(|phone| phone.user).collect();
        users.dedup();
        for user in users {
            let listed = stage.relay.get(&below(&["users", user, "devices"])).await?;
            devices.extend(listed["devices"].as_array().cloned().unwrap_or_default());
        }
        Ok(devices)
    }
}

/// Uploads a certificate, or rotates the one that has its name.
async fn upload(stage: &Stage, known: &Value, name: &str, body: Value) -> anyhow::Result<Value> {
    let known = known["certificates"].as_array().into_iter().flatten();
    let same = known.clone().find(|certificate| certificate["name"] == name);
    Ok(match same {
        Some(same) => {
            let cert_id = same["cert_id"].to_string();
            let change = json!({ "credential": body["credential"], "options": body["options"] });
            stage.relay.put(&below(&["certificates", &cert_id]), &change).await?
        }
        None => stage.relay.post(&below(&["certificates"]), &body).await?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_cast_is_a_dozen_phones_of_five_vendors_with_tokens_of_their_own() {
        assert_eq!(phones().count(), 12);
        let vendors: BTreeSet<_> = phones().map(|phone| phone.vendor()).collect();
        assert_eq!(vendors.len(), 5);
        let tokens: BTreeSet<_> = phones().map(|phone| phone.token()).collect();
        assert_eq!(tokens.len(), 12);
    }
}
