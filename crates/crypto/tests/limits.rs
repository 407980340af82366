//! Each size limit of what is parsed here: the most is looked at, one more is refused before it is.
#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use crypto::cose::{self, CoseError, HEADER_COUNT_MAX, Sign1};
use crypto::jws::{Jws, TOKEN_SIZE_MAX};
use crypto::native::issue::{Validity, node_certificate, self_signed_service};
use crypto::native::wrap::{PLAIN_SIZE_MAX, unwrap, wrap};
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use crypto::shares::{SHARES_MAX, Share, SharesError, join, split};
use crypto::spki::{KeyKind, SPKI_SIZE_MAX, SpkiError, jwk_to_spki, spki_key_kind};
use crypto::x509::{CERTIFICATE_SIZE_MAX, Certificate, CertificateError};

/// A certificate for `names`, in DER.
fn certificate(names: &[String]) -> Vec<u8> {
    let validity = Validity {
        not_before: 1_700_000_000,
        days: 10,
    };
    let service = EcKeyPair::generate(Curve::P384).unwrap();
    let issuer = Certificate::from_pem(&self_signed_service(&service, "s", validity).unwrap()).unwrap();
    let node = EcKeyPair::generate(Curve::P256).unwrap();
    let pem = node_certificate(node.spki_der(), "n", names, validity, &service, &issuer).unwrap();
    pem_rfc7468(&pem)
}

fn pem_rfc7468(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    model::b64::decode(&text).unwrap()
}

#[test]
fn a_certificate_of_the_most_bytes_is_parsed_and_one_byte_more_is_not() {
    // The last name is as long as it takes; the signature's own length moves by a byte or two.
    let mut names: Vec<String> = (0..240)
        .map(|at| format!("{at:05}{}.x", "a".repeat(50)))
        .collect();
    let padded = |names: &[String], last: usize| {
        let mut names = names.to_vec();
        names.extend(vec!["b".repeat(60); last / 62]);
        names.push("c".repeat(last % 62 + 1));
        certificate(&names)
    };
    names.truncate(240);
    let mut pad = CERTIFICATE_SIZE_MAX - padded(&names, 0).len();
    let (mut most, mut more) = (None, None);
    for _ in 0..500 {
        let der = padded(&names, pad);
        match der.len() {
            CERTIFICATE_SIZE_MAX => most = Some(der),
            size if size == CERTIFICATE_SIZE_MAX + 1 => more = Some(der),
            _ => {}
        }
        if most.is_some() && more.is_some() {
            break;
        }
        let size = padded(&names, pad).len();
        pad = if size > CERTIFICATE_SIZE_MAX {
            pad - 1
        } else {
            pad + 1
        };
    }
    Certificate::from_der(&most.unwrap()).unwrap();
    assert_eq!(
        Certificate::from_der(&more.unwrap()),
        Err(CertificateError::Malformed)
    );
}

#[test]
fn a_token_of_the_most_bytes_is_looked_at_and_a_longer_one_is_not() {
    let text = |size: usize| Jws::parse(&"a".repeat(size)).unwrap_err().to_string();
    let too_long = format!("the token is longer than {TOKEN_SIZE_MAX} bytes");
    assert_ne!(text(TOKEN_SIZE_MAX), too_long);
    assert_eq!(text(TOKEN_SIZE_MAX + 1), too_long);
}

#[test]
fn as_much_as_may_be_wrapped_comes_back_and_one_byte_more_is_refused() {
    let key = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    let pem = key.public_pem();
    let mut plain = vec![7; PLAIN_SIZE_MAX];
    let wrapped = wrap(&pem, &plain).unwrap();
    assert_eq!(unwrap(&key, &wrapped).unwrap().as_slice(), plain);
    plain.push(7);
    assert!(wrap(&pem, &plain).is_err());
}

/// A COSE_Sign1 with this protected header.
fn message(header: &Value) -> Result<Sign1, CoseError> {
    let mut protected = Vec::new();
    ciborium::into_writer(header, &mut protected).unwrap();
    Sign1::parse(&cose::assemble(&protected, &[], Some(b"x"), b"y"))
}

#[test]
fn a_header_of_the_most_entries_is_read_and_one_more_is_refused() {
    let header = |count: usize| {
        let entries = (0..count as u64).map(|label| (Value::from(label), Value::from(0)));
        message(&Value::Map(entries.collect()))
    };
    assert!(header(HEADER_COUNT_MAX).is_ok());
    assert_eq!(header(HEADER_COUNT_MAX + 1), Err(CoseError::HeaderTooLarge));
}

#[test]
fn a_header_is_as_deep_as_its_reader_goes_and_no_deeper() {
    // The module's own limit, said here once more; the map is a level itself.
    const DEPTH_MAX: usize = 16;
    let header = |depth: usize| {
        let lists = (1..depth).fold(Value::from(0), |inner, _| Value::Array(vec![inner]));
        message(&Value::Map(vec![(Value::from(1), lists)]))
    };
    assert!(header(DEPTH_MAX).is_ok());
    assert!(matches!(header(DEPTH_MAX + 1), Err(CoseError::Malformed(_))));
}

#[test]
fn a_secret_is_split_into_the_most_shares_and_not_into_more() {
    let most = SHARES_MAX as usize;
    let secret = Share::random(|bytes| bytes.fill(7));
    let refused = |count: usize| SharesError::Threshold { threshold: 2, count };
    let split = |count: usize| split(&secret, 2, count, |bytes| bytes.fill(9));
    let mut shares = split(most).unwrap();
    assert_eq!(join(&shares, 2).unwrap().to_bytes(), secret.to_bytes());
    assert_eq!(split(most + 1).map(drop), Err(refused(most + 1)));
    shares.push(shares[0].clone());
    assert_eq!(join(&shares, 2).map(drop), Err(refused(most + 1)));
}

/// A key of an algorithm that nobody knows, in `size` bytes of DER.
fn unknown_key(size: usize) -> Vec<u8> {
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04];
    let long = |tag: u8, content: Vec<u8>| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [vec![tag, 0x82], length.to_vec(), content].concat()
    };
    let bits = long(0x03, vec![0; size - 4 - algorithm.len() - 4]);
    long(0x30, [algorithm.to_vec(), bits].concat())
}

#[test]
fn a_key_of_the_most_bytes_is_looked_at_and_one_byte_more_is_not() {
    let most = unknown_key(SPKI_SIZE_MAX);
    assert_eq!(most.len(), SPKI_SIZE_MAX);
    assert_eq!(spki_key_kind(&most), Ok(KeyKind::Other));
    assert_eq!(
        spki_key_kind(&unknown_key(SPKI_SIZE_MAX + 1)),
        Err(SpkiError::Malformed)
    );
    // A modulus is half as long at the most.
    let modulus = |size: usize| {
        let n = URL_SAFE_NO_PAD.encode(vec![0xFF; size]);
        jwk_to_spki(&serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB"})).map(drop)
    };
    assert_eq!(modulus(SPKI_SIZE_MAX / 2), Ok(()));
    assert_eq!(modulus(SPKI_SIZE_MAX / 2 + 1), Err(SpkiError::Jwk("n")));
}
