//! The recovery key and its shares: what lets members bring a ledger back after all nodes are lost.
//!
//! A full secret is ten limbs of GF(2³¹ − 1). Each limb is the value at zero of a polynomial of
//! its own, uniformly random of degree threshold − 1; a share is the ten values at its index. With
//! fewer shares than the threshold every candidate secret remains equally likely. The encoding is
//! that of existing ledgers, which no public crate implements.
//!
//! # Source
//!
//! `ledger-host.md` §1.12; Shamir, *How to share a secret* (1979).
#![allow(
    clippy::arithmetic_side_effects,
    reason = "field elements are below 2³¹ and products below 2⁶²"
)]

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hkdf_sha256;

/// The field's modulus, 2³¹ − 1.
const PRIME: u32 = 0x7fff_ffff;
/// Limbs of a secret.
const LIMBS: usize = 10;
/// Bytes of an encoded share: the index and ten limbs, 32 bits each, little-endian.
pub const SHARE_SIZE: usize = 4 + 4 * LIMBS;
/// Most shares of one secret: far above any consortium.
pub const SHARES_MAX: u32 = 1024;

/// Shares that cannot be made, read or joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SharesError {
    /// A threshold of zero, or above the number of shares, or too many shares.
    #[error("a threshold of {threshold} does not go with {count} shares")]
    Threshold {
        /// Shares needed.
        threshold: usize,
        /// Shares there are.
        count: usize,
    },
    /// Not 44 bytes of an index and ten field elements.
    #[error("not a recovery share")]
    Malformed,
    /// One index twice, or the index of a full secret among shares.
    #[error("recovery shares must have different indices above zero")]
    Indices,
    /// More shares than the threshold, not all from one splitting.
    #[error("the recovery shares do not belong together")]
    Inconsistent,
    /// A partial share where a full secret is needed.
    #[error("a single share is not the full secret")]
    NotFull,
}

/// A share, or the full secret (index 0). Wiped when dropped, not printable:
///
/// ```compile_fail,E0277
/// println!("{:?}", crypto::shares::Share::random(|bytes| bytes.fill(7)));
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    x: u32,
    y: [u32; LIMBS],
}

impl Share {
    /// A fresh full secret. `fill` fills a buffer with random bytes.
    #[must_use]
    pub fn random(mut fill: impl FnMut(&mut [u8])) -> Self {
        let mut secret = Self { x: 0, y: [0; LIMBS] };
        for limb in &mut secret.y {
            *limb = random_element(&mut fill);
        }
        secret
    }

    /// Reads 44 bytes.
    ///
    /// # Errors
    ///
    /// [`SharesError::Malformed`] if the length differs or a value is no field element.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharesError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let [x, y @ ..] = words else {
            return Err(SharesError::Malformed);
        };
        if !rest.is_empty() || y.len() != LIMBS {
            return Err(SharesError::Malformed);
        }
        let mut share = Self {
            x: u32::from_le_bytes(*x),
            y: [0; LIMBS],
        };
        for (limb, word) in share.y.iter_mut().zip(y) {
            *limb = u32::from_le_bytes(*word);
        }
        if share.x >= PRIME || share.y.iter().any(|limb| *limb >= PRIME) {
            return Err(SharesError::Malformed);
        }
        Ok(share)
    }

    /// The 44 bytes that are encrypted to a member.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; SHARE_SIZE]> {
        let mut bytes = Zeroizing::new([0; SHARE_SIZE]);
        for (place, word) in bytes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip([self.x].iter().chain(&self.y))
        {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// The share's index; 0 is the full secret.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.x
    }

    /// Whether this is the full secret.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.x == 0
    }

    /// The AES-256 key that wraps the ledger secret: HKDF-SHA-256 without salt. Its info really
    /// is the input key itself; existing ledgers are wrapped so.
    ///
    /// # Errors
    ///
    /// [`SharesError::NotFull`] if this is a share of the secret and not the secret.
    pub fn wrapping_key(&self) -> Result<Zeroizing<[u8; 32]>, SharesError> {
        if !self.is_full() {
            return Err(SharesError::NotFull);
        }
        let bytes = self.to_bytes();
        let limbs = bytes.get(4..).unwrap_or_default();
        Ok(Zeroizing::new(hkdf_sha256(limbs, limbs)))
    }
}

/// Splits a full secret into `count` shares with indices 1, 2, …, of which any `threshold` give
/// it back. `fill` fills a buffer with random bytes.
///
/// # Errors
///
/// [`SharesError`] if the numbers do not go together or `secret` is itself a share.
pub fn split(
    secret: &Share,
    threshold: usize,
    count: usize,
    mut fill: impl FnMut(&mut [u8]),
) -> Result<Vec<Share>, SharesError> {
    if !secret.is_full() {
        return Err(SharesError::NotFull);
    }
    if threshold == 0 || threshold > count || count > SHARES_MAX as usize {
        return Err(SharesError::Threshold { threshold, count });
    }
    let mut shares: Vec<Share> = (1..=SHARES_MAX)
        .take(count)
        .map(|x| Share { x, y: [0; LIMBS] })
        .collect();
    for (limb, value_at_zero) in secret.y.iter().enumerate() {
        // The capacity is fixed beforehand, so that growing leaves no copy behind.
        let mut coefficients = Zeroizing::new(Vec::with_capacity(threshold));
        coefficients.push(*value_at_zero);
        coefficients.extend((1..threshold).map(|_| random_element(&mut fill)));
        for share in &mut shares {
            let value = coefficients
                .iter()
                .rev()
                .fold(0, |sum, c| add(mul(sum, share.x), *c));
            if let Some(place) = share.y.get_mut(limb) {
                *place = value;
            }
        }
    }
    Ok(shares)
}

/// Joins at least `threshold` shares into the full secret. Those beyond the threshold are checked
/// to lie on the same polynomials.
///
/// # Errors
///
/// [`SharesError`] if there are too few, if indices repeat, or if they do not belong together.
pub fn join(shares: &[Share], threshold: usize) -> Result<Share, SharesError> {
    if threshold == 0 || shares.len() < threshold || shares.len() > SHARES_MAX as usize {
        return Err(SharesError::Threshold {
            threshold,
            count: shares.len(),
        });
    }
    let distinct: std::collections::BTreeSet<u32> = shares.iter().map(Share::index).collect();
    if distinct.len() != shares.len() || distinct.contains(&0) {
        return Err(SharesError::Indices);
    }
    let (base, extra) = shares.split_at(threshold);
    for share in extra {
        if interpolate(base, share.x).y != share.y {
            return Err(SharesError::Inconsistent);
        }
    }
    Ok(interpolate(base, 0))
}

/// Values at `x` of the polynomials through `base` (Lagrange).
fn interpolate(base: &[Share], x: u32) -> Share {
    let mut out = Share { x, y: [0; LIMBS] };
    for share in base {
        let (mut above, mut below) = (1, 1);
        for other in base.iter().filter(|other| other.x != share.x) {
            above = mul(above, sub(x, other.x));
            below = mul(below, sub(share.x, other.x));
        }
        let weight = mul(above, inverse(below));
        for (sum, value) in out.y.iter_mut().zip(&share.y) {
            *sum = add(*sum, mul(*value, weight));
        }
    }
    out
}

/// A uniformly random field element: 31 random bits, the one value that is none drawn again.
fn random_element(fill: &mut impl FnMut(&mut [u8])) -> u32 {
    loop {
        let mut bytes = Zeroizing::new([0; 4]);
        fill(bytes.as_mut_slice());
        let element = u32::from_le_bytes(*bytes) & PRIME;
        if element != PRIME {
            return element;
        }
    }
}

fn add(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) + u64::from(b))
}

fn sub(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) + u64::from(PRIME) - u64::from(b))
}

fn mul(a: u32, b: u32) -> u32 {
    reduce(u64::from(a) * u64::from(b))
}

/// Remainder modulo 2³¹ − 1 of a number below 2⁶², without a branch or division on secrets: the
/// upper 31 bits count as many times the modulus plus one.
fn reduce(number: u64) -> u32 {
    let prime = u64::from(PRIME);
    let folded = (number & prime) + (number >> 31);
    let folded = (folded & prime) + (folded >> 31);
    // `folded` is at most the modulus now; the mask turns the modulus itself into zero.
    let is_prime = ((folded + 1) >> 31) & 1;
    u32::try_from(folded & (is_prime.wrapping_sub(1))).expect("folded to 31 bits")
}

/// Inverse of a nonzero element, by Fermat.
fn inverse(a: u32) -> u32 {
    let mut result = 1;
    for bit in (0..31).rev() {
        result = mul(result, result);
        if ((PRIME - 2) >> bit) & 1 == 1 {
            result = mul(result, a);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A deterministic stream for tests, seeded: digests of a counter.
    fn stream(seed: u64) -> impl FnMut(&mut [u8]) {
        let mut counter = 0_u64;
        move |buffer| {
            for chunk in buffer.chunks_mut(32) {
                counter += 1;
                let block = crate::sha256_parts(&[&seed.to_le_bytes(), &counter.to_le_bytes()]).0;
                chunk.copy_from_slice(&block[..chunk.len()]);
            }
        }
    }

    proptest! {
        #[test]
        fn field_operations_agree_with_plain_remainders(a in 0..PRIME, b in 0..PRIME) {
            let prime = u64::from(PRIME);
            prop_assert_eq!(u64::from(add(a, b)), (u64::from(a) + u64::from(b)) % prime);
            prop_assert_eq!(u64::from(sub(a, b)), (u64::from(a) + prime - u64::from(b)) % prime);
            prop_assert_eq!(u64::from(mul(a, b)), u64::from(a) * u64::from(b) % prime);
            if a != 0 {
                prop_assert_eq!(mul(a, inverse(a)), 1);
            }
        }

        #[test]
        fn any_threshold_of_the_shares_gives_the_secret_back(
            seed: u64,
            threshold in 1..6_usize,
            spare in 0..4_usize,
            skip in 0..4_usize,
        ) {
            let mut fill = stream(seed);
            let secret = Share::random(&mut fill);
            let mut shares = split(&secret, threshold, threshold + spare, &mut fill).unwrap();
            let again = join(&shares, threshold).unwrap();
            prop_assert_eq!(again.to_bytes(), secret.to_bytes());
            shares.rotate_left(skip % (threshold + spare));
            shares.truncate(threshold);
            let again = join(&shares, threshold).unwrap();
            prop_assert_eq!(again.to_bytes(), secret.to_bytes());
        }

        /// With one share fewer than needed, every candidate secret has a missing share that
        /// completes it, so what is there says nothing about the secret.
        #[test]
        fn fewer_shares_fit_every_secret(seed: u64, candidate in 0..PRIME, threshold in 2..6_usize) {
            let mut fill = stream(seed);
            let shares = split(&Share::random(&mut fill), threshold, threshold, &mut fill).unwrap();
            let known = &shares[1..];
            let mut points = known.to_vec();
            points.push(Share { x: 0, y: [candidate; LIMBS] });
            let missing = interpolate(&points, 1);
            let completed = [&[missing][..], known].concat();
            prop_assert_eq!(join(&completed, threshold).unwrap().y, [candidate; LIMBS]);
        }

        #[test]
        fn shares_survive_their_bytes(seed: u64) {
            let share = Share::random(stream(seed));
            prop_assert_eq!(Share::from_bytes(&*share.to_bytes()).unwrap().y, share.y);
        }
    }

    #[test]
    fn reduction_covers_its_whole_range() {
        let prime = u64::from(PRIME);
        for number in [
            0,
            1,
            prime - 1,
            prime,
            prime + 1,
            2 * prime,
            prime * prime,
            (1 << 62) - 1,
        ] {
            assert_eq!(u64::from(reduce(number)), number % prime, "{number}");
        }
    }

    #[test]
    fn shares_that_do_not_belong_together_are_refused() {
        let mut fill = stream(1);
        let secret = Share::random(&mut fill);
        let ours = split(&secret, 2, 3, &mut fill).unwrap();
        let theirs = split(&secret, 2, 3, &mut fill).unwrap();
        let refusal = |shares: &[Share], threshold| join(shares, threshold).err();
        assert_eq!(
            refusal(&ours[..1], 2),
            Some(SharesError::Threshold {
                threshold: 2,
                count: 1
            })
        );
        assert_eq!(
            refusal(&[ours[0].clone(), ours[0].clone()], 2),
            Some(SharesError::Indices)
        );
        assert_eq!(
            refusal(&[ours[0].clone(), secret.clone()], 2),
            Some(SharesError::Indices)
        );
        assert_eq!(
            refusal(&[ours[0].clone(), ours[1].clone(), theirs[2].clone()], 2),
            Some(SharesError::Inconsistent)
        );
        assert!(split(&ours[0], 1, 1, &mut fill).is_err());
        assert!(split(&secret, 0, 1, &mut fill).is_err());
        assert!(split(&secret, 3, 2, &mut fill).is_err());
        assert_eq!(ours[0].wrapping_key().err(), Some(SharesError::NotFull));
    }

    #[test]
    fn bytes_that_are_no_share_are_refused() {
        let good = Share::random(stream(2)).to_bytes();
        assert!(Share::from_bytes(&good[..43]).is_err());
        assert!(Share::from_bytes(&[&good[..], &[0]].concat()).is_err());
        for word in 0..11 {
            let mut bad = *good;
            bad[4 * word..4 * word + 4].copy_from_slice(&PRIME.to_le_bytes());
            assert!(Share::from_bytes(&bad).is_err(), "{word}");
        }
    }

    /// The encoding, spelled out: index, then limbs, little-endian; the key is HKDF of the limbs
    /// with the limbs as info (checked with an independent HKDF).
    #[test]
    fn the_wrapping_key_is_derived_from_the_forty_limb_bytes() {
        let mut bytes = [0; SHARE_SIZE];
        for (index, byte) in (0_u8..40).enumerate() {
            // The top byte of each limb stays below 0x80.
            bytes[4 + index] = byte;
        }
        let secret = Share::from_bytes(&bytes).unwrap();
        assert_eq!(
            hex::encode(*secret.wrapping_key().unwrap()),
            "a219440e4fa5ede457f2b1069f42692a31e482ab8ee56dce34ccdbeb7bd8eadc"
        );
    }
}
