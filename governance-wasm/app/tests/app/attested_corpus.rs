//! Attested requests that attackers sent, as a table: none of them was ever taken. Each row is a
//! good signed request with one thing wrong, and must be refused for just that.

use governance_app::Caller;
use model::attested::{self, Bound};
use model::{Digest, ServiceId, b64};
use serde_json::{Value as JsonValue, json};

use crate::host::SERVICE;
use crate::world::{NOW_MS, Workload, World, evidence, report_data, report_data_for, workload};

const TARGET: &str = "/contracts/c1/events?id=x&scope=run";
const SIGNED: &str = "/app/contracts/c1/events?id=x&scope=run";

type Signs = Box<dyn Fn(&Workload, &str) -> String>;
type Binds = Box<dyn Fn(&str, &[u8]) -> [u8; 64]>;

/// What an attacker chooses; by default all as it should be.
struct Attempt {
    method: &'static str,
    /// What the signature is over.
    signed_target: String,
    signed_data: String,
    signed_time: String,
    /// Another signature than that of the pod, from the text.
    signature: Signs,
    /// Report data, from the pod's key text and the nonce.
    data: Binds,
    /// The last touch, on the finished body.
    touch: Box<dyn Fn(&mut JsonValue)>,
    /// Where it is sent.
    target: &'static str,
}

impl Attempt {
    fn good() -> Self {
        Self {
            method: "PUT",
            signed_target: SIGNED.to_owned(),
            signed_data: json!({"message": "m"}).to_string(),
            signed_time: NOW_MS.to_string(),
            signature: Box::new(|pod, text| pod.sign(text.as_bytes())),
            data: Box::new(|pem, nonce| report_data(pem, Some(nonce))),
            touch: Box::new(|_| ()),
            target: TARGET,
        }
    }

    fn signed_for(method: &'static str, target: &str) -> Self {
        Self {
            method,
            signed_target: target.to_owned(),
            ..Self::good()
        }
    }

    fn at(time: &str) -> Self {
        Self {
            signed_time: time.to_owned(),
            ..Self::good()
        }
    }

    fn bound(data: impl Fn(&str, &[u8]) -> [u8; 64] + 'static) -> Self {
        Self {
            data: Box::new(data),
            ..Self::good()
        }
    }

    fn touched(touch: impl Fn(&mut JsonValue) + 'static) -> Self {
        Self {
            touch: Box::new(touch),
            ..Self::good()
        }
    }

    /// Binds and names `text` as the key, which another key signs for.
    fn key(text: String) -> Self {
        let field = json!({"publicKey": b64::encode(text.as_bytes())});
        Self {
            data: Box::new(move |_, nonce| report_data(&text, Some(nonce))),
            touch: Box::new(move |body| {
                body["encrypt"] = field.clone();
                body["sign"]["publicKey"] = field["publicKey"].clone();
            }),
            ..Self::good()
        }
    }

    /// The request's body, with a nonce of its own.
    fn body(&self, world: &mut World, pod: &Workload) -> JsonValue {
        let nonce = world.nonce();
        let text = attested::signed_text(
            self.method,
            &self.signed_target,
            &b64::encode(&nonce),
            &self.signed_time,
            &crypto::sha256(self.signed_data.as_bytes()),
        );
        let mut body = json!({
            "platform": "virtual",
            "attestation": evidence(&pod.host_data, (self.data)(&pod.pem, &nonce)),
            "encrypt": pod.key_field(),
            "nonce": b64::encode(&nonce),
            "sign": {
                "publicKey": pod.key_field()["publicKey"],
                "signature": (self.signature)(pod, &text),
            },
            "data": b64::encode(self.signed_data.as_bytes()),
            "timestamp": self.signed_time,
        });
        (self.touch)(&mut body);
        body
    }
}

/// An RSA key of `bits` bits that nobody has the private half of.
fn rsa(bits: usize) -> String {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] = 0xff >> (modulus.len() * 8 - bits);
    let base64url = |bytes: &[u8]| {
        let text = b64::encode(bytes).replace('+', "-").replace('/', "_");
        text.trim_end_matches('=').to_owned()
    };
    let jwk = json!({"kty": "RSA", "n": base64url(&modulus), "e": "AQAB"});
    crypto::pem::encode(crypto::pem::PUBLIC_KEY, &crypto::spki::jwk_to_spki(&jwk).unwrap())
}

fn elliptic() -> String {
    let key = crypto::native::EcKeyPair::generate(crypto::native::Curve::P256).unwrap();
    crypto::pem::encode(crypto::pem::PUBLIC_KEY, key.spki_der())
}

fn hashed(pem: &str, second: Digest) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&crypto::sha256(pem.as_bytes()).0);
    data[32..].copy_from_slice(&second.0);
    data
}

fn relabelled(suffix: &'static str) -> Attempt {
    Attempt::touched(move |body| {
        let text = b64::decode(body["encrypt"]["publicKey"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let other = b64::encode(format!("{text}{suffix}").as_bytes());
        body["encrypt"]["publicKey"] = json!(other);
        body["sign"]["publicKey"] = body["encrypt"]["publicKey"].clone();
    })
}

type Row = (&'static str, Attempt, &'static str);

fn binding() -> Vec<Row> {
    const OTHER: ServiceId = ServiceId(Digest([0x66; 32]));
    let other_key = || workload('b').pem;
    vec![
        (
            "another key is bound",
            Attempt::bound(move |_, nonce| report_data(&other_key(), Some(nonce))),
            "ReportDataMismatch",
        ),
        (
            "another nonce is bound",
            Attempt::bound(|pem, _| report_data(pem, Some(&[7; 32]))),
            "ReportDataMismatch",
        ),
        (
            "no nonce is bound",
            Attempt::bound(|pem, _| report_data(pem, None)),
            "ReportDataMismatch",
        ),
        (
            "another service is named",
            Attempt::bound(|pem, nonce| report_data_for(&OTHER, pem, Some(nonce))),
            "ReportDataMismatch",
        ),
        (
            "no service is named",
            Attempt::bound(|pem, nonce| hashed(pem, crypto::sha256(nonce))),
            "ReportDataMismatch",
        ),
        (
            "halves change places",
            Attempt::bound(|pem, nonce| {
                let mut data = report_data(pem, Some(nonce));
                data.rotate_left(32);
                data
            }),
            "ReportDataMismatch",
        ),
        (
            "a launcher's report",
            Attempt::bound(|pem, _| attested::report_data(pem, Bound::Serves(&SERVICE), crypto::sha256)),
            "ReportDataMismatch",
        ),
        (
            "the key with a newline more",
            relabelled("\n"),
            "ReportDataMismatch",
        ),
        (
            "the key with text behind it",
            relabelled("-----BEGIN X-----"),
            "ReportDataMismatch",
        ),
        ("a key of 2047 bits", Attempt::key(rsa(2047)), "InvalidInput"),
        ("a key of 1024 bits", Attempt::key(rsa(1024)), "InvalidInput"),
        ("a key of 4097 bits", Attempt::key(rsa(4097)), "InvalidInput"),
        ("a key on a curve", Attempt::key(elliptic()), "InvalidInput"),
        ("no key at all", Attempt::key("hello".to_owned()), "InvalidInput"),
        (
            "a key of 2048 bits that did not sign",
            Attempt::key(rsa(2048)),
            "SignatureMismatch",
        ),
        (
            "a key of 4096 bits that did not sign",
            Attempt::key(rsa(4096)),
            "SignatureMismatch",
        ),
    ]
}

fn signer() -> Vec<Row> {
    let other = || workload('b');
    vec![
        (
            "another signer is named",
            Attempt::touched(move |body| {
                body["sign"]["publicKey"] = other().key_field()["publicKey"].clone();
            }),
            "SignatureMismatch",
        ),
        (
            "another recipient is named",
            Attempt::touched(move |body| body["encrypt"] = other().key_field()),
            "SignatureMismatch",
        ),
        (
            "both are another's",
            Attempt::touched(move |body| {
                body["encrypt"] = other().key_field();
                body["sign"]["publicKey"] = other().key_field()["publicKey"].clone();
            }),
            "ReportDataMismatch",
        ),
        (
            "another key signed",
            Attempt {
                signature: Box::new(move |_, text| other().sign(text.as_bytes())),
                ..Attempt::good()
            },
            "SignatureMismatch",
        ),
        (
            "an empty signature",
            Attempt::touched(|body| body["sign"]["signature"] = json!("")),
            "SignatureMismatch",
        ),
        (
            "no signature",
            Attempt::touched(|body| {
                body.as_object_mut().unwrap().remove("sign");
            }),
            "SignatureMissing",
        ),
        (
            "the payload alone is signed",
            Attempt {
                signature: Box::new(|pod, _| pod.sign(json!({"message": "m"}).to_string().as_bytes())),
                ..Attempt::good()
            },
            "SignatureMismatch",
        ),
    ]
}

fn request() -> Vec<Row> {
    let app = "/app/contracts/c1/events";
    vec![
        (
            "signed for POST",
            Attempt::signed_for("POST", SIGNED),
            "SignatureMismatch",
        ),
        (
            "signed for put",
            Attempt::signed_for("put", SIGNED),
            "SignatureMismatch",
        ),
        (
            "signed for another contract",
            Attempt::signed_for("PUT", "/app/contracts/c2/events?id=x&scope=run"),
            "SignatureMismatch",
        ),
        (
            "signed for another endpoint",
            Attempt::signed_for("PUT", "/app/contracts/c1/secrets/x"),
            "SignatureMismatch",
        ),
        (
            "signed without /app",
            Attempt::signed_for("PUT", TARGET),
            "SignatureMismatch",
        ),
        (
            "signed with a slash more",
            Attempt::signed_for("PUT", "/app/contracts/c1/events/?id=x&scope=run"),
            "SignatureMismatch",
        ),
        (
            "signed with dots",
            Attempt::signed_for("PUT", "/app/contracts/c2/../c1/events?id=x&scope=run"),
            "SignatureMismatch",
        ),
        (
            "signed with an escape",
            Attempt::signed_for("PUT", "/app/contracts/%631/events?id=x&scope=run"),
            "SignatureMismatch",
        ),
        (
            "signed without query",
            Attempt::signed_for("PUT", app),
            "SignatureMismatch",
        ),
        (
            "signed for another query",
            Attempt::signed_for("PUT", "/app/contracts/c1/events?id=y&scope=run"),
            "SignatureMismatch",
        ),
        (
            "signed for its query in another order",
            Attempt::signed_for("PUT", "/app/contracts/c1/events?scope=run&id=x"),
            "SignatureMismatch",
        ),
        (
            "sent with a parameter twice",
            Attempt {
                target: "/contracts/c1/events?id=x&scope=run&id=y",
                ..Attempt::good()
            },
            "InvalidParameter",
        ),
        (
            "a line of the nonce's in the target",
            Attempt::signed_for("PUT", &format!("{SIGNED}\nAAAA")),
            "SignatureMismatch",
        ),
        (
            "other data",
            Attempt::touched(|body| body["data"] = json!(b64::encode(b"{}"))),
            "SignatureMismatch",
        ),
        (
            "data is not base64",
            Attempt::touched(|body| body["data"] = json!("{}")),
            "InvalidInput",
        ),
        (
            "no data",
            Attempt::touched(|body| {
                body.as_object_mut().unwrap().remove("data");
            }),
            "DataMissing",
        ),
    ]
}

fn time() -> Vec<Row> {
    let skew = 300_000;
    vec![
        (
            "a millisecond later",
            Attempt::touched(|body| body["timestamp"] = json!((NOW_MS + 1).to_string())),
            "SignatureMismatch",
        ),
        (
            "five minutes and more ago",
            Attempt::at(&(NOW_MS - skew - 1).to_string()),
            "TimestampOutOfRange",
        ),
        (
            "five minutes and more ahead",
            Attempt::at(&(NOW_MS + skew + 1).to_string()),
            "TimestampOutOfRange",
        ),
        ("with a sign", Attempt::at(&format!("+{NOW_MS}")), "InvalidInput"),
        ("in hexadecimal", Attempt::at("0x1a2b"), "InvalidInput"),
        (
            "with fourteen digits",
            Attempt::at(&format!("0{NOW_MS}")),
            "TimestampTooLarge",
        ),
        (
            "without a time",
            Attempt::touched(|body| {
                body.as_object_mut().unwrap().remove("timestamp");
            }),
            "TimestampMissing",
        ),
    ]
}

fn world_with_pod() -> (World, Workload) {
    let mut world = World::new();
    let pod = workload('a');
    for contract in ["c1", "c2"] {
        world.accept_contract(contract, json!(1));
    }
    world.welcome("c1", "default", &pod, json!({}));
    (world, pod)
}

fn send(world: &mut World, attempt: &Attempt, body: &JsonValue) -> crate::world::Answer {
    let bytes = body.to_string();
    world.call(&Caller::Anonymous, "PUT", attempt.target, bytes.as_bytes())
}

#[test]
fn a_request_with_one_thing_wrong_is_refused_for_that_and_writes_nothing() {
    let (mut world, pod) = world_with_pod();
    let rows: Vec<Row> = [binding(), signer(), request(), time()]
        .into_iter()
        .flatten()
        .collect();
    assert!(rows.len() >= 31);
    for (name, attempt, code) in rows {
        let body = attempt.body(&mut world, &pod);
        let answer = send(&mut world, &attempt, &body);
        assert_eq!(answer.json["error"]["code"], json!(code), "{name}");
        assert!((400..500).contains(&answer.status), "{name}");
        assert!(!answer.wrote, "{name}");
    }
    assert!(world.trace("c1").is_empty());
    // What was wrong above was one thing each time.
    let good = Attempt::good();
    let body = good.body(&mut world, &pod);
    assert_eq!(send(&mut world, &good, &body).status, 204);
    send(&mut world, &good, &body).is(400, "NonceInvalid");
    // The last millisecond on either side counts.
    for time in [NOW_MS - 300_000, NOW_MS + 300_000] {
        let edge = Attempt::at(&time.to_string());
        let body = edge.body(&mut world, &pod);
        assert_eq!(send(&mut world, &edge, &body).status, 204);
    }
}

#[test]
fn what_one_contract_admits_is_nobody_in_another() {
    let (mut world, pod) = world_with_pod();
    let elsewhere = Attempt {
        signed_target: "/app/contracts/c2/events?id=x".to_owned(),
        target: "/contracts/c2/events?id=x",
        ..Attempt::good()
    };
    for _ in 0..2 {
        let body = elsewhere.body(&mut world, &pod);
        send(&mut world, &elsewhere, &body).is(400, "VerifySnpAttestationFailed");
        world.welcome("c2", "default", &workload('c'), json!({}));
    }
}
