//! Who may call (`governance-api.md` §3.3, §3.4, §11.1; decision 24).

use governance_app::Caller;
use serde_json::json;

use crate::world::{ISSUER, World, member, token, user};

#[test]
fn a_registered_token_user_is_active() {
    let mut world = World::new();
    let answer = world
        .post(&user("una"), "/users/identities/self/status", json!(null))
        .ok();
    assert_eq!(answer, json!({"active": true}));
}

#[test]
fn tokens_are_tied_to_identity_issuer_and_tenant() {
    let mut world = World::new();
    let path = "/users/identities/self/status";
    world
        .post(&user("zoe"), path, json!(null))
        .is(403, "CallerNotAuthorized");
    world
        .post(&token(json!({"aud": "x"})), path, json!(null))
        .is(401, "InvalidAuthenticationInfo");
    let other_issuer = Caller::Token {
        issuer: "https://other.example".into(),
        claims_json: r#"{"sub":"una"}"#.into(),
    };
    world
        .post(&other_issuer, path, json!(null))
        .is(403, "CallerNotAuthorized");
    world
        .post(&token(json!({"sub": "una", "tid": "t-9"})), path, json!(null))
        .is(403, "CallerTenantNotAuthorized");
    // An Entra user: the object id names it, the tenant is the token's.
    world.set_identity("oid-1", None, "t-1");
    let claims = json!({"oid": "oid-1", "sub": "pairwise", "tid": "t-1"}).to_string();
    let mut from = |issuer: &str| {
        let caller = Caller::Token {
            issuer: issuer.into(),
            claims_json: claims.clone(),
        };
        world.post(&caller, path, json!(null))
    };
    for issuer in [
        "https://login.microsoftonline.com/t-1/v2.0",
        "https://sts.windows.net/t-1/",
    ] {
        assert_eq!(from(issuer).status, 200, "{issuer}");
    }
    // Whoever else is registered as an issuer may claim any object id and tenant.
    for issuer in [
        ISSUER,
        "https://login.microsoftonline.com/t-2/v2.0",
        "https://login.microsoftonline.com/t-1/v2.0/",
        "https://sts.windows.net/t-1",
    ] {
        from(issuer).is(403, "CallerNotAuthorized");
    }
}

#[test]
fn identities_are_listed_and_read() {
    let mut world = World::new();
    let list = world.get(&member("ann"), "/users/identities").ok();
    assert_eq!(list["value"].as_array().unwrap().len(), 3);
    let una = world
        .post(&user("ugo"), "/users/identities/una", json!(null))
        .ok();
    assert_eq!(
        una,
        json!({"id": "una", "accountType": "oidc", "data": {"tenantId": ISSUER, "issuer": ISSUER}})
    );
    world
        .post(&member("ann"), "/users/identities/zoe", json!(null))
        .is(404, "UserIdentityNotFound");
}
