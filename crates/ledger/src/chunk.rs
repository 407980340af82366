//! A chunk: a file's worth of entries, over bytes.
//!
//! Source: `ledger-host.md` §1.2. A complete chunk ends in a table of offsets whose own offset
//! stands in its first eight bytes; an open chunk has zero there and may end anywhere.

use crate::entry::{self, Entry, EntryError};
use crate::limits::CHUNK_FILE_SIZE_MAX;

/// Bytes before the first entry.
pub const HEADER_SIZE: usize = 8;

/// What a chunk begins with while it is open.
#[must_use]
pub const fn open_header() -> [u8; HEADER_SIZE] {
    [0; HEADER_SIZE]
}

/// What a chunk begins with once its table has been appended at `table_offset`. To be written
/// after the table, so that a crash in between leaves an open chunk.
#[must_use]
pub const fn complete_header(table_offset: u64) -> [u8; HEADER_SIZE] {
    table_offset.to_le_bytes()
}

/// The table that ends a complete chunk: absolute offset of each entry in the file.
#[must_use]
pub fn offsets_table(offsets: &[u32]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
}

/// A parsed chunk.
#[derive(Clone, Debug)]
pub struct Chunk<'a> {
    /// The entries, in order.
    pub entries: Vec<Entry<'a>>,
    /// Each entry's offset in the file.
    pub offsets: Vec<u32>,
    /// Whether the chunk is closed and its table agrees with its entries.
    pub complete: bool,
    /// Where the last whole entry ends. An open file longer than this is to be truncated here;
    /// 0 means that not even the header was written.
    pub end: usize,
}

/// Why bytes are not a chunk.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// A closed chunk without room for its header.
    #[error("chunk has no header")]
    NoHeader,
    /// Offsets beyond 32 bits.
    #[error("chunk has {0} bytes, at most {CHUNK_FILE_SIZE_MAX} are allowed")]
    TooLarge(usize),
    /// The offset of the table points outside the file, or into its header.
    #[error("offset table at {0} is outside the chunk")]
    TableOffset(u64),
    /// The table does not list exactly the entries that are there.
    #[error("offset table does not match the entries")]
    Table,
    /// An entry does not parse.
    #[error("entry at offset {offset} does not parse")]
    Entry {
        /// Where in the file.
        offset: usize,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
}

/// Parses a chunk. An open chunk may end in a part of an entry, or of its table if closing was
/// interrupted; [`Chunk::end`] says where what counts ends. Other damage is an error.
///
/// # Errors
///
/// [`ChunkError`] saying what is wrong and where.
pub fn parse(bytes: &[u8]) -> Result<Chunk<'_>, ChunkError> {
    if bytes.len() as u64 > CHUNK_FILE_SIZE_MAX {
        return Err(ChunkError::TooLarge(bytes.len()));
    }
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
        // The header is written at once; a crash can still tear it.
        return if bytes.iter().all(|byte| *byte == 0) {
            Ok(Chunk {
                entries: Vec::new(),
                offsets: Vec::new(),
                complete: false,
                end: 0,
            })
        } else {
            Err(ChunkError::NoHeader)
        };
    };
    let table_offset = u64::from_le_bytes(*header);
    if table_offset == 0 {
        return parse_open(bytes);
    }
    let (entries, table) = usize::try_from(table_offset)
        .ok()
        .filter(|offset| *offset >= HEADER_SIZE)
        .and_then(|offset| bytes.split_at_checked(offset))
        .ok_or(ChunkError::TableOffset(table_offset))?;
    let (mut chunk, stopped) = entries_from_header(entries);
    if let Some(source) = stopped {
        return Err(ChunkError::Entry {
            offset: chunk.end,
            source,
        });
    }
    if table != offsets_table(&chunk.offsets) {
        return Err(ChunkError::Table);
    }
    chunk.complete = true;
    Ok(chunk)
}

/// Whole entries from behind the header on, and what stopped the reading before the end.
fn entries_from_header(bytes: &[u8]) -> (Chunk<'_>, Option<EntryError>) {
    let mut chunk = Chunk {
        entries: Vec::new(),
        offsets: Vec::new(),
        complete: false,
        end: HEADER_SIZE,
    };
    let mut rest = bytes.get(HEADER_SIZE..).unwrap_or_default();
    while !rest.is_empty() {
        match entry::parse(rest) {
            Ok((entry, after)) => {
                let offset = u32::try_from(chunk.end).expect("the file's size fits 32 bits");
                chunk.offsets.push(offset);
                chunk.entries.push(entry);
                chunk.end = bytes.len().saturating_sub(after.len());
                rest = after;
            }
            Err(error) => return (chunk, Some(error)),
        }
    }
    (chunk, None)
}

fn parse_open(bytes: &[u8]) -> Result<Chunk<'_>, ChunkError> {
    let (chunk, stopped) = entries_from_header(bytes);
    let tail = bytes.get(chunk.end..).unwrap_or_default();
    match stopped {
        None | Some(EntryError::Truncated { .. }) => Ok(chunk),
        // A file system may have extended the file before the bytes reached it.
        Some(_) if tail.iter().all(|byte| *byte == 0) => Ok(chunk),
        // Closing appends the table before it changes the header.
        Some(_) if offsets_table(&chunk.offsets).starts_with(tail) => Ok(chunk),
        // Anything else is damage, and what follows may have been replied to.
        Some(source) => Err(ChunkError::Entry {
            offset: chunk.end,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use kv::{TxId, WriteSet};
    use model::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Sealed, encode_domains, frame, iv};

    fn entry_bytes(seqno: u64) -> Vec<u8> {
        let domains = encode_domains(seqno, Digest::ZERO, Digest::ZERO, &WriteSet::default());
        let sealed = Sealed {
            tag: [0; 16],
            iv: iv(TxId::new(2, seqno)),
            ciphertext: Vec::new(),
        };
        frame(0, &domains.public, &sealed)
    }

    /// Three entries, open.
    fn open() -> Vec<u8> {
        let entries = (1..=3).flat_map(entry_bytes);
        open_header().into_iter().chain(entries).collect()
    }

    fn complete() -> Vec<u8> {
        let mut bytes = open();
        let offsets = parse(&bytes).unwrap().offsets;
        let header = complete_header(bytes.len() as u64);
        bytes.extend(offsets_table(&offsets));
        bytes[..8].copy_from_slice(&header);
        bytes
    }

    #[test]
    fn a_complete_chunk_has_its_entries_where_the_table_says() {
        let bytes = complete();
        let chunk = parse(&bytes).unwrap();
        assert!(chunk.complete);
        assert_eq!(chunk.end, open().len());
        let seqnos: Vec<u64> = chunk.entries.iter().map(|e| e.tx_id().seqno).collect();
        assert_eq!(seqnos, [1, 2, 3]);
        assert_eq!(chunk.offsets[0], 8);
    }

    #[test]
    fn an_open_chunk_ends_before_a_partial_entry() {
        let bytes = open();
        let last = parse(&bytes).unwrap().offsets[2] as usize;
        for end in last..bytes.len() {
            let chunk = parse(&bytes[..end]).unwrap();
            assert_eq!((chunk.entries.len(), chunk.end), (2, last));
        }
        assert_eq!(parse(&bytes).unwrap().end, bytes.len());
    }

    #[test]
    fn a_header_that_was_never_written_is_an_empty_open_chunk() {
        for end in 0..8 {
            assert_eq!(parse(&open()[..end]).unwrap().end, 0);
        }
        assert_eq!(parse(&open()[..8]).unwrap().end, 8);
        assert_eq!(parse(&complete()[..7]).unwrap_err(), ChunkError::NoHeader);
    }

    #[test]
    fn closing_may_stop_anywhere_before_the_header_is_written() {
        let mut bytes = complete();
        bytes[..8].copy_from_slice(&open_header());
        for end in open().len()..=bytes.len() {
            assert_eq!(parse(&bytes[..end]).unwrap().end, open().len());
        }
    }

    #[test]
    fn zeros_after_the_last_entry_are_no_entry() {
        let bytes = [open(), vec![0; 4096]].concat();
        assert_eq!(parse(&bytes).unwrap().end, open().len());
    }

    #[test]
    fn damage_in_an_open_chunk_is_not_taken_for_its_end() {
        let mut bytes = open();
        let second = parse(&open()).unwrap().offsets[1] as usize;
        bytes[second] = 2;
        assert_eq!(
            parse(&bytes).unwrap_err(),
            ChunkError::Entry {
                offset: second,
                source: EntryError::Version(2)
            }
        );
    }

    #[test]
    fn a_complete_chunk_must_be_tiled_by_its_table() {
        let good = complete();
        let table = open().len();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            parse(&bytes).unwrap_err()
        };
        assert_eq!(with(table, 9), ChunkError::Table);
        assert!(matches!(with(7, 1), ChunkError::TableOffset(_)));
        assert!(matches!(with(1, 0), ChunkError::Entry { .. } | ChunkError::Table));
        assert_eq!(parse(&good[..good.len() - 1]).unwrap_err(), ChunkError::Table);
        assert_eq!(
            parse(&[good.clone(), vec![0; 4]].concat()).unwrap_err(),
            ChunkError::Table
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[open(), bytes].concat());
        }

        #[test]
        fn no_damaged_chunk_makes_the_parser_panic(at: prop::sample::Index, with: u8) {
            let mut bytes = complete();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = parse(&bytes);
        }
    }
}
