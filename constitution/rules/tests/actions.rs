//! What each action refuses, and what it leaves in the tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use cleanroom_model::governance::{ACCEPTED_CONTRACTS, CLEAN_ROOM_POLICIES, CONTRACT_OPTIONS, OptionStatus};
use cleanroom_model::policy::{ALLOW_ALL_HOST_DATA, PolicyAlternative};
use cleanroom_model::tables::TENANT_ISSUERS;
use common::{SERVICE_CERT, World, member, proposal_id, text, votes};
use kv::{Json, Pair, Singleton, TxId};
use model::proposal::{Moment, ProposalState, Resolution};
use model::service::{EndpointRow, ServiceStatus};
use model::tables;
use serde_json::{Value as JsonValue, json};

fn contract(data: &JsonValue, version: &str) -> JsonValue {
    json!({"contractId": "c1", "contract": {"id": "c1", "state": "Draft", "data": data, "version": version}})
}

#[test]
fn a_contract_is_accepted_as_drafted_with_every_ballot() {
    let mut world = World::new("ann bob cid");
    let data = json!({"metadata": {"voters": {"requiredMembers": [member("ann")]}}, "a": [1, "x"]});
    world.put_draft("c1", data.clone());
    let args = contract(&data, "2.10");
    let ballots = votes("ann+ cid-");
    let proposal = text(json!([{"name": "set_contract", "args": args}]));
    world.put_proposal("this", &proposal, ProposalState::Open, &ballots);
    world.carry("set_contract", args);

    let accepted = ACCEPTED_CONTRACTS
        .get(&world, &"c1".parse().unwrap())
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(accepted.data, data);
    assert_eq!(accepted.version, TxId::new(2, 10));
    assert_eq!(accepted.proposal_id, proposal_id("this"));
    assert_eq!(accepted.required_members, Some(vec![member("ann")]));
    assert_eq!(accepted.final_votes, ballots.into_iter().collect());
}

#[test]
fn a_contract_other_than_its_draft_is_refused() {
    let mut world = World::new("ann");
    let data = json!({"a": 1});
    world.refuses("set_contract", contract(&data, "2.10"), "no draft");
    world.put_draft("c1", data.clone());
    world.refuses("set_contract", contract(&data, "2.9"), "version 2.10, not 2.9");
    world.refuses("set_contract", contract(&json!({"a": 2}), "2.10"), "differ");
    world.refuses("set_contract", contract(&json!(null), "2.10"), "no data");
    world.carry_refused_after_edit(&data);
}

trait AfterEdit {
    fn carry_refused_after_edit(&mut self, data: &JsonValue);
}

impl AfterEdit for World {
    /// The draft changes between vote and application: the old text must not be accepted.
    fn carry_refused_after_edit(&mut self, data: &JsonValue) {
        let actions = json!([{"name": "set_contract", "args": contract(data, "2.10")}]);
        assert_eq!(self.validate(actions.clone()), Ok(()));
        self.now = TxId::new(2, 11);
        self.put_draft("c1", json!({"a": 3}));
        let failed = self.apply(actions).unwrap_err();
        assert_eq!(failed.action, "set_contract");
        assert!(failed.reason.contains("2.11"), "{}", failed.reason);
    }
}

#[test]
fn required_members_are_distinct_regular_members() {
    let list = |ids: JsonValue| json!({"metadata": {"voters": {"requiredMembers": ids}}});
    for (ids, reason) in [
        (json!([]), "empty"),
        (json!("x"), "not a list"),
        (json!(["x"]), "not a member id"),
        (json!([member("ann"), member("ann")]), "twice"),
        (json!([member("ann"), member("zoe")]), "not a regular member"),
        (json!([member("opa")]), "not a regular member"),
    ] {
        let mut world = World::new("ann bob? opa:operator");
        world.put_draft("c1", list(ids.clone()));
        world.refuses("set_contract", contract(&list(ids), "2.10"), reason);
    }
    // Pending members may be listed: they hold it up until they acknowledge.
    let mut world = World::new("ann bob?");
    let data = list(json!([member("bob")]));
    world.put_draft("c1", data.clone());
    let actions = json!([{"name": "set_contract", "args": contract(&data, "2.10")}]);
    assert_eq!(world.validate(actions), Ok(()));
}

fn policy(change: &str, claims: JsonValue, extra: JsonValue) -> JsonValue {
    let mut args = json!({"contractId": "c1", "type": change, "claims": claims});
    for (name, value) in extra.as_object().unwrap() {
        args[name] = value.clone();
    }
    args
}

fn stored_policy(world: &World, policy_type: &str, alternative: &str) -> Option<PolicyAlternative> {
    let key = Pair(
        "c1".parse().unwrap(),
        Pair(policy_type.parse().unwrap(), alternative.parse().unwrap()),
    );
    CLEAN_ROOM_POLICIES.get(world, &key).unwrap().map(|row| row.0)
}

const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";

#[test]
fn policies_grow_and_shrink_within_one_alternative() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let pod = json!({"alternative": "pod", "role": "pod", "tokens": [{"sub": "s", "aud": ["a"]}]});
    world.carry(
        "set_clean_room_policy",
        policy("add", json!({HOST_DATA: one}), pod),
    );
    world.carry(
        "set_clean_room_policy",
        policy(
            "add",
            json!({HOST_DATA: [two, one]}),
            json!({"alternative": "pod", "tokens": [{"sub": "s", "aud": ["b"]}]}),
        ),
    );
    let stored = stored_policy(&world, "snp-caci", "pod").unwrap();
    assert_eq!(
        serde_json::to_value(&stored).unwrap(),
        json!({"claims": {HOST_DATA: [one, two]}, "role": "pod", "allowStaticEvidence": false,
            "tokens": [{"sub": "s", "aud": ["a", "b"]}]})
    );
    assert_eq!(stored_policy(&world, "snp-caci", "default"), None);

    let remove = |world: &mut World, claims: JsonValue| {
        world.carry(
            "set_clean_room_policy",
            policy("remove", claims, json!({"alternative": "pod"})),
        );
    };
    remove(&mut world, json!({HOST_DATA: one}));
    assert_eq!(
        stored_policy(&world, "snp-caci", "pod").unwrap().claims[HOST_DATA],
        [json!(two)]
    );
    remove(&mut world, json!({HOST_DATA: two}));
    assert_eq!(
        stored_policy(&world, "snp-caci", "pod"),
        None,
        "gone with its last claim"
    );
}

#[test]
fn floors_of_firmware_are_set_by_processor_and_by_vote_alone() {
    let mut world = World::new("ann opa:operator");
    let row = |world: &World, cpuid: &str| {
        tables::SNP_TCB_VERSIONS
            .get(world, &cpuid.to_owned())
            .unwrap()
            .map(|row| row.0)
    };
    let parts = json!({"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219});
    let args = json!({"cpuid": "00a00f11", "tcb_version": parts});
    for name in ["set_snp_minimum_tcb_version", "remove_snp_minimum_tcb_version"] {
        let action = json!([{"name": name, "args": {"cpuid": "00a00f11", "tcb_version": parts}}]);
        let outcome = world.resolve("opa", Moment::Creation, action, "");
        assert_ne!(outcome, Resolution::Accepted, "{name} by an operator alone");
    }
    world.carry("set_snp_minimum_tcb_version", args);
    assert_eq!(row(&world, "00a00f11"), Some(parts.clone()));
    let hex = json!({"cpuid": "00b00f21", "tcb_version": "5100000004010101"});
    world.carry("set_snp_minimum_tcb_version_hex", hex);
    assert_eq!(
        row(&world, "00b00f21"),
        Some(
            json!({"hexstring": "5100000004010101", "boot_loader": 1, "tee": 1, "snp": 4,
            "microcode": 81, "fmc": 1})
        )
    );
    world.carry("remove_snp_minimum_tcb_version", json!({"cpuid": "00a00f11"}));
    assert_eq!(row(&world, "00a00f11"), None);
    for (name, args, reason) in [
        (
            "set_snp_minimum_tcb_version",
            json!({"cpuid": "00b00f21", "tcb_version": parts}),
            "fmc",
        ),
        (
            "set_snp_minimum_tcb_version",
            json!({"cpuid": "00800f11", "tcb_version": parts}),
            "no processor",
        ),
        (
            "set_snp_minimum_tcb_version",
            json!({"cpuid": "00a00f11", "tcb_version": {"snp": 1}}),
            "missing field",
        ),
        (
            "set_snp_minimum_tcb_version_hex",
            json!({"cpuid": "00A00f11", "tcb_version": "db18000000000004"}),
            "cpuid",
        ),
        (
            "set_snp_minimum_tcb_version_hex",
            json!({"cpuid": "00a00f11", "tcb_version": "db18000000010004"}),
            "reserves",
        ),
    ] {
        world.refuses(name, args, reason);
    }
}

#[test]
fn launchers_choose_host_data_of_pods_alone() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let claims = json!({HOST_DATA: "11".repeat(32)});
    for role in [json!({}), json!({"role": "launcher"})] {
        let mut extra = role;
        extra["delegable"] = json!(true);
        world.refuses(
            "set_clean_room_policy",
            policy("add", claims.clone(), extra),
            "role pod",
        );
    }
    let pod = json!({"role": "pod", "delegable": true});
    world.carry("set_clean_room_policy", policy("add", claims.clone(), pod));
    assert!(stored_policy(&world, "snp-caci", "default").unwrap().delegable);
    let launcher = json!({"role": "launcher"});
    world.refuses(
        "set_clean_room_policy",
        policy("add", claims.clone(), launcher),
        "role pod",
    );
    world.carry(
        "set_clean_room_policy",
        policy("add", claims, json!({"delegable": false})),
    );
    assert!(!stored_policy(&world, "snp-caci", "default").unwrap().delegable);
}

fn set_address(world: &mut World, kind: &str, tenant: &str, url: &str) {
    world.context = kv::Context::Host;
    let key = Pair(kind.parse().unwrap(), tenant.to_owned());
    TENANT_ISSUERS.put(world, &key, &Json(url.to_owned())).unwrap();
}

#[test]
fn the_address_of_a_tenant_is_the_one_that_members_voted_on() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let claims = json!({HOST_DATA: "11".repeat(32)});
    let grant = |sub: &str| json!({"tokens": [{"sub": sub, "aud": ["a"], "tid": "t"}]});
    let vote = |world: &mut World, sub: &str| {
        let actions =
            json!([{"name": "set_clean_room_policy", "args": policy("add", claims.clone(), grant(sub))}]);
        world
            .validate(actions.clone())
            .map_err(|faults| faults[0].reason.clone())?;
        world.apply(actions).map_err(|failed| failed.reason)
    };
    let error = vote(&mut world, "s").unwrap_err();
    assert!(error.contains("no issuer address"), "{error}");

    set_address(&mut world, "user", "t", "https://first.example");
    world.now = TxId::new(2, 11);
    world.put_proposal("this", b"{}", ProposalState::Open, &[]);
    vote(&mut world, "s").unwrap();
    let urls = |world: &World| -> Vec<String> {
        let stored = stored_policy(world, "snp-caci", "default").unwrap();
        stored
            .tokens
            .into_iter()
            .filter_map(|grant| grant.issuer_url)
            .collect()
    };
    assert_eq!(urls(&world), ["https://first.example"]);

    // Set while members vote on the first: what they see is not what would be applied.
    for kind in ["user", "member"] {
        world.now = TxId::new(2, world.now.seqno + 1);
        set_address(&mut world, kind, "t", "https://second.example");
        let error = vote(&mut world, "late").unwrap_err();
        assert!(error.contains("not the one that was voted on"), "{error}");
    }
    assert_eq!(
        urls(&world),
        ["https://first.example"],
        "a later address needs a new vote"
    );
    world.now = TxId::new(2, world.now.seqno + 1);
    world.put_proposal("this", b"{}", ProposalState::Open, &[]);
    vote(&mut world, "late").unwrap();
    assert_eq!(urls(&world), ["https://first.example", "https://second.example"]);

    // Grants in different tenants' names are different grants.
    let other = json!({"tokens": [{"sub": "s", "aud": ["a"]}]});
    world.refuses(
        "set_clean_room_policy",
        policy("remove", json!({}), other),
        "no such tokens",
    );
}

#[test]
fn malformed_policies_are_refused() {
    let mut world = World::new("ann");
    let good = json!({HOST_DATA: "11".repeat(32)});
    let none = json!({});
    world.refuses(
        "set_clean_room_policy",
        policy("add", good.clone(), none.clone()),
        "not accepted",
    );
    world.put_accepted("c1", None);
    for (change, claims, extra, reason) in [
        ("set", &good, json!({}), "unknown variant"),
        ("add", &good, json!({"policyType": "tdx"}), "unknown variant"),
        ("add", &good, json!({"role": "admin"}), "unknown variant"),
        ("add", &good, json!({"alternative": "a/b"}), "identifier"),
        (
            "add",
            &good,
            json!({"policyType": "snp-cvm"}),
            "not an allowed snp-cvm claim",
        ),
        (
            "add",
            &json!({"toString": "x"}),
            json!({}),
            "not an allowed snp-caci claim",
        ),
        (
            "add",
            &json!({HOST_DATA: "11"}),
            json!({}),
            "64 lower-case hex digits",
        ),
        ("add", &none, json!({}), "neither claims nor tokens"),
        (
            "add",
            &none,
            json!({"tokens": [{"sub": "s", "aud": ["a"]}]}),
            "no claims",
        ),
        (
            "add",
            &good,
            json!({"tokens": [{"sub": "s", "aud": []}]}),
            "audience",
        ),
        (
            "add",
            &good,
            json!({"role": "launcher", "tokens": [{"sub": "s", "aud": ["a"]}]}),
            "launcher",
        ),
        (
            "add",
            &json!({"sub": "x"}),
            json!({"policyType": "jwt", "role": "pod"}),
            "jwt",
        ),
        ("remove", &good, json!({"role": "pod"}), "type add"),
        ("remove", &good, json!({}), "no claim"),
    ] {
        world.refuses(
            "set_clean_room_policy",
            policy(change, claims.clone(), extra),
            reason,
        );
    }
}

#[test]
fn removing_what_another_vote_removed_first_is_harmless() {
    let mut world = World::new("ann");
    world.put_accepted("c1", None);
    let claims = json!({HOST_DATA: "11".repeat(32)});
    world.carry("set_clean_room_policy", policy("add", claims.clone(), json!({})));
    let removal = json!([{"name": "set_clean_room_policy", "args": policy("remove", claims, json!({}))}]);
    assert_eq!(world.validate(removal.clone()), Ok(()));
    assert_eq!(world.apply(removal.clone()), Ok(()));
    assert_eq!(world.apply(removal), Ok(()));
}

#[test]
fn allow_all_host_data_needs_static_evidence() {
    for host_data in ALLOW_ALL_HOST_DATA {
        let mut world = World::new("ann");
        world.put_accepted("c1", None);
        let claims = json!({HOST_DATA: ["11".repeat(32), host_data]});
        world.refuses(
            "set_clean_room_policy",
            policy("add", claims.clone(), json!({})),
            "allow-all",
        );
        let allowed = json!({"allowStaticEvidence": true});
        world.carry("set_clean_room_policy", policy("add", claims, allowed));
        // And it cannot be slipped in by withdrawing the permission later.
        let later = policy(
            "add",
            json!({"x-ms-sevsnpvm-vmpl": 0}),
            json!({"allowStaticEvidence": false}),
        );
        world.refuses("set_clean_room_policy", later, "allow-all");
    }
}

#[test]
fn options_of_a_contract_are_set_once_it_is_accepted() {
    let mut world = World::new("ann");
    let name = "set_contract_runtime_options_enable_logging";
    world.refuses(name, json!({"contractId": "c1"}), "not accepted");
    world.put_accepted("c1", None);
    let status = |world: &World| {
        let key = Pair("c1".parse().unwrap(), "logging".parse().unwrap());
        CONTRACT_OPTIONS.get(world, &key).unwrap().map(|row| row.0.status)
    };
    world.carry(name, json!({"contractId": "c1"}));
    assert_eq!(status(&world), Some(OptionStatus::Enabled));
    world.carry(
        "set_contract_runtime_options_disable_logging",
        json!({"contractId": "c1"}),
    );
    assert_eq!(status(&world), Some(OptionStatus::Disabled));
}

fn component(routes: JsonValue) -> (String, String) {
    let bytes = routes.to_string().into_bytes();
    (model::b64::encode(&bytes), crypto::sha256(&bytes).to_string())
}

#[test]
fn an_application_replaces_its_routes_and_its_predecessors_bytes() {
    let mut world = World::new("ann");
    let (first, first_digest) = component(json!([["GET", "/contracts"], ["PUT", "/contracts/{id}"]]));
    let (second, second_digest) = component(json!([["POST", "/other"]]));
    let install = |component: &str, digest: &str| json!({"component": component, "digest": digest});
    world.refuses("set_wasm_app", install(&first, &second_digest), "digest is");
    world.refuses(
        "set_wasm_app",
        install("AAAA", &first_digest),
        "cannot be installed",
    );
    let (empty, empty_digest) = component(json!([]));
    world.refuses("set_wasm_app", install(&empty, &empty_digest), "no routes");
    world.carry("set_wasm_app", install(&first, &first_digest));
    world.carry("set_wasm_app", install(&second, &second_digest));
    let rows = tables::ENDPOINTS.rows(&world).unwrap();
    let routes: Vec<(&str, &EndpointRow)> = rows.iter().map(|row| (row.key.as_str(), &row.value.0)).collect();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].0, "POST /other");
    assert_eq!(
        (routes[0].1.component.as_str(), routes[0].1.export),
        (second_digest.as_str(), 0)
    );
    assert!(!tables::MODULES.has(&world, &first_digest).unwrap());
    assert!(tables::MODULES.has(&world, &second_digest).unwrap());
}

#[test]
fn a_constitution_is_installed_beside_an_application_of_the_same_bytes() {
    let mut world = World::new("ann");
    let (bytes, digest) = component(json!([["GET", "/x"]]));
    let (next, next_digest) = component(json!([["GET", "/y"]]));
    world.carry("set_wasm_app", json!({"component": bytes, "digest": digest}));
    world.carry(
        "set_constitution",
        json!({"constitution": bytes, "digest": digest}),
    );
    world.carry(
        "set_constitution",
        json!({"constitution": next, "digest": next_digest}),
    );
    let row = tables::CONSTITUTION.get(&world, &Singleton).unwrap();
    assert_eq!(row, Some(Json(format!("sha256:{next_digest}"))));
    assert!(
        tables::MODULES.has(&world, &digest).unwrap(),
        "the application still needs it"
    );
}

#[test]
fn a_service_opens_when_it_can_be_recovered_and_governed() {
    let open = json!({"next_service_identity": SERVICE_CERT.trim_end()});
    let mut world = World::new("ann bob? opa:operator");
    world.refuses(
        "transition_service_to_open",
        json!({"next_service_identity": "x"}),
        "not this service's",
    );
    world.refuses("transition_service_to_open", open.clone(), "cannot reach");
    world.give_key(&member("bob"));
    world.refuses("transition_service_to_open", open.clone(), "cannot reach");
    world.give_key(&member("ann"));
    let previous = json!({"next_service_identity": SERVICE_CERT, "previous_service_identity": "x"});
    world.refuses(
        "transition_service_to_open",
        previous,
        "previous_service_identity",
    );
    world.carry("transition_service_to_open", open.clone());
    world.carry("transition_service_to_open", open);
    let info = tables::SERVICE_INFO.get(&world, &Singleton).unwrap().unwrap().0;
    assert_eq!(info.status, ServiceStatus::Open);

    let mut nobody = World::new("ann:recovery");
    nobody.give_key(&member("ann"));
    nobody.refuses(
        "transition_service_to_open",
        json!({"next_service_identity": SERVICE_CERT}),
        "vote",
    );
}

#[test]
fn thresholds_and_limits_stay_in_range() {
    let mut world = World::new("ann bob");
    world.give_key(&member("ann"));
    for bad in [0, 255] {
        world.refuses(
            "set_recovery_threshold",
            json!({"recovery_threshold": bad}),
            "1 to 254",
        );
    }
    world.carry("set_recovery_threshold", json!({"recovery_threshold": 3}));
    world.set_service(ServiceStatus::Open, 1);
    world.refuses(
        "set_recovery_threshold",
        json!({"recovery_threshold": 2}),
        "cannot reach",
    );
    world.refuses(
        "set_service_configuration",
        json!({"recovery_threshold": 2}),
        "cannot reach",
    );
    world.refuses("set_service_configuration", json!({}), "name recovery_threshold");
    for bad in [0, 10_001] {
        let args = json!({"recent_cose_proposals_window_size": bad});
        world.refuses("set_service_configuration", args, "1 to 10000");
    }
    world.carry(
        "set_service_configuration",
        json!({"recent_cose_proposals_window_size": 5}),
    );
    let config = tables::SERVICE_CONFIG.get(&world, &Singleton).unwrap().unwrap().0;
    assert_eq!(
        (
            config.recovery_threshold,
            config.recent_cose_proposals_window_size
        ),
        (1, Some(5))
    );
}

#[test]
fn asserting_another_identity_fails() {
    let mut world = World::new("ann");
    world.carry(
        "assert_service_identity",
        json!({"service_identity": SERVICE_CERT}),
    );
    world.refuses(
        "assert_service_identity",
        json!({"service_identity": "x"}),
        "not this service's",
    );
}

#[test]
fn every_fault_of_a_proposal_is_reported() {
    let mut world = World::new("ann");
    let faults = world
        .validate(json!([
            {"name": "assert_service_identity", "args": {"service_identity": "x"}},
            {"name": "nonsense", "args": {}},
            {"name": "assert_service_identity", "args": {"service_identity": SERVICE_CERT}},
            {"name": "enable_ca", "args": {"contractId": "c1"}}]))
        .unwrap_err();
    let found: Vec<(u32, bool)> = faults
        .iter()
        .map(|fault| (fault.position, fault.unavailable))
        .collect();
    assert_eq!(found, [(0, false), (1, false), (3, true)]);
}
