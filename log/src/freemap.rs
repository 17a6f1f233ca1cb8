//! The free room of the extent files: which range to give out next. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Free ranges by place and by length. All lengths and offsets are in bytes.
#[derive(Default, Debug)]
pub(crate) struct FreeMap {
    /// (file, offset) → length. Neighbours are merged.
    by_place: BTreeMap<(u32, u32), u32>,
    /// (length, file, offset): the smallest range that suffices is the first at or after a length.
    by_length: BTreeSet<(u32, u32, u32)>,
}

impl FreeMap {
    /// Takes `len` bytes from the smallest range that has them, so that large ranges stay large; of
    /// ranges of one length the first.
    pub fn take(&mut self, len: u32) -> Option<(u32, u32)> {
        let &(room, file, offset) = self.by_length.range((len, 0, 0)..).next()?;
        self.remove(file, offset, room);
        if room > len {
            self.insert(file, offset + len, room - len);
        }
        Some((file, offset))
    }

    /// Takes exactly this range. `false`, and nothing changed, when part of it is not free.
    pub fn take_at(&mut self, file: u32, offset: u32, len: u32) -> bool {
        let Some((&(f, start), &room)) = self.by_place.range(..=(file, offset)).next_back() else {
            return false;
        };
        if f != file || u64::from(start) + u64::from(room) < u64::from(offset) + u64::from(len) {
            return false;
        }
        self.remove(file, start, room);
        if offset > start {
            self.insert(file, start, offset - start);
        }
        let behind = start + room - (offset + len);
        if behind > 0 {
            self.insert(file, offset + len, behind);
        }
        true
    }

    /// Gives a range back. `false`, and nothing changed, when part of it is free already or beyond 4 GiB.
    pub fn give(&mut self, file: u32, mut offset: u32, mut len: u32) -> bool {
        let before = self.by_place.range(..=(file, offset)).next_back().map(|(&p, &l)| (p, l));
        let after = self.by_place.range((file, offset)..).next().map(|(&p, &l)| (p, l));
        let before = before.filter(|((f, _), _)| *f == file);
        let after = after.filter(|((f, _), _)| *f == file);
        if offset.checked_add(len).is_none()
            || before.is_some_and(|((_, o), l)| o + l > offset)
            || after.is_some_and(|((_, o), _)| offset + len > o)
        {
            return false;
        }
        if let Some(((_, o), l)) = before
            && o + l == offset
        {
            self.remove(file, o, l);
            (offset, len) = (o, l + len);
        }
        if let Some(((_, o), l)) = after
            && offset + len == o
        {
            self.remove(file, o, l);
            len += l;
        }
        self.insert(file, offset, len);
        true
    }

    /// All free bytes.
    #[cfg(test)]
    pub fn total(&self) -> u64 {
        self.by_place.values().map(|l| u64::from(*l)).sum()
    }

    fn insert(&mut self, file: u32, offset: u32, len: u32) {
        self.by_place.insert((file, offset), len);
        self.by_length.insert((len, file, offset));
    }

    fn remove(&mut self, file: u32, offset: u32, len: u32) {
        self.by_place.remove(&(file, offset));
        self.by_length.remove(&(len, file, offset));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_range_that_suffices_is_taken() {
        let mut map = FreeMap::default();
        assert!(map.give(1, 0, 100) && map.give(1, 200, 10) && map.give(2, 0, 20));
        assert_eq!(map.take(15), Some((2, 0)));
        assert_eq!(map.take(10), Some((1, 200)));
        assert_eq!(map.take(100), Some((1, 0)));
        assert_eq!(map.take(6), None);
        assert_eq!(map.total(), 5);
    }

    #[test]
    fn what_is_free_cannot_be_given_back_again() {
        let mut map = FreeMap::default();
        assert!(map.give(1, 100, 100));
        for (offset, len) in [(100, 100), (150, 10), (50, 51), (199, 1), (0, 1000)] {
            assert!(!map.give(1, offset, len), "{offset} {len}");
        }
        assert!(map.give(1, 200, 1) && map.give(1, 99, 1));
        assert_eq!(map.by_place.len(), 1);
    }

    proptest! {
        #[test]
        fn no_byte_is_given_out_twice(steps in proptest::collection::vec((0u8..3, 1u32..40, 0u32..100), 1..200)) {
            let mut map = FreeMap::default();
            let mut taken = [false; 256]; // two files of 128
            prop_assert!(map.give(0, 0, 128) && map.give(1, 0, 128));
            let mut held: Vec<(u32, u32, u32)> = Vec::new();
            for (what, len, at) in steps {
                match what {
                    0 => if let Some((f, o)) = map.take(len) { held.push((f, o, len)) },
                    1 => if !held.is_empty() {
                        let (f, o, l) = held.remove(at as usize % held.len());
                        prop_assert!(map.give(f, o, l));
                        for b in o..o + l { taken[(f * 128 + b) as usize] = false }
                        continue;
                    },
                    _ => {
                        let free = (at..at + len).all(|b| b < 128 && !taken[b as usize]);
                        prop_assert_eq!(map.take_at(0, at, len), free);
                        if free { held.push((0, at, len)) }
                    }
                }
                if what != 1 && let Some(&(f, o, l)) = held.last() {
                    let new = (o..o + l).all(|b| !taken[(f * 128 + b) as usize]);
                    let known = (o..o + l).all(|b| taken[(f * 128 + b) as usize]);
                    prop_assert!(new || known);
                    for b in o..o + l { taken[(f * 128 + b) as usize] = true }
                }
                let used = taken.iter().filter(|t| **t).count() as u64;
                prop_assert_eq!(map.total() + used, 256);
            }
        }
    }
}
