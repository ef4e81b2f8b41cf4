//! A bounded cache in two generations: what was not asked for during a whole generation is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

/// Values by key. The hash of a key is computed by the caller, from borrowed parts, and equality is always checked against the whole key.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    hasher: RandomState,
    /// The most entries of one generation.
    limit: usize,
    shelves: RwLock<Shelves<K, V>>,
}

#[derive(Debug)]
struct Shelves<K, V> {
    young: HashMap<u64, Arc<(K, V)>>,
    old: HashMap<u64, Arc<(K, V)>>,
}

impl<K, V> Cache<K, V> {
    /// Creates a cache that holds at most twice `limit` entries.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            limit,
            shelves: RwLock::new(Shelves {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    pub(crate) fn hash(&self, parts: impl Hash) -> u64 {
        self.hasher.hash_one(parts)
    }

    /// Returns the entry whose key is `same`.
    pub(crate) fn find(&self, hash: u64, same: impl Fn(&K) -> bool) -> Option<Arc<(K, V)>> {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = shelves.young.get(&hash) {
            return same(&entry.0).then(|| Arc::clone(entry));
        }
        let entry = shelves
            .old
            .get(&hash)
            .filter(|entry| same(&entry.0))
            .map(Arc::clone)?;
        drop(shelves);
        self.put(hash, Arc::clone(&entry));
        Some(entry)
    }

    /// Keeps an entry. One with the same hash gives way.
    pub(crate) fn put(&self, hash: u64, entry: Arc<(K, V)>) {
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if shelves.young.len() >= self.limit && !shelves.young.contains_key(&hash) {
            shelves.old = std::mem::take(&mut shelves.young);
        }
        shelves.young.insert(hash, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let cache: Cache<u32, u32> = Cache::new(2);
        let put = |key: u32| cache.put(cache.hash(key), Arc::new((key, key * 10)));
        let get = |key: u32| {
            cache
                .find(cache.hash(key), |known| *known == key)
                .map(|entry| entry.1)
        };
        put(1);
        for key in 2..100 {
            put(key);
            assert_eq!(get(1), Some(10), "asked for every time");
        }
        assert_eq!(get(2), None, "never asked for");
        let shelves = cache.shelves.read().expect("a lock");
        assert!(shelves.young.len() + shelves.old.len() <= 4);
    }

    #[test]
    fn a_collision_is_a_miss_never_a_wrong_answer() {
        let cache: Cache<u32, u32> = Cache::new(2);
        cache.put(7, Arc::new((1, 10)));
        assert!(cache.find(7, |known| *known == 2).is_none());
        assert!(cache.find(7, |known| *known == 1).is_some());
    }
}
