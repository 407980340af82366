//! How long a component can hold the one writer by what it asks of the host (decision 79): one kind of call, again and
//! again, until its fuel is gone.

use std::time::Instant;

use anyhow::{Context as _, Result};
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use crypto::pem;
use serde_json::json;
use tests::guests::{greedy_application, greedy_paths};

use crate::process;
use crate::service::Service;
use crate::wire::request;

/// Instructions and host work that one call may have, each, in units of fuel (`docs/adr/0014-component-engine.md`).
const FUEL: f64 = 2_000_000_000.0;

/// Votes a component in that does nothing else, and asks each of its endpoints once.
pub(crate) async fn run(service: &Service) -> Result<()> {
    let ec = EcKeyPair::generate(Curve::P384)?;
    let rsa = RsaKeyPair::generate(RsaBits::B3072)?;
    let key = |spki: &[u8]| pem::encode_bare("PUBLIC KEY", spki);
    let component = greedy_application(&key(ec.spki_der()), &key(rsa.spki_der()))?;
    let digest = crypto::sha256(&component).to_string();
    let actions = json!([{
        "name": "set_wasm_app",
        "args": { "component": model::b64::encode(&component), "digest": digest },
    }]);
    service.carry(&service.connection(None)?, &actions).await?;
    println!("Load average: {}\n", process::load_average());
    println!(
        "| host call, until the fuel is gone | holds the writer for ms | node CPU ms | ns per 1,000 units | ended by |"
    );
    println!("| --- | --: | --: | --: | --- |");
    let mut wire = service.dial("member0")?.open().await?;
    let mut worst = (0.0, "");
    for path in greedy_paths() {
        let (began, cpu) = (Instant::now(), process::cpu_s(&service.pid)?);
        let answer = wire.call(&request("POST", &format!("/app{path}"), "")).await?;
        let held = began.elapsed().as_secs_f64();
        let cpu = process::cpu_s(&service.pid)? - cpu;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).context("an error body")?;
        let code = body["error"]["message"].as_str().unwrap_or("?");
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {} {code} |",
            path.trim_start_matches('/'),
            held * 1e3,
            cpu * 1e3,
            cpu * 1e12 / FUEL,
            answer.status,
        );
        if cpu > worst.0 {
            worst = (cpu, path);
        }
    }
    println!(
        "\nThe dearest: {}, {:.0} ms of processor time.",
        worst.1.trim_start_matches('/'),
        worst.0 * 1e3
    );
    Ok(())
}
