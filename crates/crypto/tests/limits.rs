//! Each size limit of what is parsed here: the most is looked at, one more is refused before it is.
#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use crypto::jws::{Jws, TOKEN_SIZE_MAX};
use crypto::native::issue::{Validity, node_certificate, self_signed_service};
use crypto::native::wrap::{PLAIN_SIZE_MAX, unwrap, wrap};
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
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
