//! Nonces that need no memory: random ‖ expiry ‖ MAC (decision 16).
//!
//! Asking for one writes nothing; that each is used once is the application's table to say.

use crypto::hmac_sha256;
use host_core::time::SKEW_SECONDS_MAX;
use zeroize::Zeroizing;

/// Size of a nonce: 16 random bytes, 8 of expiry (Unix milliseconds, big-endian), 8 of MAC.
pub const NONCE_BYTES: usize = 32;
const BODY_BYTES: usize = 24;
/// Life of a nonce.
pub const NONCE_LIFE_MS: u64 = 5 * 60 * 1000;

/// Makes and checks nonces of one service.
pub struct NonceKey(Zeroizing<[u8; 32]>);

/// Why a nonce is not good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonceError {
    /// Not 32 bytes.
    Malformed,
    /// Not minted by this service.
    Foreign,
    /// Its time is over, or ten minutes and more ahead.
    Expired,
}

impl NonceKey {
    /// The key that belongs to this service secret; the secret is not kept.
    #[must_use]
    pub fn derive(service_secret: &[u8]) -> Self {
        Self(Zeroizing::new(hmac_sha256(service_secret, b"concordat nonce v1")))
    }

    /// A nonce from 16 random bytes, and its expiry in Unix milliseconds. `epoch` is the seqno of the
    /// latest reset of service time, 0 without one: nonces of another epoch are foreign.
    #[must_use]
    pub fn mint(&self, random: [u8; 16], now_ms: u64, epoch: u64) -> ([u8; NONCE_BYTES], u64) {
        let expiry = now_ms.saturating_add(NONCE_LIFE_MS);
        let mut nonce = [0; NONCE_BYTES];
        let (body, mac) = nonce.split_at_mut(BODY_BYTES);
        let (head, tail) = body.split_at_mut(16);
        head.copy_from_slice(&random);
        tail.copy_from_slice(&expiry.to_be_bytes());
        mac.copy_from_slice(&self.mac(body, epoch));
        (nonce, expiry)
    }

    /// Checks form, origin and age; gives the expiry in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`NonceError`] saying which of the three failed.
    pub fn check(&self, nonce: &[u8], now_ms: u64, epoch: u64) -> Result<u64, NonceError> {
        if nonce.len() != NONCE_BYTES {
            return Err(NonceError::Malformed);
        }
        let (body, mac) = nonce.split_at(BODY_BYTES);
        if !constant_time_eq(mac, &self.mac(body, epoch)) {
            return Err(NonceError::Foreign);
        }
        let expiry = body
            .last_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes))
            .ok_or(NonceError::Malformed)?;
        // One from the future was minted by a clock that was ahead, and would live that much longer.
        let latest = now_ms.saturating_add(NONCE_LIFE_MS + SKEW_SECONDS_MAX * 1000);
        if expiry < now_ms || expiry > latest {
            return Err(NonceError::Expired);
        }
        Ok(expiry)
    }

    /// Eight bytes are enough: a forger has five minutes and must ask this node for each guess.
    fn mac(&self, body: &[u8], epoch: u64) -> [u8; 8] {
        let text = [body, &epoch.to_be_bytes()].concat();
        let [a, b, c, d, e, f, g, h, ..] = hmac_sha256(self.0.as_slice(), &text);
        [a, b, c, d, e, f, g, h]
    }
}

fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NonceKey {
        NonceKey::derive(b"a service secret")
    }

    #[test]
    fn a_nonce_lives_five_minutes() {
        let (nonce, expiry) = key().mint([7; 16], 1_000, 0);
        assert_eq!(expiry, 1_000 + NONCE_LIFE_MS);
        assert_eq!(key().check(&nonce, expiry, 0), Ok(expiry));
        assert_eq!(key().check(&nonce, expiry + 1, 0), Err(NonceError::Expired));
    }

    #[test]
    fn a_nonce_of_a_clock_that_was_ahead_does_not_live_longer() {
        let (nonce, expiry) = key().mint([7; 16], 10_000_000, 0);
        assert_eq!(key().check(&nonce, 10_000_000 - 600_000, 0), Ok(expiry));
        assert_eq!(
            key().check(&nonce, 10_000_000 - 600_001, 0),
            Err(NonceError::Expired)
        );
    }

    #[test]
    fn a_nonce_of_before_a_reset_of_time_is_foreign() {
        let (nonce, expiry) = key().mint([7; 16], 1_000, 0);
        assert_eq!(key().check(&nonce, 1_000, 9), Err(NonceError::Foreign));
        let (nonce, _) = key().mint([7; 16], 1_000, 9);
        assert_eq!(key().check(&nonce, 1_000, 9), Ok(expiry));
        assert_eq!(key().check(&nonce, 1_000, 12), Err(NonceError::Foreign));
    }

    #[test]
    fn every_bit_of_a_nonce_counts() {
        let (nonce, _) = key().mint([7; 16], 1_000, 0);
        for bit in 0..NONCE_BYTES * 8 {
            let mut bent = nonce;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key().check(&bent, 1_000, 0),
                Err(NonceError::Foreign),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn another_services_nonce_is_foreign() {
        let (nonce, _) = NonceKey::derive(b"another").mint([7; 16], 1_000, 0);
        assert_eq!(key().check(&nonce, 1_000, 0), Err(NonceError::Foreign));
        assert_eq!(key().check(&nonce[1..], 1_000, 0), Err(NonceError::Malformed));
    }
}
