//! Wrapping to a key, sealing under a secret, and the way from shares to the ledger secret.
#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crypto::native::aead::{open_sealed, seal_random_iv, unwrap_ledger_secret, wrap_ledger_secret};
use crypto::native::wrap::{WrapError, oaep_encrypt, unwrap, wrap};
use crypto::native::{Curve, EcKeyPair, LedgerSecret, RsaBits, RsaKeyPair, random_bytes, random_vec};
use crypto::shares::{Share, join, split};
use crypto::{pem, sha256};
use serde_json::Value;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/crypto");

fn vector(name: &str) -> String {
    std::fs::read_to_string(format!("{VECTORS}/{name}")).unwrap()
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn pod_key() -> RsaKeyPair {
    RsaKeyPair::from_pem(&vector("wrap/priv_key.pem")).unwrap()
}

#[test]
fn the_public_text_is_the_one_a_genuine_report_binds() {
    let text = vector("wrap/pub_key.pem");
    assert_eq!(pod_key().public_pem(), text);
    let digest = sha256(text.as_bytes()).to_string();
    assert!(
        digest.starts_with("2097b3fd") && digest.ends_with("b787"),
        "{digest}"
    );
}

#[test]
fn what_is_wrapped_is_unwrapped_at_every_padding() {
    let key = pod_key();
    for size in [1, 7, 8, 9, 16, 25_600] {
        let plain = random_vec(size);
        let wrapped = wrap(&key.public_pem(), &plain).unwrap();
        assert_eq!(wrapped.len(), 256 + 8 + size.div_ceil(8) * 8, "{size}");
        assert_eq!(*unwrap(&key, &wrapped).unwrap(), plain, "{size}");
    }
}

#[test]
fn wrappings_of_another_implementation_are_unwrapped() {
    let cases: serde_json::Map<String, Value> =
        serde_json::from_str(&vector("wrap/by_python_cryptography.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for (size, case) in &cases {
        assert_eq!(
            *unwrap(&pod_key(), &hex_of(&case["wrapped"])).unwrap(),
            hex_of(&case["plain"]),
            "{size}"
        );
    }
}

#[test]
fn altered_or_foreign_wrappings_do_not_unwrap() {
    let key = pod_key();
    let wrapped = wrap(&key.public_pem(), b"secret").unwrap();
    for index in [0, 100, 255, 256, 264, wrapped.len() - 1] {
        let mut bad = wrapped.clone();
        bad[index] ^= 1;
        assert_eq!(
            unwrap(&key, &bad).err(),
            Some(WrapError::NotForThisKey),
            "{index}"
        );
    }
    for length in [0, 255, 256, 264, wrapped.len() - 1] {
        assert_eq!(
            unwrap(&key, &wrapped[..length]).err(),
            Some(WrapError::NotForThisKey),
            "{length}"
        );
    }
    let other = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    assert_eq!(unwrap(&other, &wrapped).err(), Some(WrapError::NotForThisKey));
}

#[test]
fn unsuitable_recipients_and_plain_texts_are_refused() {
    let key = pod_key();
    assert_eq!(wrap(&key.public_pem(), b""), Err(WrapError::Size(0)));
    let ec = EcKeyPair::generate(Curve::P256).unwrap();
    assert!(matches!(
        wrap(&ec.public_pem(), b"x"),
        Err(WrapError::Recipient(_))
    ));
    assert!(matches!(
        wrap(&key.public_pem().replace('\n', "\r\n"), b"x"),
        Err(WrapError::Recipient(_))
    ));
    assert_eq!(
        wrap(&vector("keys/rsa1024_public.pem"), b"x"),
        Err(WrapError::Bits(1024))
    );
    assert_eq!(oaep_encrypt(key.spki_der(), &[0; 191]), Err(WrapError::Size(191)));
    let sealed = oaep_encrypt(key.spki_der(), &[7; 190]).unwrap();
    assert_eq!(*key.oaep_sha256_decrypt(&sealed).unwrap(), [7; 190]);
}

#[test]
fn a_sealed_private_domain_opens_only_unaltered_and_in_its_place() {
    let secret = LedgerSecret::random();
    for plain in [&b""[..], b"private"] {
        let (ciphertext, tag) = secret.seal([1; 12], b"public", plain);
        assert_eq!(ciphertext.len(), plain.len());
        let again = LedgerSecret::from_bytes(secret.expose());
        assert_eq!(again.open([1; 12], b"public", &ciphertext, &tag).unwrap(), plain);
        assert!(secret.open([2; 12], b"public", &ciphertext, &tag).is_err());
        assert!(secret.open([1; 12], b"publiC", &ciphertext, &tag).is_err());
        let mut bad = tag;
        bad[0] ^= 1;
        assert!(secret.open([1; 12], b"public", &ciphertext, &bad).is_err());
        assert!(
            LedgerSecret::random()
                .open([1; 12], b"public", &ciphertext, &tag)
                .is_err()
        );
    }
}

#[test]
fn a_sealed_blob_opens_with_its_key_and_data_only() {
    let key = random_bytes::<32>();
    let sealed = seal_random_iv(&key, b"aad", b"identity");
    assert_eq!(*open_sealed(&key, b"aad", &sealed).unwrap(), b"identity");
    assert!(open_sealed(&random_bytes(), b"aad", &sealed).is_err());
    assert!(open_sealed(&key, b"", &sealed).is_err());
    for length in 0..sealed.len() {
        assert!(open_sealed(&key, b"aad", &sealed[..length]).is_err());
    }
    assert_ne!(seal_random_iv(&key, b"aad", b"identity"), sealed);
}

#[test]
fn shares_computed_elsewhere_recover_their_ledger_secret() {
    let case: Value = serde_json::from_str(&vector("shares/three_of_five.json")).unwrap();
    let shares: Vec<Share> = case["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| Share::from_bytes(&hex_of(s)).unwrap())
        .collect();
    let chosen = [shares[4].clone(), shares[0].clone(), shares[2].clone()];
    let secret = join(&chosen, 3).unwrap();
    assert_eq!(secret.to_bytes().to_vec(), hex_of(&case["secret"]));
    assert_eq!(secret.to_bytes(), join(&shares, 3).unwrap().to_bytes());
    let key = secret.wrapping_key().unwrap();
    assert_eq!(key.to_vec(), hex_of(&case["wrapping_key"]));
    let ledger_secret = unwrap_ledger_secret(&key, &hex_of(&case["wrapped_ledger_secret"])).unwrap();
    assert_eq!(ledger_secret.expose().to_vec(), hex_of(&case["ledger_secret"]));
    assert_eq!(
        ledger_secret.commit_secret().to_vec(),
        hex_of(&case["commit_secret"])
    );
    assert_eq!(
        wrap_ledger_secret(key, &ledger_secret),
        hex_of(&case["wrapped_ledger_secret"])
    );
}

#[test]
fn two_members_of_three_recover_and_one_does_not() {
    let full = Share::random(|bytes| bytes.copy_from_slice(&random_vec(bytes.len())));
    let wrapped = wrap_ledger_secret(full.wrapping_key().unwrap(), &LedgerSecret::from_bytes(&[9; 32]));
    let shares = split(&full, 2, 3, |bytes| {
        bytes.copy_from_slice(&random_vec(bytes.len()))
    })
    .unwrap();
    let member = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    let encrypted = oaep_encrypt(member.spki_der(), shares[0].to_bytes().as_slice()).unwrap();
    let submitted = Share::from_bytes(&member.oaep_sha256_decrypt(&encrypted).unwrap()).unwrap();
    let key = join(&[submitted, shares[2].clone()], 2)
        .unwrap()
        .wrapping_key()
        .unwrap();
    assert_eq!(unwrap_ledger_secret(&key, &wrapped).unwrap().expose(), &[9; 32]);
    assert!(join(&shares[..1], 2).is_err());
    // Pretending the threshold were one gives some key, and that key opens nothing.
    let wrong = join(&shares[..1], 1).unwrap().wrapping_key().unwrap();
    assert!(unwrap_ledger_secret(&wrong, &wrapped).is_err());
}

#[test]
fn pem_of_a_key_with_a_newline_is_another_text() {
    let bare = pod_key().public_pem();
    assert!(pem::decode_canonical(pem::PUBLIC_KEY, &bare).is_ok());
    assert!(pem::decode_canonical(pem::PUBLIC_KEY, &format!("{bare}\n")).is_err());
}
