//! Ledger and sealed identity on a disk that keeps only what was synced. Whoever deletes a sync, or
//! changes the order in which things are written and told, finds a test here that fails.
//!
//! `CONCORDAT_SEED=n` tries one more seed for what is lost; a failure names the loss.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod bare_service;
mod simulated_disk;

use std::path::Path;
use std::sync::Arc;

use bare_service::{Member, NoGuests, call, configuration, first_state, member, write};
use host::disk::Disk as _;
use host::executor::Unavailable;
use host::ledger_files::{LedgerFiles, LedgerFilesError};
use host::node::{self, Running, StartError};
use host::sealed_keys::SealedKeys;
use host_core::{Batch, TxStatus};
use kv::{TxId, WriteSet};
use ledger::entry;
use model::Digest;
use simulated_disk::{Loss, Moment, SimulatedDisk};

const ROOT: &str = "/machine";

/// What is tried at each moment, with `count` seeds.
fn losses(count: u64) -> Vec<Loss> {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the seed")]
    let asked = std::env::var("CONCORDAT_SEED")
        .ok()
        .map(|text| Loss::Some(text.parse().expect("CONCORDAT_SEED is a number")));
    [Loss::All, Loss::Nothing]
        .into_iter()
        .chain((0..count).map(Loss::Some))
        .chain(asked)
        .collect()
}

/// Two entries; the second stands for the signature.
fn batch(first: u64, ends_chunk: bool) -> Batch {
    let mut batch = Batch {
        first: TxId::new(2, first),
        last: TxId::new(2, first + 1),
        ends_chunk,
        ..Batch::default()
    };
    for seqno in [first, first + 1] {
        let domains = entry::encode_domains(seqno, Digest::ZERO, Digest::ZERO, &WriteSet::default());
        let sealed = entry::Sealed {
            tag: [0; 16],
            iv: entry::iv(TxId::new(2, seqno)),
            ciphertext: Vec::new(),
        };
        let frame = entry::frame(0, &domains.public, &sealed);
        batch.entry_sizes.push(frame.len());
        batch.bytes.extend(frame);
    }
    batch
}

/// What a start does with the files. Gives the last signed entry.
fn load(disk: &SimulatedDisk) -> Result<(LedgerFiles, u64), LedgerFilesError> {
    let mut count = 0;
    let dir = Path::new(ROOT).join("ledger");
    let mut files = LedgerFiles::load(Arc::new(disk.clone()), &dir, |entry| {
        count += 1;
        assert_eq!(entry.tx_id().seqno, count);
        Ok::<(), LedgerFilesError>(())
    })?;
    let last = count / 2 * 2;
    files.cut_behind(last)?;
    assert!(disk.is_synced(), "after a start everything is durable");
    Ok((files, last))
}

/// A start and three batches, the second of which ends its chunk.
fn work(disk: &SimulatedDisk) -> u64 {
    let (mut files, found) = load(disk).unwrap();
    let mut last = found;
    for ends_chunk in [false, true, false] {
        files.append(&batch(last + 1, ends_chunk)).unwrap();
        assert!(disk.is_synced(), "an append that came back is durable");
        last += 2;
        disk.tell(last as usize);
    }
    found
}

fn traced(disk: &SimulatedDisk) -> (u64, Vec<Moment>) {
    disk.trace();
    let found = work(disk);
    (found, disk.moments())
}

#[test]
fn a_power_cut_at_any_moment_and_another_while_it_is_mended_lose_no_batch_that_was_told() {
    let (_, moments) = traced(&SimulatedDisk::default());
    let count = moments.len();
    assert!(count > 20, "{count} moments");
    for (at, moment) in moments.iter().enumerate() {
        for loss in losses(3) {
            let (found, again) = traced(&moment.after_power_cut(loss));
            assert!(found as usize >= moment.told, "moment {at}, {loss:?}");
            for (then, second) in again.iter().enumerate() {
                for again in losses(2) {
                    let told = moment.told.max(second.told);
                    let (_, found) = load(&second.after_power_cut(again))
                        .unwrap_or_else(|e| panic!("moment {at}, {loss:?}, then {then}, {again:?}: {e:?}"));
                    assert!(
                        found as usize >= told,
                        "moment {at}, {loss:?}, then {then}, {again:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_ledger_named_from_where_the_node_was_started_is_there_after_a_power_cut() {
    let disk = SimulatedDisk::default();
    let made = LedgerFiles::load(Arc::new(disk.clone()), Path::new("a/ledger"), |_| {
        Ok::<(), LedgerFilesError>(())
    });
    assert!(made.is_ok() && disk.is_synced());
    let cut = disk.moment().after_power_cut(Loss::All);
    assert!(cut.is_there(Path::new("a/ledger")).unwrap());
}

#[test]
fn a_power_cut_while_another_identity_takes_its_place_loses_none_that_was_set_aside() {
    let disk = SimulatedDisk::default();
    let dir = Path::new(ROOT);
    let (place, aside) = (
        dir.join("sealed_identity"),
        dir.join("sealed_identity.set_aside.1"),
    );
    let keys = SealedKeys::insecure_virtual(Arc::new(disk.clone()), dir).unwrap();
    keys.store(b"old").unwrap();
    let old = disk.read(&place, u64::MAX).unwrap();
    disk.trace();
    keys.set_aside().unwrap();
    assert!(
        disk.is_synced(),
        "what was set aside is durable before anything else happens"
    );
    keys.store(b"new").unwrap();
    for (at, moment) in disk.moments().iter().enumerate() {
        for loss in losses(20) {
            let cut = moment.after_power_cut(loss);
            let is_old = |path| cut.read(path, u64::MAX).is_ok_and(|found| found == old);
            assert!(is_old(&place) || is_old(&aside), "moment {at}, {loss:?}");
        }
    }
}

fn start(disk: &SimulatedDisk, member: &Member) -> Result<Running, StartError> {
    let configuration = configuration(Arc::new(disk.clone()), Path::new(ROOT));
    node::start(
        configuration,
        || Ok(Some(first_state(member))),
        Arc::new(NoGuests),
    )
}

/// Two starts with writes, and what was told.
async fn two_starts(disk: &SimulatedDisk, member: &Member) -> Vec<TxId> {
    let mut told = Vec::new();
    for _ in 0..2 {
        let node = start(disk, member).unwrap();
        assert!(disk.is_synced(), "a node that answers has nothing left to sync");
        for _ in 0..2 {
            told.push(write(&node, member).await);
            disk.tell(told.len());
        }
        assert!(node.executor.stop());
        assert!(disk.is_synced());
    }
    told
}

#[tokio::test]
async fn a_power_cut_between_any_two_steps_of_a_node_leaves_one_that_starts_and_knows_what_it_told() {
    let (disk, member) = (SimulatedDisk::default(), member());
    disk.trace();
    let told = two_starts(&disk, &member).await;
    for (at, moment) in disk.moments().iter().enumerate() {
        for loss in losses(1) {
            let node = start(&moment.after_power_cut(loss), &member)
                .unwrap_or_else(|e| panic!("moment {at}, {loss:?}: {e:?}"));
            assert!(node.resumed || moment.told == 0, "moment {at}, {loss:?}");
            let state = node.handle.state();
            for id in told.iter().take(moment.told) {
                assert_eq!(state.status_of(*id), TxStatus::Committed, "moment {at}, {loss:?}");
            }
            assert!(node.executor.stop());
        }
    }
}

#[tokio::test]
async fn an_older_ledger_is_refused_from_the_first_answer_on() {
    let (disk, member) = (SimulatedDisk::default(), member());
    let node = start(&disk, &member).unwrap();
    write(&node, &member).await;
    assert!(node.executor.stop());
    let old = disk.moment().after_power_cut(Loss::All);
    let node = start(&disk, &member).unwrap();
    // The node could answer now, and the power goes.
    let cut = disk.moment().after_power_cut(Loss::All);
    assert!(node.executor.stop());
    cut.restore_dir(&Path::new(ROOT).join("ledger"), &old);
    assert!(matches!(
        start(&cut, &member),
        Err(StartError::LedgerBehind { .. })
    ));
}

#[tokio::test]
async fn nobody_is_answered_whose_batch_could_not_be_synced() {
    let (disk, member) = (SimulatedDisk::default(), member());
    let node = start(&disk, &member).unwrap();
    write(&node, &member).await;
    let before = node.handle.state().committed;
    let refused = call(&node, &member);
    disk.fail_syncs();
    assert_eq!(
        node.handle.submit(refused).await.unwrap_err(),
        Unavailable::Stopped
    );
    node.handle.failed().await;
    assert_eq!(node.handle.state().committed, before, "nor does anybody see it");
    assert!(!node.executor.stop());
}
