//! What the host's work on behalf of a guest costs, by kind and by bytes, in the units of instructions
//! (decision 79). The figures were estimated from what such work takes, at two units to a nanosecond, and
//! measured afterwards by `cargo xtask bench --host-calls` (`docs/benchmarks.md`): a thousand units take
//! 30 to 350 ns of host calls and 150 ns of plain instructions. Evidence, nonces, certificates and compiling were
//! not measured.
//!
//! A cost never depends on what is remembered between calls: the same call ends at the same place on every
//! machine, whatever its memos hold. Nothing that a guest can ask for is free.

/// What one kind of call costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    each: u64,
    byte: u64,
}

impl Cost {
    const fn new(each: u64, byte: u64) -> Self {
        Self { each, byte }
    }

    /// One call on so many bytes.
    pub(super) const fn of(self, bytes: usize) -> u64 {
        self.each.saturating_add(self.bytes(bytes))
    }

    /// Bytes of a call that is paid for.
    pub(super) const fn bytes(self, bytes: usize) -> u64 {
        self.byte.saturating_mul(bytes as u64)
    }
}

/// Reading a row; bytes of key and value.
pub(super) const GET: Cost = Cost::new(2_000, 2);
/// Beginning a scan; bytes of the prefix.
pub(super) const SCAN: Cost = Cost::new(4_000, 2);
/// Each row of a scan.
pub(super) const ROW: Cost = Cost::new(1_000, 2);
/// Writing a row: it goes into the ledger too, perhaps encrypted.
pub(super) const PUT: Cost = Cost::new(6_000, 8);
/// Removing a row or a named key.
pub(super) const REMOVE: Cost = Cost::new(6_000, 8);
/// An RSA key: primes are found by trying, a third of a second and now and then several times that.
pub(super) const MAKE_RSA: Cost = Cost::new(700_000_000, 2);
/// An elliptic-curve key.
pub(super) const MAKE_EC: Cost = Cost::new(400_000, 2);
/// Reading a named key from its row.
pub(super) const NAMED_KEY: Cost = Cost::new(400_000, 2);
/// Signing with a named key, RSA being the dearer.
pub(super) const SIGN: Cost = Cost::new(6_000_000, 4);
/// Encrypting to a public key; key wrapping passes over the bytes six times.
pub(super) const WRAP: Cost = Cost::new(400_000, 60);
/// Checking a signature, under the dearest key that is read.
pub(super) const VERIFY: Cost = Cost::new(2_000_000, 8);
/// Reading a public key.
pub(super) const READ_KEY: Cost = Cost::new(20_000, 20);
/// Reading a certificate.
pub(super) const READ_CERTIFICATE: Cost = Cost::new(100_000, 40);
/// Reading a key in JSON.
pub(super) const READ_JWK: Cost = Cost::new(40_000, 60);
/// A digest.
pub(super) const DIGEST: Cost = Cost::new(1_000, 6);
/// Random bytes.
pub(super) const RANDOM: Cost = Cost::new(4_000, 20);
/// Evidence: several signatures and certificates, and JSON.
pub(super) const EVIDENCE: Cost = Cost::new(10_000_000, 100);
/// Making or checking a nonce.
pub(super) const NONCE: Cost = Cost::new(10_000, 4);
/// A setting of the node.
pub(super) const SETTING: Cost = Cost::new(200, 0);
/// Compiling a component: one of the largest size fits into a call, two do not.
pub(super) const INSPECT: Cost = Cost::new(100_000_000, 400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::COMPONENT_BYTES_MAX;

    #[test]
    fn a_vote_on_the_largest_component_can_be_paid_for_once() {
        let budget = 2_000_000_000;
        let one = INSPECT.of(COMPONENT_BYTES_MAX);
        assert!(one <= budget && 2 * one > budget, "{one}");
    }

    #[test]
    fn no_number_of_bytes_makes_a_call_cheaper() {
        assert_eq!(WRAP.of(usize::MAX), u64::MAX);
    }
}
