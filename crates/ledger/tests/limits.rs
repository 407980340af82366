//! Each size limit of what readers take from outside: the most is taken, one more is refused with the
//! limit's own error, before anything is made of the bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the writer is shared with an example")]

mod writer;

use kv::{TxId, WriteSet};
use ledger::chunk::{self, ChunkError};
use ledger::cose_receipt;
use ledger::entry::{self, EntryError, Sealed};
use ledger::limits::{
    CHUNK_FILE_SIZE_MAX, ENDORSEMENTS_MAX, ENTRY_SIZE_MAX, FRAME_BODY_SIZE_MAX, KEY_SIZE_MAX, PATH_STEPS_MAX,
    RECEIPT_SIZE_MAX, TABLE_NAME_SIZE_MAX, TooLarge, UNSIGNED_ENTRIES_MAX, VALUE_SIZE_MAX,
    WRITE_SET_SIZE_MAX, check,
};
use ledger::merkle::{PathTooLong, Sibling, implied_root};
use ledger::receipt::{self, Receipt, ReceiptError};
use ledger::replay::{Fault, Replay};
use model::Digest;
use writer::{VERIFIER, Writer, application_rows};

/// A receipt that verifies, with the certificate it leads to.
fn good() -> (Receipt, String) {
    let mut writer = Writer::genesis();
    let id = writer.append(&application_rows(1), 0);
    let size = writer.tree.len();
    let rows = ledger::signature::SignatureRows::read(&writer.signature_rows())
        .unwrap()
        .unwrap();
    let path = writer.tree.path(id.seqno, size).unwrap();
    let receipt = receipt::build(&rows.node, writer.leaves[&id.seqno].clone(), path, Vec::new());
    receipt.verify(&writer.keys.service_cert, &VERIFIER).unwrap();
    (receipt, writer.keys.service_cert)
}

#[test]
fn a_receipt_of_the_most_bytes_is_read_and_one_more_is_not() {
    let mut json = serde_json::to_vec(&good().0).unwrap();
    json.resize(RECEIPT_SIZE_MAX, b' ');
    Receipt::from_json(&json).unwrap();
    json.push(b' ');
    assert_eq!(
        Receipt::from_json(&json),
        Err(ReceiptError::TooLarge(RECEIPT_SIZE_MAX + 1))
    );
}

#[test]
fn a_cose_receipt_of_too_many_bytes_is_refused_for_its_size() {
    let text = |size: usize| {
        cose_receipt::verify(&vec![0; size], &[], &VERIFIER)
            .unwrap_err()
            .to_string()
    };
    let too_large = format!("{} bytes", RECEIPT_SIZE_MAX + 1);
    assert!(!text(RECEIPT_SIZE_MAX).contains("bytes, at most"));
    assert!(
        text(RECEIPT_SIZE_MAX + 1).contains(&too_large),
        "{}",
        text(RECEIPT_SIZE_MAX + 1)
    );
}

#[test]
fn as_many_endorsements_as_there_may_be_are_looked_at_and_one_more_is_not() {
    let (mut receipt, cert) = good();
    receipt.service_endorsements = vec!["none".to_owned(); ENDORSEMENTS_MAX];
    assert!(matches!(
        receipt.verify(&cert, &VERIFIER),
        Err(ReceiptError::Certificate { .. })
    ));
    receipt.service_endorsements.push("none".to_owned());
    assert_eq!(
        receipt.verify(&cert, &VERIFIER),
        Err(ReceiptError::TooManyEndorsements(ENDORSEMENTS_MAX + 1))
    );
}

#[test]
fn a_path_of_the_most_steps_is_walked_and_one_more_is_not() {
    let path = vec![Sibling::Left(Digest::ZERO); PATH_STEPS_MAX + 1];
    assert!(implied_root(Digest::ZERO, &path[1..]).is_ok());
    assert_eq!(
        implied_root(Digest::ZERO, &path),
        Err(PathTooLong(PATH_STEPS_MAX + 1))
    );
}

#[test]
fn as_many_entries_as_may_wait_for_a_signature_wait_and_one_more_is_refused() {
    let mut writer = Writer::genesis();
    let mut replay = Replay::new(&VERIFIER);
    let begun = writer.open.len();
    for entry in &chunk::parse(&writer.open).unwrap().entries {
        replay.feed(entry, None).unwrap();
    }
    let empty = WriteSet::default();
    let mut refused = None;
    for number in 0..=UNSIGNED_ENTRIES_MAX {
        // One entry at a time: the whole would be a gigabyte.
        writer.open.truncate(begun);
        writer.append(&empty, 0);
        let frame = writer.open[begun..].to_vec();
        let (entry, _) = entry::parse(&frame).unwrap();
        if let Err(error) = replay.feed(&entry, None) {
            refused = Some((number, error.fault));
            break;
        }
    }
    assert_eq!(refused, Some((UNSIGNED_ENTRIES_MAX, Fault::Unsigned)));
}

/// A transaction of one row; its table's name, key and value have these sizes.
fn row(table: usize, key: usize, value: usize) -> WriteSet {
    let mut writes = WriteSet::default();
    writes.set(&"t".repeat(table), &vec![0; key], Some(vec![0; value]));
    writes
}

#[test]
fn a_transaction_of_the_most_bytes_is_written_and_one_more_is_not() {
    for (table, key, value) in [
        (TABLE_NAME_SIZE_MAX, 1, 1),
        (1, KEY_SIZE_MAX, 1),
        (1, 1, VALUE_SIZE_MAX),
    ] {
        assert_eq!(check(&row(table, key, value)), Ok(()));
    }
    assert_eq!(
        check(&row(TABLE_NAME_SIZE_MAX + 1, 1, 1)),
        Err(TooLarge::TableName(TABLE_NAME_SIZE_MAX + 1))
    );
    assert!(matches!(
        check(&row(1, KEY_SIZE_MAX + 1, 1)),
        Err(TooLarge::Key { .. })
    ));
    assert!(matches!(
        check(&row(1, 1, VALUE_SIZE_MAX + 1)),
        Err(TooLarge::Value { .. })
    ));
    let fits = last_value_that_fits("t");
    assert_eq!(check(&three_rows("t", fits)), Ok(()));
    assert_eq!(
        check(&three_rows("t", fits + 1)),
        Err(TooLarge::WriteSet(WRITE_SET_SIZE_MAX + 1))
    );
}

/// Three rows, the first two of the largest value.
fn three_rows(table: &str, last: usize) -> WriteSet {
    let mut writes = WriteSet::default();
    for (key, size) in [(0, VALUE_SIZE_MAX), (1, VALUE_SIZE_MAX), (2, last)] {
        writes.set(table, &[key], Some(vec![0; size]));
    }
    writes
}

/// The last value with which three rows make exactly the most: what a row costs beside its value
/// is found out first.
fn last_value_that_fits(table: &str) -> usize {
    let Err(TooLarge::WriteSet(size)) = check(&three_rows(table, VALUE_SIZE_MAX)) else {
        panic!("three of the largest values fit");
    };
    VALUE_SIZE_MAX - (size - WRITE_SET_SIZE_MAX)
}

#[test]
fn the_largest_transaction_fills_the_largest_entry_to_the_byte_and_is_read_back() {
    for table in ["t", "public:t"] {
        let writes = three_rows(table, last_value_that_fits(table));
        let domains = entry::encode_domains(1, Digest::ZERO, Digest::ZERO, &writes);
        let sealed = Sealed {
            tag: [0; 16],
            iv: entry::iv(TxId::new(2, 1)),
            ciphertext: domains.private_plain.to_vec(),
        };
        let frame = entry::frame(0, &domains.public, &sealed);
        assert_eq!(frame.len(), ENTRY_SIZE_MAX, "{table}");
        assert!(entry::parse(&frame).is_ok());
    }
}

#[test]
fn a_frame_that_claims_the_most_bytes_is_waited_for_and_one_that_claims_more_is_refused() {
    let claiming = |size: usize| {
        let header = 1 | (size as u64) << 16;
        entry::parse(&header.to_le_bytes()).map(drop).unwrap_err()
    };
    assert!(matches!(
        claiming(FRAME_BODY_SIZE_MAX),
        EntryError::Truncated { .. }
    ));
    assert_eq!(
        claiming(FRAME_BODY_SIZE_MAX + 1),
        EntryError::Size(FRAME_BODY_SIZE_MAX as u64 + 1)
    );
}

/// Four gigabytes that nobody touches: the header says that there is no such table.
#[test]
fn a_chunk_of_the_most_bytes_is_looked_at_and_a_longer_one_is_not() {
    let most = usize::try_from(CHUNK_FILE_SIZE_MAX).unwrap();
    let mut bytes = vec![0; most + 1];
    bytes[..8].fill(0xFF);
    let parse = |size: usize| chunk::parse(&bytes[..size]).map(drop).unwrap_err();
    assert_eq!(parse(most), ChunkError::TableOffset(u64::MAX));
    assert_eq!(parse(most + 1), ChunkError::TooLarge(most + 1));
}
