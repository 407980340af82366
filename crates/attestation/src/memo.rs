//! What need not be verified twice: signatures over bytes that were seen before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::Digest;

use crate::chain::VerifiedChain;
use crate::uvm::Endorsement;

/// Remembers verified certificate chains and UVM endorsements by the SHA-256 of their bytes.
///
/// Nothing that depends on the hour, on trust or on the report is remembered: a hit saves the
/// RSA verifications and no decision.
#[derive(Debug, Default)]
pub struct Memo {
    capacity: usize,
    chains: Mutex<BTreeMap<Digest, Arc<VerifiedChain>>>,
    endorsements: Mutex<BTreeMap<Digest, Arc<Endorsement>>>,
}

impl Memo {
    /// A memo of up to `capacity` chains and as many endorsements, about 2 KiB each. With 0 it
    /// remembers nothing. When full it forgets everything, which costs time and nothing else.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            chains: Mutex::new(BTreeMap::new()),
            endorsements: Mutex::new(BTreeMap::new()),
        }
    }

    /// Most chains, and most endorsements, that are remembered.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn chain(&self, key: &Digest) -> Option<Arc<VerifiedChain>> {
        get(&self.chains, key)
    }

    pub(crate) fn keep_chain(&self, key: Digest, chain: Arc<VerifiedChain>) {
        put(&self.chains, self.capacity, key, chain);
    }

    pub(crate) fn endorsement(&self, key: &Digest) -> Option<Arc<Endorsement>> {
        get(&self.endorsements, key)
    }

    pub(crate) fn keep_endorsement(&self, key: Digest, endorsement: Arc<Endorsement>) {
        put(&self.endorsements, self.capacity, key, endorsement);
    }
}

// A map is whole between two operations, so one that a panicking thread held is still good.
fn get<T>(map: &Mutex<BTreeMap<Digest, Arc<T>>>, key: &Digest) -> Option<Arc<T>> {
    map.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(key)
        .cloned()
}

fn put<T>(map: &Mutex<BTreeMap<Digest, Arc<T>>>, capacity: usize, key: Digest, value: Arc<T>) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= capacity {
        map.clear();
    }
    if capacity > 0 {
        map.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_remembered_as_fit_and_one_more_empties_the_memo() {
        let map = Mutex::new(BTreeMap::new());
        let put = |number: u8, capacity| {
            put(&map, capacity, Digest([number; 32]), Arc::new(()));
            map.lock().unwrap().len()
        };
        assert_eq!([1, 2, 3].map(|number| put(number, 3)), [1, 2, 3]);
        assert_eq!(put(4, 3), 1);
        assert_eq!(put(5, 0), 0, "nothing is remembered");
    }
}
