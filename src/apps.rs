//! The tenants and their settings, sealed at rest because some are secrets.
//!
//! Few, read on every request: all of them are in memory, and a change is written before it shows.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use foldhash::HashMap;
use tokio::sync::Mutex;

use crate::model::app::{App, AppSettings};
use crate::model::id::{AppId, Partition};
use crate::model::time::UnixMs;
use crate::seal::Seal;
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Expect, Key, Scope, Store, StoreError};

/// Most tenants of one relay.
pub const APPS_MAX: usize = 10_000;

/// How many times a change is made again because somebody else made one meanwhile.
const TRIES_MAX: usize = 16;

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
        let mut known = HashMap::default();
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

    /// Creates or changes a tenant; answers it and whether it is new. `change` makes the new
    /// settings of those in force; it is asked again when somebody else changed them meanwhile, so
    /// that of two changes at a time none is lost.
    ///
    /// # Errors
    /// What `change` refuses, the store's, or too many.
    pub async fn change<E: From<AppsError>>(
        &self,
        app: AppId,
        now: UnixMs,
        change: impl Fn(AppSettings) -> Result<AppSettings, E>,
    ) -> Result<(Arc<App>, bool), E> {
        let _writing = self.writing.lock().await;
        let key = KeyBuilder::new(Class::App).u64(app.0).finish();
        for _ in 0..TRIES_MAX {
            let (old, expected) = self.stored(app, &key).await?;
            if old.is_none() && self.known.load().len() >= APPS_MAX {
                return Err(AppsError::TooMany.into());
            }
            let is_new = old.is_none();
            let created_at = old.as_ref().map_or(now, |old| old.created_at);
            let settings = change(old.map(|old| old.settings).unwrap_or_default())?;
            let new = App { app, settings, created_at };
            match self.write(&key, &new, expected).await {
                Ok(()) => {
                    let new = Arc::new(new);
                    let mut known = HashMap::clone(&self.known.load());
                    known.insert(app, new.clone());
                    self.known.store(Arc::new(known));
                    return Ok((new, is_new));
                }
                Err(AppsError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AppsError::Store(StoreError::Conflict).into())
    }

    /// A tenant as it is stored now, and the condition that it still is.
    async fn stored(&self, app: AppId, key: &Key) -> Result<(Option<App>, Expect), AppsError> {
        let Some(row) = self.store.get(Partition::of_app(app), key).await? else {
            return Ok((None, Expect::Absent));
        };
        let plain = self.seal.open(&context(key), &row)?;
        let app =
            serde_json::from_slice(&plain).map_err(|_| StoreError::Corrupt { key: key.clone() })?;
        Ok((Some(app), Expect::Equals(row)))
    }

    async fn write(&self, key: &Key, new: &App, expected: Expect) -> Result<(), AppsError> {
        let plain = serde_json::to_vec(new).expect("an app has only text keys");
        let row = Bytes::from(self.seal.seal(&context(key), &plain)?);
        let batch = Batch {
            expect: vec![(key.clone(), expected)],
            put: vec![(key.clone(), row)],
            ..Batch::default()
        };
        Ok(self.store.commit(Partition::of_app(new.app), batch).await?)
    }
}

fn context(key: &Key) -> String {
    format!("app {}", hex::encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    /// Two processes on one store, each with its own memory of the apps.
    #[tokio::test]
    async fn a_change_is_made_of_what_is_stored_not_of_what_is_remembered() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let open =
            async || Apps::open(store.clone(), Arc::new(Seal::new(&[7; 32]))).await.expect("apps");
        let (one, two) = (open().await, open().await);
        let (app, now) = (AppId(1), UnixMs(1));
        let named = |old| Ok::<_, AppsError>(AppSettings { name: "chat".to_owned(), ..old });
        one.change(app, now, named).await.expect("a change");
        let korean =
            |old| Ok::<_, AppsError>(AppSettings { default_locale: "ko".to_owned(), ..old });
        let (changed, is_new) = two.change(app, UnixMs(2), korean).await.expect("a change");
        let settings = &changed.settings;
        assert_eq!((settings.name.as_str(), settings.default_locale.as_str()), ("chat", "ko"));
        assert_eq!((is_new, changed.created_at), (false, now));
    }
}
