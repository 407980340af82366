//! Results that the prepare pass leaves for the real call, and that repeated requests share.
//!
//! Only pure functions of their input are remembered, by the SHA-256 of that input; a miss costs
//! time and nothing else. Fresh keys are the exception and are handed out once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crypto::native::RsaKeyPair;
use model::Digest;

/// A bounded map from input digest to result; the oldest result goes first.
pub(crate) struct Memo<V> {
    entries_max: usize,
    entries: Mutex<(BTreeMap<Digest, V>, VecDeque<Digest>)>,
}

impl<V: Clone> Memo<V> {
    pub(crate) const fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            entries: Mutex::new((BTreeMap::new(), VecDeque::new())),
        }
    }

    pub(crate) fn get(&self, key: &Digest) -> Option<V> {
        // A panic elsewhere cannot leave the maps half-changed in a way that matters: at worst
        // an entry is not found.
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.0.get(key).cloned()
    }

    pub(crate) fn put(&self, key: Digest, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.0.insert(key, value).is_some() {
            return;
        }
        entries.1.push_back(key);
        if entries.1.len() > self.entries_max
            && let Some(oldest) = entries.1.pop_front()
        {
            entries.0.remove(&oldest);
        }
    }
}

/// What was read of named rows, one for each name: another row of the name takes the place of what was
/// kept, so that a secret which was replaced does not stay in memory.
pub(crate) struct NamedMemo<V> {
    entries_max: usize,
    entries: Mutex<VecDeque<(String, Digest, V)>>,
}

impl<V: Clone> NamedMemo<V> {
    pub(crate) const fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            entries: Mutex::new(VecDeque::new()),
        }
    }

    /// What was read of the row with this digest.
    pub(crate) fn get(&self, name: &str, row: &Digest) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().find(|(known, ..)| known == name)?;
        (known.1 == *row).then(|| known.2.clone())
    }

    pub(crate) fn put(&self, name: &str, row: Digest, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(known, ..)| known != name);
        if entries.len() >= self.entries_max {
            entries.pop_front();
        }
        entries.push_back((name.to_owned(), row, value));
    }

    pub(crate) fn forget(&self, name: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(known, ..)| known != name);
    }
}

/// Keys kept at a time; each is one prepared request whose real call has not come yet.
const KEYS_MAX: usize = 64;

/// RSA keys made in a prepare pass. Each is given to one real call and forgotten.
pub(crate) struct KeyMemo<K = RsaKeyPair> {
    keys: Mutex<VecDeque<(Digest, K)>>,
}

impl<K> KeyMemo<K> {
    pub(crate) const fn new() -> Self {
        Self {
            keys: Mutex::new(VecDeque::new()),
        }
    }

    /// Takes a key prepared for this request and name.
    pub(crate) fn take(&self, input: &Digest) -> Option<K> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let position = keys.iter().position(|(key, _)| key == input)?;
        keys.remove(position).map(|(_, key)| key)
    }

    pub(crate) fn keep(&self, input: Digest, key: K) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.pop_front();
        }
        keys.push_back((input, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memo_forgets_its_oldest_entry() {
        let memo = Memo::new(2);
        let digest = |n: u8| Digest([n; 32]);
        for n in 0..3 {
            memo.put(digest(n), n);
        }
        assert_eq!([0, 1, 2].map(|n| memo.get(&digest(n))), [None, Some(1), Some(2)]);
    }

    #[test]
    fn a_replaced_named_key_leaves_memory() {
        let memo = NamedMemo::new(2);
        let held = std::sync::Arc::new(());
        let row = |n: u8| Digest([n; 32]);
        memo.put("a", row(1), std::sync::Arc::clone(&held));
        assert!(memo.get("a", &row(1)).is_some() && memo.get("a", &row(2)).is_none());
        memo.put("a", row(2), std::sync::Arc::default());
        assert_eq!(std::sync::Arc::strong_count(&held), 1, "replaced and still there");
        memo.put("b", row(3), std::sync::Arc::clone(&held));
        memo.forget("b");
        assert_eq!(
            std::sync::Arc::strong_count(&held),
            1,
            "forgotten and still there"
        );
        memo.put("c", row(4), std::sync::Arc::clone(&held));
        for name in ["d", "e"] {
            memo.put(name, row(5), std::sync::Arc::default());
        }
        assert_eq!(std::sync::Arc::strong_count(&held), 1, "the oldest goes first");
    }

    #[test]
    fn a_prepared_key_is_handed_out_once() {
        let memo = KeyMemo::new();
        let key = RsaKeyPair::generate(crypto::native::RsaBits::B2048).unwrap();
        memo.keep(Digest::ZERO, key);
        assert!(memo.take(&Digest::ZERO).is_some());
        assert!(memo.take(&Digest::ZERO).is_none());
    }

    #[test]
    fn the_most_prepared_keys_are_kept_and_one_more_takes_the_place_of_the_oldest() {
        let memo = KeyMemo::new();
        let digest = |number: usize| crypto::sha256(&number.to_be_bytes());
        for number in 0..=KEYS_MAX {
            memo.keep(digest(number), number);
        }
        let kept: Vec<usize> = (0..=KEYS_MAX)
            .filter_map(|number| memo.take(&digest(number)))
            .collect();
        assert_eq!(kept, (1..=KEYS_MAX).collect::<Vec<_>>());
    }
}
