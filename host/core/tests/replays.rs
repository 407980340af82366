//! Signed requests that come again: as they were, under the signature's twin, or on another service.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use crypto::cose::{ProtectedHeader, Sign1, assemble, label, to_be_signed};
use crypto::native::sign_governance_message_for;
use crypto::spki::KeyKind;
use crypto::x509::Certificate;
use host_core::{AuthError, Call, MessageType};
use model::tables;
use serde_json::json;
use support::{Member, NOW, TestService, code_of, json_of};

/// The same message under the other signature.
fn twin(message: &[u8]) -> Vec<u8> {
    let read = Sign1::parse(message).unwrap();
    let signature = crypto::ecdsa::twin(KeyKind::EcP384, read.signature()).unwrap();
    assemble(read.protected(), &[], read.payload(), &signature)
}

#[test]
fn a_proposal_under_the_twin_of_its_signature_is_a_replay() {
    let mut service = TestService::active();
    let text = json!({"actions": [{"name": "auto"}]}).to_string();
    let message = service.members[0].sign(MessageType::Proposal, None, text.as_bytes(), NOW + 500);
    for (message, expected) in [(message.clone(), "200 -"), (twin(&message), "400 ProposalReplay")] {
        let request = service.verify(&message, MessageType::Proposal, None).unwrap();
        assert_eq!(code_of(&service.commit(Call::Governance(request))), expected);
    }
}

#[test]
fn an_acknowledgement_is_recorded_once() {
    let mut service = TestService::active();
    let ann = service.members[0].id;
    let ack = tables::MEMBER_ACKS
        .get(&service.service.state(), &ann)
        .unwrap()
        .unwrap();
    let message = model::b64::decode(&ack.0.cose_sign1_req.unwrap()).unwrap();
    for message in [message.clone(), twin(&message)] {
        let request = service.verify(&message, MessageType::Ack, None).unwrap();
        let again = service.commit(Call::Governance(request));
        assert_eq!((again.reply.status, again.wrote), (204, false));
    }
}

#[test]
fn an_old_request_for_a_digest_does_not_undo_an_acknowledgement() {
    let mut service = TestService::begin();
    let post = |service: &mut TestService, kind, message: &[u8]| {
        let request = service.verify(message, kind, None).unwrap();
        service.commit(Call::Governance(request))
    };
    // Digest and acknowledgement within one second.
    let sign =
        |service: &TestService, kind, payload: &[u8], at| service.members[0].sign(kind, None, payload, at);
    let update = sign(&service, MessageType::StateDigest, b"", NOW);
    let answer = json_of(&post(&mut service, MessageType::StateDigest, &update));
    let payload = json!({"stateDigest": answer["stateDigest"]}).to_string();
    let ack = sign(&service, MessageType::Ack, payload.as_bytes(), NOW);
    assert_eq!(post(&mut service, MessageType::Ack, &ack).reply.status, 204);
    for message in [update.clone(), twin(&update)] {
        let again = post(&mut service, MessageType::StateDigest, &message);
        assert_eq!((again.reply.status, again.wrote), (200, false));
        assert_eq!(json_of(&again), answer);
    }
    // Another one in the same second is the member's own.
    let second = sign(&service, MessageType::StateDigest, b"", NOW);
    assert!(post(&mut service, MessageType::StateDigest, &second).wrote);
    let newer = sign(&service, MessageType::StateDigest, b"", NOW + 1);
    assert!(post(&mut service, MessageType::StateDigest, &newer).wrote);
    let refused = post(&mut service, MessageType::StateDigest, &update);
    assert_eq!(code_of(&refused), "400 InvalidCreatedAt");
}

#[test]
fn a_message_for_another_service_is_refused() {
    let service = TestService::active();
    let member: &Member = &service.members[0];
    let state = service.service.state();
    let here = Certificate::from_pem(&state.service_cert_pem)
        .unwrap()
        .id()
        .to_string();
    let kid = member.id.to_string();
    let sign = |service: Option<&str>| {
        sign_governance_message_for(service, &member.key, &kid, "ack", NOW, None, b"{}").unwrap()
    };
    service.verify(&sign(None), MessageType::Ack, None).unwrap();
    service
        .verify(&sign(Some(&here)), MessageType::Ack, None)
        .unwrap();
    for other in ["00".repeat(32), here.to_uppercase(), String::new()] {
        let refused = service
            .verify(&sign(Some(&other)), MessageType::Ack, None)
            .unwrap_err();
        assert_eq!(refused, AuthError::OtherService);
        let body: serde_json::Value = serde_json::from_slice(&refused.reply().body).unwrap();
        assert_eq!(body["error"]["details"][0]["code"], "OtherService");
    }
    // A number is no digest, and not the same as none.
    let protected = ProtectedHeader::new()
        .int(label::ALG, member.key.curve().cose_alg())
        .int(label::KID, kid.clone().into_bytes())
        .text("ccf.gov.msg.type", "ack")
        .text("ccf.gov.msg.created_at", NOW)
        .text("ccf.gov.msg.service", 1)
        .encode();
    let signature = member.key.sign_fixed(&to_be_signed(&protected, b"{}")).unwrap();
    let number = assemble(&protected, &[], Some(b"{}"), &signature);
    assert!(matches!(
        service.verify(&number, MessageType::Ack, None),
        Err(AuthError::Malformed(_))
    ));
}
