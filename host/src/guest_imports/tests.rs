//! What guests may ask for: each size at its most, and one beyond.

use ::crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use wasmtime::component::Resource;

use model::Digest;

use super::*;
use crate::guests::app_bindings::concordat::host::attestation::{Host as Attestation, Rejected};
use crate::guests::app_bindings::concordat::host::crypto::{CryptoError, Host as Crypto, KeyKind};
use crate::guests::constitution_bindings::concordat::host::credentials::Host as Credentials;
use crate::guests::{CallState, WasmGuests};
use ::attestation::EVIDENCE_SIZE_MAX;

// The imports' own limits, said here once more: whoever moves one says so in two places.
const JWK_BYTES_MAX: usize = 64 * 1024;
const NAME_BYTES_MAX: usize = 512;
const RANDOM_BYTES_MAX: u32 = 64;
const WRAP_BYTES_MAX: usize = 1024 * 1024;

fn services() -> Arc<Services> {
    let settings = ServiceSettings {
        trust: ::attestation::Trust {
            extra_arks: Vec::new(),
            allow_virtual: true,
        },
        insecure_virtual: true,
    };
    WasmGuests::new(settings).unwrap().services
}

fn call() -> CallState {
    let transaction = host_core::Transaction::new(
        ::kv::store::Store::default(),
        ::kv::Context::Update,
        ::kv::TxId::new(2, 1),
    );
    CallState::new(Some(transaction), services())
}

fn told<T>(refused: Result<T, CryptoError>) -> String {
    match refused.map(drop) {
        Err(CryptoError::Malformed(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_gets_the_most_random_bytes_and_not_one_more() {
    let mut call = call();
    let most = call.random(RANDOM_BYTES_MAX).unwrap();
    assert_eq!(most.len(), RANDOM_BYTES_MAX as usize);
    let refused = call.random(RANDOM_BYTES_MAX + 1).unwrap_err().to_string();
    assert!(refused.contains("at most 64 random bytes"), "{refused}");
}

#[test]
fn a_secret_of_the_most_bytes_is_wrapped_and_one_byte_more_is_not() {
    let recipient = RsaKeyPair::generate(RsaBits::B2048).unwrap().public_pem();
    let mut call = call();
    let mut wrap = |size: usize| Crypto::wrap(&mut call, recipient.clone(), vec![7; size]).unwrap();
    assert!(wrap(WRAP_BYTES_MAX).is_ok());
    let refused = told(wrap(WRAP_BYTES_MAX + 1));
    assert!(refused.contains("at most 1048576 bytes"), "{refused}");
}

#[test]
fn a_key_has_a_name_of_the_most_bytes_and_not_one_more() {
    let mut call = call();
    let mut generate = |size: usize| {
        let writer = Resource::new_borrow(0);
        Crypto::generate(&mut call, writer, "n".repeat(size), KeyKind::EcP256).unwrap()
    };
    assert!(generate(NAME_BYTES_MAX).is_ok());
    for size in [0, NAME_BYTES_MAX + 1] {
        let refused = told(generate(size));
        assert!(refused.contains("1 to 512 bytes"), "{refused}");
    }
}

#[test]
fn a_token_key_of_the_most_bytes_is_read_and_one_byte_more_is_not() {
    let mut call = call();
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"","y":""}"#;
    let mut read = |size: usize| {
        let padded = format!("{jwk}{}", " ".repeat(size - jwk.len()));
        let read = Credentials::read_token_key(&mut call, padded).unwrap();
        read.map(drop).map_or_else(|error| error, |()| String::new())
    };
    assert!(!read(JWK_BYTES_MAX).contains("more than"));
    assert_eq!(read(JWK_BYTES_MAX + 1), "the key has more than 65536 bytes");
}

#[test]
fn evidence_of_the_most_bytes_is_looked_at_and_one_byte_more_is_not() {
    let mut call = call();
    let mut verify =
        |size: usize| match Attestation::verify(&mut call, "virtual".to_owned(), vec![b' '; size]) {
            Ok(Err(Rejected::Failed(text))) => text,
            other => panic!("{:?}", other.map(|answer| answer.is_ok())),
        };
    let most = verify(EVIDENCE_SIZE_MAX);
    assert!(
        !most.contains("more than") && !most.contains("longer than"),
        "{most}"
    );
    assert_eq!(
        verify(EVIDENCE_SIZE_MAX + 1),
        "evidence has more than 262144 bytes"
    );
}

#[test]
fn the_most_results_are_remembered_and_one_more_takes_the_place_of_the_oldest() {
    fn forgotten<V: Clone>(memo: &Memo<V>, most: usize, value: &V) -> Vec<usize> {
        let digest = |number: usize| ::crypto::sha256(&number.to_be_bytes());
        for number in 0..=most {
            memo.put(digest(number), value.clone());
        }
        (0..=most)
            .filter(|number| memo.get(&digest(*number)).is_none())
            .collect()
    }
    let services = services();
    let key = EcKeyPair::generate(Curve::P256).unwrap();
    let key = Arc::new(NamedKey::Ec(key));
    assert_eq!(
        forgotten(&services.verdicts, VERDICTS_MAX, &Err(String::new())),
        [0]
    );
    assert_eq!(forgotten(&services.signatures, SIGNATURES_MAX, &true), [0]);
    // Kept by name: see `a_replaced_named_key_leaves_memory`.
    for number in 0..=NAMED_KEYS_MAX {
        services
            .named_keys
            .put(&number.to_string(), Digest::ZERO, Arc::clone(&key));
    }
    let known = |number: usize| {
        services
            .named_keys
            .get(&number.to_string(), &Digest::ZERO)
            .is_some()
    };
    assert!(!known(0) && known(1) && known(NAMED_KEYS_MAX));
    assert_eq!(services.chains.capacity(), CHAINS_MAX);
}
