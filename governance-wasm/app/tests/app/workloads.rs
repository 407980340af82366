//! Workloads with evidence of platform `virtual`.

use std::sync::OnceLock;

use crypto::native::wrap::unwrap;
use crypto::native::{RsaBits, RsaKeyPair};
use model::attested::{self, Bound};
use model::{ServiceId, b64};
use serde_json::{Value as JsonValue, json};

use crate::host::SERVICE;

/// A workload: host data and a key pair.
pub struct Workload {
    pub host_data: String,
    pub pem: String,
    key: &'static RsaKeyPair,
}

impl Workload {
    pub fn sign(&self, message: &[u8]) -> String {
        b64::encode(&self.key.sign_pss_sha256(message).unwrap())
    }

    pub fn unwrap(&self, answer: &JsonValue) -> String {
        let wrapped = b64::decode(answer["value"].as_str().unwrap()).unwrap();
        String::from_utf8(unwrap(self.key, &wrapped).unwrap().to_vec()).unwrap()
    }

    pub fn key_field(&self) -> JsonValue {
        json!({ "publicKey": b64::encode(self.pem.as_bytes()) })
    }

    pub fn unwraps(&self, answer: &JsonValue) -> bool {
        unwrap(self.key, &b64::decode(answer["value"].as_str().unwrap()).unwrap()).is_ok()
    }
}

/// A workload whose host data is the digit, 64 times. Keys are made once: that takes a while.
pub fn workload(digit: char) -> Workload {
    static KEYS: [OnceLock<RsaKeyPair>; 2] = [OnceLock::new(), OnceLock::new()];
    let slot = &KEYS[digit as usize % 2];
    let key = slot.get_or_init(|| RsaKeyPair::generate(RsaBits::B2048).unwrap());
    Workload {
        host_data: digit.to_string().repeat(64),
        pem: key.public_pem(),
        key,
    }
}

/// Report data of a workload that speaks to this service, or of one that names none.
pub fn report_data(pem: &str, nonce: Option<&[u8]>) -> [u8; 64] {
    report_data_for(&SERVICE, pem, nonce)
}

/// Report data of a workload that speaks to `service`.
pub fn report_data_for(service: &ServiceId, pem: &str, nonce: Option<&[u8]>) -> [u8; 64] {
    let nonce: Option<&[u8; 32]> = nonce.map(|nonce| nonce.try_into().unwrap());
    let bound = nonce.map_or(Bound::KeyAlone, |nonce| Bound::Nonce { nonce, service });
    attested::report_data(pem, bound, crypto::sha256)
}

/// Evidence of platform `virtual`.
pub fn evidence(host_data: &str, report_data: [u8; 64]) -> JsonValue {
    let statement = json!({
        "measurement": "00".repeat(48), "host_data": host_data, "report_data": hex::encode(report_data),
    });
    json!({ "evidence": b64::encode(statement.to_string().as_bytes()) })
}
