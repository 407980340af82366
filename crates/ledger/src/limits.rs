//! Every size of the ledger, in bytes unless the name says otherwise, with the relations between
//! them checked while compiling.

use kv::{Visibility, WriteSet};

use crate::domain;

/// Longest table name.
pub const TABLE_NAME_SIZE_MAX: usize = 256;
/// Longest key.
pub const KEY_SIZE_MAX: usize = 64 << 10;
/// Longest value.
pub const VALUE_SIZE_MAX: usize = 8 << 20;
/// Largest encoded write set of one transaction, public and private maps together. A proposal with
/// the largest component (4 MiB) that passes when it is made is written down three times: as
/// base64 in its text, that again as base64 in the signed message, and as bytes.
pub const WRITE_SET_SIZE_MAX: usize = 20 << 20;

/// Frame header: version, flags, size.
pub const FRAME_HEADER_SIZE: usize = 8;
/// Tag, IV and length of the public domain: what every frame's body starts with.
pub const FRAME_FIXED_SIZE: usize = 16 + 12 + 8;
/// Entry type, seqno, claims digest, commit evidence digest, reserved word.
pub const DOMAIN_HEADER_SIZE: usize = 1 + 8 + 32 + 32 + 8;
/// Largest body of a frame that a reader accepts: the public validators' bound.
pub const FRAME_BODY_SIZE_MAX: usize = 1 << 30;
/// Largest frame that the host writes.
pub const ENTRY_SIZE_MAX: usize =
    FRAME_HEADER_SIZE + FRAME_FIXED_SIZE + DOMAIN_HEADER_SIZE + WRITE_SET_SIZE_MAX;

/// Bytes after which the next signature ends a chunk, unless configured otherwise.
pub const CHUNK_SIZE_DEFAULT: u64 = 5_000_000;
/// Largest configurable chunk size.
pub const CHUNK_SIZE_MAX: u64 = 2 << 30;
/// No byte of an entry may lie at or beyond this offset: positions are 32-bit.
pub const CHUNK_FILE_SIZE_MAX: u64 = u32::MAX as u64;
/// Fewest bytes of an entry, for bounding how many a chunk can hold.
pub const ENTRY_SIZE_MIN: usize = FRAME_HEADER_SIZE + FRAME_FIXED_SIZE + DOMAIN_HEADER_SIZE;

/// Most transactions covered by one signature, the signature itself not counted.
pub const BATCH_ENTRIES_MAX: usize = 5000;
/// Bytes after which a batch takes no further transaction.
pub const BATCH_SIZE_MAX: usize = 256 << 20;

/// Most steps of a Merkle path: enough for 2^48 leaves.
pub const PATH_STEPS_MAX: usize = 48;
/// Largest receipt accepted, either encoding.
pub const RECEIPT_SIZE_MAX: usize = 256 << 10;
/// Most service endorsements in a receipt: one for each disaster recovery since its entry.
pub const ENDORSEMENTS_MAX: usize = 64;
/// Most unsigned transactions that a reader holds back while it waits for their signature.
pub const UNSIGNED_ENTRIES_MAX: usize = 1_000_000;

// One value fits a write set, and a write set fits a frame that readers accept.
const _: () = assert!(VALUE_SIZE_MAX + KEY_SIZE_MAX + TABLE_NAME_SIZE_MAX + 64 <= WRITE_SET_SIZE_MAX);
const _: () = assert!(ENTRY_SIZE_MAX - FRAME_HEADER_SIZE <= FRAME_BODY_SIZE_MAX);
// A chunk that has just missed its end still takes one more batch without leaving 32-bit offsets:
// the batch's last entry may begin just below the batch's bound, and its signature comes on top.
const _: () =
    assert!(8 + CHUNK_SIZE_MAX + BATCH_SIZE_MAX as u64 + 2 * ENTRY_SIZE_MAX as u64 <= CHUNK_FILE_SIZE_MAX);
// The Merkle segment of a full batch is an ordinary value.
const _: () = assert!(16 + 32 * (BATCH_ENTRIES_MAX + 1 + PATH_STEPS_MAX) <= VALUE_SIZE_MAX);
const _: () = assert!(CHUNK_SIZE_DEFAULT < CHUNK_SIZE_MAX);

/// A write set that must not become an entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TooLarge {
    /// A table name is longer than [`TABLE_NAME_SIZE_MAX`].
    #[error("table name has {0} bytes, at most {TABLE_NAME_SIZE_MAX} are allowed")]
    TableName(usize),
    /// A key is longer than [`KEY_SIZE_MAX`].
    #[error("key in {table} has {size} bytes, at most {KEY_SIZE_MAX} are allowed")]
    Key {
        /// The table.
        table: String,
        /// Bytes of the key.
        size: usize,
    },
    /// A value is longer than [`VALUE_SIZE_MAX`].
    #[error("value in {table} has {size} bytes, at most {VALUE_SIZE_MAX} are allowed")]
    Value {
        /// The table.
        table: String,
        /// Bytes of the value.
        size: usize,
    },
    /// The whole is longer than [`WRITE_SET_SIZE_MAX`].
    #[error("transaction writes {0} bytes, at most {WRITE_SET_SIZE_MAX} are allowed")]
    WriteSet(usize),
}

/// Checks what a transaction wrote before it becomes an entry.
///
/// # Errors
///
/// [`TooLarge`] naming the first limit that is exceeded.
pub fn check(writes: &WriteSet) -> Result<(), TooLarge> {
    for (table, changes) in writes.tables() {
        if table.len() > TABLE_NAME_SIZE_MAX {
            return Err(TooLarge::TableName(table.len()));
        }
        for (key, value) in changes {
            if key.len() > KEY_SIZE_MAX {
                return Err(TooLarge::Key {
                    table: table.to_string(),
                    size: key.len(),
                });
            }
            let size = value.as_ref().map_or(0, Vec::len);
            if size > VALUE_SIZE_MAX {
                return Err(TooLarge::Value {
                    table: table.to_string(),
                    size,
                });
            }
        }
    }
    let size = domain::maps_size(writes, Visibility::Public)
        .saturating_add(domain::maps_size(writes, Visibility::Private));
    if size > WRITE_SET_SIZE_MAX {
        return Err(TooLarge::WriteSet(size));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(table: &str, key: usize, value: usize) -> WriteSet {
        let mut set = WriteSet::default();
        set.set(table, &vec![0; key], Some(vec![0; value]));
        set
    }

    #[test]
    fn each_limit_is_inclusive() {
        assert_eq!(check(&writes("t", KEY_SIZE_MAX, VALUE_SIZE_MAX)), Ok(()));
        let long = "t".repeat(TABLE_NAME_SIZE_MAX + 1);
        assert_eq!(check(&writes(&long, 1, 1)), Err(TooLarge::TableName(257)));
        assert!(matches!(
            check(&writes("t", KEY_SIZE_MAX + 1, 0)),
            Err(TooLarge::Key { size: 65537, .. })
        ));
        assert!(matches!(
            check(&writes("t", 1, VALUE_SIZE_MAX + 1)),
            Err(TooLarge::Value { size: 8_388_609, .. })
        ));
    }

    #[test]
    fn many_small_rows_count_with_their_lengths() {
        let mut set = WriteSet::default();
        for i in 0..10u8 {
            set.set("public:t", &[i], Some(vec![0; 2 << 20]));
        }
        assert!(matches!(check(&set), Err(TooLarge::WriteSet(_))));
        // Keys and values alone would fit; their lengths do not.
        let mut set = WriteSet::default();
        for i in 0..100_000u32 {
            set.set("t", &i.to_le_bytes(), Some(vec![0; 195]));
        }
        assert!(set.byte_count() < WRITE_SET_SIZE_MAX);
        assert!(matches!(check(&set), Err(TooLarge::WriteSet(_))));
    }
}
