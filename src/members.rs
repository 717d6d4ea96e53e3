//! Who is in which group: kept because a chat server's group webhook names no receivers.
//!
//! One row per member and one row that counts them and hands out message numbers, all in the
//! group's own partition. A change is conditional on the count row, so that concurrent joins of
//! one group never miscount and never pass the limit.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::id::{AppId, GroupId, Partition, UserId};
use crate::store::keys::{Class, KeyBuilder, KeyReader, just_after};
use crate::store::{Batch, Expect, Key, Scope, Store, StoreError};

/// Most members of one group; Tencent's Public groups end at 6,000.
pub const MEMBERS_MAX: usize = 10_000;

/// Members changed by one commit.
const CHANGED_TOGETHER: usize = 256;

/// How many times a change is tried again when another writer came in between.
const TRIES_MAX: usize = 64;

/// Why a member list was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// It would have more than [`MEMBERS_MAX`] members.
    #[error("a group has at most {MEMBERS_MAX} members here")]
    TooMany,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of a group besides its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Members.
    count: u32,
    /// The last message number handed out.
    seq: u32,
}

/// The member lists of all groups.
#[derive(Clone)]
pub struct Members {
    store: Arc<dyn Store>,
}

/// The partition in which everything of one group lives.
pub fn partition_of(app: AppId, group: &GroupId) -> Partition {
    Partition::of(&[b"group", &app.0.to_be_bytes(), group.as_str().as_bytes()])
}

fn of_group(app: AppId, group: &GroupId) -> KeyBuilder {
    KeyBuilder::new(Class::Member).u64(app.0).text(group.as_str())
}

/// User ids are never empty, so no member has this key.
fn head_key(app: AppId, group: &GroupId) -> Key {
    of_group(app, group).text("").finish()
}

fn member_key(app: AppId, group: &GroupId, user: &UserId) -> Key {
    of_group(app, group).text(user.as_str()).finish()
}

fn read_member(key: &Key) -> Option<UserId> {
    let mut reader = KeyReader::new(Class::Member, key)?;
    reader.u64()?;
    reader.text()?;
    reader.text().map(UserId::from)
}

impl Members {
    /// Member lists kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Members { store }
    }

    /// Adds members; who is one already stays one. Answers how many are new.
    ///
    /// # Errors
    /// The store's, or too many: then some of them may have been added.
    pub async fn join(
        &self,
        app: AppId,
        group: &GroupId,
        users: &[UserId],
    ) -> Result<usize, MembersError> {
        self.change(app, group, users, true).await
    }

    /// Removes members. Answers how many there were among them.
    ///
    /// # Errors
    /// The store's.
    pub async fn leave(
        &self,
        app: AppId,
        group: &GroupId,
        users: &[UserId],
    ) -> Result<usize, MembersError> {
        self.change(app, group, users, false).await
    }

    async fn change(
        &self,
        app: AppId,
        group: &GroupId,
        users: &[UserId],
        join: bool,
    ) -> Result<usize, MembersError> {
        let mut changed = 0;
        for users in users.chunks(CHANGED_TOGETHER) {
            changed += self.change_some(app, group, users, join).await?;
        }
        Ok(changed)
    }

    async fn change_some(
        &self,
        app: AppId,
        group: &GroupId,
        users: &[UserId],
        join: bool,
    ) -> Result<usize, MembersError> {
        let partition = partition_of(app, group);
        let mut keys: Vec<(Partition, Key)> =
            users.iter().map(|user| (partition, member_key(app, group, user))).collect();
        keys.sort();
        keys.dedup();
        for _ in 0..TRIES_MAX {
            let (mut head, expected) = self.head(app, group).await?;
            let rows = self.store.get_many(&keys).await?;
            let differing: Vec<Key> = rows
                .iter()
                .zip(&keys)
                .filter(|(row, _)| row.is_some() != join)
                .map(|(_, (_, key))| key.clone())
                .collect();
            let changed = differing.len();
            if changed == 0 {
                return Ok(0);
            }
            let count = head.count as usize;
            let count = if join { count + changed } else { count.saturating_sub(changed) };
            if join && count > MEMBERS_MAX {
                return Err(MembersError::TooMany);
            }
            head.count = u32::try_from(count).unwrap_or(u32::MAX);
            let mut batch = head_batch(app, group, expected, head);
            if join {
                batch.put.extend(differing.into_iter().map(|key| (key, Bytes::new())));
            } else {
                batch.delete = differing;
            }
            match self.store.commit(partition, batch).await {
                Ok(()) => return Ok(changed),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Forgets a group and its members.
    ///
    /// # Errors
    /// The store's.
    pub async fn dismiss(&self, app: AppId, group: &GroupId) -> Result<(), StoreError> {
        let partition = partition_of(app, group);
        loop {
            let range = of_group(app, group).prefix();
            let rows = self.store.scan(Scope::Only(partition), range, CHANGED_TOGETHER).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let delete = rows.into_iter().map(|(key, _)| key).collect();
            self.store.commit(partition, Batch { delete, ..Batch::default() }).await?;
        }
    }

    /// How many members a group has; zero when it is not known.
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self, app: AppId, group: &GroupId) -> Result<usize, StoreError> {
        Ok(self.head(app, group).await?.0.count as usize)
    }

    /// One page of members, by id, behind `after`; `limit` is at least 1.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(
        &self,
        app: AppId,
        group: &GroupId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let mut range = of_group(app, group).prefix();
        range.start = match after {
            Some(after) => just_after(&member_key(app, group, after)),
            None => just_after(&head_key(app, group)),
        };
        let scope = Scope::Only(partition_of(app, group));
        let rows = self.store.scan(scope, range, limit).await?;
        rows.into_iter()
            .map(|(key, _)| read_member(&key).ok_or(StoreError::Corrupt { key }))
            .collect()
    }

    /// The next message number of a group: it grows with every call, and begins at 1.
    ///
    /// # Errors
    /// The store's.
    pub async fn next_seq(&self, app: AppId, group: &GroupId) -> Result<u32, StoreError> {
        for _ in 0..TRIES_MAX {
            let (mut head, expected) = self.head(app, group).await?;
            head.seq = head.seq.saturating_add(1);
            let batch = head_batch(app, group, expected, head);
            match self.store.commit(partition_of(app, group), batch).await {
                Ok(()) => return Ok(head.seq),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    async fn head(&self, app: AppId, group: &GroupId) -> Result<(Head, Expect), StoreError> {
        let key = head_key(app, group);
        match self.store.get(partition_of(app, group), &key).await? {
            None => Ok((Head::default(), Expect::Absent)),
            Some(row) => {
                let head = postcard::from_bytes(&row).map_err(|_| StoreError::Corrupt { key })?;
                Ok((head, Expect::Equals(row)))
            }
        }
    }
}

fn head_batch(app: AppId, group: &GroupId, expected: Expect, head: Head) -> Batch {
    let key = head_key(app, group);
    let row = postcard::to_allocvec(&head).expect("two numbers are plain data");
    Batch {
        expect: vec![(key.clone(), expected)],
        put: vec![(key, Bytes::from(row))],
        ..Batch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    const APP: AppId = AppId(1);

    fn members() -> Members {
        Members::new(Arc::new(MemoryStore::new()))
    }

    fn users(names: std::ops::Range<usize>) -> Vec<UserId> {
        names.map(|name| UserId::from(format!("u{name:05}").as_str())).collect()
    }

    #[tokio::test]
    async fn members_join_once_leave_once_and_are_paged_in_order() {
        let (members, group) = (members(), GroupId::from("g"));
        assert_eq!(members.join(APP, &group, &users(0..600)).await.expect("joined"), 600);
        assert_eq!(members.join(APP, &group, &users(599..601)).await.expect("joined"), 1);
        assert_eq!(members.leave(APP, &group, &users(0..2)).await.expect("left"), 2);
        assert_eq!(members.leave(APP, &group, &users(0..2)).await.expect("left"), 0);
        assert_eq!(members.count(APP, &group).await.expect("read"), 599);
        let first = members.page(APP, &group, None, 500).await.expect("read");
        let rest = members.page(APP, &group, first.last(), 500).await.expect("read");
        let all: Vec<_> = first.into_iter().chain(rest).collect();
        assert_eq!(all, users(2..601));
    }

    #[tokio::test]
    async fn groups_and_apps_do_not_mix_and_a_dismissed_group_is_gone() {
        let members = members();
        let (group, longer) = (GroupId::from("g"), GroupId::from("g2"));
        members.join(APP, &group, &users(0..300)).await.expect("joined");
        members.join(APP, &longer, &users(0..1)).await.expect("joined");
        assert_eq!(members.count(AppId(2), &group).await.expect("read"), 0);
        members.dismiss(APP, &group).await.expect("dismissed");
        assert_eq!(members.count(APP, &group).await.expect("read"), 0);
        assert!(members.page(APP, &group, None, 10).await.expect("read").is_empty());
        assert_eq!(members.count(APP, &longer).await.expect("read"), 1);
    }

    #[tokio::test]
    async fn a_group_ends_at_its_limit() {
        let (members, group) = (members(), GroupId::from("g"));
        members.join(APP, &group, &users(0..MEMBERS_MAX)).await.expect("joined");
        let one_more = members.join(APP, &group, &users(MEMBERS_MAX..MEMBERS_MAX + 1)).await;
        assert!(matches!(one_more, Err(MembersError::TooMany)));
        assert_eq!(members.count(APP, &group).await.expect("read"), MEMBERS_MAX);
    }

    #[tokio::test]
    async fn message_numbers_begin_at_one_and_grow() {
        let (members, group) = (members(), GroupId::from("g"));
        for expected in 1..4 {
            assert_eq!(members.next_seq(APP, &group).await.expect("a number"), expected);
        }
        assert_eq!(members.count(APP, &group).await.expect("read"), 0);
    }
}
