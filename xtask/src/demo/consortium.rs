//! Steps 1 to 3: the service opens, members vote a contract, then a policy.

use std::cell::RefCell;

use anyhow::{Result, bail, ensure};
use serde_json::{Value as JsonValue, json};

use super::background::Background;
use super::story::{AUDIENCE, CONTRACT, ORGANISATIONS, Story};
use crate::cli::Who;
use crate::sandbox::{Plan, Sandbox, field};

/// Starts node and identity provider, activates the members, opens, and registers the stewards.
pub(crate) fn open(dir: &std::path::Path) -> Result<(Story, String)> {
    let members = ORGANISATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let sandbox = Sandbox::start(&Plan {
        dir: dir.join("service"),
        members,
        users: 1,
        port: 0,
    })?;
    let folder = dir.join("identity-provider");
    let mut provider = Background::python("the identity provider", "identity_provider.py", &folder)?;
    let issuer = provider.wait_for_json(&folder.join("issuer.json"))?;
    let story = Story {
        dir: dir.to_owned(),
        sandbox,
        provider,
        issuer,
        decisions: RefCell::default(),
    };

    let url = field(&story.issuer, "issuer")?;
    let mut actions = vec![json!({ "name": "set_jwt_issuer", "args": {
        "issuer": url, "audience": "concordat", "jwks": story.issuer.get("jwks"),
    }})];
    for (name, _) in ORGANISATIONS {
        actions.push(json!({ "name": "set_user_identity", "args": {
            "id": story.steward_id(name)?, "accountType": "oidc",
            "data": { "issuer": url, "identifier": format!("steward of {name}") },
        }}));
    }
    story.carry("identities", 0, &[0, 1, 2], &JsonValue::Array(actions))?;
    for (name, _) in ORGANISATIONS {
        story.cli().run(&story.steward(name), &["user", "active"])?;
    }
    let detail = format!(
        "{} is open; three members active, three stewards of {url} registered; the node says it is insecure-virtual",
        story.cli().address
    );
    Ok((story, detail))
}

/// Writes a contract that two of the three decide, and has it voted. Gives the accepting transaction.
pub(crate) fn contract(story: &Story) -> Result<(String, String)> {
    let [airline, airport, registry] = [0, 1, 2].map(|index| story.member(index));
    let required: Vec<&String> = story.sandbox.member_ids.iter().take(2).collect();
    let data = json!({
        "purpose": "mean departure delay by plane manufacturer and visibility",
        "metadata": { "voters": { "requiredMembers": required } },
    });
    let file = story.path("contract.json");
    std::fs::write(&file, data.to_string())?;
    let cli = story.cli();
    cli.run(&airline, &["contract", "put", CONTRACT, "--data", &file])?;
    let proposal = field(
        &cli.run(&airline, &["contract", "propose", CONTRACT])?,
        "proposalId",
    )?;
    let state = || {
        field(
            &cli.run(
                &Who::Certificate(story.sandbox.dir.join("member0")),
                &["contract", "show", CONTRACT],
            )?,
            "state",
        )
    };

    cli.run(&registry, &["proposal", "vote", &proposal, "reject"])?;
    ensure!(
        state()? == "Proposed",
        "a vote of somebody who is not asked changed the contract's state"
    );
    cli.run(&airline, &["proposal", "vote", &proposal, "accept"])?;
    ensure!(
        state()? == "Proposed",
        "the contract left Proposed before airport voted"
    );
    let last = cli.run(&airport, &["proposal", "vote", &proposal, "accept"])?;
    ensure!(
        state()? == "Accepted",
        "the contract is not Accepted after both required members voted: {last}"
    );
    story.decided("contract", &last);
    let tx = field(&last, "transactionId")?;
    let detail =
        format!("Proposed until airport voted, registry's no changed nothing, Accepted in transaction {tx}");
    Ok((tx, detail))
}

/// Has the two members vote the policy and the contract's token issuer.
pub(crate) fn policy(story: &Story, launcher: &str, pod: &str) -> Result<((), String)> {
    let subject = format!("{CONTRACT}/{}", story.steward_id("airline")?);
    let tokens = json!([{ "sub": subject, "aud": [AUDIENCE] }]);
    let alternative = |name: &str, role: &str, host_data: &str, tokens: &JsonValue| {
        json!({ "name": "set_clean_room_policy", "args": {
            "contractId": CONTRACT, "type": "add", "policyType": "snp-caci",
            "alternative": name, "role": role, "tokens": tokens,
            "claims": {
                "x-ms-sevsnpvm-hostdata": host_data,
                "x-ms-sevsnpvm-is-debuggable": false,
                "x-ms-sevsnpvm-launchmeasurement": super::SOFTWARE_MEASUREMENT,
            },
        }})
    };
    let issuer_url = issuer_url(story);
    let actions = json!([
        alternative("launcher", "launcher", launcher, &json!([])),
        alternative("pod", "pod", pod, &tokens),
        { "name": "enable_oidc_issuer", "args": { "contractId": CONTRACT, "kid": "flight-delays" } },
        { "name": "set_oidc_issuer_url", "args": { "contractId": CONTRACT, "issuer_url": issuer_url } },
    ]);
    story.carry("policy", 0, &[0, 1], &actions)?;
    let made = story
        .cli()
        .run(&story.member(0), &["oidc", "generate-key", CONTRACT])?;
    let kid = field(&made, "kid")?;
    let shown = story.cli().run(&story.member(2), &["policy", "show", CONTRACT])?;
    for host_data in [launcher, pod] {
        if !shown.to_string().contains(host_data) {
            bail!("the policy does not show host data {host_data}: {shown}");
        }
    }
    let detail = format!(
        "launcher {}…, pod {}…; tokens for audience {AUDIENCE} are signed with {kid}",
        launcher.get(..12).unwrap_or(launcher),
        pod.get(..12).unwrap_or(pod)
    );
    Ok(((), detail))
}

/// `iss` of the contract's tokens: the service's own discovery address.
pub(crate) fn issuer_url(story: &Story) -> String {
    format!("{}/app/contracts/{CONTRACT}/oidc", story.cli().address)
}
