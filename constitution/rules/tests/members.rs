//! Members and users: what is refused, and what changes in the tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, certificate, id_of, member};
use crypto::native::{RsaBits, RsaKeyPair};
use kv::Json;
use model::member::{MemberStatus, RecoveryRole};
use model::service::ServiceStatus;
use model::tables;
use serde_json::{Value as JsonValue, json};

fn encryption_key() -> String {
    RsaKeyPair::generate(RsaBits::B2048).unwrap().public_pem()
}

#[test]
fn a_new_member_is_accepted_and_its_flags_become_booleans() {
    let mut world = World::new("ann");
    let cert = certificate("bob");
    let data = json!({"identifier": "bob", "isOperator": false, "cgsRoles": {"cgsOperator": "true"}});
    world.carry("set_member", json!({"cert": cert, "member_data": data}));
    let id = id_of(&cert);
    let info = tables::MEMBER_INFO.get(&world, &id).unwrap().unwrap().0;
    assert_eq!(info.status, MemberStatus::Accepted);
    assert_eq!(
        info.member_data,
        Some(json!({"identifier": "bob", "isOperator": false, "cgsRoles": {"cgsOperator": true}}))
    );
    assert_eq!(
        tables::MEMBER_CERTS.get(&world, &id).unwrap().unwrap().0,
        cert.into_bytes()
    );
    let ack = tables::MEMBER_ACKS.get(&world, &id).unwrap().unwrap().0;
    assert_eq!(ack.state_digest, "", "nothing is signed yet");
}

#[test]
fn a_member_registered_again_starts_anew() {
    let mut world = World::new("ann");
    let cert = certificate("bob");
    let id = id_of(&cert);
    let (first, second) = (encryption_key(), encryption_key());
    world.carry("set_member", json!({"cert": cert, "encryption_pub_key": first}));
    world.put_member_info(&id, MemberStatus::Active, None);
    world.carry(
        "set_member",
        json!({"cert": cert, "encryption_pub_key": second, "recovery_role": "Owner"}),
    );
    let info = tables::MEMBER_INFO.get(&world, &id).unwrap().unwrap().0;
    assert_eq!(info.status, MemberStatus::Accepted);
    assert_eq!(info.recovery_role, Some(RecoveryRole::Owner));
    let key = tables::MEMBER_ENCRYPTION_KEYS.get(&world, &id).unwrap().unwrap();
    assert_eq!(key.0, format!("{second}\n").into_bytes());
    world.carry("set_member", json!({"cert": cert}));
    assert!(
        !tables::MEMBER_ENCRYPTION_KEYS.has(&world, &id).unwrap(),
        "no key given, none kept"
    );
}

#[test]
fn certificates_keys_roles_and_shares_must_fit() {
    let mut world = World::new("ann");
    let cert = certificate("bob");
    let key = encryption_key();
    let ec_key = crypto::native::EcKeyPair::generate(crypto::native::Curve::P256)
        .unwrap()
        .public_pem();
    let with = |extra: JsonValue| {
        let mut args = json!({"cert": cert});
        for (name, value) in extra.as_object().unwrap() {
            args[name] = value.clone();
        }
        args
    };
    for (extra, reason) in [
        (json!({"cert": "x"}), "not a certificate"),
        (json!({"encryption_pub_key": "x"}), "not an RSA public key"),
        (json!({"encryption_pub_key": ec_key}), "not an RSA public key"),
        (json!({"recovery_role": "Participant"}), "need an encryption key"),
        (
            json!({"encryption_pub_key": key, "recovery_role": "NonParticipant"}),
            "need an encryption key",
        ),
        (
            json!({"encryption_pub_key": key, "member_data": {"isOperator": true}}),
            "recovery share",
        ),
        // The reference takes "false" for true; who sends a text here cannot mean what it says.
        (
            json!({"member_data": {"isOperator": "true"}}),
            "true or false, not \"true\"",
        ),
        (
            json!({"member_data": {"isOperator": "false"}}),
            "true or false, not \"false\"",
        ),
        (
            json!({"member_data": {"isRecoveryOperator": "false"}}),
            "true or false",
        ),
        (json!({"member_data": {"isOperator": null}}), "true or false"),
        (json!({"member_data": []}), "not an object"),
        (json!({"member_data": {"isOperator": 1}}), "true or false"),
        (json!({"member_data": {"cgsRoles": "x"}}), "not an object"),
        (
            json!({"member_data": {"cgsRoles": {"contractOperator": "yes"}}}),
            "true or false",
        ),
        (
            json!({"member_data": {"cgsRoles": {"contractOperatorFor": ["a/b"]}}}),
            "contract ids",
        ),
    ] {
        world.refuses("set_member", with(extra), reason);
    }
    // A recovery operator is there to hold one.
    let recovery = json!({"encryption_pub_key": key, "member_data": {"isRecoveryOperator": true}});
    world.carry("set_member", with(recovery));
}

/// One certificate as files spell it (`tests/vectors/field-cases`).
const CERTIFICATE_FORMS: [(&str, &str); 6] = [
    (
        "plain",
        include_str!("../../../tests/vectors/field-cases/member-certificate-forms/plain.pem"),
    ),
    (
        "crlf",
        include_str!("../../../tests/vectors/field-cases/member-certificate-forms/crlf.pem"),
    ),
    (
        "76 columns",
        include_str!("../../../tests/vectors/field-cases/member-certificate-forms/76-columns.pem"),
    ),
    (
        "newline",
        include_str!("../../../tests/vectors/field-cases/member-certificate-forms/one-more-newline.pem"),
    ),
    (
        "x509 -text",
        include_str!(
            "../../../tests/vectors/field-cases/member-certificate-forms/openssl-x509-text-in-front.pem"
        ),
    ),
    (
        "pkcs12",
        include_str!(
            "../../../tests/vectors/field-cases/member-certificate-forms/openssl-pkcs12-attributes-in-front.pem"
        ),
    ),
];

#[test]
fn every_spelling_of_a_certificate_is_the_same_member_and_user_and_stored_alike() {
    let id = id_of(CERTIFICATE_FORMS[0].1);
    for (name, text) in CERTIFICATE_FORMS {
        let mut world = World::new("ann");
        world.carry("set_member", json!({"cert": text}));
        let member = tables::MEMBER_CERTS.get(&world, &id).unwrap();
        world.carry("set_user", json!({"cert": text}));
        let user = tables::USER_CERTS.get(&world, &model::UserId(id.0)).unwrap();
        for stored in [member, user] {
            let stored = stored.map(|row| String::from_utf8(row.0).unwrap());
            assert_eq!(stored.as_deref(), Some(CERTIFICATE_FORMS[0].1), "{name}");
        }
        world.carry("assert_service_identity", json!({"service_identity": text}));
    }
}

#[test]
fn an_encryption_key_is_read_in_any_spelling_and_stored_in_one() {
    let key = format!("{}\n", encryption_key());
    let cert = certificate("bob");
    for text in [
        key.replace('\n', "\r\n"),
        format!("Public-Key: (2048 bit)\n{key}\n\n"),
        key.trim_end().to_owned(),
    ] {
        let mut world = World::new("ann");
        world.carry("set_member", json!({"cert": cert, "encryption_pub_key": text}));
        let stored = tables::MEMBER_ENCRYPTION_KEYS.get(&world, &id_of(&cert)).unwrap();
        assert_eq!(stored.unwrap().0, key.clone().into_bytes());
    }
}

#[test]
fn a_certificate_with_its_private_key_beside_it_is_refused_before_it_is_published() {
    let cert = certificate("bob");
    let key = crypto::native::EcKeyPair::generate(crypto::native::Curve::P256).unwrap();
    let both = format!("{}{cert}", *key.to_pkcs8_pem().unwrap());
    let mut world = World::new("ann");
    world.refuses("set_member", json!({"cert": both}), "private key");
    world.refuses("set_user", json!({"cert": both}), "private key");
    world.refuses(
        "set_member",
        json!({"cert": format!("{cert}{cert}")}),
        "more than 1",
    );
}

#[test]
fn a_share_holder_does_not_become_an_operator() {
    let mut world = World::new("ann bob");
    world.give_key(&member("bob"));
    let data = |name: &str, data: JsonValue| json!({"member_id": member(name), "member_data": data});
    world.refuses(
        "set_member_data",
        data("bob", json!({"isOperator": true})),
        "recovery share",
    );
    world.refuses("set_member_data", data("zoe", json!({})), "not a member");
    world.carry("set_member_data", data("ann", json!({"isOperator": true})));
    let info = tables::MEMBER_INFO
        .get(&world, &member("ann"))
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(info.status, MemberStatus::Active, "data do not change the status");
    assert_eq!(info.member_data, Some(json!({"isOperator": true})));
}

#[test]
fn removal_keeps_the_service_recoverable() {
    let mut world = World::new("ann bob cid");
    world.give_key(&member("ann"));
    world.give_key(&member("bob"));
    world.set_service(ServiceStatus::Open, 2);
    let remove = |name: &str| json!({"member_id": member(name)});
    world.refuses(
        "remove_member",
        remove("ann"),
        "fewer than the recovery threshold",
    );
    world.carry("remove_member", remove("cid"));
    assert!(!tables::MEMBER_INFO.has(&world, &member("cid")).unwrap());
    world.carry("remove_member", remove("cid"));
    world.set_service(ServiceStatus::Open, 1);
    world.carry("remove_member", remove("ann"));
    assert!(
        !tables::MEMBER_ENCRYPTION_KEYS
            .has(&world, &member("ann"))
            .unwrap()
    );
    // Two removals in one proposal are looked at one after the other.
    world.put_member("dan");
    world.give_key(&member("dan"));
    let both = json!([{"name": "remove_member", "args": remove("bob")}, {"name": "remove_member", "args": remove("dan")}]);
    assert_eq!(world.validate(both.clone()), Ok(()));
    assert!(world.apply(both).unwrap_err().reason.contains("threshold"));
    assert!(
        tables::MEMBER_INFO.has(&world, &member("bob")).unwrap(),
        "nothing of it is kept"
    );
}

#[test]
fn registering_a_share_holder_anew_keeps_the_service_recoverable() {
    let mut world = World::new("");
    let cert = certificate("bob");
    let args = json!({"cert": cert, "encryption_pub_key": encryption_key()});
    world.carry("set_member", args.clone());
    world.put_member_info(&id_of(&cert), MemberStatus::Active, None);
    world.set_service(ServiceStatus::Open, 1);
    let failed = world
        .apply(json!([{"name": "set_member", "args": args}]))
        .unwrap_err();
    assert!(failed.reason.contains("threshold"), "{}", failed.reason);
}

#[test]
fn users_come_and_go() {
    let mut world = World::new("ann");
    let cert = certificate("una");
    let id = model::UserId(id_of(&cert).0);
    world.refuses("set_user", json!({"cert": "x"}), "not a certificate");
    world.refuses("set_user", json!({"cert": cert, "user_data": 7}), "not an object");
    world.refuses(
        "set_user_data",
        json!({"user_id": id, "user_data": {}}),
        "not a user",
    );
    world.carry("set_user", json!({"cert": cert, "user_data": {"tenantId": "t"}}));
    let data = |world: &World| {
        tables::USER_INFO
            .get(world, &id)
            .unwrap()
            .map(|Json(info)| info.user_data)
    };
    assert_eq!(data(&world), Some(json!({"tenantId": "t"})));
    world.carry(
        "set_user_data",
        json!({"user_id": id, "user_data": {"tenantId": "u"}}),
    );
    assert_eq!(data(&world), Some(json!({"tenantId": "u"})));
    world.carry("remove_user", json!({"user_id": id}));
    assert_eq!(data(&world), None);
    assert!(!tables::USER_CERTS.has(&world, &id).unwrap());
}
