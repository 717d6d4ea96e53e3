//! A commit touches one partition: every row is changed where its key says it lies, whoever
//! changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offpush::app::App;
use offpush::app::export::{export, import};
use offpush::app::housekeeping::remove_rows;
use offpush::app::partitions::of_key;
use offpush::clock::Clock;
use offpush::config::sections::Engine;
use offpush::message_names;
use offpush::model::id::Partition;
use offpush::seal::Seal;
use offpush::store::memory::MemoryStore;
use offpush::store::{Batch, Key, Row, Scope, Store, StoreError};
use offpush::trace;
use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Caller, Relay, Sims, text};

/// A store that remembers which partition each row was changed in.
struct Recorder {
    rows: MemoryStore,
    changed: Mutex<BTreeMap<Key, BTreeSet<Partition>>>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Recorder { rows: MemoryStore::new(), changed: Mutex::default() })
    }

    fn note(&self, partition: Partition, batch: &Batch) {
        let mut changed = self.changed.lock().expect("no panic inside");
        // Additions are made wherever their cause is: badges ride with messages (decision 0014).
        let put = batch.put.iter().map(|(key, _)| key);
        for key in put.chain(&batch.delete) {
            changed.entry(key.clone()).or_default().insert(partition);
        }
    }

    /// Holds every change against the keys; answers how many rows there were of each class.
    fn checked(&self) -> BTreeMap<char, usize> {
        let mut classes = BTreeMap::new();
        for (key, partitions) in &*self.changed.lock().expect("no panic inside") {
            if let Some(partition) = of_key(key) {
                assert_eq!(*partitions, BTreeSet::from([partition]), "{key:?}");
                *classes.entry(char::from(key[0])).or_default() += 1;
            }
        }
        classes
    }
}

#[async_trait]
impl Store for Recorder {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(partition, key).await
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.rows.get_many(keys).await
    }

    async fn scan(
        &self,
        scope: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows.scan(scope, range, limit).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError> {
        self.note(partition, &batch);
        self.rows.commit(partition, batch).await
    }

    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>> {
        for (partition, batch) in &batches {
            self.note(*partition, batch);
        }
        self.rows.commit_all(batches).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.rows.check().await
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }

    fn engine(&self) -> &'static str {
        self.rows.engine()
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}

/// Leaves a row of every class that is told by its key.
async fn use_everything(relay: &Relay, sims: &Sims) {
    let cert_id = relay.certificate(sims, "xiaomi").await;
    let gone = relay.certificate(sims, "huawei").await;
    let gone = relay.path(&format!("/certificates/{gone}"));
    assert_eq!(relay.admin.call("DELETE", &gone, &Value::Null).await.status, 204);
    for user in ["joon", "ara"] {
        relay.device(user, "xiaomi", cert_id, 1).await;
        let state = relay.path(&format!("/users/{user}/devices/xiaomi-1/state"));
        relay.admin.post(&state, &json!({ "state": "background", "unread": 3 })).await;
        let option = format!("/users/{user}/conversations/c2c:someone/receive-option");
        relay.admin.put(&relay.path(&option), &json!({ "option": 2 })).await;
    }
    let members = json!({ "members": ["joon", "ara"] });
    relay.admin.post(&relay.path("/groups/g/members"), &members).await;
    relay.admin.post(&relay.path("/keys"), &json!({ "name": "chat" })).await;
    let mut message = text("mina", "joon", 1, "hello");
    message["MsgKey"] = json!("1_1_1760000000");
    let taken = relay.send(&message).await;
    relay.settled(&taken["message_id"]).await;
}

#[tokio::test]
async fn every_row_is_written_and_moved_where_its_key_says() {
    let (sims, store) = (Sims::start().await, Recorder::new());
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    let settings = sims.settings(folder.path(), Engine::Memory);
    let app = App::start_on(settings.clone(), store.clone(), Clock::system()).await;
    let app = app.expect("the relay starts");
    let admin = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
    let relay = Relay { app: Some(app), settings, admin, folder };
    relay.admin.put(&format!("/v1/apps/{APP}"), &json!({ "name": "tests" })).await;
    use_everything(&relay, &sims).await;
    let written = store.checked();
    let told: Vec<char> = written.keys().copied().collect();
    assert_eq!(told, ['A', 'B', 'C', 'F', 'G', 'I', 'N', 'O', 'T', 'U', 'X'], "{written:?}");

    // What is old is forgotten there as well.
    let (from, clock): (Arc<dyn Store>, _) = (store.clone(), Clock::system());
    let later = clock.now().after(Duration::from_secs(2 * 86_400));
    for (range, least) in [(trace::outdated(later), 2), (message_names::outdated(later), 1)] {
        let removed = remove_rows(&from, &clock, range.clone()).await.expect("removed");
        assert!(removed >= least, "{removed} of {range:?}");
        assert!(from.scan(Scope::Everywhere, range, 1).await.expect("read").is_empty());
    }
    store.checked();

    let (seal, mut file) = (Seal::new(&[7; 32]), Vec::new());
    export(&from, &seal, &mut file, |_| {}).await.expect("exported");
    let moved = Recorder::new();
    let to: Arc<dyn Store> = moved.clone();
    import(&to, file.as_slice(), |_| {}).await.expect("imported");
    let written = moved.checked();
    let told: Vec<char> = written.keys().copied().collect();
    assert_eq!(told, ['A', 'B', 'C', 'F', 'G', 'I', 'N', 'O', 'U'], "{written:?}");
}
