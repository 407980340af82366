//! A node's service on real files: replies, restarts, damage. No sockets and no wasm.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod bare_service;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bare_service::{Member, NoGuests, call, configuration, first_state, member, write};
use crypto::native::Native;
use host::disk::OsDisk;
use host::executor::Unavailable;
use host::ledger_files::LedgerFilesError;
use host::node::{self, Running, Start, StartError};
use host::sealed_keys::SealedKeys;
use host_core::TxStatus;
use tempfile::TempDir;

fn start_in(dir: &Path, genesis: Option<&Member>) -> Result<Running, StartError> {
    let begin = || Ok(genesis.map(first_state));
    node::start(configuration_in(dir), begin, Arc::new(NoGuests))
}

fn configuration_in(dir: &Path) -> Start {
    configuration(Arc::new(OsDisk), dir)
}

async fn stop(node: Running) -> bool {
    tokio::task::spawn_blocking(|| node.executor.stop())
        .await
        .unwrap()
}

/// The files as they are, without a clean stop: what a killed process leaves.
fn as_killed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for folder in ["ledger", "node"] {
        fs::create_dir(copy.path().join(folder)).unwrap();
        for item in fs::read_dir(dir.join(folder)).unwrap() {
            let item = item.unwrap();
            fs::copy(item.path(), copy.path().join(folder).join(item.file_name())).unwrap();
        }
    }
    copy
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.join("ledger"))
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_reply_means_committed_and_receipts_verify_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    assert!(!node.resumed);
    for _ in 0..5 {
        let id = write(&node, &member).await;
        let state = node.handle.state();
        assert_eq!(state.status_of(id), TxStatus::Committed);
        let frame = node.handle.ledger().entry(id.seqno).unwrap().unwrap();
        let receipt = state.receipt(id, &frame).unwrap();
        let verified = receipt.verify(&node.service_cert_pem, &Native).unwrap();
        assert_eq!(verified.tx_id(), Some(id));
    }
    assert!(node.handle.ledger().entry(0).unwrap().is_none());
    assert!(node.handle.ledger().entry(1000).unwrap().is_none());
}

#[tokio::test]
async fn concurrent_writes_share_signatures_and_all_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    let before = node.handle.state().committed;
    let pending: Vec<_> = (0..100)
        .map(|_| {
            let handle = node.handle.clone();
            let call = call(&node, &member);
            tokio::spawn(async move { handle.submit(call).await.unwrap().tx })
        })
        .collect();
    let mut written = Vec::new();
    for task in pending {
        written.push(task.await.unwrap());
    }
    let entries = node.handle.state().committed.seqno - before.seqno;
    assert!(
        entries < 200,
        "{entries} entries for 100 writes: every write had its own signature"
    );
    let copy = as_killed(dir.path());
    let again = start_in(copy.path(), None).unwrap();
    assert!(again.resumed);
    assert_eq!(again.service_cert_pem, node.service_cert_pem);
    assert_ne!(again.node_id, node.node_id);
    let state = again.handle.state();
    for id in written {
        assert_eq!(state.status_of(id), TxStatus::Committed);
    }
    assert!(state.committed.view > before.view);
    let id = write(&again, &member).await;
    assert_eq!(again.handle.state().status_of(id), TxStatus::Committed);
}

#[tokio::test]
async fn a_clean_stop_leaves_committed_chunks_only() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    write(&node, &member).await;
    assert_eq!(files(dir.path()), ["ledger_1"]);
    let handle = node.handle.clone();
    let late = call(&node, &member);
    assert!(
        tokio::task::spawn_blocking(|| node.executor.stop())
            .await
            .unwrap()
    );
    assert!(handle.submit(late).await.is_err());
    assert_eq!(files(dir.path()), ["ledger_1-5.committed"]);
    let again = start_in(dir.path(), None).unwrap();
    assert_eq!(files(dir.path()), ["ledger_1-5.committed", "ledger_6"]);
    write(&again, &member).await;
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_cut_off() {
    for tail in [vec![0; 5000], vec![1, 0, 200, 0, 0, 0, 0, 0, 9, 9], vec![1]] {
        let dir = tempfile::tempdir().unwrap();
        let member = member();
        let node = start_in(dir.path(), Some(&member)).unwrap();
        let id = write(&node, &member).await;
        let dir = as_killed(dir.path());
        let open = dir.path().join("ledger/ledger_1");
        let mut bytes = fs::read(&open).unwrap();
        bytes.extend(tail);
        fs::write(&open, bytes).unwrap();
        let again = start_in(dir.path(), None).unwrap();
        assert_eq!(again.handle.state().status_of(id), TxStatus::Committed);
        assert_eq!(files(dir.path()), ["ledger_1-4.committed", "ledger_5"]);
    }
}

#[tokio::test]
async fn an_interrupted_end_of_a_chunk_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    let id = write(&node, &member).await;
    assert!(
        tokio::task::spawn_blocking(|| node.executor.stop())
            .await
            .unwrap()
    );
    // The table and the header were written, the new name was not.
    let ledger = dir.path().join("ledger");
    fs::rename(ledger.join("ledger_1-5.committed"), ledger.join("ledger_1")).unwrap();
    let again = start_in(dir.path(), None).unwrap();
    assert_eq!(again.handle.state().status_of(id), TxStatus::Committed);
    assert_eq!(files(dir.path()), ["ledger_1-5.committed", "ledger_6"]);
}

#[tokio::test]
async fn damage_and_missing_parts_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        start_in(dir.path(), None),
        Err(StartError::NoGenesis(_))
    ));
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    write(&node, &member).await;
    assert!(
        tokio::task::spawn_blocking(|| node.executor.stop())
            .await
            .unwrap()
    );
    let identity = dir.path().join("node/sealed_identity");
    let sealed = fs::read(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    assert!(matches!(
        start_in(dir.path(), Some(&member)),
        Err(StartError::NoIdentity { .. })
    ));
    fs::write(&identity, &sealed).unwrap();
    let chunk = dir.path().join("ledger/ledger_1-5.committed");
    let good = fs::read(&chunk).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&chunk, bad).unwrap();
    assert!(start_in(dir.path(), None).is_err());
    fs::write(&chunk, good).unwrap();
    assert!(start_in(dir.path(), None).unwrap().resumed);
}

#[test]
fn what_a_service_begins_with_is_asked_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let gone = || Err(anyhow::anyhow!("the file is gone"));
    assert!(matches!(
        node::start(configuration_in(dir.path()), gone, Arc::new(NoGuests)),
        Err(StartError::Configuration(_))
    ));
    let node = start_in(dir.path(), Some(&member())).unwrap();
    assert!(node.executor.stop());
    let node = node::start(configuration_in(dir.path()), gone, Arc::new(NoGuests)).unwrap();
    assert!(node.resumed);
}

/// What somebody who can write the ledger's directory, and not the sealed identity, tries.
#[tokio::test]
async fn an_older_copy_of_the_ledger_alone_is_not_started_from() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    let first = write(&node, &member).await;
    assert!(stop(node).await);
    let old = as_killed(dir.path());
    let mut told = Vec::new();
    for _ in 0..2 {
        let node = start_in(dir.path(), None).unwrap();
        told.push(write(&node, &member).await);
        assert!(stop(node).await);
    }
    let newest = as_killed(dir.path());
    for older in [Some(old.path()), None] {
        fs::remove_dir_all(dir.path().join("ledger")).unwrap();
        fs::create_dir(dir.path().join("ledger")).unwrap();
        for item in older
            .into_iter()
            .flat_map(|old| fs::read_dir(old.join("ledger")).unwrap())
        {
            let item = item.unwrap();
            fs::copy(item.path(), dir.path().join("ledger").join(item.file_name())).unwrap();
        }
        let before = files(dir.path());
        let sealed = fs::read(dir.path().join("node/sealed_identity")).unwrap();
        let Err(StartError::LedgerBehind { boot, .. }) = start_in(dir.path(), Some(&member)) else {
            panic!("an older copy was started from");
        };
        assert_eq!(boot.view, told[1].view);
        assert_eq!(files(dir.path()), before, "nothing was written");
        assert_eq!(fs::read(dir.path().join("node/sealed_identity")).unwrap(), sealed);
    }
    // The one that holds the entry is.
    let again = start_in(newest.path(), None).unwrap();
    for id in told.iter().chain([&first]) {
        assert_eq!(again.handle.state().status_of(*id), TxStatus::Committed);
    }
}

/// Set back to a point behind the last boot entry: nobody can notice that here, but no id that was
/// told comes to mean something else.
#[tokio::test]
async fn no_transaction_id_ever_means_two_things_under_one_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    let old = as_killed(dir.path());
    let told = write(&node, &member).await;
    assert!(stop(node).await);
    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    fs::rename(old.path().join("ledger"), dir.path().join("ledger")).unwrap();
    let again = start_in(dir.path(), None).unwrap();
    let new = write(&again, &member).await;
    assert!(new.view > told.view);
    assert_eq!(again.handle.state().status_of(told), TxStatus::Invalid);
}

/// A state folder of a build that did not note its boot entries.
#[tokio::test]
async fn a_state_folder_without_marks_keeps_starting() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let node = start_in(dir.path(), Some(&member)).unwrap();
    let id = write(&node, &member).await;
    assert!(stop(node).await);
    let keys = SealedKeys::insecure_virtual(Arc::new(OsDisk), &dir.path().join("node")).unwrap();
    let marked = keys.load().unwrap().unwrap();
    let key_end = 12 + usize::try_from(u32::from_le_bytes(marked[8..12].try_into().unwrap())).unwrap();
    let old = [b"CCDT-ID1", &marked[8..key_end], &marked[key_end + 57..]].concat();
    keys.store(&old).unwrap();
    drop(keys);
    let again = start_in(dir.path(), None).unwrap();
    assert!(again.resumed);
    assert_eq!(again.handle.state().status_of(id), TxStatus::Committed);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let mut start = configuration_in(dir.path());
    start.limits.queue_entries_max = 0;
    let node = node::start(start, || Ok(Some(first_state(&member))), Arc::new(NoGuests)).unwrap();
    let before = node.handle.state().committed;
    let refused = node.handle.submit(call(&node, &member)).await.unwrap_err();
    assert_eq!(refused, Unavailable::QueueFull);
    assert_eq!(refused.reply().status, 503);
    assert_eq!(refused.reply().headers[0].0, "retry-after");
    assert_eq!(node.handle.state().committed, before);
}

#[test]
fn a_ledger_has_one_writing_process() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(dir.path(), Some(&member())).unwrap();
    let second = start_in(dir.path(), None);
    assert!(matches!(
        second,
        Err(StartError::Files(LedgerFilesError::InUse(_)))
    ));
    assert!(node.executor.stop());
    assert!(start_in(dir.path(), None).unwrap().resumed);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_answers_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let member = member();
    let mut start = configuration_in(dir.path());
    // Every signature ends its chunk, so every batch makes a file.
    start.settings.chunk_bytes_max = 1;
    let node = node::start(start, || Ok(Some(first_state(&member))), Arc::new(NoGuests)).unwrap();
    let id = write(&node, &member).await;
    let refused = call(&node, &member);
    // The next chunk's name is taken.
    fs::write(dir.path().join(format!("ledger/ledger_{}", id.seqno + 2)), b"").unwrap();
    assert_eq!(
        node.handle.submit(refused).await.unwrap_err(),
        Unavailable::Stopped
    );
    node.handle.failed().await;
    let state = node.handle.state();
    assert_eq!(
        state.committed.seqno,
        id.seqno + 1,
        "nothing unsynced was published"
    );
    let again = call(&node, &member);
    assert_eq!(node.handle.submit(again).await.unwrap_err(), Unavailable::Stopped);
    assert!(
        !tokio::task::spawn_blocking(|| node.executor.stop())
            .await
            .unwrap()
    );
}

#[test]
fn a_production_start_without_a_platform_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = configuration_in(dir.path());
    start.insecure_virtual = false;
    assert!(matches!(
        node::start(start, || Ok(None), Arc::new(NoGuests)),
        Err(StartError::NoPlatform)
    ));
    assert!(!dir.path().join("node").exists());
}
