//! Memory that bodies take: one budget for the node, taken as bytes arrive and given back when nobody
//! needs the body any more.
//!
//! Whoever sends a body has proved nothing yet, so the budget must not be a lever itself. Each holder, an
//! address or a registered certificate, has at most a quarter. Bodies up to [`SMALL_BYTES`] have a
//! reserve of their own, so that large ones never keep out what nearly every request is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use crate::asker::Asker;

/// Largest body that the reserve is for.
pub(super) const SMALL_BYTES: usize = 64 * 1024;
/// The reserve's part of the budget.
const RESERVE_PART: usize = 8;
/// One holder's part of the budget, and of the reserve.
const HOLDER_PART: usize = 4;

/// The node's budget.
pub(super) struct Budget {
    small: Pot,
    large: Pot,
    holders: Mutex<HashMap<Asker, Weak<Account>>>,
}

/// What one holder has of the budget.
pub(super) struct Account {
    holder: Asker,
    budget: Arc<Budget>,
    small: AtomicUsize,
    large: AtomicUsize,
}

/// Bytes, of so many.
struct Pot {
    bytes_max: usize,
    taken: AtomicUsize,
}

/// Adds if the sum stays within `max`.
fn take(counter: &AtomicUsize, bytes: usize, max: usize) -> bool {
    let before = counter.fetch_add(bytes, Ordering::Relaxed);
    let fits = before.checked_add(bytes).is_some_and(|sum| sum <= max);
    if !fits {
        counter.fetch_sub(bytes, Ordering::Relaxed);
    }
    fits
}

impl Pot {
    const fn of(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes from the pot and notes it with the holder; `whole` is what a holder's part is a part of.
    fn take(&self, held: &AtomicUsize, bytes: usize, whole: usize) -> bool {
        if !take(held, bytes, whole / HOLDER_PART) {
            return false;
        }
        let fits = take(&self.taken, bytes, self.bytes_max);
        if !fits {
            held.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, held: &AtomicUsize, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let reserve = bytes_max / RESERVE_PART;
        Arc::new(Self {
            small: Pot::of(reserve),
            large: Pot::of(bytes_max - reserve),
            holders: Mutex::default(),
        })
    }

    const fn bytes_max(&self) -> usize {
        self.small.bytes_max + self.large.bytes_max
    }

    /// The account of a holder: the one there is, or a new one.
    pub(super) fn account(self: &Arc<Self>, holder: Asker) -> Arc<Account> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = holders.get(&holder).and_then(Weak::upgrade) {
            return account;
        }
        let account = Arc::new(Account {
            holder,
            budget: Arc::clone(self),
            small: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
        });
        holders.insert(holder, Arc::downgrade(&account));
        account
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut holders = self.budget.holders.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have been opened for the same holder meanwhile.
        if holders
            .get(&self.holder)
            .is_some_and(|known| known.strong_count() == 0)
        {
            holders.remove(&self.holder);
        }
    }
}

/// The budget, or this holder's part of it, is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

/// Bytes taken from the budget; given back when dropped. It goes wherever the body goes.
#[derive(Default)]
pub struct Held(Option<Taken>);

struct Taken {
    account: Arc<Account>,
    small: usize,
    large: usize,
}

impl Held {
    /// Nothing yet.
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    /// Takes `bytes` more, for a body that has `total` bytes with them. `large` says whose account a
    /// body that is not small is on; it is asked once.
    pub(super) fn grow(
        &mut self,
        address: &Arc<Account>,
        bytes: usize,
        total: usize,
        large: impl FnOnce() -> Arc<Account>,
    ) -> Result<(), Full> {
        let taken = self.0.get_or_insert_with(|| Taken {
            account: Arc::clone(address),
            small: 0,
            large: 0,
        });
        if taken.large == 0 && total <= SMALL_BYTES && taken.take_small(bytes) {
            return Ok(());
        }
        taken.take_large(bytes, large)
    }

    /// Takes what a head needs while its body is awaited.
    pub(super) fn grow_for_head(&mut self, address: &Arc<Account>, bytes: usize) -> Result<(), Full> {
        self.grow(address, bytes, bytes, || Arc::clone(address))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0.as_ref().map_or(0, |taken| taken.small + taken.large);
        write!(f, "Held({bytes})")
    }
}

impl Taken {
    fn take_small(&mut self, bytes: usize) -> bool {
        let budget = &self.account.budget;
        let fits = budget
            .small
            .take(&self.account.small, bytes, budget.small.bytes_max);
        if fits {
            self.small += bytes;
        }
        fits
    }

    /// Everything taken so far moves too: the reserve is for what stays small.
    fn take_large(&mut self, bytes: usize, account: impl FnOnce() -> Arc<Account>) -> Result<(), Full> {
        let whole = self.account.budget.bytes_max();
        if self.large > 0 {
            let pot = &self.account.budget.large;
            if !pot.take(&self.account.large, bytes, whole) {
                return Err(Full);
            }
            self.large += bytes;
            return Ok(());
        }
        let account = account();
        let all = self.small + bytes;
        if !account.budget.large.take(&account.large, all, whole) {
            return Err(Full);
        }
        self.account
            .budget
            .small
            .give_back(&self.account.small, self.small);
        // Part by part: to replace it whole would drop it, and give back twice.
        self.small = 0;
        self.large = all;
        self.account = account;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Account {
            budget, small, large, ..
        } = &*self.account;
        budget.small.give_back(small, self.small);
        budget.large.give_back(large, self.large);
    }
}

/// A request's body, with the memory it takes.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Bytes,
    held: Held,
}

impl Body {
    pub(super) const fn new(bytes: Bytes, held: Held) -> Self {
        Self { bytes, held }
    }

    /// A body that was not received, and is on nobody's account.
    #[must_use]
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::new(bytes.into(), Held::nothing())
    }

    /// The bytes, and what has to live as long as they do.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Held) {
        (self.bytes.into(), self.held)
    }
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::Source;

    const MIB: usize = 1024 * 1024;

    fn address(number: u8) -> Asker {
        Asker::Address(Source::of([192, 0, 2, number].into()))
    }

    /// A body of so many bytes in one piece.
    fn body(account: &Arc<Account>, bytes: usize) -> Result<Held, Full> {
        let mut held = Held::nothing();
        held.grow(account, bytes, bytes, || Arc::clone(account))?;
        Ok(held)
    }

    fn taken(budget: &Budget) -> (usize, usize) {
        let of = |pot: &Pot| pot.taken.load(Ordering::Relaxed);
        (of(&budget.small), of(&budget.large))
    }

    #[test]
    fn one_address_holds_a_quarter_and_not_a_byte_more() {
        let budget = Budget::new(8 * MIB);
        let stranger = budget.account(address(1));
        let first = body(&stranger, MIB).unwrap();
        let _second = body(&stranger, MIB).unwrap();
        assert_eq!(body(&stranger, SMALL_BYTES + 1).unwrap_err(), Full);
        assert!(body(&budget.account(address(2)), 2 * MIB).is_ok());
        drop(first);
        assert!(body(&stranger, MIB).is_ok());
    }

    #[test]
    fn many_addresses_fill_the_budget_and_small_bodies_still_pass() {
        let budget = Budget::new(8 * MIB);
        let held: Vec<Held> = (0..20)
            .filter_map(|number| body(&budget.account(address(number)), MIB).ok())
            .collect();
        assert_eq!(held.len(), 7, "seven eighths, the rest is the reserve");
        let late = budget.account(address(99));
        assert_eq!(body(&late, SMALL_BYTES + 1).unwrap_err(), Full);
        assert!(body(&late, SMALL_BYTES).is_ok());
        drop(held);
        assert_eq!(taken(&budget), (0, 0));
    }

    #[test]
    fn small_bodies_of_one_address_leave_the_reserve_to_others() {
        let budget = Budget::new(8 * MIB);
        let stranger = budget.account(address(1));
        // A quarter of the reserve, then a quarter of the budget.
        let held: Vec<Held> = std::iter::from_fn(|| body(&stranger, SMALL_BYTES).ok()).collect();
        assert_eq!(held.len() * SMALL_BYTES, MIB / 4 + 2 * MIB);
        assert!(body(&budget.account(address(2)), SMALL_BYTES).is_ok());
    }

    #[test]
    fn a_body_that_grows_leaves_the_reserve() {
        let budget = Budget::new(8 * MIB);
        let account = budget.account(address(1));
        let mut held = Held::nothing();
        held.grow(&account, SMALL_BYTES, SMALL_BYTES, || unreachable!())
            .unwrap();
        assert_eq!(taken(&budget), (SMALL_BYTES, 0));
        let registered = budget.account(Asker::Certificate(model::Digest([1; 32])));
        held.grow(&account, 1, SMALL_BYTES + 1, || Arc::clone(&registered))
            .unwrap();
        assert_eq!(taken(&budget), (0, SMALL_BYTES + 1));
        assert_eq!(account.large.load(Ordering::Relaxed), 0);
        drop(held);
        assert_eq!(taken(&budget), (0, 0));
    }

    #[test]
    fn accounts_are_forgotten_with_their_last_connection() {
        let budget = Budget::new(MIB);
        let first = budget.account(address(1));
        assert!(Arc::ptr_eq(&first, &budget.account(address(1))));
        let held = body(&first, 10).unwrap();
        drop(first);
        assert_eq!(budget.holders.lock().unwrap().len(), 1, "a body is still held");
        drop(held);
        assert!(budget.holders.lock().unwrap().is_empty());
    }
}
