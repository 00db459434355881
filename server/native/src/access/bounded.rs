//! A map with a bound.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets what was used least lately. It keeps two generations: what is used goes to the young one.
/// When that has half of the bound, it becomes the old one, and what the old one had is forgotten. So at least
/// the half of the bound that was used last is kept.
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, V, foldhash::fast::RandomState>,
    old: HashMap<K, V, foldhash::fast::RandomState>,
    half: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    /// An empty map for `bound` entries, at least two.
    pub(crate) fn new(bound: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: bound / 2 }
    }

    /// The value of a key, which counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Sets the value of a key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes_beyond_the_bound() {
        let mut map = Bounded::new(8);
        for number in 0..1000 {
            map.insert(number, number);
            assert_eq!(map.get(&0), Some(&mut 0), "{number}");
            assert!(map.len() <= 8, "{number}");
        }
        // 0 and the last three are young.
        let kept: Vec<_> = (1..1000).filter(|number| map.get(number).is_some()).collect();
        assert!(kept.len() >= 3 && kept.ends_with(&[997, 998, 999]), "{kept:?}");
    }

    #[test]
    fn a_key_has_its_last_value_and_none_once_it_is_removed() {
        let mut map = Bounded::new(4);
        map.insert("a", 1);
        map.insert("b", 2);
        map.insert("c", 3);
        map.insert("a", 4);
        assert_eq!((map.get(&"a").copied(), map.len()), (Some(4), 3));
        map.remove(&"a");
        assert_eq!(["a", "b"].map(|key| map.get(&key).copied()), [None, Some(2)]);
    }
}
