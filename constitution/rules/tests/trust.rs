//! Issuers, ours and other people's, and the users that their tokens stand for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use cleanroom_model::Person;
use cleanroom_model::governance::{OIDC_ISSUERS, USER_IDENTITIES, USER_REGISTRATIONS};
use common::{World, certificate, id_of};
use model::tables;
use serde_json::{Value as JsonValue, json};

#[test]
fn issuers_are_enabled_rotated_and_addressed_per_contract() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let url = |url: &str| json!({"issuer_url": url, "contractId": "c1"});
    world.refuses("set_oidc_issuer_url", url("https://a"), "not enabled");
    world.refuses("oidc_issuer_enable_rotate_signing_key", json!({}), "not enabled");
    world.refuses(
        "enable_oidc_issuer",
        json!({"kid": "k", "contractId": "c2"}),
        "not accepted",
    );
    // The application appends numbers to it, and the whole names a key.
    let long = |len| json!({"kid": "k".repeat(len), "contractId": "c1"});
    world.refuses("enable_oidc_issuer", long(108), "more than 107");
    let longest = json!([{"name": "enable_oidc_issuer", "args": long(107)}]);
    assert_eq!(world.validate(longest), Ok(()));
    // One proposal may do it all.
    let all = json!([
        {"name": "enable_oidc_issuer", "args": {"kid": "k", "contractId": "c1"}},
        {"name": "set_oidc_issuer_url", "args": url("https://host/x")},
        {"name": "oidc_issuer_enable_rotate_signing_key", "args": {"contractId": "c1"}}]);
    assert_eq!(world.validate(all.clone()), Ok(()));
    assert_eq!(world.apply(all), Ok(()));
    world.carry("enable_oidc_issuer", json!({"kid": "other", "contractId": "c1"}));
    let row = OIDC_ISSUERS.get(&world, &"c1".to_owned()).unwrap().unwrap().0;
    assert_eq!(
        (row.kid.as_str(), row.request_id),
        ("k", 2),
        "enabling again changes nothing"
    );
    assert_eq!(row.issuer_url.as_deref(), Some("https://host/x"));
    assert_eq!(OIDC_ISSUERS.get(&world, &"*".to_owned()).unwrap(), None);
    for bad in [
        "http://host",
        "https://",
        "https:///x",
        "https://h?x",
        "https://h#x",
        "https://u@h",
        "https://h x",
        "h",
    ] {
        world.refuses("set_oidc_issuer_url", url(bad), "https");
    }
    let addresses = include_str!("../../../tests/vectors/field-cases/issuer-addresses.txt");
    let addresses = addresses.lines().filter(|line| line.starts_with("https://"));
    for line in addresses {
        match line.split_once('\t') {
            Some((good, _)) => {
                world.carry("set_oidc_issuer_url", url(good));
                let row = OIDC_ISSUERS.get(&world, &"c1".to_owned()).unwrap().unwrap().0;
                assert_eq!(row.issuer_url.as_deref(), Some(good), "as it was voted");
            }
            None => world.refuses("set_oidc_issuer_url", url(line), "not an https address"),
        }
    }
}

#[test]
fn a_key_demanded_at_once_puts_those_before_it_out_of_use() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let ids = |world: &World| {
        let row = OIDC_ISSUERS.get(world, &"c1".to_owned()).unwrap().unwrap().0;
        (row.first_request_id, row.request_id)
    };
    world.carry("enable_oidc_issuer", json!({"kid": "k", "contractId": "c1"}));
    assert_eq!(ids(&world), (1, 1));
    let rotate = "oidc_issuer_enable_rotate_signing_key";
    world.carry(rotate, json!({"contractId": "c1"}));
    assert_eq!(ids(&world), (1, 2));
    world.carry(rotate, json!({"contractId": "c1", "immediately": true}));
    assert_eq!(ids(&world), (3, 3));
    world.carry(rotate, json!({"contractId": "c1", "immediately": false}));
    assert_eq!(ids(&world), (3, 4));
}

fn jwk(kid: &str) -> JsonValue {
    // 2048 bits; the last digit has no stray bits.
    let n = format!("qrq{}w", "q".repeat(338));
    json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
}

#[test]
fn each_token_key_is_believed_for_its_own_issuer_only() {
    let mut world = World::new("ann");
    let set = |issuer: &str, keys: &[JsonValue]| json!({"issuer": issuer, "jwks": {"keys": keys}});
    world.carry("set_jwt_issuer", set("https://one/x", &[jwk("a"), jwk("b")]));
    world.carry("set_jwt_issuer", set("https://two", &[jwk("b")]));
    let issuers_of = |world: &World, kid: &str| -> Vec<String> {
        let row = tables::JWT_KEYS.get(world, &kid.to_owned()).unwrap();
        let keys = row.map(|row| row.0).unwrap_or_default();
        assert!(
            keys.iter()
                .all(|key| key.constraint.as_ref() == Some(&key.issuer))
        );
        keys.into_iter().map(|key| key.issuer).collect()
    };
    assert_eq!(issuers_of(&world, "b"), ["https://one/x", "https://two"]);
    let audience = tables::JWT_ISSUERS
        .get(&world, &"https://two".to_owned())
        .unwrap()
        .unwrap()
        .0
        .audience;
    assert_eq!(audience.as_deref(), Some("concordat"));
    // A new set replaces the old one; without a set the keys stay.
    world.carry("set_jwt_issuer", set("https://one/x", &[jwk("c")]));
    assert_eq!(issuers_of(&world, "a"), Vec::<String>::new());
    assert_eq!(issuers_of(&world, "b"), ["https://two"]);
    world.carry(
        "set_jwt_issuer",
        json!({"issuer": "https://one/x", "audience": "other"}),
    );
    assert_eq!(issuers_of(&world, "c"), ["https://one/x"]);
    world.carry("remove_jwt_issuer", json!({"issuer": "https://one/x"}));
    assert_eq!(issuers_of(&world, "c"), Vec::<String>::new());
    assert_eq!(issuers_of(&world, "b"), ["https://two"]);
}

#[test]
fn malformed_issuers_and_keys_are_refused() {
    let mut world = World::new("ann");
    let with = |key: JsonValue| json!({"issuer": "https://one/x", "jwks": {"keys": [key]}});
    world.refuses("set_jwt_issuer", json!({"issuer": ""}), "issuer must have");
    world.refuses(
        "set_jwt_issuer",
        with(json!({"kid": "a", "kty": "RSA"})),
        "cannot be used",
    );
    let mut key = jwk("a");
    key["issuer"] = json!("https://elsewhere/x");
    world.refuses("set_jwt_issuer", with(key.clone()), "another host");
    key["issuer"] = json!("https://one/{tenantid}");
    let actions = json!([{"name": "set_jwt_issuer", "args": with(key)}]);
    assert_eq!(world.validate(actions), Ok(()));
    let later = json!([{"name": "set_jwt_issuer", "args": {"issuer": "https://one", "auto_refresh": true}}]);
    assert!(world.validate(later).unwrap_err()[0].unavailable);
}

/// A set from `tests/vectors/field-cases/key-sets`, proposed for an issuer.
fn proposed(set: &str) -> JsonValue {
    json!({"issuer": "https://one/x", "jwks": serde_json::from_str::<JsonValue>(set).unwrap()})
}

/// Ids of the issuer's keys that verify, and the ids and reasons of those left out.
fn on_record(world: &World) -> (Vec<String>, Vec<(String, String)>) {
    let rows = tables::JWT_KEYS.rows(world).unwrap();
    let used = rows
        .iter()
        .flat_map(|row| row.value.0.iter().map(|_| row.key.clone()))
        .collect();
    let issuer = tables::JWT_ISSUERS
        .get(world, &"https://one/x".to_owned())
        .unwrap()
        .unwrap()
        .0;
    let skipped = issuer
        .skipped_keys
        .into_iter()
        .map(|key| (key.kid.unwrap_or_default(), key.reason))
        .collect();
    (used, skipped)
}

#[test]
fn one_key_that_is_not_for_us_never_spoils_a_set_and_never_verifies() {
    for (set, used, skipped, reason) in [
        (
            include_str!("../../../tests/vectors/field-cases/key-sets/rsa-and-ed25519--take.json"),
            "sig-1",
            "ed",
            "kty is \"OKP\"",
        ),
        (
            include_str!("../../../tests/vectors/field-cases/key-sets/rsa-and-ml-dsa--take.json"),
            "sig-1",
            "",
            "kty is \"AKP\"",
        ),
        (
            include_str!(
                "../../../tests/vectors/field-cases/key-sets/sign-and-encrypt--take-but-the-second-verifies-nothing.json"
            ),
            "sig-1",
            "enc-1",
            "use is \"enc\"",
        ),
        (
            include_str!(
                "../../../tests/vectors/field-cases/key-sets/wrap-key-operation--take-but-the-second-verifies-nothing.json"
            ),
            "sig-1",
            "",
            "key_ops is [\"wrapKey\"]",
        ),
    ] {
        let mut world = World::new("ann");
        world.carry("set_jwt_issuer", proposed(set));
        let (usable, left_out) = on_record(&world);
        assert_eq!(usable, [used], "{reason}");
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert!(skipped.is_empty() || left_out[0].0 == skipped, "{left_out:?}");
        assert!(left_out[0].1.contains(reason), "{left_out:?}");
        // Said until another set comes, also when only the audience changes.
        world.carry(
            "set_jwt_issuer",
            json!({"issuer": "https://one/x", "audience": "b"}),
        );
        assert_eq!(on_record(&world).1, left_out);
        world.carry(
            "set_jwt_issuer",
            json!({"issuer": "https://one/x", "jwks": {"keys": [jwk("b")]}}),
        );
        assert_eq!(on_record(&world), (vec!["b".to_owned()], Vec::new()));
    }
}

#[test]
fn a_set_without_one_usable_key_is_refused() {
    let mut world = World::new("ann");
    let ml_dsa = include_str!("../../../tests/vectors/field-cases/key-sets/ml-dsa-alone--refuse.json");
    world.refuses("set_jwt_issuer", proposed(ml_dsa), "kty is \"AKP\"");
    world.refuses(
        "set_jwt_issuer",
        proposed(r#"{"keys":[]}"#),
        "no key that verifies",
    );
    world.refuses("set_jwt_issuer", proposed(r#"{"keys":[7]}"#), "cannot be used");
    let mut odd = jwk("a");
    odd["kid"] = json!(7);
    world.refuses(
        "set_jwt_issuer",
        json!({"issuer": "https://one/x", "jwks": {"keys": [odd]}}),
        "kid is not printable",
    );
}

#[test]
fn eight_keys_may_share_a_kid_and_keys_without_one_have_a_row_of_their_own() {
    let numbered = |kid: Option<&str>, count: u8| -> Vec<JsonValue> {
        let key = |number: u8| {
            let mut key = jwk("k");
            let n =
                key["n"]
                    .as_str()
                    .unwrap()
                    .replacen("qrqq", &format!("qr{}q", char::from(b'A' + number)), 1);
            key["n"] = json!(n);
            match kid {
                Some(kid) => key["kid"] = json!(kid),
                None => drop(key.as_object_mut().unwrap().remove("kid")),
            }
            key
        };
        (0..count).map(key).collect()
    };
    for (kid, row) in [(Some("k"), "k"), (None, "")] {
        for (count, left_out) in [(8, 0), (9, 1)] {
            let mut world = World::new("ann");
            let keys = numbered(kid, count);
            world.carry(
                "set_jwt_issuer",
                json!({"issuer": "https://one/x", "jwks": {"keys": keys}}),
            );
            let (usable, skipped) = on_record(&world);
            assert_eq!(usable, vec![row.to_owned(); 8]);
            assert_eq!(skipped.len(), left_out, "{skipped:?}");
        }
    }
    // Replaced as a whole, and another issuer's under the same kid stay.
    let mut world = World::new("ann");
    let set = |issuer: &str, keys: &[JsonValue]| json!({"issuer": issuer, "jwks": {"keys": keys}});
    world.carry("set_jwt_issuer", set("https://one/x", &numbered(Some("k"), 3)));
    world.carry("set_jwt_issuer", set("https://two", &numbered(Some("k"), 2)));
    world.carry("set_jwt_issuer", set("https://one/x", &numbered(Some("k"), 1)));
    let row = tables::JWT_KEYS.get(&world, &"k".to_owned()).unwrap().unwrap().0;
    let issuers: Vec<&str> = row.iter().map(|key| key.issuer.as_str()).collect();
    assert_eq!(issuers, ["https://one/x", "https://two", "https://two"]);
    // The same key twice is one key.
    world.carry("set_jwt_issuer", set("https://one/x", &[jwk("a"), jwk("a")]));
    assert_eq!(on_record(&world).1.len(), 1);
}

#[test]
fn an_identity_stays_with_its_issuer_and_tenant() {
    let mut world = World::new("ann");
    let user = |kind: &str, data: JsonValue| json!({"id": "u1", "accountType": kind, "data": data});
    world.refuses("set_user_identity", user("microsoft", json!({})), "tenantId");
    world.refuses(
        "set_user_identity",
        user("oidc", json!({"tenantId": "t"})),
        "issuer",
    );
    world.refuses(
        "set_user_identity",
        user("google", json!({"tenantId": "t"})),
        "unknown variant",
    );
    world.carry(
        "set_user_identity",
        user("oidc", json!({"issuer": "https://one", "identifier": "ana"})),
    );
    let row = USER_IDENTITIES
        .get(&world, &"u1".parse().unwrap())
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(
        row.data.tenant_id, "https://one",
        "the issuer stands in for a tenant"
    );
    world.refuses(
        "set_user_identity",
        user("oidc", json!({"issuer": "https://two"})),
        "another issuer",
    );
    world.refuses(
        "set_user_identity",
        user("microsoft", json!({"tenantId": "https://one"})),
        "another issuer",
    );
    let since = |world: &World| {
        let row = USER_REGISTRATIONS.get_versioned(world, &"u1".parse().unwrap());
        row.unwrap().map(|row| row.version)
    };
    let registered = since(&world);
    world.now = kv::TxId::new(world.now.view, world.now.seqno + 1);
    world.carry(
        "set_user_identity",
        user("oidc", json!({"issuer": "https://one", "identifier": "anna"})),
    );
    assert!(
        registered.is_some() && since(&world) == registered,
        "an update is no registration"
    );
    world.carry("remove_user_identity", json!({"id": "u1"}));
    world.carry("remove_user_identity", json!({"id": "u1"}));
    assert_eq!(since(&world), None);
    world.carry(
        "set_user_identity",
        user("oidc", json!({"issuer": "https://two"})),
    );
    let invited = json!([{"name": "set_user_identity", "args":
        {"id": "u2", "accountType": "microsoft", "invitationId": "i", "data": {"tenantId": "t"}}}]);
    assert!(world.validate(invited).unwrap_err()[0].unavailable);
}

#[test]
fn an_id_that_is_removed_and_registered_in_one_proposal_is_registered_anew() {
    let mut world = World::new("ann");
    let of = |issuer: &str| json!({"id": "u1", "accountType": "oidc", "data": {"issuer": issuer}});
    world.carry("set_user_identity", of("https://one"));
    let person = |world: &World| {
        let who = serde_json::from_value(json!({"approverId": "u1", "approverIdType": "user"})).unwrap();
        Person::find(world, &who).unwrap().unwrap()
    };
    let before = person(&world);
    world.now = kv::TxId::new(world.now.view, world.now.seqno + 1);
    world
        .apply(json!([
            {"name": "remove_user_identity", "args": {"id": "u1"}},
            {"name": "set_user_identity", "args": of("https://one")},
        ]))
        .unwrap();
    assert_ne!(
        person(&world),
        before,
        "nobody can tell whether it is the same person"
    );
}

#[test]
fn a_token_user_cannot_take_the_id_of_a_certificate_nor_the_other_way_round() {
    let mut world = World::new("ann");
    let certificates = ["una", "ugo"].map(certificate);
    let [una, ugo] = certificates.each_ref().map(|cert| id_of(cert).to_string());
    let identity = |id: &str| json!({"id": id, "accountType": "oidc", "data": {"issuer": "https://one"}});
    world.carry("set_user", json!({"cert": certificates[0]}));
    world.refuses("set_user_identity", identity(&una), "user with a certificate");
    world.carry("set_user_identity", identity(&ugo));
    world.refuses("set_user", json!({"cert": certificates[1]}), "token user");
    world.carry(
        "set_user",
        json!({"cert": certificates[0], "user_data": {"a": 1}}),
    );
}
