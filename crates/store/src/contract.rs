//! What every backend's tests run: the contract of [`KeyValueStore`], rule by rule.
//!
//! A backend gives a [`Fixture`] and asserts that [`check`] is `Ok`. Nothing here panics, so that a broken rule is told
//! by name.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{KeyValueStore, Page, Put, Swap, Ttl, Version};

/// The time that entries of the contract live which a rule sees end: short, for a backend that has to wait for it.
const SHORT: Duration = Duration::from_millis(400);

/// Longer than any run of the contract.
const LONG: Duration = Duration::from_secs(3_600);

/// Tasks that compete for one key.
const RIVALS: u64 = 16;

/// A backend under test.
pub trait Fixture: Send + Sync {
    /// The store, which is empty when [`check`] begins, and has room for a thousand small entries.
    fn store(&self) -> Arc<dyn KeyValueStore>;

    /// Lets that time pass for the store: moves its clock, or waits.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;

    /// How long the entries live which a rule sees end. On true time it is longer than a busy machine takes for a few
    /// operations in a row.
    fn short(&self) -> Duration {
        SHORT
    }
}

/// A rule that a backend breaks.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Violation {
    /// An answer is not what the rule says.
    #[error("{rule}: {found}")]
    Broken {
        /// The rule.
        rule: &'static str,
        /// What the backend answered.
        found: String,
    },
    /// An operation failed.
    #[error("an operation failed")]
    Failed(#[from] StoreError),
    /// A rival task ended without an answer.
    #[error("a rival task ended early")]
    Rival(#[from] tokio::task::JoinError),
}

/// Checks every rule of the contract.
///
/// # Errors
///
/// The first [`Violation`].
///
/// # Cancel safety
///
/// Dropping the future ends the check; entries stay in the store.
pub async fn check(fixture: &dyn Fixture) -> Result<(), Violation> {
    let store = fixture.store();
    values_come_back_as_they_were(&*store).await?;
    collections_and_keys_are_apart(&*store).await?;
    only_the_first_is_put_if_absent(fixture, &*store).await?;
    a_swap_needs_the_current_version(fixture, &*store).await?;
    deletion_tells_what_it_removed(&*store).await?;
    entries_live_as_long_as_told(fixture, &*store).await?;
    impossible_times_are_refused(&*store).await?;
    many_come_in_their_order(&*store).await?;
    keys_are_scanned_in_pages(fixture, &*store).await?;
    one_rival_wins(&store).await?;
    no_increment_is_lost(&store).await
}

/// Tells a broken rule.
fn ensure(holds: bool, rule: &'static str, found: impl std::fmt::Debug) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::Broken {
            rule,
            found: format!("{found:?}"),
        })
    }
}

fn names(collection: &str, key: &str) -> Result<(Collection, Key), StoreError> {
    Ok((Collection::new(collection)?, Key::new(key)?))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn values_come_back_as_they_were(store: &dyn KeyValueStore) -> Result<(), Violation> {
    let (collection, key) = names("values", "key")?;
    let found = store.get(&collection, &key).await?;
    ensure(found.is_none(), "what was never written is absent", found)?;
    let mut versions: Vec<Version> = Vec::new();
    for value in [
        bytes("one"),
        bytes("two"),
        Bytes::new(),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
    ] {
        let version = store.put(&collection, &key, value.clone(), None).await?;
        ensure(
            !versions.contains(&version),
            "every write has a version of its own",
            version,
        )?;
        versions.push(version);
        let found = store.get(&collection, &key).await?;
        ensure(
            found.as_ref() == Some(&value),
            "a value comes back byte for byte",
            found,
        )?;
        let found = store.entry(&collection, &key).await?;
        let as_written = found
            .as_ref()
            .is_some_and(|entry| entry.version == version && entry.ttl.is_none());
        ensure(
            as_written,
            "an entry has the version that its write returned",
            found,
        )?;
    }
    Ok(())
}

async fn collections_and_keys_are_apart(store: &dyn KeyValueStore) -> Result<(), Violation> {
    // Pairs that are one when they are joined by a careless separator, or folded in case or form.
    let pairs = [
        ("apart", "a:b"),
        ("apart", "a"),
        ("apart", "A"),
        ("apart.a", "b"),
        ("apart", "a.b"),
        ("apart", "a/b"),
        ("apart", " a"),
        ("apart", "é"),
        ("apart", "e\u{301}"),
        ("apart", "%61"),
        ("apart", "*"),
        ("apart", "a*"),
    ];
    for (collection, key) in pairs {
        let (collection, key) = names(collection, key)?;
        let value = Bytes::from(format!("{collection}|{key}"));
        store.put(&collection, &key, value, None).await?;
    }
    for (collection, key) in pairs {
        let (collection, key) = names(collection, key)?;
        let found = store.get(&collection, &key).await?;
        let expected = Bytes::from(format!("{collection}|{key}"));
        ensure(
            found == Some(expected),
            "keys that differ are different entries",
            found,
        )?;
    }
    Ok(())
}

async fn only_the_first_is_put_if_absent(
    fixture: &dyn Fixture,
    store: &dyn KeyValueStore,
) -> Result<(), Violation> {
    let (collection, key) = names("absent", "key")?;
    let first = store
        .put_if_absent(&collection, &key, bytes("first"), Some(fixture.short()))
        .await?;
    let Swap::Stored(version) = first else {
        return ensure(false, "an absent entry is put", first);
    };
    let second = store
        .put_if_absent(&collection, &key, bytes("second"), None)
        .await?;
    let shown = matches!(&second, Swap::Conflict { current: Some(entry) }
        if entry.version == version && entry.value == "first" && entry.ttl.is_some());
    ensure(shown, "a present entry is shown and not replaced", &second)?;
    let found = store.get(&collection, &key).await?;
    ensure(
        found == Some(bytes("first")),
        "a lost race changes nothing",
        found,
    )?;
    fixture.pass(fixture.short()).await;
    let third = store
        .put_if_absent(&collection, &key, bytes("third"), None)
        .await?;
    ensure(
        matches!(third, Swap::Stored(_)),
        "an expired entry is absent to put_if_absent",
        third,
    )?;
    store.delete(&collection, &key).await?;
    let fourth = store
        .put_if_absent(&collection, &key, bytes("fourth"), None)
        .await?;
    ensure(
        matches!(fourth, Swap::Stored(_)),
        "a deleted entry is absent to put_if_absent",
        fourth,
    )
}

async fn a_swap_needs_the_current_version(
    fixture: &dyn Fixture,
    store: &dyn KeyValueStore,
) -> Result<(), Violation> {
    let (collection, key) = names("swap", "key")?;
    let put = |text, ttl| Put {
        value: bytes(text),
        ttl,
    };
    let absent = store
        .compare_and_swap(
            &collection,
            &key,
            Version::from_number(1),
            put("never", None),
        )
        .await?;
    ensure(
        absent == Swap::Conflict { current: None },
        "an absent entry is not swapped",
        absent,
    )?;

    let first = store.put(&collection, &key, bytes("one"), None).await?;
    let swapped = store
        .compare_and_swap(&collection, &key, first, put("two", Some(LONG)))
        .await?;
    let Swap::Stored(second) = swapped else {
        return ensure(false, "the current version is swapped", swapped);
    };
    ensure(
        second != first,
        "a swap is a write with a version of its own",
        second,
    )?;
    let stale = store
        .compare_and_swap(&collection, &key, first, put("three", None))
        .await?;
    let shown =
        matches!(&stale, Swap::Conflict { current: Some(entry) } if entry.version == second);
    ensure(
        shown,
        "a stale version is refused and the current entry shown",
        stale,
    )?;
    let ttl = store.ttl(&collection, &key).await?;
    ensure(
        matches!(ttl, Ttl::Remaining(left) if left <= LONG),
        "a swap sets the time to live",
        ttl,
    )?;

    store.delete(&collection, &key).await?;
    store.put(&collection, &key, bytes("two"), None).await?;
    let again = store
        .compare_and_swap(&collection, &key, second, put("three", None))
        .await?;
    ensure(
        matches!(again, Swap::Conflict { .. }),
        "a deletion and the same value again are noticed",
        again,
    )?;

    let short = store
        .put(&collection, &key, bytes("short"), Some(fixture.short()))
        .await?;
    fixture.pass(fixture.short()).await;
    let expired = store
        .compare_and_swap(&collection, &key, short, put("late", None))
        .await?;
    ensure(
        expired == Swap::Conflict { current: None },
        "an expired entry is not swapped",
        expired,
    )
}

async fn deletion_tells_what_it_removed(store: &dyn KeyValueStore) -> Result<(), Violation> {
    let (collection, key) = names("delete", "key")?;
    let found = store.delete(&collection, &key).await?;
    ensure(!found, "an absent entry is not removed", found)?;
    let first = store.put(&collection, &key, bytes("one"), None).await?;
    let second = store.put(&collection, &key, bytes("two"), None).await?;
    let found = store.delete_if(&collection, &key, first).await?;
    ensure(!found, "a stale version is not removed", found)?;
    let found = store.get(&collection, &key).await?;
    ensure(found.is_some(), "a refused removal removes nothing", found)?;
    let found = store.delete_if(&collection, &key, second).await?;
    ensure(found, "the current version is removed", found)?;
    let found = store.get(&collection, &key).await?;
    ensure(found.is_none(), "what was removed is absent", found)?;
    store.put(&collection, &key, bytes("three"), None).await?;
    let found = store.delete(&collection, &key).await?;
    ensure(found, "a present entry is removed", found)
}

async fn entries_live_as_long_as_told(
    fixture: &dyn Fixture,
    store: &dyn KeyValueStore,
) -> Result<(), Violation> {
    let (collection, key) = names("ttl", "key")?;
    let ttl = store.ttl(&collection, &key).await?;
    ensure(
        ttl == Ttl::Absent,
        "an absent entry has no time to live",
        ttl,
    )?;
    store.put(&collection, &key, bytes("stays"), None).await?;
    let ttl = store.ttl(&collection, &key).await?;
    ensure(
        ttl == Ttl::Forever,
        "an entry without a time to live stays",
        ttl,
    )?;

    let version = store
        .put(&collection, &key, bytes("goes"), Some(fixture.short()))
        .await?;
    let ttl = store.ttl(&collection, &key).await?;
    let within = matches!(ttl, Ttl::Remaining(left) if !left.is_zero() && left <= fixture.short());
    ensure(
        within,
        "the time left is at most the time that was given",
        ttl,
    )?;
    fixture.pass(fixture.short()).await;
    let found = store.entry(&collection, &key).await?;
    ensure(found.is_none(), "an expired entry is absent", found)?;
    let many = store
        .get_many(&collection, std::slice::from_ref(&key))
        .await?;
    ensure(
        many == [None],
        "an expired entry is absent among many",
        many,
    )?;
    let ttl = store.ttl(&collection, &key).await?;
    ensure(
        ttl == Ttl::Absent,
        "an expired entry has no time to live",
        ttl,
    )?;
    let removed = store.delete_if(&collection, &key, version).await?
        || store.delete(&collection, &key).await?;
    ensure(
        !removed,
        "an expired entry is not there to be removed",
        removed,
    )?;

    store
        .put(&collection, &key, bytes("short"), Some(fixture.short()))
        .await?;
    store.put(&collection, &key, bytes("stays"), None).await?;
    fixture.pass(fixture.short()).await;
    let found = store.get(&collection, &key).await?;
    ensure(
        found == Some(bytes("stays")),
        "a write inherits no time to live",
        found,
    )
}

async fn impossible_times_are_refused(store: &dyn KeyValueStore) -> Result<(), Violation> {
    let (collection, key) = names("impossible", "key")?;
    let version = store.put(&collection, &key, bytes("kept"), None).await?;
    for ttl in [Duration::ZERO, Duration::from_nanos(999_999)] {
        let put = store
            .put(&collection, &key, bytes("never"), Some(ttl))
            .await;
        ensure(
            matches!(put, Err(StoreError::InvalidTtl { .. })),
            "put refuses an impossible time",
            put,
        )?;
        let put = store
            .put_if_absent(&collection, &Key::new("other")?, bytes("never"), Some(ttl))
            .await;
        ensure(
            matches!(put, Err(StoreError::InvalidTtl { .. })),
            "put_if_absent refuses an impossible time",
            put,
        )?;
        let new = Put {
            value: bytes("never"),
            ttl: Some(ttl),
        };
        let swap = store
            .compare_and_swap(&collection, &key, version, new)
            .await;
        ensure(
            matches!(swap, Err(StoreError::InvalidTtl { .. })),
            "a swap refuses an impossible time",
            swap,
        )?;
    }
    let found = store.get(&collection, &key).await?;
    ensure(
        found == Some(bytes("kept")),
        "a refused write changes nothing",
        found,
    )
}

async fn many_come_in_their_order(store: &dyn KeyValueStore) -> Result<(), Violation> {
    let collection = Collection::new("many")?;
    let (one, two, none) = (Key::new("one")?, Key::new("two")?, Key::new("none")?);
    store.put(&collection, &one, bytes("1"), None).await?;
    store.put(&collection, &two, bytes("2"), None).await?;
    let found = store
        .get_many(&collection, &[two.clone(), none, one, two])
        .await?;
    let expected = [Some(bytes("2")), None, Some(bytes("1")), Some(bytes("2"))];
    ensure(
        found == expected,
        "values come in the order of their keys, also twice",
        found,
    )?;
    let found = store.get_many(&collection, &[]).await?;
    ensure(found.is_empty(), "no keys have no values", found)
}

async fn keys_are_scanned_in_pages(
    fixture: &dyn Fixture,
    store: &dyn KeyValueStore,
) -> Result<(), Violation> {
    let collection = Collection::new("scan")?;
    let limit = NonZeroU16::MIN.saturating_add(1);
    let page = |after| Page { after, limit };
    if !store.capabilities().scan {
        let found = store.scan(&collection, "", page(None)).await;
        return ensure(
            matches!(found, Err(StoreError::Unsupported { .. })),
            "a store that cannot scan says so",
            found,
        );
    }
    for key in ["b/3", "b/1", "a/1", "c", "b/2", "b", "b0", "b/é"] {
        store
            .put(&collection, &Key::new(key)?, bytes("x"), None)
            .await?;
    }
    store
        .put(
            &collection,
            &Key::new("b/gone")?,
            bytes("x"),
            Some(fixture.short()),
        )
        .await?;
    fixture.pass(fixture.short()).await;
    let mut found: Vec<Key> = Vec::new();
    loop {
        let keys = store
            .scan(&collection, "b/", page(found.last().cloned()))
            .await?;
        ensure(
            keys.len() <= 2,
            "a page has no more keys than asked for",
            &keys,
        )?;
        let last = keys.len() < 2;
        found.extend(keys);
        if last || found.len() > 16 {
            break;
        }
    }
    let shown: Vec<&str> = found.iter().map(Key::as_str).collect();
    ensure(
        shown == ["b/1", "b/2", "b/3", "b/é"],
        "a scan shows the keys of a prefix once and in order",
        shown,
    )?;
    let found = store
        .scan(&collection, "b/", page(Some(Key::new("a")?)))
        .await?;
    ensure(
        found.len() == 2,
        "a page may begin before the prefix",
        found,
    )?;
    let found = store.scan(&collection, "b/*", page(None)).await?;
    ensure(found.is_empty(), "a prefix is no pattern", found)?;
    let found = store
        .scan(&Collection::new("scan.none")?, "", page(None))
        .await?;
    ensure(found.is_empty(), "an unknown collection has no keys", found)
}

async fn one_rival_wins(store: &Arc<dyn KeyValueStore>) -> Result<(), Violation> {
    let mut rivals = JoinSet::new();
    for rival in 0..RIVALS {
        let store = Arc::clone(store);
        rivals.spawn(async move {
            let (collection, key) = names("rivals", "prize")?;
            let value = Bytes::copy_from_slice(&rival.to_be_bytes());
            let outcome = store.put_if_absent(&collection, &key, value, None).await?;
            Ok::<_, StoreError>(matches!(outcome, Swap::Stored(_)).then_some(rival))
        });
    }
    let mut winners = Vec::new();
    while let Some(outcome) = rivals.join_next().await {
        winners.extend(outcome??);
    }
    let (collection, key) = names("rivals", "prize")?;
    let kept = store.get(&collection, &key).await?;
    let prize = winners
        .first()
        .map(|winner| Bytes::copy_from_slice(&winner.to_be_bytes()));
    ensure(
        winners.len() == 1 && kept == prize,
        "of many rivals one puts, and its value stays",
        winners,
    )
}

async fn no_increment_is_lost(store: &Arc<dyn KeyValueStore>) -> Result<(), Violation> {
    const EACH: u64 = 8;
    let (collection, key) = names("rivals", "counter")?;
    store
        .put(
            &collection,
            &key,
            Bytes::copy_from_slice(&0_u64.to_be_bytes()),
            None,
        )
        .await?;
    let mut rivals = JoinSet::new();
    for _ in 0..RIVALS {
        let store = Arc::clone(store);
        rivals.spawn(async move {
            for _ in 0..EACH {
                increment(&*store).await?;
            }
            Ok::<_, Violation>(())
        });
    }
    while let Some(outcome) = rivals.join_next().await {
        outcome??;
    }
    let found = count(store.get(&collection, &key).await?.as_ref())?;
    ensure(
        found == RIVALS * EACH,
        "swaps of rivals lose nothing",
        found,
    )
}

/// Adds one, as often tried as rivals come between.
async fn increment(store: &dyn KeyValueStore) -> Result<(), Violation> {
    let (collection, key) = names("rivals", "counter")?;
    loop {
        let Some(entry) = store.entry(&collection, &key).await? else {
            return ensure(false, "a counter that nobody removes stays", "absent");
        };
        let next = count(Some(&entry.value))?.saturating_add(1);
        let new = Put {
            value: Bytes::copy_from_slice(&next.to_be_bytes()),
            ttl: None,
        };
        if let Swap::Stored(_) = store
            .compare_and_swap(&collection, &key, entry.version, new)
            .await?
        {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

fn count(value: Option<&Bytes>) -> Result<u64, Violation> {
    match value.map(|value| <[u8; 8]>::try_from(&**value)) {
        Some(Ok(number)) => Ok(u64::from_be_bytes(number)),
        found => Err(Violation::Broken {
            rule: "a counter is eight bytes",
            found: format!("{found:?}"),
        }),
    }
}
