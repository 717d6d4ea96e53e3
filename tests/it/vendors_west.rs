//! The adapters of APNs and FCM against golden files, real signatures and another implementation.

mod credentials;
mod golden;
mod oracle;
mod sending;

use std::sync::Arc;

use offpush::model::certificate::{Environment, Options};
use offpush::model::message::Priority;
use offpush::model::push_info::OfflinePushInfo;
use offpush::model::time::UnixMs;
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::{Credential, CredentialError, Upload};
use offpush::vendor::{AccessToken, Kind, Notification, SendingCertificate, Vendor, named};
use secrecy::SecretString;
use serde_json::{Value, json};

/// 2026-11-22T12:00:00Z.
pub const NOW: UnixMs = UnixMs(1_795_348_800_000);
pub const P8: &str = include_str!("../fixtures/apns_key.p8");

pub fn vendor(name: &str) -> &'static dyn Vendor {
    named(name).expect("a vendor of that name")
}

pub fn p8() -> Value {
    json!({"type": "p8", "key": P8, "key_id": "KEY1234567", "team_id": "TEAM123456",
        "bundle_id": "com.example.chat"})
}

pub fn service_account() -> Value {
    let file = include_str!("../fixtures/fcm_service_account.json");
    json!({"type": "service_account", "json": serde_json::from_str::<Value>(file).expect("JSON")})
}

pub fn read(
    vendor: &dyn Vendor,
    credential: &Value,
    environment: Environment,
    now: UnixMs,
) -> Result<Credential, CredentialError> {
    let endpoints = Endpoints::defaults(vendor.profile());
    vendor.read_credential(&Upload { credential, environment, endpoints: &endpoints, now })
}

pub fn certificate(vendor: &dyn Vendor, environment: Environment) -> SendingCertificate {
    let credential = match vendor.profile().name {
        "apns" => p8(),
        _ => service_account(),
    };
    let read = read(vendor, &credential, environment, NOW).expect("a good credential");
    SendingCertificate {
        cert_id: 7,
        environment,
        options: Arc::new(Options::default()),
        material: read.material,
        endpoints: Arc::new(Endpoints::defaults(vendor.profile())),
    }
}

pub fn access() -> AccessToken {
    AccessToken {
        value: Arc::new(SecretString::from("access-token")),
        issued_at: NOW,
        renew_at: NOW,
        expires_at: NOW,
        header: Arc::default(),
    }
}

pub fn notification() -> Notification {
    Notification {
        kind: Kind::Alert,
        title: "Mina".into(),
        body: "See you".into(),
        subtitle: None,
        ext: None,
        image: None,
        sound: None,
        message_id: "01K9PUSHRELAYMESSAGE000001".into(),
        conversation: "c2c:mina".into(),
        notify_id: 4711,
        replaces: None,
        expires_at: UnixMs(NOW.0 + 3_600_000),
        priority: Priority::Normal,
        info: Arc::new(OfflinePushInfo::default()),
    }
}
