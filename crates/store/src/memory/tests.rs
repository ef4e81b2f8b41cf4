//! The contract, the bounds, and a model that does the same more slowly.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use fastmcp_guard::clock::{ManualClock, Timestamp};
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::contract::{self, Fixture};
use crate::store::Ttl;

struct Memory {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

fn memory(limits: MemoryLimits) -> Memory {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_700_000_000,
    )));
    Memory {
        store: Arc::new(MemoryStore::new(limits, clock.clone()).unwrap()),
        clock,
    }
}

impl Fixture for Memory {
    fn store(&self) -> Arc<dyn KeyValueStore> {
        self.store.clone()
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.clock.advance(time);
        Box::pin(std::future::ready(()))
    }
}

fn names(key: &str) -> (Collection, Key) {
    (Collection::new("c").unwrap(), Key::new(key).unwrap())
}

/// The outcome of an operation, which is there at once.
fn now<T>(future: BoxFuture<'_, T>) -> T {
    future.now_or_never().unwrap()
}

fn put(
    store: &MemoryStore,
    key: &str,
    bytes: usize,
    ttl: Option<u64>,
) -> Result<Version, StoreError> {
    let (collection, key) = names(key);
    now(store.put(
        &collection,
        &key,
        vec![b'x'; bytes].into(),
        ttl.map(Duration::from_secs),
    ))
}

fn holds(store: &MemoryStore, key: &str) -> bool {
    let (collection, key) = names(key);
    now(store.get(&collection, &key)).unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract_is_kept() {
    for when_full in [WhenFull::Refuse, WhenFull::EvictOldest] {
        contract::check(&memory(MemoryLimits {
            when_full,
            ..MemoryLimits::default()
        }))
        .await
        .unwrap();
    }
}

#[test]
fn a_full_store_refuses_and_keeps_what_it_has() {
    let Memory { store, clock } = memory(MemoryLimits {
        max_entries: 2,
        ..MemoryLimits::default()
    });
    put(&store, "a", 1, None).unwrap();
    put(&store, "b", 1, Some(60)).unwrap();
    assert!(matches!(
        put(&store, "c", 1, None),
        Err(StoreError::Full { entries: 2, .. })
    ));
    put(&store, "a", 2, None).unwrap();
    assert!(holds(&store, "a") && holds(&store, "b") && !holds(&store, "c"));
    clock.advance(Duration::from_secs(60));
    put(&store, "c", 1, None).unwrap();
    assert!(holds(&store, "a") && !holds(&store, "b") && holds(&store, "c"));
}

#[test]
fn a_full_cache_evicts_what_expired_and_then_the_oldest_write() {
    let limits = MemoryLimits {
        max_entries: 3,
        when_full: WhenFull::EvictOldest,
        ..MemoryLimits::default()
    };
    let Memory { store, clock } = memory(limits);
    put(&store, "old", 1, None).unwrap();
    put(&store, "short", 1, Some(1)).unwrap();
    put(&store, "young", 1, None).unwrap();
    clock.advance(Duration::from_secs(1));
    put(&store, "fourth", 1, None).unwrap();
    assert!(
        holds(&store, "old") && !holds(&store, "short"),
        "what expired goes first"
    );
    put(&store, "old", 1, None).unwrap();
    put(&store, "fifth", 1, None).unwrap();
    assert!(
        holds(&store, "old") && !holds(&store, "young"),
        "a rewritten entry is young again"
    );
}

#[test]
fn bytes_are_bounded_with_names_and_keeping() {
    let limits = MemoryLimits {
        max_bytes: 1024,
        max_value_bytes: 1000,
        ..MemoryLimits::default()
    };
    let store = memory(limits).store;
    assert!(matches!(
        put(&store, "a", 1001, None),
        Err(StoreError::ValueTooLarge {
            bytes: 1001,
            max_bytes: 766
        })
    ));
    assert!(matches!(
        put(&store, "a", 767, None),
        Err(StoreError::ValueTooLarge {
            bytes: 767,
            max_bytes: 766
        })
    ));
    put(&store, "a", 766, None).unwrap();
    assert_eq!(
        store.usage(),
        Usage {
            entries: 1,
            bytes: 1024
        }
    );
    assert!(matches!(
        put(&store, "b", 0, None),
        Err(StoreError::Full { .. })
    ));
    put(&store, "a", 254, None).unwrap();
    put(&store, "b", 254, None).unwrap();
    assert!(matches!(
        put(&store, "a", 255, None),
        Err(StoreError::Full {
            entries: 2,
            bytes: 1024
        })
    ));
    assert!(holds(&store, "a"), "a refused write leaves the old value");
    assert!(
        !format!("{store:?}").contains("xxx"),
        "values are not shown"
    );
}

#[test]
fn the_memory_of_what_expired_comes_back() {
    let Memory { store, clock } = memory(MemoryLimits::default());
    for number in 0..100 {
        put(&store, &format!("k{number}"), 10, Some(5)).unwrap();
    }
    clock.advance(Duration::from_secs(5));
    assert_eq!(store.usage().entries, 100);
    put(&store, "new", 1, None).unwrap();
    assert!(store.usage().entries < 100, "a write takes some of it");
    let left = store.usage().entries;
    assert_eq!(store.remove_expired(), left - 1);
    assert_eq!(store.usage().entries, 1);
}

#[test]
fn a_clock_that_goes_back_wakes_nobody_up() {
    let Memory { store, clock } = memory(MemoryLimits::default());
    let (collection, key) = names("k");
    put(&store, "k", 1, Some(10)).unwrap();
    clock.set(Timestamp::from_unix_seconds(1_600_000_000));
    assert!(holds(&store, "k"));
    clock.set(Timestamp::MAX);
    assert!(!holds(&store, "k"));
    put(&store, "k", 1, Some(10)).unwrap();
    assert_eq!(
        now(store.ttl(&collection, &key)).unwrap(),
        Ttl::Absent,
        "at the end of time nothing stays"
    );
}

#[test]
fn bounds_out_of_range_are_refused_by_name() {
    let good = MemoryLimits::default();
    for (limits, field) in [
        (
            MemoryLimits {
                max_entries: 0,
                ..good
            },
            "max_entries",
        ),
        (
            MemoryLimits {
                max_bytes: 1023,
                ..good
            },
            "max_bytes",
        ),
        (
            MemoryLimits {
                max_value_bytes: 0,
                ..good
            },
            "max_value_bytes",
        ),
        (
            MemoryLimits {
                max_value_bytes: good.max_bytes + 1,
                ..good
            },
            "max_value_bytes",
        ),
    ] {
        let clock = Arc::new(ManualClock::default());
        let message = MemoryStore::new(limits, clock).unwrap_err().to_string();
        assert!(message.starts_with(&format!("`{field}` is ")), "{message}");
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Put {
        key: usize,
        bytes: usize,
        ttl: Option<u64>,
    },
    PutIfAbsent {
        key: usize,
        bytes: usize,
    },
    Swap {
        key: usize,
        stale: bool,
    },
    Delete {
        key: usize,
    },
    Pass {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_usize..6;
    prop_oneof![
        (key.clone(), 0_usize..300, prop::option::of(1_u64..10))
            .prop_map(|(key, bytes, ttl)| Step::Put { key, bytes, ttl }),
        (key.clone(), 0_usize..300).prop_map(|(key, bytes)| Step::PutIfAbsent { key, bytes }),
        (key.clone(), any::<bool>()).prop_map(|(key, stale)| Step::Swap { key, stale }),
        key.prop_map(|key| Step::Delete { key }),
        (0_u64..6).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What a roomy store must hold: value and second of expiry by key.
#[derive(Default)]
struct Model {
    entries: BTreeMap<usize, (usize, Option<u64>)>,
    second: u64,
    /// Whether the store may have evicted what the model still holds.
    may_miss: bool,
}

impl Model {
    fn live(&self, key: usize) -> Option<usize> {
        let (bytes, expires) = self.entries.get(&key)?;
        expires
            .is_none_or(|expires| self.second < expires)
            .then_some(*bytes)
    }
}

/// Does a step to the store and, where it has room for everything, to the model.
fn apply(memory: &Memory, model: &mut Model, step: &Step) {
    let store = &memory.store;
    let name = |key: &usize| names(&format!("key-{key}"));
    match step {
        Step::Put { key, bytes, ttl } => {
            if put(store, &format!("key-{key}"), *bytes, *ttl).is_ok() {
                model
                    .entries
                    .insert(*key, (*bytes, ttl.map(|ttl| model.second + ttl)));
            }
        }
        Step::PutIfAbsent { key, bytes } => {
            let (collection, name) = name(key);
            let outcome =
                now(store.put_if_absent(&collection, &name, vec![0; *bytes].into(), None));
            if let Ok(Swap::Stored(_)) = outcome {
                assert!(model.may_miss || model.live(*key).is_none());
                model.entries.insert(*key, (*bytes, None));
            }
        }
        Step::Swap { key, stale } => {
            let (collection, name) = name(key);
            let version = now(store.entry(&collection, &name))
                .unwrap()
                .map(|entry| entry.version);
            let expected =
                Version::from_number(version.map_or(1, Version::number) + u64::from(*stale));
            let new = Put {
                value: Bytes::new(),
                ttl: None,
            };
            let swapped = now(store.compare_and_swap(&collection, &name, expected, new)).unwrap();
            assert_eq!(
                matches!(swapped, Swap::Stored(_)),
                version.is_some() && !stale
            );
            if let Swap::Stored(_) = swapped {
                model.entries.insert(*key, (0, None));
            }
        }
        Step::Delete { key } => {
            let (collection, name) = name(key);
            let was_there = now(store.delete(&collection, &name)).unwrap();
            assert!(!was_there || model.live(*key).is_some());
            model.entries.remove(key);
        }
        Step::Pass { seconds } => {
            memory.clock.advance(Duration::from_secs(*seconds));
            model.second += seconds;
        }
    }
}

fn live_keys(store: &MemoryStore) -> Vec<String> {
    let page = Page {
        after: None,
        limit: NonZeroU16::MAX,
    };
    let keys = now(store.scan(&names("k").0, "", page)).unwrap();
    keys.iter().map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn any_history_leaves_what_the_model_holds(steps in prop::collection::vec(step(), 0..60)) {
        let (memory, mut model) = (memory(MemoryLimits::default()), Model::default());
        for step in &steps {
            apply(&memory, &mut model, step);
            memory.store.table().assert_consistent();
            let expected: Vec<String> =
                model.entries.keys().filter(|key| model.live(**key).is_some()).map(|key| format!("key-{key}")).collect();
            prop_assert_eq!(live_keys(&memory.store), expected);
        }
    }

    #[test]
    fn no_history_breaks_the_bounds(
        steps in prop::collection::vec(step(), 0..60), evict in any::<bool>(), max_entries in 1_usize..5,
    ) {
        let when_full = if evict { WhenFull::EvictOldest } else { WhenFull::Refuse };
        let memory = memory(MemoryLimits { max_entries, max_bytes: 1200, max_value_bytes: 280, when_full });
        let mut model = Model { may_miss: evict, ..Model::default() };
        for step in &steps {
            apply(&memory, &mut model, step);
            memory.store.table().assert_consistent();
            for key in live_keys(&memory.store) {
                let number: usize = key.trim_start_matches("key-").parse().unwrap();
                let (collection, name) = names(&key);
                let kept = now(memory.store.get(&collection, &name)).unwrap().unwrap();
                prop_assert_eq!(Some(kept.len()), model.live(number), "what is kept is what was last written");
            }
        }
    }
}
