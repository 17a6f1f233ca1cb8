//! A cache bounded in bytes, kept true by the one thread that changes the store.
//!
//! Two generations: what was used since the last turn is young, the rest is old and goes at the next turn.
//! That is as cheap as a map and forgets about what was used least lately.
//!
//! The changing thread *puts*: also the news that something is gone. Readers that missed *fill* what they
//! found in the index, but only where nothing was put meanwhile: an older value must not come back.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use super::trouble::lock;

/// What a look into the cache finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<V> {
    /// The value.
    Hit(V),
    /// It is known that there is none.
    Gone,
    /// Not known; the ticket goes with the fill.
    Miss(u64),
}

struct Slot<V> {
    value: Option<V>,
    weight: usize,
}

struct Generations<K, V> {
    young: HashMap<K, Slot<V>>,
    old: HashMap<K, Slot<V>>,
    young_bytes: usize,
    /// How often something may have been forgotten.
    turns: u64,
}

/// See the module's description. Values are cheap to clone.
pub(crate) struct Cache<K, V> {
    inner: Mutex<Generations<K, V>>,
    half: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache of at most about `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Cache { inner: Mutex::new(Generations { young, old, young_bytes: 0, turns: 0 }), half: bytes / 2 }
    }

    /// What is known of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Found<V>
    where
        K: Borrow<Q>,
    {
        let mut inner = lock(&self.inner);
        if let Some(slot) = inner.young.get(key) {
            return slot.value.clone().map_or(Found::Gone, Found::Hit);
        }
        match inner.old.remove_entry(key) {
            Some((key, slot)) => {
                let found = slot.value.clone().map_or(Found::Gone, Found::Hit);
                self.keep(&mut inner, key, slot);
                found
            }
            None => Found::Miss(inner.turns),
        }
    }

    /// Notes what a reader found elsewhere after a miss.
    pub fn fill(&self, key: K, value: V, weight: usize, ticket: u64) {
        let mut inner = lock(&self.inner);
        let known = inner.young.contains_key(&key) || inner.old.contains_key(&key);
        if !known && inner.turns == ticket && weight <= self.half / 4 {
            self.keep(&mut inner, key, Slot { value: Some(value), weight });
        }
    }

    /// Notes a new value, or that there is none.
    pub fn put(&self, key: K, value: Option<V>, weight: usize) {
        let mut inner = lock(&self.inner);
        inner.old.remove(&key);
        if weight <= self.half / 4 {
            self.keep(&mut inner, key, Slot { value, weight });
        } else {
            if let Some(slot) = inner.young.remove(&key) {
                inner.young_bytes -= slot.weight;
            }
            inner.turns += 1;
        }
    }

    /// Changes a value that is here; if it is not, readers on their way must not bring the former one.
    pub fn change(&self, key: &K, change: impl FnOnce(&V) -> V) {
        let mut inner = lock(&self.inner);
        let Generations { young, old, turns, .. } = &mut *inner;
        match young.get_mut(key).or_else(|| old.get_mut(key)) {
            Some(slot) => slot.value = slot.value.as_ref().map(change),
            None => *turns += 1,
        }
    }

    fn keep(&self, inner: &mut Generations<K, V>, key: K, slot: Slot<V>) {
        inner.young_bytes += slot.weight;
        if let Some(before) = inner.young.insert(key, slot) {
            inner.young_bytes -= before.weight;
        }
        if inner.young_bytes > self.half {
            inner.old = std::mem::take(&mut inner.young);
            inner.young_bytes = 0;
            inner.turns += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_does_not_bring_an_old_value_back() {
        let cache = Cache::new(1000);
        let Found::Miss(ticket) = cache.get(&1) else { panic!() };
        cache.put(1, Some("new"), 10);
        cache.fill(1, "old", 10, ticket);
        assert_eq!(cache.get(&1), Found::Hit("new"));
        cache.put(1, None, 10);
        cache.fill(1, "old", 10, ticket);
        assert_eq!(cache.get(&1), Found::Gone);
        // Put and forgotten again while the reader was under way.
        let Found::Miss(ticket) = cache.get(&2) else { panic!() };
        cache.put(2, Some("new"), 10);
        (100..300).for_each(|key| cache.put(key, Some("x"), 10));
        cache.fill(2, "old", 10, ticket);
        assert!(matches!(cache.get(&2), Found::Miss(_)));
        // Changed while it was not here.
        let Found::Miss(ticket) = cache.get(&3) else { panic!() };
        cache.change(&3, |v| v);
        cache.fill(3, "old", 10, ticket);
        assert!(matches!(cache.get(&3), Found::Miss(_)));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_is_used() {
        let cache = Cache::new(1000);
        for key in 0..10_000 {
            cache.put(key, Some(key), 10);
            assert_eq!(cache.get(&0), Found::Hit(0));
        }
        let inner = lock(&cache.inner);
        assert!(inner.young.len() + inner.old.len() <= 101);
    }

    #[test]
    fn what_is_too_large_is_not_kept_nor_its_former_value() {
        let cache = Cache::new(1000);
        cache.put(1, Some("small"), 10);
        cache.put(1, Some("large"), 500);
        assert!(matches!(cache.get(&1), Found::Miss(_)));
    }
}
