//! The OpenID issuer and its tokens (`attestation-secrets-oidc.md` §3; decisions 7 and 25).

use crypto::jws::Jws;
use crypto::native::Native;
use governance_app::Caller;
use serde_json::{Value as JsonValue, json};

use crate::world::{NOW_MS, Workload, World, member, pending_member, user, workload};

const URL: &str = "https://issuer.example/app/contracts/c1/oidc";
const TOKEN: &str = "/contracts/c1/oauth/token?sub=storage&aud=api%3A%2F%2Fcloud";

fn world() -> (World, Workload) {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome(
        "c1",
        "default",
        &pod,
        json!({"tokens": [{"sub": "storage", "aud": ["api://cloud"]}]}),
    );
    (world, pod)
}

fn keys(world: &mut World, base: &str) -> JsonValue {
    world.get(&Caller::Anonymous, &format!("{base}/keys")).ok()["keys"].clone()
}

/// Verifies as a relying party would: key by id from the key set, RS256.
fn verified(token: &str, keys: &JsonValue) -> JsonValue {
    let token = Jws::parse(token).unwrap();
    let kid = token.kid().unwrap();
    let jwk = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == kid)
        .unwrap();
    let spki = crypto::spki::jwk_to_spki(jwk).unwrap();
    token.verify(&spki, &Native).unwrap();
    assert_eq!(token.header()["alg"], "RS256");
    token.claims().clone()
}

#[test]
fn a_relying_party_verifies_the_token_of_an_admitted_workload() {
    let (mut world, pod) = world();
    world.attested(&pod, TOKEN).is(405, "SigningKeyNotAvailable");
    world.set_issuer(Some("c1"), 1, None);
    let made = world
        .post(
            &member("ann"),
            "/contracts/c1/oidc/generateSigningKey",
            json!(null),
        )
        .ok();
    assert_eq!(made, json!({"reqId": "1", "kid": "k-1"}));
    world.attested(&pod, TOKEN).is(405, "IssuerUrlNotSet");
    world.set_issuer(Some("c1"), 1, Some(URL));
    let discovery = world
        .get(
            &Caller::Anonymous,
            "/contracts/c1/oidc/.well-known/openid-configuration",
        )
        .ok();
    assert_eq!(
        (&discovery["issuer"], &discovery["jwks_uri"]),
        (&json!(URL), &json!(format!("{URL}/keys")))
    );
    let answer = world.attested(&pod, &format!("{TOKEN}&exp=9999999999&iat=1&jti=j-1&iss=evil"));
    let tx = answer.tx;
    let keys = keys(&mut world, "/contracts/c1/oidc");
    let claims = verified(&pod.unwrap(&answer.ok()), &keys);
    let now = NOW_MS / 1000;
    assert_eq!(claims["iss"], URL);
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!("storage"), &json!("api://cloud"))
    );
    assert_eq!(
        (&claims["iat"], &claims["nbf"], &claims["exp"]),
        (&json!(now), &json!(now), &json!(now + 3600))
    );
    assert_eq!(
        (&claims["jti"], &claims["contract_id"]),
        (&json!("j-1"), &json!("c1"))
    );
    assert_eq!(claims["release_txid"], tx.to_string());
    assert_eq!(claims["policy_digest"].as_str().unwrap().len(), 64);
    let trace = world.trace("c1");
    assert_eq!(trace.len(), 1);
    assert_eq!(
        (trace[0].name.as_str(), trace[0].audience.as_deref()),
        ("storage", Some("api://cloud"))
    );
}

#[test]
fn subject_and_audience_must_be_allowed() {
    let (mut world, pod) = world();
    world.set_issuer(Some("c1"), 1, Some(URL));
    world
        .post(
            &member("ann"),
            "/contracts/c1/oidc/generateSigningKey",
            json!(null),
        )
        .ok();
    for query in ["sub=storage&aud=other", "sub=other&aud=api://cloud"] {
        let refused = world.attested(&pod, &format!("/contracts/c1/oauth/token?{query}"));
        refused.is(403, "TokenNotAllowed");
        assert!(refused.wrote);
    }
    world
        .attested(&workload('c'), TOKEN)
        .is(400, "VerifySnpAttestationFailed");
    assert_eq!(world.trace("c1").len(), 3);
}

#[test]
fn parameters_are_checked_before_evidence() {
    let (mut world, pod) = world();
    world
        .post(&Caller::Anonymous, TOKEN, json!({}))
        .is(400, "AttestationMissing");
    for query in [
        "aud=a",
        "sub=s",
        "sub=s&aud=a&exp=soon",
        "sub=s&aud=a&exp=1",
        "sub=s&aud=%00",
    ] {
        let answer = world.attested(&pod, &format!("/contracts/c1/oauth/token?{query}"));
        answer.is(400, "InvalidInput");
        assert!(!answer.wrote, "{query}");
    }
}

const GENERATE: &str = "/contracts/c1/oidc/generateSigningKey";
/// How long relying parties may keep the key set, and how long a token lives; milliseconds.
const CACHE_MS: u64 = 600_000;
const LIFE_MS: u64 = 3_600_000;

/// Which key signs now.
fn signed_by(world: &mut World, pod: &Workload) -> String {
    let answer = world.attested(pod, TOKEN).ok();
    let token = Jws::parse(&pod.unwrap(&answer)).unwrap();
    token.kid().unwrap().to_owned()
}

fn published(world: &mut World) -> Vec<String> {
    let keys = keys(world, "/contracts/c1/oidc");
    let kid = |key: &JsonValue| key["kid"].as_str().unwrap().to_owned();
    keys.as_array().unwrap().iter().map(kid).collect()
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_as_long_as_its_tokens_live() {
    let (mut world, pod) = world();
    world.set_issuer(Some("c1"), 1, Some(URL));
    world.post(&member("ann"), GENERATE, json!(null)).ok();
    assert_eq!(
        world.post(&member("bob"), GENERATE, json!(null)).ok()["kid"],
        "k-1"
    );
    assert_eq!(
        signed_by(&mut world, &pod),
        "k-1",
        "the first has nobody to wait for"
    );
    world.set_issuer(Some("c1"), 2, Some(URL));
    // Until somebody generates the new key, the old one signs.
    assert_eq!(signed_by(&mut world, &pod), "k-1");
    let made = world.post(&member("ann"), GENERATE, json!(null)).ok();
    assert_eq!(made["kid"], "k-2");
    assert_eq!(made["signsFrom"], json!(NOW_MS + CACHE_MS));
    assert_eq!(published(&mut world), ["k-1", "k-2"]);
    world.pass_time(CACHE_MS - 1);
    let old = world.attested(&pod, TOKEN).ok();
    let old = pod.unwrap(&old);
    assert_eq!(Jws::parse(&old).unwrap().kid(), Some("k-1"));
    assert!(world.host.has_key("oidc/c1/k-1"));
    world.pass_time(1);
    assert_eq!(signed_by(&mut world, &pod), "k-2");
    assert!(
        !world.host.has_key("oidc/c1/k-1"),
        "its successor has signed: the private half is gone"
    );
    assert!(world.host.has_key("oidc/c1/k-2"));
    verified(&old, &keys(&mut world, "/contracts/c1/oidc"));
    world.pass_time(LIFE_MS - 1);
    assert_eq!(published(&mut world), ["k-1", "k-2"]);
    world.pass_time(1);
    assert_eq!(published(&mut world), ["k-2"]);
}

#[test]
fn a_key_demanded_at_once_signs_at_once_and_the_leaked_one_leaves_the_set_with_the_vote() {
    let (mut world, pod) = world();
    world.set_issuer(Some("c1"), 1, Some(URL));
    world.post(&member("ann"), GENERATE, json!(null)).ok();
    world.set_issuer(Some("c1"), 2, Some(URL));
    world.post(&member("ann"), GENERATE, json!(null)).ok();
    world.demand_key("c1", 3, URL);
    world.attested(&pod, TOKEN).is(405, "SigningKeyNotAvailable");
    world
        .get(&Caller::Anonymous, "/contracts/c1/oidc/keys")
        .is(405, "SigningKeyNotAvailable");
    let made = world.post(&member("ann"), GENERATE, json!(null)).ok();
    assert_eq!(made, json!({"reqId": "3", "kid": "k-3"}));
    for gone in ["oidc/c1/k-1", "oidc/c1/k-2"] {
        assert!(!world.host.has_key(gone), "{gone}");
    }
    assert_eq!(published(&mut world), ["k-3"]);
    assert_eq!(signed_by(&mut world, &pod), "k-3");
}

#[test]
fn discovery_has_one_slash_before_keys_and_the_issuer_stays_as_it_was_voted() {
    let (mut world, _) = world();
    let discovery = "/contracts/c1/oidc/.well-known/openid-configuration";
    world
        .get(&Caller::Anonymous, discovery)
        .is(405, "OidcIssuerNotEnabled");
    let addresses = include_str!("../../../../tests/vectors/field-cases/issuer-addresses.txt");
    let taken = addresses
        .lines()
        .filter_map(|line| line.split_once("\tjwks_uri "));
    let mut seen = 0;
    for (issuer, jwks_uri) in taken {
        world.set_issuer(Some("c1"), 1, Some(issuer));
        let document = world.get(&Caller::Anonymous, discovery).ok();
        assert_eq!(document["issuer"], issuer);
        assert_eq!(document["jwks_uri"], jwks_uri);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn contracts_without_an_issuer_share_the_global_one_and_its_tenant_addresses() {
    let (mut world, pod) = world();
    let generate = "/oidc/generateSigningKey";
    world
        .post(&member("ann"), generate, json!(null))
        .is(405, "OidcIssuerNotEnabled");
    world
        .get(&Caller::Anonymous, "/oidc/keys")
        .is(405, "SigningKeyNotAvailable");
    let placeholder = world
        .get(&Caller::Anonymous, "/oidc/.well-known/openid-configuration")
        .ok();
    assert_eq!(placeholder["issuer"], "{placeholder}");
    world.set_issuer(None, 1, Some("https://global.example"));
    world
        .post(&pending_member("ann"), generate, json!(null))
        .is(403, "MemberNotActive");
    world.post(&member("ann"), generate, json!(null)).ok();
    let issuer_of = |world: &mut World, target: &str| {
        let answer = world.attested(&pod, target).ok();
        Jws::parse(&pod.unwrap(&answer)).unwrap().claims()["iss"].clone()
    };
    assert_eq!(issuer_of(&mut world, TOKEN), "https://global.example");
    world
        .post(&member("ann"), "/oidc/setIssuerUrl", json!({"url": "ftp://x"}))
        .is(400, "InvalidUrl");
    world
        .post(
            &member("ann"),
            "/oidc/setIssuerUrl",
            json!({"url": "https://t1.example"}),
        )
        .ok();
    // No grant names a tenant, so none is honoured.
    assert_eq!(
        issuer_of(&mut world, &format!("{TOKEN}&tid=t-1")),
        "https://global.example"
    );
    let info = world.post(&member("bob"), "/oidc/issuerInfo", json!(null)).ok();
    let tenant = json!({"tenantId": "t-1", "issuerUrl": "https://t1.example"});
    assert_eq!(
        info,
        json!({"enabled": true, "issuerUrl": "https://global.example", "tenantData": tenant})
    );
    let info = world.post(&user("una"), "/oidc/issuerInfo", json!(null)).ok();
    assert_eq!(
        info,
        json!({"enabled": true, "issuerUrl": "https://global.example"})
    );
    let nobody = Caller::Member(governance_app::Principal {
        id: crate::world::member_id("cid"),
        data_json: "null".into(),
        active: true,
    });
    world
        .post(&nobody, "/oidc/setIssuerUrl", json!({"url": "https://x.example"}))
        .is(400, "NoTenantId");
}

/// The shared issuer with a key, and what it signs for `c1`.
fn shared(world: &mut World) {
    world.set_issuer(None, 1, Some("https://global.example"));
    world
        .post(&member("ann"), "/oidc/generateSigningKey", json!(null))
        .ok();
}

fn grants(world: &mut World, contract: &str, pod: &Workload, tokens: JsonValue) {
    world.welcome(contract, "default", pod, json!({ "tokens": tokens }));
}

#[test]
fn one_member_alone_gets_no_token_in_everybodys_name() {
    let (mut world, pod) = world();
    shared(&mut world);
    world.attested(&pod, TOKEN).ok();
    let voters = |names: &[&str]| {
        let ids: Vec<String> = names.iter().map(|name| crate::world::member_id(name)).collect();
        json!({"metadata": {"voters": {"requiredMembers": ids}}})
    };
    let own_machine = workload('d');
    // A list of everybody is a list all the same: members come and go.
    for (contract, names) in [
        ("evil", &["bob"][..]),
        ("some", &["ann", "bob"]),
        ("all", &["ann", "bob", "cid"]),
    ] {
        world.accept_contract(contract, voters(names));
        let tokens = json!([{"sub": "storage", "aud": ["api://cloud"]}]);
        grants(&mut world, contract, &own_machine, tokens);
        let target = TOKEN.replace("/c1/", &format!("/{contract}/"));
        let refused = world.attested(&own_machine, &target);
        refused.is(405, "OidcIssuerNotEnabled");
        assert!(refused.wrote, "an attempt leaves its trace");
    }
    // An issuer of its own speaks for the contract alone, so whoever decides it may have one.
    world.set_issuer(Some("evil"), 1, Some("https://evil.example"));
    world
        .post(
            &member("bob"),
            "/contracts/evil/oidc/generateSigningKey",
            json!(null),
        )
        .ok();
    let answer = world
        .attested(&own_machine, &TOKEN.replace("/c1/", "/evil/"))
        .ok();
    let token = Jws::parse(&own_machine.unwrap(&answer)).unwrap();
    assert_eq!(token.claims()["iss"], "https://evil.example");
}

#[test]
fn a_tenant_that_changes_its_address_after_the_vote_does_not_change_the_issuer() {
    let (mut world, pod) = world();
    shared(&mut world);
    let voted = json!([
        {"sub": "storage", "aud": ["api://cloud"], "tid": "t-1", "issuerUrl": "https://voted.example"},
        {"sub": "other", "aud": ["api://cloud"]},
    ]);
    grants(&mut world, "c1", &pod, voted);
    let url = json!({"url": "https://victim-tenant.example"});
    world.post(&member("ann"), "/oidc/setIssuerUrl", url).ok();
    let issuer_of = |world: &mut World, query: &str| {
        let answer = world.attested(
            &pod,
            &format!("/contracts/c1/oauth/token?aud=api://cloud&{query}"),
        );
        (answer.status == 200).then(|| Jws::parse(&pod.unwrap(&answer.ok())).unwrap().claims()["iss"].clone())
    };
    assert_eq!(
        issuer_of(&mut world, "sub=storage&tid=t-1"),
        Some(json!("https://voted.example"))
    );
    // What was granted in a tenant's name is not granted in the service's, or another's.
    assert_eq!(issuer_of(&mut world, "sub=storage"), None);
    assert_eq!(issuer_of(&mut world, "sub=storage&tid=t-2"), None);
    assert_eq!(
        issuer_of(&mut world, "sub=other&tid=t-1"),
        Some(json!("https://global.example"))
    );
}

#[test]
fn the_shared_issuer_signs_nothing_that_a_delegate_alone_allows() {
    let (mut world, pod) = world();
    shared(&mut world);
    for subject in ["storage", "made-up"] {
        delegate(&mut world, &pod, subject, 'c');
    }
    let token = |world: &mut World, subject: &str| {
        let target = format!("/contracts/c1/oauth/token?sub={subject}&aud=api://cloud");
        world.attested(&workload('c'), &target)
    };
    token(&mut world, "storage").ok();
    token(&mut world, "made-up").is(403, "TokenNotAllowed");
    own(&mut world);
    token(&mut world, "made-up").ok();
}

fn delegate(world: &mut World, by: &Workload, subject: &str, digit: char) {
    let target = format!("/contracts/c1/cleanroompolicy/delegates/oauth-federation-subjects/{subject}");
    let data = json!({"type": "add", "policyType": "virtual", "audiences": ["api://cloud"],
        "claims": {"x-ms-sevsnpvm-hostdata": digit.to_string().repeat(64)}});
    world.attested_write(by, "PUT", &target, data).ok();
}

/// The contract's own issuer, with a key.
fn own(world: &mut World) {
    world.set_issuer(Some("c1"), 1, Some(URL));
    let generate = "/contracts/c1/oidc/generateSigningKey";
    world.post(&member("ann"), generate, json!(null)).ok();
}

#[test]
fn a_delegates_audiences_count_for_a_workload_that_the_policy_admits_too() {
    let (mut world, pod) = world();
    own(&mut world);
    let target = "/contracts/c1/oauth/token?sub=more&aud=api://cloud";
    world.attested(&pod, target).is(403, "TokenNotAllowed");
    delegate(&mut world, &pod, "more", 'a');
    world.attested(&pod, target).ok();
    let trace = world.trace("c1");
    let by = trace.last().unwrap().alternative.as_deref();
    assert_eq!(by, Some("delegate:oauth-federation-subjects/more"));
    // One purpose, its audiences, and what the policy grants is as it was.
    world
        .attested(&pod, &target.replace("more", "most"))
        .is(403, "TokenNotAllowed");
    world
        .attested(&pod, &target.replace("cloud", "else"))
        .is(403, "TokenNotAllowed");
    world.attested(&pod, TOKEN).ok();
}
