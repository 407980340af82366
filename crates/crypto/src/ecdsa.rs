//! What ECDSA leaves open: with (r, s) also (r, n − s) is a signature of the same message, and
//! anybody can compute it. Whoever tells messages apart by their signatures must look for both.

use crate::spki::KeyKind;

/// Orders of the curves' base points, big-endian (SEC 2, §2.4.2, §2.5.1, §2.6.1).
const ORDER_P256: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const ORDER_P384: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const ORDER_P521: &[u8] = &[
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa,
    0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b,
    0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

/// The other signature that verifies wherever this one does; both are r ‖ s.
///
/// `None` if the key is not on one of the three curves or the signature is not one under it.
#[must_use]
pub fn twin(key: KeyKind, signature: &[u8]) -> Option<Vec<u8>> {
    let order = match key {
        KeyKind::EcP256 => ORDER_P256,
        KeyKind::EcP384 => ORDER_P384,
        KeyKind::EcP521 => ORDER_P521,
        KeyKind::Rsa(_) | KeyKind::Other => return None,
    };
    let (r, s) = signature.split_at_checked(order.len())?;
    if s.len() != order.len() {
        return None;
    }
    let mut borrow = false;
    let mut difference: Vec<u8> = Vec::with_capacity(s.len());
    for (n, s) in order.iter().rev().zip(s.iter().rev()) {
        let (byte, under) = n.overflowing_sub(*s);
        let (byte, under_again) = byte.overflowing_sub(u8::from(borrow));
        borrow = under || under_again;
        difference.push(byte);
    }
    difference.reverse();
    (!borrow).then(|| [r, &difference].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_of_the_twin_is_the_signature() {
        for (key, size) in [
            (KeyKind::EcP256, 32),
            (KeyKind::EcP384, 48),
            (KeyKind::EcP521, 66),
        ] {
            let mut signature = vec![1; 2 * size];
            signature[size] = 0;
            let other = twin(key, &signature).unwrap();
            assert_ne!(other, signature);
            assert_eq!(twin(key, &other).unwrap(), signature);
        }
    }

    #[test]
    fn what_is_no_signature_has_none() {
        assert_eq!(twin(KeyKind::EcP256, &[0xff; 64]), None);
        assert_eq!(twin(KeyKind::EcP256, &[1; 63]), None);
        assert_eq!(twin(KeyKind::EcP256, &[1; 65]), None);
        assert_eq!(twin(KeyKind::Rsa(2048), &[1; 256]), None);
    }
}
