//! Registers the people of a measurement: through the store while no relay runs, which is fast, or
//! through the API of a relay whose store is out of reach.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use serde_json::json;

use crate::bench::traffic::{APP, People, Phone};
use crate::cli::client::{Client, path};
use crate::clock::Clock;
use crate::config::sections::Engine;
use crate::model::device::Platform;
use crate::model::id::{AppId, CertId, DeviceId, Token, UserId};
use crate::registry::{Registration, Registry};
use crate::store::{Store, StoreMemory, redb, sled};

/// Registrations at a time through the store: its group commit takes them together.
const TOGETHER: usize = 4_096;

/// Registrations at a time through the API.
const TOGETHER_HTTP: usize = 64;

/// The device name of everybody's only phone.
const DEVICE: &str = "phone";

/// Registers everybody in the store in this folder; `false` when the engine keeps nothing.
///
/// # Errors
/// The store's.
pub async fn through_store(
    engine: Engine,
    folder: &Path,
    memory: StoreMemory,
    people: People,
    progress: &ProgressBar,
) -> anyhow::Result<bool> {
    let store: Arc<dyn Store> = match engine {
        Engine::Memory => return Ok(false),
        Engine::Sled => Arc::new(sled::open(folder, memory)?),
        Engine::Redb => Arc::new(redb::open(folder, memory)?),
    };
    let registry = Registry::new(store.clone());
    let now = Clock::system().now();
    let mut registered = stream::iter(0..people.phones())
        .map(|number| {
            let (phone, registry) = (people.phone(number), registry.clone());
            async move {
                let user = UserId::from(phone.user.as_str());
                registry.register(AppId(APP), &user, &registration(&phone), now).await
            }
        })
        .buffer_unordered(TOGETHER);
    while let Some(device) = registered.next().await {
        device.context("register a device")?;
        progress.inc(1);
    }
    drop(registered);
    store.close().await;
    Ok(true)
}

fn registration(phone: &Phone) -> Registration {
    let platform = if phone.platform == "ios" { Platform::Ios } else { Platform::Android };
    Registration {
        device_id: DeviceId::from(DEVICE),
        cert_id: CertId(phone.cert_id),
        token: Token(phone.token.as_str().into()),
        platform,
        brand: None,
        locale: None,
        time_zone: None,
        app_version: None,
        sound: None,
    }
}

/// Registers everybody through the API.
///
/// # Errors
/// The API's.
pub async fn through_api(
    client: &Client,
    people: People,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let app = APP.to_string();
    let mut registered = stream::iter(0..people.phones())
        .map(|number| {
            let phone = people.phone(number);
            let path = path(&["v1", "apps", &app, "users", &phone.user, "devices", DEVICE]);
            let body = json!({ "cert_id": phone.cert_id, "token": phone.token,
                               "platform": phone.platform });
            async move { client.put(&path, &body).await }
        })
        .buffer_unordered(TOGETHER_HTTP);
    while let Some(device) = registered.next().await {
        device.context("register a device")?;
        progress.inc(1);
    }
    Ok(())
}
