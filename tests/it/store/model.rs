//! Random steps on every engine and on memory: nobody can tell them apart.

use bytes::Bytes;
use offpush::store::{Batch, Expect, Key, Row, StoreError, encode_counter};
use proptest::prelude::*;

use crate::store::{Backend, Fixture, ON_DISK, place, prefix, seen};

/// One step of the model test.
#[derive(Clone, Debug)]
enum Step {
    Commit(Batch),
    CommitAll(Vec<Batch>),
    /// Parcels that are not there come, the others go: no row of theirs is ever written over.
    ComeAndGo(Vec<u8>),
    Scan(u8, u8, usize),
    Reopen,
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        3 => (0..12_u8).prop_map(|number| Key::from(&[b'r', number][..])),
        // Seen marks, of which an engine may know without looking that they are not there.
        1 => (0..3_u32, 0..3_u128).prop_map(|(bucket, digest)| seen(bucket, digest)),
    ]
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (0..4_u8).prop_map(|number| Bytes::copy_from_slice(&[number])),
        (-2..3_i64).prop_map(encode_counter),
        Just(Bytes::new()),
    ]
}

fn any_expect() -> impl Strategy<Value = Expect> {
    prop_oneof![Just(Expect::Absent), any_value().prop_map(Expect::Equals)]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let expect = prop::collection::vec((any_key(), any_expect()), 0..2);
    let put = prop::collection::vec((any_key(), any_value()), 0..4);
    let delete = prop::collection::vec(any_key(), 0..3);
    let add = prop::collection::vec((any_key(), -3..4_i64), 0..2);
    (expect, put, delete, add).prop_map(|(expect, put, delete, add)| Batch {
        expect,
        put,
        delete,
        add,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_batch().prop_map(Step::Commit),
        4 => prop::collection::vec(any_batch(), 0..30).prop_map(Step::CommitAll),
        6 => prop::collection::vec(0..6_u8, 1..4).prop_map(Step::ComeAndGo),
        3 => (0..13_u8, 0..13_u8, 0..6_usize)
            .prop_map(|(from, to, limit)| Step::Scan(from, to, limit)),
        1 => Just(Step::Reopen),
    ]
}

/// What a caller can tell apart in an answer.
fn outcome(answer: &Result<(), StoreError>) -> &'static str {
    match answer {
        Ok(()) => "ok",
        Err(StoreError::Conflict) => "conflict",
        Err(StoreError::Corrupt { .. }) => "corrupt",
        Err(_) => "other",
    }
}

async fn run_step(fixture: &mut Fixture, step: Step) -> (Vec<&'static str>, Vec<Row>) {
    let mut outcomes = Vec::new();
    let mut rows = Vec::new();
    match step {
        Step::Commit(batch) => outcomes.push(outcome(&fixture.commit(batch).await)),
        Step::CommitAll(batches) => {
            let batches = batches.into_iter().map(|batch| (place(), batch)).collect();
            outcomes.extend(fixture.store.commit_all(batches).await.iter().map(outcome));
        }
        Step::ComeAndGo(numbers) => {
            for number in numbers {
                let key = Key::from(&[b'Q', number][..]);
                let batch = match fixture.store.get(place(), &key).await.expect("a store") {
                    Some(_) => Batch { delete: vec![key], ..Batch::default() },
                    None => {
                        Batch { put: vec![(key, Bytes::from_static(b"1"))], ..Batch::default() }
                    }
                };
                outcomes.push(outcome(&fixture.commit(batch).await));
            }
            rows = fixture.scan(prefix("Q"), usize::MAX).await;
        }
        Step::Scan(from, to, limit) => {
            let bound = |number| Key::from(&[b'r', number][..]);
            rows = fixture.scan(bound(from)..bound(to), limit).await;
        }
        Step::Reopen => fixture.reopen().await,
    }
    (outcomes, rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_does_what_memory_does(steps in prop::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut model = Fixture::new(Backend::Memory);
            let mut engines = ON_DISK.map(Fixture::new);
            for step in steps {
                let expected = run_step(&mut model, step.clone()).await;
                for engine in &mut engines {
                    let found = run_step(engine, step.clone()).await;
                    prop_assert_eq!(&found, &expected, "{:?}", engine.backend);
                }
            }
            for class in ["r", "Q", "S"] {
                let expected = model.scan(prefix(class), usize::MAX).await;
                for engine in &mut engines {
                    engine.reopen().await;
                    prop_assert_eq!(&engine.scan(prefix(class), usize::MAX).await, &expected);
                }
            }
            Ok(())
        })?;
    }
}
