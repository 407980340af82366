//! The few DER values this crate writes itself: integers, sequences, RSA keys and the two
//! spellings of an ECDSA signature.

/// DER of `content` under `tag`.
pub(crate) fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.into_iter().skip_while(|b| *b == 0).collect();
        let count = u8::try_from(significant.len()).expect("a length has at most eight bytes");
        out.push(0x80 | count);
        out.extend(significant);
    }
    for part in content {
        out.extend_from_slice(part);
    }
    out
}

/// DER INTEGER of an unsigned big-endian number.
pub(crate) fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let number = trim(big_endian);
    match number.first() {
        None => tlv(0x02, &[&[0]]),
        Some(first) if *first >= 0x80 => tlv(0x02, &[&[0], number]),
        Some(_) => tlv(0x02, &[number]),
    }
}

/// Drops leading zero bytes.
pub(crate) fn trim(big_endian: &[u8]) -> &[u8] {
    let zeros = big_endian.iter().take_while(|b| **b == 0).count();
    big_endian.get(zeros..).unwrap_or_default()
}

/// ECDSA-Sig-Value of r ‖ s; `None` if the two halves cannot be equally long.
#[cfg(feature = "native")]
pub(crate) fn ecdsa_from_fixed(fixed: &[u8]) -> Option<Vec<u8>> {
    if !fixed.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = fixed.split_at_checked(fixed.len().checked_div(2)?)?;
    Some(tlv(0x30, &[&unsigned(r), &unsigned(s)]))
}

/// r ‖ s, each of `half` bytes, of an ECDSA-Sig-Value; `None` if it is none or does not fit.
#[cfg(feature = "native")]
pub(crate) fn ecdsa_to_fixed(der: &[u8], half: usize) -> Option<Vec<u8>> {
    use x509_parser::asn1_rs::{FromDer as _, Integer, Sequence};

    let ([], sequence) = Sequence::from_der(der).ok()? else {
        return None;
    };
    let (rest, r) = Integer::from_der(&sequence.content).ok()?;
    let ([], s) = Integer::from_der(rest).ok()? else {
        return None;
    };
    let mut out = Vec::new();
    for number in [r.as_ref(), s.as_ref()] {
        let number = trim(number);
        out.resize(out.len().checked_add(half.checked_sub(number.len())?)?, 0);
        out.extend_from_slice(number);
    }
    Some(out)
}

/// SubjectPublicKeyInfo of an RSA key (RFC 8017 §A.1.1, RFC 3279 §2.3.1).
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    /// AlgorithmIdentifier { rsaEncryption, NULL }.
    const RSA_ENCRYPTION: &[u8] = &[
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let key = tlv(0x30, &[&unsigned(modulus), &unsigned(exponent)]);
    tlv(0x30, &[RSA_ENCRYPTION, &tlv(0x03, &[&[0], &key])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(tlv(4, &[&[1; 127]]).get(..2), Some(&[4, 127][..]));
        assert_eq!(tlv(4, &[&[1; 128]]).get(..3), Some(&[4, 0x81, 128][..]));
        assert_eq!(tlv(4, &[&[1; 256]]).get(..4), Some(&[4, 0x82, 1, 0][..]));
    }

    #[test]
    fn integers_are_unsigned_and_minimal() {
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
    }
}
