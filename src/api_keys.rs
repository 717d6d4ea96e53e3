//! API keys: random, shown once, stored hashed, scoped.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::model::id::{AppId, Partition};
use crate::model::time::{UnixMs, rfc3339};
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Key, Scope, Store, StoreError};

/// Most keys of one relay.
pub const KEYS_MAX: usize = 100_000;

/// What a key of this relay begins with, so that a leaked one is recognised.
const PREFIX: &str = "opk_";

type Hash = [u8; 32];

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Everything.
    Admin,
    /// One app.
    App(AppId),
}

/// What is known of a key; never the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id: safe to show.
    pub id: String,
    /// Its app.
    pub app: AppId,
    /// The operator's name for it.
    pub name: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created_at: UnixMs,
}

/// All keys, by hash.
pub struct ApiKeys {
    store: Arc<dyn Store>,
    admin: Option<Hash>,
    known: ArcSwap<HashMap<Hash, Arc<KeyInfo>>>,
    writing: Mutex<()>,
}

impl ApiKeys {
    /// Reads every key. `admin` is the operator's own, from file or environment.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Arc<dyn Store>, admin: Option<&str>) -> Result<Self, StoreError> {
        let range = KeyBuilder::new(Class::ApiKey).prefix();
        let mut known = HashMap::new();
        for (key, row) in store.scan(Scope::Everywhere, range, KEYS_MAX).await? {
            let damaged = || StoreError::Corrupt { key: key.clone() };
            let hash: Hash = key[1..].try_into().map_err(|_| damaged())?;
            let info: KeyInfo = serde_json::from_slice(&row).map_err(|_| damaged())?;
            known.insert(hash, Arc::new(info));
        }
        let known = ArcSwap::from_pointee(known);
        Ok(ApiKeys { store, admin: admin.map(hash_of), known, writing: Mutex::new(()) })
    }

    /// Whose key this is; `None` when it is nobody's.
    pub fn scope_of(&self, key: &str) -> Option<Caller> {
        let hash = hash_of(key);
        if let Some(admin) = &self.admin
            && bool::from(admin.ct_eq(&hash))
        {
            return Some(Caller::Admin);
        }
        // Looking up by hash tells nothing about the key: its bytes are not compared.
        self.known.load().get(&hash).map(|info| Caller::App(info.app))
    }

    /// Makes a key for an app. The text is answered once and never kept.
    ///
    /// # Errors
    /// The store's; `Full` when there are [`KEYS_MAX`] keys.
    pub async fn create(
        &self,
        app: AppId,
        name: &str,
        now: UnixMs,
    ) -> Result<(String, Arc<KeyInfo>), StoreError> {
        let _writing = self.writing.lock().await;
        if self.known.load().len() >= KEYS_MAX {
            return Err(StoreError::Full);
        }
        let text = random_key();
        let hash = hash_of(&text);
        let info =
            KeyInfo { id: hex::encode(&hash[..8]), app, name: name.to_owned(), created_at: now };
        let row = serde_json::to_vec(&info).expect("a key's info is plain text");
        let batch = Batch { put: vec![(row_key(&hash), Bytes::from(row))], ..Batch::default() };
        self.store.commit(Partition::of_app(app), batch).await?;
        let info = Arc::new(info);
        let mut known = HashMap::clone(&self.known.load());
        known.insert(hash, info.clone());
        self.known.store(Arc::new(known));
        Ok((text, info))
    }

    /// The keys of one app, oldest first.
    pub fn list(&self, app: AppId) -> Vec<Arc<KeyInfo>> {
        let mut keys: Vec<_> =
            self.known.load().values().filter(|info| info.app == app).cloned().collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    /// Deletes a key; answers whether there was one.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, app: AppId, id: &str) -> Result<bool, StoreError> {
        let _writing = self.writing.lock().await;
        let known = self.known.load();
        let found = known.iter().find(|(_, info)| info.app == app && info.id == id);
        let Some((hash, _)) = found else { return Ok(false) };
        let batch = Batch { delete: vec![row_key(hash)], ..Batch::default() };
        self.store.commit(Partition::of_app(app), batch).await?;
        let mut left = HashMap::clone(&known);
        left.remove(hash);
        self.known.store(Arc::new(left));
        Ok(true)
    }
}

/// A new key: 256 random bits.
pub fn random_key() -> String {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn hash_of(key: &str) -> Hash {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let mut hash = [0u8; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn row_key(hash: &Hash) -> Key {
    KeyBuilder::new(Class::ApiKey).bytes(hash).finish()
}
