//! Members govern: a contract decided by those it names, a proposal's life, and components that
//! take effect with the next request.

use anyhow::Result;
use client::governance::{Governance, unix_now_s};
use http::Method;
use model::MemberId;
use model::proposal::ProposalState::{Accepted, Open, Rejected, Withdrawn};
use serde_json::{Value as JsonValue, json};
use tests::guests;
use tests::outcome::refused;
use tests::people::Person;
use tests::service::{INSECURE, Service, set_constitution, set_wasm_app};

const AIRLINE: usize = 0;
const AIRPORT: usize = 1;
const REGISTRY: usize = 2;

#[tokio::test]
async fn the_members_that_a_contract_names_decide_it_and_what_follows() -> Result<()> {
    let service = Service::open(&["airline", "airport", "registry"], &[]).await?;
    let ids: Vec<MemberId> = service.members.iter().map(|m| m.id().unwrap()).collect();
    let data = json!({ "metadata": { "voters": { "requiredMembers": [ids[AIRLINE], ids[AIRPORT]] } } });
    service.draft("flights", &data).await?;
    assert_eq!(service.contract("flights").await?["state"], "Draft");

    let proposal = service
        .propose(AIRLINE, &service.set_contract("flights").await?)
        .await?;
    let id = proposal.proposal_id;
    assert_eq!((proposal.proposal_state, proposal.ballot_count), (Open, 0));
    assert_eq!(service.vote(REGISTRY, &id, false).await?.proposal_state, Open);
    assert_eq!(service.vote(AIRLINE, &id, true).await?.proposal_state, Open);
    let before = service.contract("flights").await?;
    assert_eq!(
        (&before["state"], &before["proposalId"]),
        (&json!("Proposed"), &json!(id))
    );
    let decided = service.vote(AIRPORT, &id, true).await?;
    assert_eq!(decided.proposal_state, Accepted);
    let votes = decided.final_votes.unwrap();
    assert!(
        !votes[&ids[REGISTRY]],
        "a vote that does not count is still on record"
    );
    let after = service.contract("flights").await?;
    assert_eq!(after["state"], "Accepted");
    assert_eq!(after["data"], data);

    // The contract's policy is the same two members' business; another proposal is everybody's.
    let policy = json!([{ "name": "set_clean_room_policy", "args": {
        "contractId": "flights", "type": "add", "claims": { "x-ms-sevsnpvm-is-debuggable": false } } }]);
    let proposal = service.propose(REGISTRY, &policy).await?;
    service.vote(REGISTRY, &proposal.proposal_id, false).await?;
    service.vote(AIRPORT, &proposal.proposal_id, true).await?;
    let decided = service.vote(AIRLINE, &proposal.proposal_id, true).await?;
    assert_eq!(decided.proposal_state, Accepted);
    let threshold = json!([{ "name": "set_recovery_threshold", "args": { "recovery_threshold": 3 } }]);
    let proposal = service.propose(AIRLINE, &threshold).await?;
    service.vote(AIRLINE, &proposal.proposal_id, true).await?;
    let one_missing = service.vote(AIRPORT, &proposal.proposal_id, true).await?;
    assert_eq!(one_missing.proposal_state, Open);
    let decided = service.vote(REGISTRY, &proposal.proposal_id, false).await?;
    assert_eq!(decided.proposal_state, Rejected);
    Ok(())
}

#[tokio::test]
async fn a_proposal_lives_until_it_is_decided_or_taken_back() -> Result<()> {
    let mut service = Service::begin(&["ann", "bob"], &[]).await?;
    let act = json!([{ "name": "set_member_data", "args": {
        "member_id": service.member(0)?.id()?, "member_data": { "identifier": "anna" } } }]);
    // Members that have not acknowledged the state they joined take no part.
    refused(service.propose(0, &act).await, 401, "InvalidAuthenticationInfo")?;
    refused(
        service.connection()?.get("/app/contracts").await,
        404,
        "FrontendNotOpen",
    )?;
    service.activate().await?;
    let connection = service.connection()?;
    let (ann, bob) = (service.member(0)?.signer()?, service.member(1)?.signer()?);
    let (as_ann, as_bob) = (
        Governance::new(&connection, &ann),
        Governance::new(&connection, &bob),
    );

    // Taken back: by its proposer only, and once.
    let id = service.propose(0, &act).await?.proposal_id;
    refused(as_bob.withdraw(&id).await, 403, "AuthorizationFailed")?;
    assert_eq!(as_ann.withdraw(&id).await?.proposal_state, Withdrawn);
    assert_eq!(as_ann.withdraw(&id).await?.proposal_state, Withdrawn);
    refused(service.vote(1, &id, true).await, 400, "ProposalNotOpen")?;

    // Sent again, to the byte: refused. Signed again with another time: another proposal.
    let payload = json!({ "actions": act }).to_string();
    let now = unix_now_s();
    let mut ids = Vec::new();
    for (created_at, times) in [(now + 1, 2), (now + 2, 1)] {
        let signed = ann.sign("proposal", created_at, None, payload.as_bytes())?;
        for time in 0..times {
            let reply = connection
                .send(
                    Method::POST,
                    PROPOSE,
                    Some("application/cose"),
                    signed.clone().into(),
                )
                .await;
            if time == 0 {
                ids.push(reply?.json::<JsonValue>()?["proposalId"].clone());
            } else {
                refused(reply, 400, "ProposalReplay")?;
            }
        }
    }
    assert_ne!(ids[0], ids[1]);

    // Votes: the same again is no change, the opposite is refused, and a decided one takes none.
    let id = serde_json::from_value(ids[1].clone())?;
    assert_eq!(service.vote(0, &id, true).await?.ballot_count, 1);
    assert_eq!(service.vote(0, &id, true).await?.ballot_count, 1);
    refused(service.vote(0, &id, false).await, 400, "VoteAlreadyExists")?;
    assert_eq!(service.vote(1, &id, true).await?.proposal_state, Accepted);
    refused(service.vote(1, &id, true).await, 400, "ProposalNotOpen")?;
    let member = client::governance::read(&connection, &format!("service/members/{}", ann.id())).await?;
    assert_eq!(member["memberData"], json!({ "identifier": "anna" }));

    // All of it is still there after a restart, the closed proposals too.
    service.stop().await?;
    service.start().await?;
    let proposal = client::governance::proposal(&service.connection()?, &id).await?;
    assert_eq!(proposal.proposal_state, Accepted);
    refused(service.vote(0, &id, true).await, 400, "ProposalNotOpen")?;
    Ok(())
}

const PROPOSE: &str = "/gov/members/proposals:create?api-version=2024-07-01";

#[tokio::test]
async fn members_come_and_go_and_open_proposals_follow() -> Result<()> {
    let mut service = Service::open(&["ann", "bob"], &[]).await?;
    let carol = Person::with_encryption_key(&service.layout.dir, "carol")?;
    let add = json!([{ "name": "set_member", "args": {
        "cert": carol.cert_pem(),
        "encryption_pub_key": std::fs::read_to_string(service.layout.dir.join("carol_enc_pubk.pem"))?,
    } }]);
    service.carry(&add).await?;
    let carols_id = carol.id()?;
    service.members.push(carol);
    let act = json!([{ "name": "set_recovery_threshold", "args": { "recovery_threshold": 1 } }]);
    refused(service.propose(2, &act).await, 401, "InvalidAuthenticationInfo")?;
    service.activate().await?;

    // Waiting for Carol alone, it is carried when she is removed.
    let waiting = service.propose(2, &act).await?.proposal_id;
    service.vote(0, &waiting, true).await?;
    assert_eq!(service.vote(1, &waiting, true).await?.proposal_state, Open);
    let remove = json!([{ "name": "remove_member", "args": { "member_id": carols_id } }]);
    service.carry(&remove).await?;
    let connection = service.connection()?;
    let proposal = client::governance::proposal(&connection, &waiting).await?;
    assert_eq!(proposal.proposal_state, Accepted);
    refused(service.propose(2, &act).await, 401, "InvalidAuthenticationInfo")?;

    // Two members with shares and a threshold of one: one may go, and then none.
    service.members.pop();
    let remove_bob = json!([{ "name": "remove_member", "args": { "member_id": service.member(1)?.id()? } }]);
    service.carry(&remove_bob).await?;
    let remove_ann = json!([{ "name": "remove_member", "args": { "member_id": service.member(0)?.id()? } }]);
    let last = refused(
        service.propose(0, &remove_ann).await,
        400,
        "ProposalFailedToValidate",
    )?;
    assert!(last.message.contains("recovery threshold"), "{}", last.message);
    Ok(())
}

#[tokio::test]
async fn voted_components_take_effect_with_the_next_request() -> Result<()> {
    let service = Service::open(&["ann", "bob"], &[]).await?;
    let connection = service.connection()?;
    refused(connection.get("/app/hello").await, 404, "ResourceNotFound")?;
    let constitution = client::governance::read(&connection, "service/constitution").await?;

    let application = guests::hostile_application()?;
    let wrong = json!([{ "name": "set_wasm_app", "args": {
        "component": model::b64::encode(&application), "digest": "00".repeat(32) } }]);
    refused(service.propose(0, &wrong).await, 400, "ProposalFailedToValidate")?;
    service.carry(&json!([set_wasm_app(&application)])).await?;
    assert_eq!(connection.get("/app/hello").await?.status, 200);
    let ann = service.connection_of(service.member(0)?)?;
    refused(ann.get("/app/contracts").await, 404, "ResourceNotFound")?;

    service
        .carry(&json!([set_constitution(&guests::carefree_constitution()?)]))
        .await?;
    let replaced = client::governance::read(&connection, "service/constitution").await?;
    assert_ne!(constitution, replaced);
    let at_once = service
        .propose(1, &json!([{ "name": "whatever", "args": null }]))
        .await?;
    assert_eq!((at_once.proposal_state, at_once.ballot_count), (Accepted, 0));
    Ok(())
}

#[tokio::test]
async fn without_the_flag_no_development_node_starts() -> Result<()> {
    let service = Service::prepare(&["ann"], &["ab".repeat(32)])?;
    let (config, log) = (service.layout.config(), service.layout.log());
    let ended = tests::node::Node::try_start(&config, &log, &[])
        .await?
        .err()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.said.contains(INSECURE), "{}", ended.said);
    assert!(!service.layout.ledger().exists(), "nothing was begun");
    Ok(())
}
