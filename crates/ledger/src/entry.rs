//! One transaction as it lies in the ledger: a public part in clear and a sealed private part.
//!
//! Source: `ledger-host.md` §1.4–1.6, §1.12. Sealing itself is done by whoever holds the ledger
//! secret; here is only where the pieces go. A private part enters a frame as [`Sealed`], so
//! plain private bytes have no way into a file.

use crypto::digest::hmac_sha256;
use crypto::{sha256, sha256_parts};
use kv::{TxId, Visibility, WriteSet};
use model::Digest;
use zeroize::Zeroizing;

use crate::cursor::{Cursor, Short};
use crate::domain::{self, DomainError};
use crate::limits::{DOMAIN_HEADER_SIZE, FRAME_BODY_SIZE_MAX, FRAME_FIXED_SIZE, FRAME_HEADER_SIZE};

/// Frame version.
pub const VERSION: u8 = 1;
/// This signature entry ends its chunk.
pub const FORCE_CHUNK_AFTER: u8 = 1;
/// The chunk before this entry ends; the first entry of a recovered service.
pub const FORCE_CHUNK_BEFORE: u8 = 2;
/// The only entry type of transactions: write set, commit evidence and claims.
const WITH_EVIDENCE_AND_CLAIMS: u8 = 4;
/// Views are 31 bits in an IV; the top bit marks snapshots.
const VIEW_MASK: u32 = 0x7fff_ffff;

/// First eight bytes of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// Always [`VERSION`].
    pub version: u8,
    /// [`FORCE_CHUNK_AFTER`] and [`FORCE_CHUNK_BEFORE`]; other bits are zero.
    pub flags: u8,
    /// Bytes after this header.
    pub size: u64,
}

/// Why bytes are not an entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Fewer bytes than the frame needs: the tail of a file whose writer stopped.
    #[error("entry needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes of the frame, as far as known.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// A frame version other than [`VERSION`].
    #[error("frame version {0} is not supported")]
    Version(u8),
    /// Flag bits without meaning.
    #[error("frame flags {0:#04x} are not known")]
    Flags(u8),
    /// A body smaller than its fixed part or larger than readers accept.
    #[error("frame declares {0} bytes")]
    Size(u64),
    /// The public domain's length points outside the frame.
    #[error("public domain does not fit its frame")]
    PublicDomainSize,
    /// An entry type that is not a transaction's.
    #[error("entry type {0} is not a transaction's")]
    Type(u8),
    /// The reserved word is not zero.
    #[error("reserved word of the public domain is not zero")]
    Reserved,
    /// Seqno in the IV and in the public domain differ, or the IV is a snapshot's.
    #[error("IV does not name the entry's seqno {0}")]
    Iv(u64),
    /// View or seqno is zero.
    #[error("entry has no transaction id")]
    NoTxId,
    /// Maps that do not decode.
    #[error("maps do not decode")]
    Domain(#[from] DomainError),
}

impl From<Short> for EntryError {
    fn from(_: Short) -> Self {
        Self::PublicDomainSize
    }
}

/// A parsed frame; nothing in it is authenticated yet.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The frame's header.
    pub header: FrameHeader,
    /// AES-256-GCM tag over both parts.
    pub tag: [u8; 16],
    /// AES-256-GCM nonce, which names the transaction.
    pub iv: [u8; 12],
    /// The public domain, in clear: the sealed part's associated data.
    pub public: &'a [u8],
    /// The sealed private domain; may be empty.
    pub private: &'a [u8],
    /// The whole frame, header included.
    pub frame: &'a [u8],
}

/// What an entry says in clear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicDomain {
    /// Position in the ledger.
    pub seqno: u64,
    /// What the application claims about the transaction; [`Digest::ZERO`] if nothing.
    pub claims_digest: Digest,
    /// SHA-256 of the commit evidence text.
    pub commit_evidence_digest: Digest,
    /// Changes of public tables.
    pub maps: WriteSet,
}

/// Both parts of an entry before sealing.
pub struct Domains {
    /// The public domain: the sealed part's associated data.
    pub public: Vec<u8>,
    /// The private maps; empty if no private table changed.
    pub private_plain: Zeroizing<Vec<u8>>,
}

/// A private part under the ledger secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// AES-256-GCM tag; present even if there is nothing to hide, since it covers the public part.
    pub tag: [u8; 16],
    /// The nonce, from [`iv`].
    pub iv: [u8; 12],
    /// As long as the plain text.
    pub ciphertext: Vec<u8>,
}

/// Encodes both parts of transaction `seqno`. The caller has checked `writes` with
/// [`limits::check`](crate::limits::check).
#[must_use]
pub fn encode_domains(
    seqno: u64,
    claims_digest: Digest,
    commit_evidence_digest: Digest,
    writes: &WriteSet,
) -> Domains {
    let size = DOMAIN_HEADER_SIZE.saturating_add(domain::maps_size(writes, Visibility::Public));
    let mut public = Vec::with_capacity(size);
    public.push(WITH_EVIDENCE_AND_CLAIMS);
    public.extend(seqno.to_le_bytes());
    public.extend(claims_digest.0);
    public.extend(commit_evidence_digest.0);
    public.extend([0; 8]);
    domain::encode_maps(writes, Visibility::Public, &mut public);
    // Reserved at once, so that growing leaves no copies of the plain text behind.
    let size = domain::maps_size(writes, Visibility::Private);
    let mut private_plain = Zeroizing::new(Vec::with_capacity(size));
    domain::encode_maps(writes, Visibility::Private, &mut private_plain);
    Domains {
        public,
        private_plain,
    }
}

/// The nonce of transaction `id` (§1.5). Nobody may seal two plain texts for one id under one secret.
///
/// # Panics
///
/// If the view does not fit 31 bits: continuing would repeat nonces.
#[must_use]
pub fn iv(id: TxId) -> [u8; 12] {
    let view = u32::try_from(id.view)
        .ok()
        .filter(|view| *view <= VIEW_MASK)
        .expect("a view has 31 bits");
    let mut iv = [0; 12];
    let (seqno, rest) = iv.split_at_mut(8);
    seqno.copy_from_slice(&id.seqno.to_le_bytes());
    rest.copy_from_slice(&view.to_le_bytes());
    iv
}

/// The frame of an entry, ready to be appended to a chunk.
///
/// # Panics
///
/// If the parts exceed [`FRAME_BODY_SIZE_MAX`]; the limits on write sets keep them far below.
#[must_use]
pub fn frame(flags: u8, public: &[u8], sealed: &Sealed) -> Vec<u8> {
    let size = FRAME_FIXED_SIZE
        .saturating_add(public.len())
        .saturating_add(sealed.ciphertext.len());
    assert!(size <= FRAME_BODY_SIZE_MAX, "a checked write set fits a frame");
    let mut bytes = Vec::with_capacity(FRAME_HEADER_SIZE.saturating_add(size));
    let header = u64::from(VERSION) | u64::from(flags) << 8 | (size as u64) << 16;
    bytes.extend(header.to_le_bytes());
    bytes.extend(sealed.tag);
    bytes.extend(sealed.iv);
    bytes.extend((public.len() as u64).to_le_bytes());
    bytes.extend(public);
    bytes.extend(&sealed.ciphertext);
    bytes
}

/// Digest of a whole frame, header included: the first part of its leaf.
#[must_use]
pub fn write_set_digest(frame: &[u8]) -> Digest {
    sha256(frame)
}

/// A transaction's leaf in the Merkle tree (§1.10).
#[must_use]
pub fn leaf(write_set_digest: Digest, commit_evidence_digest: Digest, claims_digest: Digest) -> Digest {
    sha256_parts(&[&write_set_digest.0, &commit_evidence_digest.0, &claims_digest.0])
}

/// The text that proves that transaction `id` was committed, once its receipt reveals it (§1.12).
/// `commit_secret` derives from the ledger secret in force at `id`.
#[must_use]
pub fn commit_evidence(commit_secret: &[u8; 32], id: TxId) -> String {
    let nonce = hmac_sha256(commit_secret, id.to_string().as_bytes());
    format!("ce:{id}:{}", hex::encode(nonce))
}

/// Reads the frame at the start of `bytes`; gives what follows it too.
///
/// # Errors
///
/// [`EntryError::Truncated`] if the frame is cut short, else what is wrong with its header.
pub fn parse(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), EntryError> {
    let truncated = |needed: usize| EntryError::Truncated {
        needed: needed as u64,
        available: bytes.len() as u64,
    };
    let (head, _) = bytes
        .split_first_chunk::<FRAME_HEADER_SIZE>()
        .ok_or_else(|| truncated(FRAME_HEADER_SIZE))?;
    let [version, flags, size @ ..] = *head;
    if version != VERSION {
        return Err(EntryError::Version(version));
    }
    if flags & !(FORCE_CHUNK_AFTER | FORCE_CHUNK_BEFORE) != 0 {
        return Err(EntryError::Flags(flags));
    }
    let declared = size.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let size = usize::try_from(declared)
        .ok()
        .filter(|size| (FRAME_FIXED_SIZE..=FRAME_BODY_SIZE_MAX).contains(size))
        .ok_or(EntryError::Size(declared))?;
    let total = FRAME_HEADER_SIZE.saturating_add(size);
    let (frame, rest) = bytes.split_at_checked(total).ok_or_else(|| truncated(total))?;
    let mut cursor = Cursor(frame);
    cursor.take(FRAME_HEADER_SIZE)?;
    let (tag, iv) = (cursor.array()?, cursor.array()?);
    let public = cursor.prefixed()?;
    let header = FrameHeader {
        version,
        flags,
        size: declared,
    };
    let entry = Entry {
        header,
        tag,
        iv,
        public,
        private: cursor.0,
        frame,
    };
    Ok((entry, rest))
}

impl Entry<'_> {
    /// The transaction that the IV names. [`Entry::decode_public`] checks it.
    #[must_use]
    pub fn tx_id(&self) -> TxId {
        let mut cursor = Cursor(&self.iv);
        let seqno = cursor.array().map_or(0, u64::from_le_bytes);
        let view = cursor.array().map_or(0, u32::from_le_bytes);
        TxId::new(u64::from(view & VIEW_MASK), seqno)
    }

    /// Reads the public domain and checks that the IV names the same transaction.
    ///
    /// # Errors
    ///
    /// [`EntryError`] saying what is not as §1.5 and §1.6 want it.
    pub fn decode_public(&self) -> Result<PublicDomain, EntryError> {
        let mut cursor = Cursor(self.public);
        let [kind] = cursor.array()?;
        if kind != WITH_EVIDENCE_AND_CLAIMS {
            return Err(EntryError::Type(kind));
        }
        let seqno = cursor.u64()?;
        let claims_digest = Digest(cursor.array()?);
        let commit_evidence_digest = Digest(cursor.array()?);
        if cursor.u64()? != 0 {
            return Err(EntryError::Reserved);
        }
        let id = self.tx_id();
        if id.view == 0 || id.seqno == 0 {
            return Err(EntryError::NoTxId);
        }
        if id.seqno != seqno || self.iv != iv(id) {
            return Err(EntryError::Iv(seqno));
        }
        Ok(PublicDomain {
            seqno,
            claims_digest,
            commit_evidence_digest,
            maps: domain::decode_maps(cursor.0, Visibility::Public)?,
        })
    }

    /// Digest of the frame.
    #[must_use]
    pub fn write_set_digest(&self) -> Digest {
        write_set_digest(self.frame)
    }
}

/// Reads the private maps after they were opened with the ledger secret.
///
/// # Errors
///
/// [`EntryError::Domain`] if they do not decode or hold a public table.
pub fn decode_private_plain(plain: &[u8]) -> Result<WriteSet, EntryError> {
    Ok(domain::decode_maps(plain, Visibility::Private)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(flags: u8) -> Vec<u8> {
        let mut writes = WriteSet::default();
        writes.set("public:t", b"k", Some(b"v".to_vec()));
        let domains = encode_domains(7, Digest::ZERO, sha256(b"evidence"), &writes);
        let sealed = Sealed {
            tag: [9; 16],
            iv: iv(TxId::new(2, 7)),
            ciphertext: b"sealed".to_vec(),
        };
        frame(flags, &domains.public, &sealed)
    }

    fn parsed(bytes: &[u8]) -> Result<PublicDomain, EntryError> {
        parse(bytes)?.0.decode_public()
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let bytes = [sample(FORCE_CHUNK_AFTER), b"next".to_vec()].concat();
        let (entry, rest) = parse(&bytes).unwrap();
        assert_eq!(rest, b"next");
        assert_eq!(entry.tx_id(), TxId::new(2, 7));
        assert_eq!((entry.tag, entry.private), ([9; 16], b"sealed".as_slice()));
        assert_eq!(entry.header.flags, FORCE_CHUNK_AFTER);
        assert_eq!(entry.frame.len() as u64, entry.header.size + 8);
        let public = entry.decode_public().unwrap();
        assert_eq!(
            (public.seqno, public.commit_evidence_digest),
            (7, sha256(b"evidence"))
        );
        assert_eq!(public.maps.get("public:t", b"k"), Some(Some(b"v".as_slice())));
    }

    #[test]
    fn a_frame_cut_short_is_told_from_a_wrong_one() {
        let bytes = sample(0);
        for end in 0..bytes.len() {
            assert!(
                matches!(parse(&bytes[..end]), Err(EntryError::Truncated { .. })),
                "{end}"
            );
        }
    }

    #[test]
    fn wrong_headers_are_named() {
        let with = |at: usize, byte: u8| {
            let mut bytes = sample(0);
            bytes[at] = byte;
            parsed(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 2), EntryError::Version(2));
        assert_eq!(with(1, 4), EntryError::Flags(4));
        assert!(matches!(with(7, 1), EntryError::Size(_)));
        assert_eq!(with(2, 3), EntryError::Size(u64::from(sample(0)[3]) << 8 | 3));
        assert_eq!(with(43, 1), EntryError::PublicDomainSize);
        assert_eq!(with(44, 1), EntryError::Type(1));
        assert_eq!(with(45, 8), EntryError::Iv(8));
        assert_eq!(with(24, 8), EntryError::Iv(7));
        assert_eq!(with(35, 0x80), EntryError::Iv(7));
        assert_eq!(with(32, 0), EntryError::NoTxId);
        assert_eq!(with(44 + 73, 1), EntryError::Reserved);
    }

    #[test]
    fn commit_evidence_names_its_transaction() {
        let secret = [7; 32];
        let text = commit_evidence(&secret, TxId::new(2, 15));
        assert!(text.starts_with("ce:2.15:"));
        assert_eq!(text.len(), "ce:2.15:".len() + 64);
        assert_ne!(text[8..], commit_evidence(&secret, TxId::new(2, 16))[8..]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parsed(&bytes);
            let _ = decode_private_plain(&bytes);
        }

        #[test]
        fn no_damaged_frame_makes_the_parser_panic(at: prop::sample::Index, with: u8) {
            let mut bytes = sample(0);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = parsed(&bytes);
        }
    }
}
