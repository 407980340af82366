//! A node's service without sockets and without components, on any disk.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair, Native, RsaBits, RsaKeyPair, sign_governance_message};
use crypto::x509::Certificate;
use host::clock::Clock;
use host::disk::Disk;
use host::executor::QueueLimits;
use host::node::{Running, Start};
use host_core::guests::Validation;
use host_core::{
    AppRequest, AppResponse, Call, Component, Failed, Genesis, GenesisMember, GuestFailure, Guests,
    MemberRequest, MessageType, ResolveContext, Settings, Transaction,
};
use model::MemberId;
use model::proposal::Resolution;

/// Governance messages are enough to write entries; no component is ever called.
pub(crate) struct NoGuests;

fn unloadable<T>() -> Result<T, GuestFailure> {
    Err(GuestFailure::Unloadable("there are no components here".into()))
}

impl Guests for NoGuests {
    fn validate(
        &self,
        _: &Component,
        _: Transaction,
        _: &[u8],
    ) -> Result<(Transaction, Validation), GuestFailure> {
        unloadable()
    }
    fn resolve(
        &self,
        _: &Component,
        _: Transaction,
        _: &ResolveContext,
        _: &[u8],
        _: &[(MemberId, bool)],
    ) -> Result<(Transaction, Resolution), GuestFailure> {
        unloadable()
    }
    fn apply(
        &self,
        _: &Component,
        _: Transaction,
        _: &ResolveContext,
        _: &[u8],
    ) -> Result<(Transaction, Result<(), Failed>), GuestFailure> {
        unloadable()
    }
    fn query(&self, _: &Component, _: Transaction, _: &AppRequest) -> Result<AppResponse, GuestFailure> {
        unloadable()
    }
    fn update(
        &self,
        _: &Component,
        _: Transaction,
        _: &AppRequest,
    ) -> Result<(Transaction, AppResponse), GuestFailure> {
        unloadable()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) struct Member {
    key: EcKeyPair,
    pem: String,
    id: MemberId,
    encryption_pem: String,
}

pub(crate) fn member() -> Member {
    let key = EcKeyPair::generate(Curve::P384).unwrap();
    let validity = Validity {
        not_before: now() - 60,
        days: 1,
    };
    let pem = self_signed_member(&key, "ann", validity).unwrap();
    let certificate = Certificate::from_pem(&pem).unwrap();
    Member {
        key,
        pem: certificate.to_pem(),
        id: MemberId(certificate.id()),
        encryption_pem: RsaKeyPair::generate(RsaBits::B2048).unwrap().public_pem(),
    }
}

pub(crate) fn first_state(member: &Member) -> Genesis {
    Genesis {
        members: vec![GenesisMember {
            certificate: member.pem.clone(),
            encryption_key: Some(member.encryption_pem.clone()),
            data: None,
            recovery_role: None,
        }],
        constitution: Arc::from(b"constitution".as_slice()),
        recovery_threshold: 1,
        service_name: "test".into(),
        certificate_validity_days: 1,
        maximum_certificate_validity_days: 1,
        service_data: None,
    }
}

pub(crate) fn configuration(disk: Arc<dyn Disk>, dir: &Path) -> Start {
    Start {
        disk,
        ledger_dir: dir.join("ledger"),
        state_dir: dir.join("node"),
        bind_address: "127.0.0.1:0".into(),
        published_address: "127.0.0.1:0".into(),
        names: vec!["127.0.0.1".into()],
        certificate_validity_days: 1,
        settings: Settings::default(),
        limits: QueueLimits::default(),
        insecure_virtual: true,
        clock: Clock::system(),
        accept_clock: None,
    }
}

/// A call that writes one entry.
pub(crate) fn call(node: &Running, member: &Member) -> Call {
    let kind = MessageType::StateDigest;
    let kid = member.id.to_string();
    let message = sign_governance_message(&member.key, &kid, kind.as_str(), now(), None, b"").unwrap();
    let state = node.handle.state();
    Call::Governance(
        MemberRequest::verify(&*state, &message, kind, None, &Native, state.time(now() * 1000)).unwrap(),
    )
}

pub(crate) async fn write(node: &Running, member: &Member) -> kv::TxId {
    let outcome = node.handle.submit(call(node, member)).await.unwrap();
    assert_eq!(outcome.reply.status, 200);
    outcome.tx
}
