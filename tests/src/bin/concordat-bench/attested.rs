//! Rows that show evidence. *Recorded*: real hardware's, the incumbent's form, the same body each
//! time, under a policy that allows static evidence. *Fresh*: each operation takes a nonce and
//! makes evidence for it, with the sandbox's development chip; the generator signs in that time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use client::attested::Workload;
use crypto::native::RsaKeyPair;
use evidence::SoftwareAttester;
use evidence::launch::Measured as Launched;
use model::ServiceId;
use model::b64;
use model::evidence::{Platform, Role};
use serde_json::{Value as JsonValue, json};

use crate::figures::Row;
use crate::load::{Measured, closed_loop, micros_since, together};
use crate::service::Service;
use crate::wire::request;

/// The claim that says what was launched.
const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";
/// The claim that says on what.
const MEASUREMENT: &str = "x-ms-sevsnpvm-launchmeasurement";
/// What the development chip's launch measurement is the SHA-384 of.
const DEVELOPMENT_CHIP: &[u8] = b"concordat software attester v1";
/// The recorded evidence's: a published policy.
const RECORDED_HOST_DATA: &str = "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20";
/// What events say.
const EVENT: &[u8] = br#"{"message":"the job has read its inputs"}"#;

/// Runs a row in a contract of its own, `run`.
pub(crate) async fn measure(
    service: &Service,
    row: Row,
    connections: usize,
    duration: Duration,
    run: &str,
    recorded: &Path,
) -> Result<Measured> {
    service.accept_contract(run).await?;
    let events = format!("/app/contracts/{run}/events");
    match row {
        Row::ReleaseRecorded | Row::EventRecorded => {
            accept_policy(service, run, &json!({ HOST_DATA: RECORDED_HOST_DATA }), true).await?;
            let recorded = Recorded::read(recorded)?;
            let message = if row == Row::ReleaseRecorded {
                let path = put_secret(service, run).await?;
                request("POST", &path, &recorded.release().to_string())
            } else {
                request("PUT", &events, &recorded.event()?.to_string())
            };
            let dial = service.dial("member0")?;
            closed_loop(service, &dial, connections, duration, move |_, _| message.clone()).await
        }
        _ => {
            let (attester, launched) = development_chip(service)?;
            let host_data = launched.document.digest().to_string();
            let measurement: String = crypto::sha384(DEVELOPMENT_CHIP)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            accept_policy(
                service,
                run,
                &json!({ HOST_DATA: host_data, MEASUREMENT: measurement }),
                false,
            )
            .await?;
            let secret = put_secret(service, run).await?;
            let mut loops = Vec::new();
            for _ in 0..connections {
                let connection = service.connection(None)?;
                let workload = workload(connection.service()?, &attester, &launched)?;
                let (events, secret) = (events.clone(), secret.clone());
                loops.push(async move {
                    let until = Instant::now() + duration;
                    let mut times = Vec::new();
                    while Instant::now() < until {
                        let sent = Instant::now();
                        if row == Row::ReleaseFresh {
                            workload.release(&connection, &secret, &json!({})).await?;
                        } else {
                            workload
                                .write(&connection, "PUT".parse()?, &events, EVENT)
                                .await?;
                        }
                        times.push(micros_since(sent));
                    }
                    Ok(times)
                });
            }
            together(service, loops.into_iter()).await
        }
    }
}

async fn accept_policy(service: &Service, contract: &str, claims: &JsonValue, recorded: bool) -> Result<()> {
    let mut args = json!({ "contractId": contract, "type": "add", "claims": claims });
    args["claims"]["x-ms-sevsnpvm-is-debuggable"] = json!(false);
    if recorded {
        args["allowStaticEvidence"] = json!(true);
    }
    let actions = json!([{ "name": "set_clean_room_policy", "args": args }]);
    service.carry(&service.connection(None)?, &actions).await?;
    Ok(())
}

/// Puts a secret of the length of a key; gives the path that releases it.
async fn put_secret(service: &Service, contract: &str) -> Result<String> {
    let connection = service.connection(Some("member0"))?;
    let path = format!("/app/contracts/{contract}/secrets/dek");
    let value = b64::encode(&[7; 32]);
    let answer: JsonValue = connection.put(&path, &json!({ "value": value })).await?.json()?;
    let id = answer["secretId"].as_str().context("no secretId")?;
    Ok(format!("/app/contracts/{contract}/secrets/{id}"))
}

fn development_chip(service: &Service) -> Result<(Arc<SoftwareAttester>, Launched)> {
    let attester = SoftwareAttester::open(&service.dir.join("attester"))?;
    let program = std::env::current_exe()?;
    let launched = Launched::measure(Role::Pod, &program, BTreeMap::new(), Vec::new(), None)?;
    Ok((Arc::new(attester), launched))
}

fn workload(service: ServiceId, attester: &Arc<SoftwareAttester>, launched: &Launched) -> Result<Workload> {
    let (attester, launched) = (Arc::clone(attester), launched.clone());
    Ok(Workload::new(
        service,
        Box::new(move |report_data| {
            let attestation = attester
                .attest(&launched, report_data)
                .map_err(|e| e.to_string())?;
            Ok((Platform::SnpCaci, attestation))
        }),
    )?)
}

/// Evidence that a real container group showed once, with the key pair that it binds; both are
/// published.
struct Recorded {
    attestation: JsonValue,
    public_pem: String,
    key: RsaKeyPair,
}

impl Recorded {
    fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let tree: JsonValue = serde_json::from_str(&read("attestation.json")?)?;
        let report = &tree["report"]["snpCACI"];
        Ok(Self {
            attestation: json!({
                "evidence": report["attestation"],
                "endorsements": report["platformCertificates"],
                "uvm_endorsements": report["uvmEndorsements"],
            }),
            public_pem: read("pub_key.pem")?.trim_end().to_owned(),
            key: RsaKeyPair::from_pem(&read("priv_key.pem")?)?,
        })
    }

    fn public_key(&self) -> String {
        b64::encode(self.public_pem.as_bytes())
    }

    fn release(&self) -> JsonValue {
        json!({ "attestation": self.attestation, "encrypt": { "publicKey": self.public_key() } })
    }

    fn event(&self) -> Result<JsonValue> {
        let signature = self.key.sign_pss_sha256(EVENT)?;
        Ok(json!({
            "attestation": self.attestation,
            "sign": { "publicKey": self.public_key(), "signature": b64::encode(&signature) },
            "timestamp": "1790000000000",
            "data": b64::encode(EVENT),
        }))
    }
}
