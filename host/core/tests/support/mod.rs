//! A service in memory: members with real keys, a native constitution and application, and a
//! disk made of bytes.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair, LedgerSecret, Native, RsaBits, RsaKeyPair, sign_governance_message};
use crypto::x509::Certificate;
use host_core::commit::Batch;
use host_core::identity::decode_identity;
use host_core::shares::Entropy;
use host_core::{
    AppRequest, AppResponse, Call, Caller, Component, Failed, Genesis, GenesisMember, GuestFailure, Guests,
    Invalid, MemberRequest, MessageType, NodeSetup, Outcome, ResolveContext, Resume, Service, ServiceTime,
    Settings, Transaction,
};
use kv::{Json, Raw, Read, Singleton, Write};
use ledger::chunk;
use model::member::{MemberInfo, MemberStatus};
use model::node::{QuoteFormat, QuoteInfo, RpcInterface};
use model::proposal::{ProposalBody, ProposalEffects, RawAction, Resolution};
use model::service::{EndpointRow, ServiceStatus};
use model::tables;
use model::{MemberId, ProposalId};
use serde_json::{Value as JsonValue, json};

pub const NOW: u64 = 1_800_000_000;
pub const CONSTITUTION: &[u8] = b"native constitution";
pub const APPLICATION: &[u8] = b"native application";
pub const ROUTE: &str = "PUT /rows/{key}";

pub struct Member {
    pub key: EcKeyPair,
    pub pem: String,
    pub id: MemberId,
    pub encryption: Option<&'static RsaKeyPair>,
}

/// RSA keys take long to make, so all tests share three.
static ENCRYPTION_KEYS: LazyLock<Vec<RsaKeyPair>> = LazyLock::new(|| {
    (0..3)
        .map(|_| RsaKeyPair::generate(RsaBits::B2048).unwrap())
        .collect()
});

impl Member {
    pub fn new(name: &str, encryption: Option<usize>) -> Self {
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let validity = Validity {
            not_before: NOW - 1000,
            days: 30,
        };
        let pem = self_signed_member(&key, name, validity).unwrap();
        let certificate = Certificate::from_pem(&pem).unwrap();
        Self {
            key,
            id: MemberId(certificate.id()),
            pem: certificate.to_pem(),
            encryption: encryption.map(|at| &ENCRYPTION_KEYS[at]),
        }
    }

    pub fn sign(&self, kind: MessageType, proposal: Option<ProposalId>, payload: &[u8], at: u64) -> Vec<u8> {
        let proposal = proposal.map(|id| id.to_string());
        let kid = self.id.to_string();
        sign_governance_message(&self.key, &kid, kind.as_str(), at, proposal.as_deref(), payload).unwrap()
    }
}

/// A constitution and an application without wasm. Proposals carry by unanimity of the active
/// members, and one "no" rejects them; `auto` passes at creation.
pub struct NativeGuests;

fn body(proposal: &[u8]) -> Option<ProposalBody> {
    serde_json::from_slice(proposal).ok()
}

fn active(tx: &Transaction) -> BTreeSet<MemberId> {
    let rows = tables::MEMBER_INFO.rows(tx).unwrap();
    let active = rows
        .into_iter()
        .filter(|row| row.value.0.status == MemberStatus::Active);
    active.map(|row| row.key).collect()
}

impl Guests for NativeGuests {
    fn validate(
        &self,
        _: &Component,
        tx: Transaction,
        proposal: &[u8],
    ) -> Result<(Transaction, Result<(), Vec<Invalid>>), GuestFailure> {
        let fault = |reason: &str, unavailable| Invalid {
            position: 0,
            action: "action".into(),
            reason: reason.into(),
            unavailable,
        };
        let verdict = match body(proposal) {
            None => Err(vec![fault("not a proposal", false)]),
            Some(body) if body.actions.iter().any(|a| a.name == "later") => {
                Err(vec![fault("not built yet", true)])
            }
            Some(body) if body.actions.iter().any(|a| a.name == "loop") => {
                return Err(GuestFailure::Limit("fuel".into()));
            }
            Some(_) => Ok(()),
        };
        Ok((tx, verdict))
    }

    fn resolve(
        &self,
        _: &Component,
        tx: Transaction,
        _: &ResolveContext,
        proposal: &[u8],
        ballots: &[(MemberId, bool)],
    ) -> Result<(Transaction, Resolution), GuestFailure> {
        let actions = body(proposal).unwrap().actions;
        let votes: BTreeMap<_, _> = ballots.iter().copied().collect();
        let electorate = active(&tx);
        let resolution = if actions.iter().all(|a| a.name == "auto") {
            Resolution::Accepted
        } else if electorate.iter().any(|id| votes.get(id) == Some(&false)) {
            Resolution::Rejected
        } else if electorate.iter().all(|id| votes.get(id) == Some(&true)) {
            Resolution::Accepted
        } else {
            Resolution::Open
        };
        Ok((tx, resolution))
    }

    fn apply(
        &self,
        _: &Component,
        mut tx: Transaction,
        context: &ResolveContext,
        proposal: &[u8],
    ) -> Result<(Transaction, Result<(), Failed>), GuestFailure> {
        for action in body(proposal).unwrap().actions {
            if action.name == "effects" {
                let effects: ProposalEffects = serde_json::from_value(action.args).unwrap();
                tables::PROPOSALS_EFFECTS
                    .put(&mut tx, &context.proposal_id, &Json(effects))
                    .unwrap();
                continue;
            }
            match apply(&mut tx, &action) {
                Ok(()) => {}
                Err(reason) if reason == "busy" => return Err(GuestFailure::Busy(reason)),
                Err(reason) if reason == "trap" => return Err(GuestFailure::Trap(reason)),
                Err(reason) => {
                    let failed = Failed {
                        action: action.name,
                        reason,
                    };
                    return Ok((tx, Err(failed)));
                }
            }
        }
        Ok((tx, Ok(())))
    }

    fn query(&self, _: &Component, _: Transaction, _: &AppRequest) -> Result<AppResponse, GuestFailure> {
        Err(GuestFailure::Unloadable("no queries here".into()))
    }

    /// The body is JSON: rows to write, the status to answer with, whether to commit on errors.
    fn update(
        &self,
        _: &Component,
        mut tx: Transaction,
        request: &AppRequest,
    ) -> Result<(Transaction, AppResponse), GuestFailure> {
        let body: JsonValue = serde_json::from_slice(&request.body).unwrap();
        if body["trap"] == json!(true) {
            return Err(GuestFailure::Trap("asked to".into()));
        }
        for (key, value) in body["public"].as_object().into_iter().flatten() {
            tx.put("public:rows", key.as_bytes(), value.to_string().as_bytes())
                .unwrap();
        }
        if body["time"] == json!(true) {
            let time = request.received_at_ms.to_string();
            tx.put("public:rows", b"time", time.as_bytes()).unwrap();
        }
        for (key, value) in body["private"].as_object().into_iter().flatten() {
            tx.put("secrets", key.as_bytes(), value.to_string().as_bytes())
                .unwrap();
        }
        let status = u16::try_from(body["status"].as_u64().unwrap_or(200)).unwrap();
        let response = AppResponse {
            status,
            content_type: None,
            body: Vec::new(),
            retry_after: None,
            commit_on_error: body["commitOnError"] == json!(true),
            cache_seconds: None,
        };
        Ok((tx, response))
    }
}

fn apply(tx: &mut Transaction, action: &RawAction) -> Result<(), String> {
    let args = &action.args;
    match action.name.as_str() {
        // With a component it installs it, as the largest proposal that passes when it is made.
        "auto" => {
            if let Some(text) = args["component"].as_str() {
                let bytes = model::b64::decode(text).unwrap();
                let digest = crypto::sha256(&bytes).to_string();
                tables::MODULES
                    .put(tx, &digest, &Raw(bytes))
                    .map_err(|e| e.to_string())?;
            }
        }
        "nothing" => {}
        "remove" => {
            let (table, key) = (args["table"].as_str().unwrap(), args["key"].as_str().unwrap());
            tx.remove(table, key.as_bytes()).map_err(|e| e.to_string())?;
        }
        "set_constitution" => {
            let bytes = args.as_str().unwrap().as_bytes().to_vec();
            let digest = crypto::sha256(&bytes);
            tables::MODULES.put(tx, &digest.to_string(), &Raw(bytes)).unwrap();
            let row = Json(tables::constitution_reference(&digest));
            tables::CONSTITUTION.put(tx, &Singleton, &row).unwrap();
        }
        "write" => {
            let (table, key) = (args["table"].as_str().unwrap(), args["key"].as_str().unwrap());
            tx.put(table, key.as_bytes(), args["value"].to_string().as_bytes())
                .map_err(|e| e.to_string())?;
        }
        "fail" => {
            tx.put("public:rows", b"half", b"done")
                .map_err(|e| e.to_string())?;
            return Err("asked to".into());
        }
        "trap" | "busy" => return Err(action.name.clone()),
        "open" => {
            let mut info = tables::SERVICE_INFO.get(tx, &Singleton).unwrap().unwrap();
            info.0.status = ServiceStatus::Open;
            tables::SERVICE_INFO.put(tx, &Singleton, &info).unwrap();
        }
        "recover" => {
            let mut info = tables::SERVICE_INFO.get(tx, &Singleton).unwrap().unwrap();
            info.0.status = ServiceStatus::Recovering;
            tables::SERVICE_INFO.put(tx, &Singleton, &info).unwrap();
        }
        "threshold" => {
            let mut config = tables::SERVICE_CONFIG.get(tx, &Singleton).unwrap().unwrap();
            config.0.recovery_threshold = u16::try_from(args.as_u64().unwrap()).unwrap();
            tables::SERVICE_CONFIG.put(tx, &Singleton, &config).unwrap();
        }
        "remove_member" => {
            let id: MemberId = args.as_str().unwrap().parse().unwrap();
            tables::MEMBER_CERTS.remove(tx, &id).unwrap();
            tables::MEMBER_INFO.remove(tx, &id).unwrap();
            tables::MEMBER_ENCRYPTION_KEYS.remove(tx, &id).unwrap();
        }
        "restore_cert" => {
            let id: MemberId = args["id"].as_str().unwrap().parse().unwrap();
            let pem = args["pem"].as_str().unwrap().as_bytes().to_vec();
            tables::MEMBER_CERTS.put(tx, &id, &Raw(pem)).unwrap();
        }
        "reset_member" => {
            let id: MemberId = args.as_str().unwrap().parse().unwrap();
            let info = MemberInfo {
                status: MemberStatus::Accepted,
                member_data: None,
                recovery_role: None,
            };
            tables::MEMBER_INFO.put(tx, &id, &Json(info)).unwrap();
        }
        "set_app" => {
            let digest = crypto::sha256(APPLICATION).to_string();
            tables::MODULES
                .put(tx, &digest, &Raw(APPLICATION.to_vec()))
                .unwrap();
            let row = EndpointRow {
                mode: "readwrite".into(),
                forwarding_required: "always".into(),
                redirection_strategy: "to_primary".into(),
                authn_policies: vec!["member_cert".into()],
                component: digest,
                export: 7,
                prepare: false,
                body_bytes_max: None,
            };
            tables::ENDPOINTS.put(tx, &ROUTE.to_owned(), &Json(row)).unwrap();
        }
        "remove_app" => tables::ENDPOINTS.remove(tx, &ROUTE.to_owned()).unwrap(),
        "break_constitution" => {
            let row = Json("sha256:".to_owned() + &"0".repeat(64));
            tables::CONSTITUTION.put(tx, &Singleton, &row).unwrap();
        }
        other => return Err(format!("no such action: {other}")),
    }
    Ok(())
}

/// A deterministic stream: digests of a counter.
pub fn entropy(seed: u64) -> Entropy {
    let mut counter = 0_u64;
    Box::new(move |buffer| {
        for chunk in buffer.chunks_mut(32) {
            counter += 1;
            let block = crypto::sha256_parts(&[&seed.to_le_bytes(), &counter.to_le_bytes()]);
            chunk.copy_from_slice(&block.0[..chunk.len()]);
        }
    })
}

pub fn node_setup() -> NodeSetup {
    let interface = RpcInterface {
        bind_address: "127.0.0.1:0".into(),
        published_address: "127.0.0.1:0".into(),
        protocol: Some("tcp".into()),
    };
    NodeSetup {
        key: EcKeyPair::generate(Curve::P256).unwrap(),
        encryption_public_key: ENCRYPTION_KEYS[0].public_pem(),
        node_to_node_interface: interface.clone(),
        rpc_interfaces: BTreeMap::from([("rpc".to_owned(), interface)]),
        names: vec!["localhost".into()],
        certificate_validity_days: 30,
        quote: QuoteInfo {
            format: QuoteFormat::InsecureVirtual,
            quote: String::new(),
            endorsements: String::new(),
            uvm_endorsements: None,
        },
        measurement: "00".repeat(32),
        host_data: "11".repeat(32),
    }
}

/// A service with its members and everything it has written.
pub struct TestService {
    pub service: Service,
    pub members: Vec<Member>,
    pub ledger: Vec<u8>,
    /// Size of every frame.
    pub sizes: Vec<usize>,
    /// The members' and the service's clock, Unix seconds.
    pub clock: u64,
}

pub fn genesis(members: &[Member], threshold: u16) -> Genesis {
    let member = |member: &Member| GenesisMember {
        certificate: member.pem.clone(),
        encryption_key: member.encryption.map(RsaKeyPair::public_pem),
        data: None,
        recovery_role: None,
    };
    Genesis {
        members: members.iter().map(member).collect(),
        constitution: Arc::from(CONSTITUTION),
        recovery_threshold: threshold,
        service_name: "test service".into(),
        certificate_validity_days: 365,
        maximum_certificate_validity_days: 365,
        service_data: None,
    }
}

impl TestService {
    /// Three members with encryption keys, none of them active yet; threshold 2.
    pub fn begin() -> Self {
        let members: Vec<Member> = ["ann", "bob", "cid"]
            .iter()
            .enumerate()
            .map(|(at, name)| Member::new(name, Some(at)))
            .collect();
        Self::with(members, 2)
    }

    pub fn with(members: Vec<Member>, threshold: u16) -> Self {
        let (service, batch) = Service::genesis(
            &genesis(&members, threshold),
            node_setup(),
            EcKeyPair::generate(Curve::P384).unwrap(),
            LedgerSecret::random(),
            Settings::default(),
            entropy(1),
            NOW,
        )
        .unwrap();
        let mut this = Self {
            service,
            members,
            ledger: Vec::new(),
            sizes: Vec::new(),
            clock: NOW,
        };
        this.keep(&batch);
        this
    }

    /// All members active.
    pub fn active() -> Self {
        let mut this = Self::begin();
        for at in 0..this.members.len() {
            this.acknowledge(at);
        }
        this
    }

    /// Active members, an application, open.
    pub fn open() -> Self {
        let mut this = Self::active();
        this.pass(json!([{"name": "set_app"}, {"name": "open"}]));
        this
    }

    fn keep(&mut self, batch: &Batch) {
        self.ledger.extend(&batch.bytes);
        self.sizes.extend(&batch.entry_sizes);
    }

    pub fn execute(&mut self, call: Call) -> Outcome {
        self.service.execute(call, &NativeGuests)
    }

    /// Executes, seals and keeps the batch.
    pub fn commit(&mut self, call: Call) -> Outcome {
        let outcome = self.execute(call);
        self.seal();
        outcome
    }

    pub fn seal(&mut self) -> Option<Batch> {
        let batch = self.service.seal(NOW).unwrap();
        if let Some(batch) = &batch {
            self.keep(batch);
        }
        batch
    }

    pub fn request(
        &mut self,
        member: usize,
        kind: MessageType,
        proposal: Option<ProposalId>,
        payload: &[u8],
    ) -> MemberRequest {
        self.clock += 1;
        let message = self.members[member].sign(kind, proposal, payload, self.clock);
        self.verify(&message, kind, proposal).unwrap()
    }

    pub fn verify(
        &self,
        message: &[u8],
        kind: MessageType,
        proposal: Option<ProposalId>,
    ) -> Result<MemberRequest, host_core::AuthError> {
        let state = self.service.state();
        let time = ServiceTime::new(self.clock * 1000, 0);
        MemberRequest::verify(&state, message, kind, proposal.as_ref(), &Native, time)
    }

    pub fn acknowledge(&mut self, member: usize) {
        let update = self.request(member, MessageType::StateDigest, None, b"");
        let outcome = self.commit(Call::Governance(update));
        let digest = json_of(&outcome)["stateDigest"].clone();
        let payload = json!({"stateDigest": digest}).to_string();
        let ack = self.request(member, MessageType::Ack, None, payload.as_bytes());
        assert_eq!(self.commit(Call::Governance(ack)).reply.status, 204);
    }

    pub fn propose(&mut self, member: usize, actions: JsonValue) -> Outcome {
        let text = json!({"actions": actions}).to_string();
        let request = self.request(member, MessageType::Proposal, None, text.as_bytes());
        self.commit(Call::Governance(request))
    }

    pub fn vote(&mut self, member: usize, proposal: ProposalId, vote: &str) -> Outcome {
        let payload = json!({"ballot": {"vote": vote}}).to_string();
        self.ballot(member, proposal, &payload)
    }

    pub fn ballot(&mut self, member: usize, proposal: ProposalId, payload: &str) -> Outcome {
        let request = self.request(member, MessageType::Ballot, Some(proposal), payload.as_bytes());
        self.commit(Call::Governance(request))
    }

    /// Proposes and has every member accept until it is closed; gives the last summary.
    pub fn pass(&mut self, actions: JsonValue) -> JsonValue {
        let mut summary = json_of(&self.propose(0, actions));
        let id = id_of(&summary);
        for member in 0..self.members.len() {
            if summary["proposalState"] != "Open" {
                break;
            }
            summary = json_of(&self.vote(member, id, "accept"));
        }
        summary
    }

    pub fn app(&mut self, body: &JsonValue) -> Call {
        Call::App {
            route: ROUTE.to_owned(),
            request: app_request(&self.members[0], body),
        }
    }

    /// The service after a restart on these bytes of the ledger.
    pub fn resume(&self, ledger: &[u8]) -> Result<(Service, Batch, usize), host_core::resume::ResumeError> {
        let plain = self.service.identity_after_boot().unwrap();
        resume(&plain, ledger)
    }
}

/// Resumes from a sealed identity and the entries of one open chunk; also gives how many bytes
/// of it are signed.
pub fn resume(
    identity: &[u8],
    ledger: &[u8],
) -> Result<(Service, Batch, usize), host_core::resume::ResumeError> {
    let mut resume = Resume::new(&Native, decode_identity(identity).unwrap());
    let mut file = chunk::open_header().to_vec();
    file.extend(ledger);
    let parsed = chunk::parse(&file).unwrap();
    let mut signed = 0;
    let mut read = 0;
    for entry in &parsed.entries {
        resume.feed(entry)?;
        read += entry.frame.len();
        if resume.last_signed() == Some(entry.tx_id()) {
            signed = read;
        }
    }
    let secret = LedgerSecret::random();
    let (service, batch) = resume.finish(node_setup(), secret, Settings::default(), entropy(2), NOW)?;
    Ok((service, batch, signed))
}

pub fn app_request(member: &Member, body: &JsonValue) -> AppRequest {
    AppRequest {
        endpoint: 0,
        parameters: Vec::new(),
        method: "PUT".into(),
        target: "/app/rows/a".into(),
        query: String::new(),
        content_type: None,
        caller: Caller::Member(host_core::Principal {
            id: member.id.to_string(),
            data_json: "null".into(),
            active: true,
        }),
        body: body.to_string().into_bytes(),
        received_at_ms: NOW * 1000,
        transaction: kv::TxId::default(),
        committed: kv::TxId::default(),
    }
}

pub fn json_of(outcome: &Outcome) -> JsonValue {
    serde_json::from_slice(&outcome.reply.body).unwrap_or(JsonValue::Null)
}

pub fn id_of(summary: &JsonValue) -> ProposalId {
    summary["proposalId"].as_str().unwrap().parse().unwrap()
}

pub fn code_of(outcome: &Outcome) -> String {
    let code = json_of(outcome)["error"]["code"].clone();
    format!("{} {}", outcome.reply.status, code.as_str().unwrap_or("-"))
}

pub fn row(state: &impl Read, table: &str, key: &str) -> Option<String> {
    let row = state.get(table, key.as_bytes()).unwrap()?;
    Some(String::from_utf8(row.value).unwrap())
}
