//! A state in memory under the real access rules, members by name, and credentials read by the
//! real certificate parser.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support; each test file uses its part"
)]

use std::collections::BTreeMap;

use cleanroom_model::governance::{ACCEPTED_CONTRACTS, AcceptedContract, CONTRACTS, ContractDraft};
use constitution_rules::credentials::{Certificate, KeyKind, Route, RsaKey, TokenKey};
use constitution_rules::{Ballot, Credentials, Failed, Invalid, ProposalContext};
use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair};
use crypto::{jwk, pem, spki};
use kv::access::{access, classify};
use kv::{Context, Denied, Entry, Json, Raw, RawEntry, RawKey, Read, Singleton, TxId, Versioned, Write};
use model::member::{MemberInfo, MemberStatus};
use model::proposal::{Moment, ProposalInfo, ProposalState, Resolution, Vote};
use model::service::{ServiceConfig, ServiceInfo, ServiceStatus};
use model::{Digest, MemberId, ProposalId, tables};
use serde_json::{Value as JsonValue, json};

/// The service certificate of every world.
pub const SERVICE_CERT: &str =
    include_str!("../../../../tests/vectors/field-cases/member-certificate-forms/plain.pem");

type Rows = BTreeMap<Vec<u8>, (Vec<u8>, TxId)>;

/// Tables in memory. `context` decides what they let through.
#[derive(Clone)]
pub struct World {
    tables: BTreeMap<String, Rows>,
    pub context: Context,
    pub now: TxId,
}

impl World {
    fn allowed(&self, table: &str, write: bool) -> Result<(), Denied> {
        let permission =
            classify(table).map(|(visibility, category)| access(self.context, visibility, category));
        match permission {
            Some(p) if if write { p.write } else { p.read } => Ok(()),
            _ => Err(Denied {
                table: table.into(),
                reason: format!("closed to {:?}", self.context),
            }),
        }
    }
}

impl Read for World {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        self.allowed(table, false)?;
        let row = self.tables.get(table).and_then(|rows| rows.get(key));
        Ok(row.map(|(value, version)| Versioned {
            value: value.clone(),
            version: *version,
        }))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawEntry>, Denied> {
        self.allowed(table, false)?;
        let rows = self.tables.get(table).into_iter().flatten();
        Ok(rows
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after))
            .take(limit as usize)
            .map(|(key, (value, version))| Entry {
                key: key.clone(),
                value: value.clone(),
                version: *version,
            })
            .collect())
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        let key = |row: RawEntry| Entry {
            key: row.key,
            value: (),
            version: row.version,
        };
        Ok(self
            .scan(table, prefix, after, limit)?
            .into_iter()
            .map(key)
            .collect())
    }
}

impl Write for World {
    fn put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        self.allowed(table, true)?;
        let rows = self.tables.entry(table.into()).or_default();
        rows.insert(key.to_vec(), (value.to_vec(), self.now));
        Ok(())
    }

    fn remove(&mut self, table: &str, key: &[u8]) -> Result<(), Denied> {
        self.allowed(table, true)?;
        self.tables.entry(table.into()).or_default().remove(key);
        Ok(())
    }
}

/// The id of the member called `name` where no certificate is needed.
pub fn member(name: &str) -> MemberId {
    MemberId(crypto::sha256(name.as_bytes()))
}

/// The id of the proposal called `name`.
pub fn proposal_id(name: &str) -> ProposalId {
    ProposalId(crypto::sha256(name.as_bytes()))
}

/// A member's certificate.
pub fn certificate(name: &str) -> String {
    let key = EcKeyPair::generate(Curve::P256).unwrap();
    let validity = Validity {
        not_before: 1_700_000_000,
        days: 365,
    };
    self_signed_member(&key, name, validity).unwrap()
}

/// The id that a certificate gives.
pub fn id_of(cert: &str) -> MemberId {
    MemberId(crypto::x509::Certificate::from_pem(cert).unwrap().id())
}

/// Credentials over the real parsers. A "component" is a JSON list of routes, so that tests say
/// what it offers; everything else does not compile.
pub struct Native;

impl Credentials for Native {
    fn certificate(&self, text: &str) -> Result<Certificate, String> {
        let read = crypto::x509::Certificate::from_pem(text).map_err(|e| e.to_string())?;
        let kind = match read.key_kind() {
            spki::KeyKind::EcP256 | spki::KeyKind::EcP384 | spki::KeyKind::EcP521 => KeyKind::EllipticCurve,
            spki::KeyKind::Rsa(_) => KeyKind::Rsa,
            spki::KeyKind::Other => KeyKind::Other,
        };
        Ok(Certificate {
            id: read.id(),
            key_kind: kind,
            pem: read.to_pem(),
        })
    }

    fn rsa_key(&self, public_key_pem: &str) -> Result<RsaKey, String> {
        let der = spki::public_key_from_pem(public_key_pem).map_err(|e| e.to_string())?;
        match spki::spki_key_kind(&der).map_err(|e| e.to_string())? {
            spki::KeyKind::Rsa(bits) => Ok(RsaKey {
                bits,
                pem: pem::encode(pem::PUBLIC_KEY, &der),
            }),
            other => Err(format!("a key of kind {other}")),
        }
    }

    fn token_key(&self, jwk_json: &str) -> Result<TokenKey, String> {
        let key = serde_json::from_str(jwk_json).map_err(|e| e.to_string())?;
        Ok(match jwk::judge(&key).map_err(|e| e.to_string())? {
            jwk::Judged::Usable { spki } => TokenKey::Usable(spki),
            jwk::Judged::Skipped(reason) => TokenKey::Skipped(reason),
        })
    }

    fn inspect_application(&self, component: &[u8]) -> Result<(Digest, Vec<Route>), String> {
        let routes: Vec<(String, String)> = serde_json::from_slice(component).map_err(|e| e.to_string())?;
        let routes = (0..).zip(routes).map(|(export, (method, path))| Route {
            method,
            path,
            row_json: json!({"mode": "readwrite", "forwarding_required": "always",
                "redirection_strategy": "to_primary", "authn_policies": ["member_cert"], "export": export})
            .to_string(),
        });
        Ok((crypto::sha256(component), routes.collect()))
    }

    fn inspect_constitution(&self, component: &[u8]) -> Result<Digest, String> {
        self.inspect_application(component).map(|(digest, _)| digest)
    }
}

impl World {
    /// An opening service with these members, in the notation `ann bob? op:operator`: `?` marks one
    /// that has not acknowledged, `:` a flag or role.
    pub fn new(members: &str) -> Self {
        let mut world = Self {
            tables: BTreeMap::new(),
            context: Context::Host,
            now: TxId::new(2, 10),
        };
        world.set_service(ServiceStatus::Opening, 1);
        for text in members.split_whitespace() {
            world.put_member(text);
        }
        world
    }

    pub fn set_service(&mut self, status: ServiceStatus, threshold: u16) {
        let info = ServiceInfo {
            cert: SERVICE_CERT.into(),
            status,
            previous_service_identity_version: None,
            recovery_count: 0,
            service_data: None,
            current_service_create_txid: None,
        };
        let config = ServiceConfig {
            recovery_threshold: threshold,
            maximum_node_certificate_validity_days: None,
            maximum_service_certificate_validity_days: None,
            recent_cose_proposals_window_size: None,
            quota_rows: None,
            quota_bytes: None,
        };
        self.context = Context::Host;
        tables::SERVICE_INFO.put(self, &Singleton, &Json(info)).unwrap();
        tables::SERVICE_CONFIG
            .put(self, &Singleton, &Json(config))
            .unwrap();
    }

    pub fn put_member(&mut self, text: &str) {
        let (text, role) = text.split_once(':').unwrap_or((text, ""));
        let name = text.trim_end_matches('?');
        let data = match role {
            "" => None,
            "operator" => Some(json!({"isOperator": true})),
            "recovery" => Some(json!({"isRecoveryOperator": true})),
            "cgs" => Some(json!({"cgsRoles": {"cgsOperator": "true"}})),
            "contract" => Some(json!({"cgsRoles": {"contractOperator": true}})),
            scoped => Some(json!({"cgsRoles": {"contractOperator": true, "contractOperatorFor": [scoped]}})),
        };
        let status = if text.ends_with('?') {
            MemberStatus::Accepted
        } else {
            MemberStatus::Active
        };
        self.put_member_info(&member(name), status, data);
    }

    pub fn put_member_info(&mut self, id: &MemberId, status: MemberStatus, member_data: Option<JsonValue>) {
        let info = MemberInfo {
            status,
            member_data,
            recovery_role: None,
        };
        self.context = Context::Host;
        tables::MEMBER_INFO.put(self, id, &Json(info)).unwrap();
    }

    pub fn remove_member(&mut self, name: &str) {
        self.context = Context::Host;
        tables::MEMBER_INFO.remove(self, &member(name)).unwrap();
    }

    pub fn give_key(&mut self, id: &MemberId) {
        self.context = Context::Host;
        tables::MEMBER_ENCRYPTION_KEYS
            .put(self, id, &Raw(b"key".to_vec()))
            .unwrap();
    }

    /// A draft, written at `now`.
    pub fn put_draft(&mut self, contract: &str, data: JsonValue) {
        self.context = Context::Host;
        CONTRACTS
            .put(self, &contract.parse().unwrap(), &Json(ContractDraft { data }))
            .unwrap();
    }

    /// An accepted contract with the voters that its data name.
    pub fn put_accepted(&mut self, contract: &str, voters: Option<&[&str]>) {
        let row = AcceptedContract {
            data: json!("text"),
            version: TxId::new(2, 1),
            proposal_id: proposal_id("earlier"),
            final_votes: BTreeMap::new(),
            required_members: voters.map(|names| names.iter().map(|name| member(name)).collect()),
        };
        self.context = Context::Host;
        ACCEPTED_CONTRACTS
            .put(self, &contract.parse().unwrap(), &Json(row))
            .unwrap();
    }

    /// Records a proposal as the host does before it asks the rules.
    pub fn put_proposal(&mut self, name: &str, text: &[u8], state: ProposalState, ballots: &[Ballot]) {
        let script = |accept: bool| {
            if accept { Vote::Accept } else { Vote::Reject }
                .script()
                .to_owned()
        };
        let info = ProposalInfo {
            proposer_id: member("ann"),
            state,
            ballots: ballots
                .iter()
                .map(|(id, accept)| (*id, script(*accept)))
                .collect(),
            final_votes: None,
            vote_failures: None,
            failure: None,
            constitution_digest: None,
        };
        self.context = Context::Host;
        tables::PROPOSALS
            .put(self, &proposal_id(name), &Raw(text.to_vec()))
            .unwrap();
        model::proposal_rows::put(self, &proposal_id(name), info).unwrap();
    }

    pub fn validate(&mut self, actions: JsonValue) -> Result<(), Vec<Invalid>> {
        self.context = Context::Decide;
        constitution_rules::validate(self, &Native, &text(actions))
    }

    pub fn resolve(
        &mut self,
        proposer: &str,
        moment: Moment,
        actions: JsonValue,
        ballots: &str,
    ) -> Resolution {
        let context = ProposalContext {
            proposal_id: proposal_id("this"),
            proposer_id: member(proposer),
            moment,
        };
        self.context = Context::Decide;
        constitution_rules::resolve(self, &Native, &context, &text(actions), &votes(ballots)).unwrap()
    }

    /// Applies on a copy that replaces the state if it worked.
    pub fn apply(&mut self, actions: JsonValue) -> Result<(), Failed> {
        let context = ProposalContext {
            proposal_id: proposal_id("this"),
            proposer_id: member("ann"),
            moment: Moment::Ballot,
        };
        let mut child = self.clone();
        child.context = Context::Apply;
        constitution_rules::apply(&mut child, &Native, &context, &text(actions))?;
        *self = child;
        self.context = Context::Host;
        Ok(())
    }

    /// Validates and applies.
    #[track_caller]
    pub fn carry(&mut self, name: &str, args: JsonValue) {
        let actions = json!([{"name": name, "args": args}]);
        assert_eq!(self.validate(actions.clone()), Ok(()));
        assert_eq!(self.apply(actions), Ok(()));
    }

    /// Validation finds exactly one fault, whose reason contains `reason`.
    #[track_caller]
    pub fn refuses(&mut self, name: &str, args: JsonValue, reason: &str) {
        let faults = self.validate(json!([{"name": name, "args": args}])).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].reason.contains(reason), "{}", faults[0].reason);
        assert_eq!(faults[0].action, name);
    }
}

/// A proposal's bytes.
pub fn text(actions: JsonValue) -> Vec<u8> {
    json!({"actions": actions}).to_string().into_bytes()
}

/// Ballots from the notation `ann+ bob-`.
pub fn votes(notation: &str) -> Vec<Ballot> {
    notation
        .split_whitespace()
        .map(|text| {
            let accept = text.ends_with('+');
            assert!(accept || text.ends_with('-'), "{text}: + or - expected");
            (member(text.trim_end_matches(['+', '-'])), accept)
        })
        .collect()
}
