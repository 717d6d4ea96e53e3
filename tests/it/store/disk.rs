//! What only the engines on disk promise: coming back, exclusion, versions, damage.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use offpush::store::directory::{ENGINE_FILE, OpenError, version_key};
use offpush::store::{Batch, Key, Scope, Store, StoreMemory, decode_counter, encode_counter, redb};

use crate::store::{Backend, Fixture, ON_DISK, add, bytes, open, place, put};

#[tokio::test]
async fn a_reopened_store_keeps_everything() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1"), ("b", "2")])).await.expect("a commit");
        fixture.commit(add("n", 4)).await.expect("a commit");
        fixture
            .commit(Batch { delete: vec![bytes("b")], ..Batch::default() })
            .await
            .expect("a commit");
        fixture.reopen().await;
        assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, ["a", "n"].map(bytes));
        fixture.commit(add("n", 1)).await.expect("a commit");
        fixture.reopen().await;
        assert_eq!(fixture.get("n").await, Some(encode_counter(5)));
        assert!(fixture.store.disk_bytes() > 0);
    }
}

#[tokio::test]
async fn what_was_handed_in_before_closing_is_served() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        let commits: Vec<_> = (0..50)
            .map(|_| {
                let store = Arc::clone(&fixture.store);
                tokio::spawn(async move { store.commit(place(), add("n", 1)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        fixture.store.close().await;
        let mut served = 0;
        for commit in commits {
            served += i64::from(commit.await.expect("no panic").is_ok());
        }
        fixture.reopen().await;
        let stored = decode_counter(fixture.get("n").await.as_deref());
        assert_eq!(stored, Some(served));
        assert!(served > 0);
    }
}

#[tokio::test]
async fn a_walk_over_many_dead_rows_gives_way_and_finds_what_lies_behind() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // No checkpoint, which would bury the dead.
    let memory = StoreMemory { cache_bytes: 8 << 20, recent_bytes: 32 << 20 };
    let store = redb::open(dir.path(), memory).expect("an empty directory opens");
    let dead: Vec<Key> = (0..100).map(|number| format!("a{number:03}").as_str().into()).collect();
    let born = dead.iter().map(|key| (key.clone(), bytes("1"))).collect();
    store.commit(place(), Batch { put: born, ..put(&[]) }).await.expect("a commit");
    store.commit(place(), Batch { delete: dead, ..put(&[("b", "2")]) }).await.expect("a commit");
    let first = || Box::pin(store.scan(Scope::Everywhere, bytes("a")..bytes("z"), 1));
    assert!(first().now_or_never().is_none(), "others have their turn");
    let found = first().await.expect("a scan");
    assert_eq!(found, [(bytes("b"), bytes("2"))]);
    let near = store.scan(Scope::Everywhere, bytes("b")..bytes("z"), 1);
    assert!(near.now_or_never().is_some(), "a short way is gone in one go");
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        let second = open(backend, fixture.dir.path());
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{backend:?}");
        fixture.commit(put(&[("b", "2")])).await.expect("the first still works");
        fixture.reopen().await;
        assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, ["a", "b"].map(bytes));
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    for backend in ON_DISK {
        let fixture = Fixture::new(backend);
        let version = Bytes::copy_from_slice(&3_u32.to_be_bytes());
        let mut batch = put(&[("a", "1")]);
        batch.put.push((version_key(), version));
        fixture.commit(batch).await.expect("a commit");
        fixture.store.close().await;
        for _ in 0..2 {
            let refused = open(backend, fixture.dir.path());
            let Err(OpenError::Newer { found, known, .. }) = refused else {
                panic!("{backend:?} opened a newer format");
            };
            assert_eq!((found, known), (3, 2));
        }
    }
}

#[tokio::test]
async fn a_directory_of_another_engine_is_refused() {
    for (first, second) in [(Backend::Sled, Backend::Redb), (Backend::Redb, Backend::Sled)] {
        let mut fixture = Fixture::new(first);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        fixture.store.close().await;
        let refused = open(second, fixture.dir.path());
        assert!(matches!(refused, Err(OpenError::OtherEngine { .. })));
        fixture.reopen().await;
        assert_eq!(fixture.get("a").await, Some(bytes("1")));
    }
}

#[tokio::test]
async fn lost_and_spoiled_files_are_damage() {
    for (backend, file) in [(Backend::Sled, "db"), (Backend::Redb, "offpush.redb")] {
        let fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        fixture.store.close().await;
        let path = fixture.dir.path().join(file);
        for spoiled in [vec![], vec![b'?'; 100_000]] {
            std::fs::write(&path, spoiled).expect("a file");
            let refused = open(backend, fixture.dir.path());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        }
        std::fs::remove_file(&path).expect("a file");
        let refused = open(backend, fixture.dir.path());
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        assert!(fixture.dir.path().join(ENGINE_FILE).exists());
    }
}

#[tokio::test]
async fn a_few_spoiled_bytes_of_a_closed_store_are_damage() {
    for (backend, file) in [(Backend::Sled, "db"), (Backend::Redb, "offpush.redb")] {
        let fixture = Fixture::new(backend);
        let row = |number: u32| (Key::from(&number.to_be_bytes()[..]), bytes("needle"));
        let batch = Batch { put: (0..2000).map(row).collect(), ..Batch::default() };
        fixture.commit(batch).await.expect("a commit");
        fixture.store.close().await;
        let path = fixture.dir.path().join(file);
        let mut content = std::fs::read(&path).expect("a file");
        let found = content.windows(6).rposition(|window| window == b"needle");
        content[found.expect("values are stored as they are")] ^= 1;
        std::fs::write(&path, content).expect("a file");
        for _ in 0..2 {
            let refused = open(backend, fixture.dir.path());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        }
    }
}

/// What an operator reads when the program meets such a store.
#[tokio::test]
async fn serve_names_the_damage_and_leaves_with_an_error() {
    for (backend, engine, file) in
        [(Backend::Sled, "sled", "db"), (Backend::Redb, "redb", "offpush.redb")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("store");
        let store = open(backend, &dir).expect("a new store");
        store.commit(place(), put(&[("a", "1")])).await.expect("a commit");
        store.close().await;
        drop(store);
        std::fs::write(dir.join(file), vec![b'?'; 100_000]).expect("a file");
        std::fs::write(folder.path().join("secret.key"), [7; 32]).expect("its key");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_offpush"))
            .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .arg("--set")
            .arg(format!("store.engine={engine}"))
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{engine}: {said}");
        assert!(said.contains("damaged") && said.contains("restore"), "{engine}: {said}");
        assert!(said.contains(dir.to_str().expect("text")), "{engine} names the place: {said}");
    }
}
