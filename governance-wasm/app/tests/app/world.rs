//! A service in memory: members ann, bob and cid, users una, ugo and uma, and workloads.

mod reading;

use std::cell::RefCell;

use cleanroom_model::governance::{
    ACCEPTED_CONTRACTS, AcceptedContract, CLEAN_ROOM_POLICIES, OIDC_ISSUERS, OidcIssuer, USER_IDENTITIES,
    USER_REGISTRATIONS, UserIdentity, UserIdentityData, issuer_key, required_members,
};
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::policy::PolicyAlternative;
use cleanroom_model::tables::{RELEASES, RUN_LOOKS};
use governance_app::{Caller, Principal, Request};
use kv::access::{Context, access, classify};
use kv::store::Store;
use kv::{Denied, Json, Pair, TxId, Write, WriteSet};
use model::attested;
use model::member::{MemberInfo, MemberStatus};
use model::proposal::{ProposalInfo, ProposalState};
use model::service::JwtIssuer;
use model::tables::{JWT_ISSUERS, MEMBER_CERTS, MEMBER_INFO, PROPOSALS};
use model::{MemberId, b64};
use serde_json::{Value as JsonValue, json};

use crate::host::NativeHost;
use crate::routes::route;
pub use crate::workloads::{Workload, evidence, report_data, report_data_for, workload};

/// 2026-11-21, in Unix milliseconds.
pub const NOW_MS: u64 = 1_795_220_000_000;
/// Far less than the host's, so that lists of a few rows have several pages.
const SCAN_BYTES_MAX: usize = 4096;
pub const ISSUER: &str = "https://login.example/";

/// Hex id of a member: its first letter's byte, 32 times.
pub fn member_id(name: &str) -> String {
    hex::encode([name.as_bytes()[0]; 32])
}

pub fn member(name: &str) -> Caller {
    Caller::Member(Principal {
        id: member_id(name),
        data_json: r#"{"tenantId":"t-1"}"#.into(),
        active: true,
    })
}

pub fn pending_member(name: &str) -> Caller {
    Caller::Member(Principal {
        id: member_id(name),
        data_json: "null".into(),
        active: false,
    })
}

pub fn user(name: &str) -> Caller {
    token(json!({ "sub": name }))
}

pub fn token(claims: JsonValue) -> Caller {
    Caller::Token {
        issuer: ISSUER.into(),
        claims_json: claims.to_string(),
    }
}

pub fn as_approver(caller: &Caller) -> JsonValue {
    match caller {
        Caller::Member(member) => json!({ "approverId": member.id, "approverIdType": "member" }),
        Caller::User(user) => json!({ "approverId": user.id, "approverIdType": "user" }),
        Caller::Token { claims_json, .. } => {
            let claims: JsonValue = serde_json::from_str(claims_json).unwrap();
            json!({ "approverId": claims["sub"], "approverIdType": "user" })
        }
        Caller::Anonymous => panic!("nobody approves"),
    }
}

/// A transaction over the store, with the access rules of its endpoint's mode.
struct Transaction {
    store: Store,
    writes: RefCell<WriteSet>,
    id: TxId,
    context: Context,
    /// Whether anything was read.
    looked: std::cell::Cell<bool>,
}

impl Transaction {
    fn check(&self, table: &str, write: bool) -> Result<(), Denied> {
        let allowed = classify(table).is_some_and(|(visibility, category)| {
            let access = access(self.context, visibility, category);
            if write { access.write } else { access.read }
        });
        let reason = "closed to this context".to_owned();
        if allowed {
            Ok(())
        } else {
            Err(Denied {
                table: table.to_owned(),
                reason,
            })
        }
    }

    fn merged(&self) -> Store {
        let mut store = self.store.clone();
        store.apply(self.id, &self.writes.borrow());
        store
    }
}

struct Writer<'a>(&'a Transaction);

impl Write for Writer<'_> {
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        self.0.check(table, true)?;
        self.0.writes.borrow_mut().set(table, key, Some(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied> {
        self.0.check(table, true)?;
        self.0.writes.borrow_mut().set(table, key, None);
        Ok(())
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Whether state was looked at for it: if not, the host gives a refusal from the discarded pass.
    pub looked: bool,
    pub status: u16,
    pub json: JsonValue,
    pub tx: TxId,
    pub wrote: bool,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> JsonValue {
        assert!(self.status < 300, "{} {}", self.status, self.json);
        self.json
    }

    #[track_caller]
    pub fn ok_with(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.json);
        self
    }

    pub fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("(no error)")
    }

    #[track_caller]
    pub fn is(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.json);
        self
    }
}

/// The service.
pub struct World {
    pub host: NativeHost,
    store: Store,
    seqno: u64,
}

impl World {
    /// Three active members and three users of one issuer.
    pub fn new() -> Self {
        let mut world = Self {
            host: NativeHost::new(NOW_MS),
            store: Store::default(),
            seqno: 0,
        };
        for name in ["ann", "bob", "cid"] {
            world.set_member(name, MemberStatus::Active, None);
        }
        world.set_jwt_issuer(ISSUER);
        for name in ["una", "ugo", "uma"] {
            world.set_identity(name, Some(ISSUER), ISSUER);
        }
        world
    }

    /// Writes as an accepted proposal would.
    pub fn govern(&mut self, change: impl FnOnce(&mut dyn Write)) -> TxId {
        self.seqno += 1;
        let id = TxId::new(2, self.seqno);
        let context = Context::Host;
        let transaction = Transaction {
            store: self.store.clone(),
            writes: RefCell::default(),
            id,
            context,
            looked: std::cell::Cell::default(),
        };
        change(&mut Writer(&transaction));
        self.store.apply(id, &transaction.writes.into_inner());
        id
    }

    fn is_stored(&self, table: &str, key: &[u8]) -> bool {
        self.store.get(table, key).is_some()
    }

    /// A row that is there.
    pub fn row<K: kv::codec::Key, V: kv::codec::Value>(&self, table: &kv::Table<K, V>, key: &K) -> V {
        let row = self
            .store
            .get(table.name(), &key.to_bytes())
            .expect("no such row");
        V::from_bytes(row.value).unwrap()
    }

    /// Registers a member, or updates one.
    pub fn set_member(&mut self, name: &str, status: MemberStatus, member_data: Option<JsonValue>) {
        let id: MemberId = member_id(name).parse().unwrap();
        let info = MemberInfo {
            status,
            member_data,
            recovery_role: None,
        };
        let registered = self.is_stored(MEMBER_CERTS.name(), id.to_string().as_bytes());
        self.govern(|w| {
            MEMBER_INFO.put(w, &id, &Json(info)).unwrap();
            if !registered {
                MEMBER_CERTS.put(w, &id, &kv::Raw(Vec::new())).unwrap();
            }
        });
    }

    pub fn remove_member(&mut self, name: &str) {
        let id: MemberId = member_id(name).parse().unwrap();
        self.govern(|w| {
            MEMBER_INFO.remove(w, &id).unwrap();
            MEMBER_CERTS.remove(w, &id).unwrap();
        });
    }

    /// Registers an issuer of tokens.
    pub fn set_jwt_issuer(&mut self, issuer: &str) {
        let row = Json(JwtIssuer::default());
        self.govern(|w| JWT_ISSUERS.put(w, &issuer.to_owned(), &row).unwrap());
    }

    pub fn remove_jwt_issuer(&mut self, issuer: &str) {
        self.govern(|w| JWT_ISSUERS.remove(w, &issuer.to_owned()).unwrap());
    }

    /// Registers a token user, or updates one.
    pub fn set_identity(&mut self, id: &str, issuer: Option<&str>, tenant: &str) {
        let identity = UserIdentity {
            account_type: if issuer.is_some() { "oidc" } else { "microsoft" }.into(),
            invitation_id: None,
            data: UserIdentityData {
                tenant_id: tenant.into(),
                issuer: issuer.map(ToOwned::to_owned),
                identifier: None,
            },
        };
        let id: Identifier = id.parse().unwrap();
        let registered = self.is_stored(USER_IDENTITIES.name(), id.as_str().as_bytes());
        self.govern(|w| {
            USER_IDENTITIES.put(w, &id, &Json(identity)).unwrap();
            if !registered {
                USER_REGISTRATIONS.put(w, &id, &kv::Unit).unwrap();
            }
        });
    }

    pub fn remove_identity(&mut self, id: &str) {
        let id: Identifier = id.parse().unwrap();
        self.govern(|w| {
            USER_IDENTITIES.remove(w, &id).unwrap();
            USER_REGISTRATIONS.remove(w, &id).unwrap();
        });
    }

    /// Drafts and accepts a contract.
    pub fn accept_contract(&mut self, id: &str, data: JsonValue) {
        let put = self.put(
            &member("ann"),
            &format!("/contracts/{id}"),
            json!({ "data": data }),
        );
        let accepted = AcceptedContract {
            version: put.tx,
            required_members: required_members(&data).unwrap(),
            data,
            proposal_id: "ab".repeat(32).parse().unwrap(),
            final_votes: [(member_id("ann").parse().unwrap(), true)].into(),
        };
        put.ok();
        let id: ContractId = id.parse().unwrap();
        self.govern(|w| ACCEPTED_CONTRACTS.put(w, &id, &Json(accepted)).unwrap());
    }

    /// Sets a policy alternative of type `virtual`.
    pub fn set_policy(&mut self, contract: &str, alternative: &str, policy: JsonValue) {
        self.set_policy_of(contract, "virtual", alternative, policy);
    }

    /// Sets a policy alternative, or with `null` takes it away.
    pub fn set_policy_of(&mut self, contract: &str, kind: &str, alternative: &str, policy: JsonValue) {
        let policy: Option<PolicyAlternative> = serde_json::from_value(policy).unwrap();
        let key = Pair(
            contract.parse().unwrap(),
            Pair(kind.parse().unwrap(), alternative.parse().unwrap()),
        );
        self.govern(|w| match policy {
            Some(policy) => CLEAN_ROOM_POLICIES.put(w, &key, &Json(policy)).unwrap(),
            None => CLEAN_ROOM_POLICIES.remove(w, &key).unwrap(),
        });
    }

    /// A policy alternative for a workload's host data.
    pub fn welcome(&mut self, contract: &str, alternative: &str, workload: &Workload, more: JsonValue) {
        let mut policy = json!({ "claims": { "x-ms-sevsnpvm-hostdata": [workload.host_data] } });
        policy
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.set_policy(contract, alternative, policy);
    }

    pub fn set_issuer(&mut self, contract: Option<&str>, request_id: u64, url: Option<&str>) {
        let contract: Option<ContractId> = contract.map(|id| id.parse().unwrap());
        let row = OidcIssuer {
            kid: "k".into(),
            request_id,
            first_request_id: 1,
            issuer_url: url.map(ToOwned::to_owned),
        };
        self.govern(|w| {
            OIDC_ISSUERS
                .put(w, &issuer_key(contract.as_ref()), &Json(row))
                .unwrap()
        });
    }

    /// The members demand a new key at once: those before the latest request are out of use.
    pub fn demand_key(&mut self, contract: &str, request_id: u64, url: &str) {
        let contract: ContractId = contract.parse().unwrap();
        let row = OidcIssuer {
            kid: "k".into(),
            request_id,
            first_request_id: request_id,
            issuer_url: Some(url.to_owned()),
        };
        self.govern(|w| {
            OIDC_ISSUERS
                .put(w, &issuer_key(Some(&contract)), &Json(row))
                .unwrap()
        });
    }

    /// A proposal with one action.
    pub fn propose(&mut self, digit: char, state: ProposalState, action: &str, args: JsonValue) -> String {
        let text = json!({ "actions": [{ "name": action, "args": args }] }).to_string();
        self.propose_text(digit, state, text)
    }

    /// A proposal of this text.
    pub fn propose_text(&mut self, digit: char, state: ProposalState, text: String) -> String {
        let id = digit.to_string().repeat(64);
        let key: model::ProposalId = id.parse().unwrap();
        let info = ProposalInfo {
            proposer_id: member_id("ann").parse().unwrap(),
            state,
            ballots: Default::default(),
            final_votes: None,
            vote_failures: None,
            failure: None,
            constitution_digest: None,
        };
        self.govern(|w| {
            PROPOSALS.put(w, &key, &kv::Raw(text.into_bytes())).unwrap();
            model::proposal_rows::put(w, &key, info).unwrap();
        });
        id
    }

    /// Position of the last commit.
    pub fn last_seqno(&self) -> u64 {
        self.seqno
    }

    /// A token policy of a contract.
    pub fn welcome_tokens(&mut self, contract: &str, claims: JsonValue) {
        let policy: PolicyAlternative = serde_json::from_value(json!({ "claims": claims })).unwrap();
        let key = Pair(
            contract.parse().unwrap(),
            Pair("jwt".parse().unwrap(), "default".parse().unwrap()),
        );
        self.govern(|w| CLEAN_ROOM_POLICIES.put(w, &key, &Json(policy)).unwrap());
    }

    pub fn pass_time(&self, ms: u64) {
        self.host.now_ms.set(self.host.now_ms.get() + ms);
    }

    /// The trace of a contract, oldest first.
    pub fn trace(&self, contract: &str) -> Vec<cleanroom_model::tables::Release> {
        let context = Context::Host;
        let id = TxId::new(2, self.seqno);
        let state = Transaction {
            store: self.store.clone(),
            writes: RefCell::default(),
            id,
            context,
            looked: std::cell::Cell::default(),
        };
        let prefix = format!("{contract}/");
        let rows = RELEASES.rows_with_prefix(&state, prefix.as_bytes()).unwrap();
        rows.into_iter().map(|row| row.value.0).collect()
    }

    /// What the ledger holds of a pod's looks at its run.
    pub fn looks(&self, contract: &str, run: &str) -> cleanroom_model::runs::RunLooks {
        let key = format!("{contract}/{run}");
        let row = self.store.get(RUN_LOOKS.name(), key.as_bytes()).unwrap();
        serde_json::from_slice(row.value).unwrap()
    }

    /// One request, committed as the host would.
    pub fn call(&mut self, caller: &Caller, method: &str, target: &str, body: &[u8]) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (endpoint, parameters) =
            route(method, path).unwrap_or_else(|| panic!("no endpoint for {method} {path}"));
        let update = endpoint.spec().mode == model::endpoint::Mode::Update;
        let committed = TxId::new(2, self.seqno);
        let id = TxId::new(2, self.seqno + u64::from(update));
        let transaction = Transaction {
            store: self.store.clone(),
            writes: RefCell::default(),
            id,
            context: if update { Context::Update } else { Context::Query },
            looked: std::cell::Cell::default(),
        };
        let request = Request {
            endpoint,
            parameters,
            method: method.into(),
            target: format!("/app{target}"),
            query: query.into(),
            caller: caller.clone(),
            body: body.to_vec(),
            received_at_ms: self.host.now_ms.get(),
            transaction: id,
            committed,
        };
        let reply = governance_app::answer(&transaction, &mut Writer(&transaction), &self.host, &request);
        let looked = transaction.looked.get();
        let writes = transaction.writes.into_inner();
        let commit = (reply.status < 400 || reply.commit_on_error) && !writes.is_empty();
        if commit {
            self.seqno = id.seqno;
            self.store.apply(id, &writes);
        }
        let json = serde_json::from_slice(&reply.body).unwrap_or(JsonValue::Null);
        Answer {
            looked,
            status: reply.status,
            json,
            tx: id,
            wrote: commit,
        }
    }

    pub fn get(&mut self, caller: &Caller, target: &str) -> Answer {
        self.call(caller, "GET", target, b"")
    }

    pub fn put(&mut self, caller: &Caller, target: &str, body: JsonValue) -> Answer {
        self.call(caller, "PUT", target, body.to_string().as_bytes())
    }

    pub fn post(&mut self, caller: &Caller, target: &str, body: JsonValue) -> Answer {
        let bytes = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.call(caller, "POST", target, bytes.as_bytes())
    }

    /// A nonce, as bytes.
    pub fn nonce(&mut self) -> Vec<u8> {
        let answer = self
            .post(&Caller::Anonymous, "/attestation/nonce", JsonValue::Null)
            .ok();
        b64::decode(answer["nonce"].as_str().unwrap()).unwrap()
    }

    /// Fresh evidence of a workload, as a request's body.
    pub fn proof(&mut self, workload: &Workload) -> JsonValue {
        let nonce = self.nonce();
        json!({
            "platform": "virtual",
            "attestation": evidence(&workload.host_data, report_data(&workload.pem, Some(&nonce))),
            "encrypt": workload.key_field(),
            "nonce": b64::encode(&nonce),
        })
    }

    /// An attested POST.
    pub fn attested(&mut self, workload: &Workload, target: &str) -> Answer {
        let body = self.proof(workload);
        self.post(&Caller::Anonymous, target, body)
    }

    /// The body of a signed attested request.
    pub fn signed(&mut self, workload: &Workload, method: &str, target: &str, data: &JsonValue) -> JsonValue {
        let body = self.proof(workload);
        self.sign(body, workload, method, target, data)
    }

    /// Signs a request with the given proof.
    pub fn sign(
        &self,
        mut body: JsonValue,
        workload: &Workload,
        method: &str,
        target: &str,
        data: &JsonValue,
    ) -> JsonValue {
        let data = data.to_string();
        let timestamp = self.host.now_ms.get().to_string();
        let message = attested::signed_text(
            method,
            &format!("/app{target}"),
            body["nonce"].as_str().unwrap(),
            &timestamp,
            &crypto::sha256(data.as_bytes()),
        );
        let signature = workload.sign(message.as_bytes());
        body["sign"] = json!({ "publicKey": body["encrypt"]["publicKey"], "signature": signature });
        body["data"] = json!(b64::encode(data.as_bytes()));
        body["timestamp"] = json!(timestamp);
        body
    }

    /// A signed attested request.
    pub fn attested_write(
        &mut self,
        workload: &Workload,
        method: &str,
        target: &str,
        data: JsonValue,
    ) -> Answer {
        let body = self.signed(workload, method, target, &data);
        self.call(&Caller::Anonymous, method, target, body.to_string().as_bytes())
    }
}
