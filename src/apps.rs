//! The tenants and their settings, sealed at rest because some are secrets.
//!
//! Few, read on every request: all of them are in memory, and a change is written before it shows.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::model::app::{App, AppSettings};
use crate::model::id::{AppId, Partition};
use crate::model::time::UnixMs;
use crate::seal::Seal;
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Key, Scope, Store, StoreError};

/// Most tenants of one relay.
pub const APPS_MAX: usize = 10_000;

/// Why a tenant could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// The relay serves [`APPS_MAX`] apps already.
    #[error("there are {APPS_MAX} apps already")]
    TooMany,
    /// The operator's key does not open what is stored.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All tenants.
pub struct Apps {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    known: ArcSwap<HashMap<AppId, Arc<App>>>,
    writing: Mutex<()>,
}

impl Apps {
    /// Reads every tenant.
    ///
    /// # Errors
    /// The store's, or a wrong key.
    pub async fn open(store: Arc<dyn Store>, seal: Arc<Seal>) -> Result<Self, AppsError> {
        let range = KeyBuilder::new(Class::App).prefix();
        let mut known = HashMap::new();
        for (key, row) in store.scan(Scope::Everywhere, range, APPS_MAX).await? {
            let plain = seal.open(&context(&key), &row)?;
            let app: App = serde_json::from_slice(&plain)
                .map_err(|_| StoreError::Corrupt { key: key.clone() })?;
            known.insert(app.app, Arc::new(app));
        }
        Ok(Apps { store, seal, known: ArcSwap::from_pointee(known), writing: Mutex::new(()) })
    }

    /// One tenant.
    pub fn get(&self, app: AppId) -> Option<Arc<App>> {
        self.known.load().get(&app).cloned()
    }

    /// Every tenant, by number.
    pub fn all(&self) -> Vec<Arc<App>> {
        let mut apps: Vec<_> = self.known.load().values().cloned().collect();
        apps.sort_by_key(|app| app.app);
        apps
    }

    /// Creates or changes a tenant; answers it and whether it is new.
    ///
    /// # Errors
    /// The store's, or too many.
    pub async fn put(
        &self,
        app: AppId,
        settings: AppSettings,
        now: UnixMs,
    ) -> Result<(Arc<App>, bool), AppsError> {
        let _writing = self.writing.lock().await;
        let old = self.get(app);
        if old.is_none() && self.known.load().len() >= APPS_MAX {
            return Err(AppsError::TooMany);
        }
        let created_at = old.as_ref().map_or(now, |old| old.created_at);
        let new = App { app, settings, created_at };
        let key = KeyBuilder::new(Class::App).u64(app.0).finish();
        let plain = serde_json::to_vec(&new).expect("an app has only text keys");
        let row = Bytes::from(self.seal.seal(&context(&key), &plain)?);
        let batch = Batch { put: vec![(key, row)], ..Batch::default() };
        self.store.commit(Partition::of(&[b"app", &app.0.to_be_bytes()]), batch).await?;
        let new = Arc::new(new);
        let mut known = HashMap::clone(&self.known.load());
        known.insert(app, new.clone());
        self.known.store(Arc::new(known));
        Ok((new, old.is_none()))
    }
}

fn context(key: &Key) -> String {
    format!("app {}", hex::encode(key))
}
