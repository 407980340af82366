//! The file format `CCSE1`: a stream encrypted in blocks, readable from any block.
//!
//! ```text
//! file   = header block*              header = "CCSE1" block-size(u32 BE) file-id(16)
//! block  = nonce(12) ciphertext tag(16)
//! AAD    = header index(u64 BE) last(u8)
//! ```
//!
//! AES-256-GCM. Every block but the last holds exactly block-size bytes of plaintext; the last holds
//! at least one, except in an empty file. The index in the associated data makes a moved block
//! unreadable, the flag makes a cut or lengthened file unreadable at its end, the file id keeps
//! blocks of different files under one key apart. File names are not bound, so a file may be
//! renamed without its key.
//!
//! Source: decision 39; spark-analytics §15 (CSE).

use std::io::{Read, Write};
use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 25;
/// Bytes that encryption adds to a block.
pub const BLOCK_OVERHEAD: u64 = 28;
/// Smallest block accepted, in bytes of plaintext.
pub const BLOCK_SIZE_MIN: u32 = 1024;
/// Largest block accepted, in bytes of plaintext; a reader holds a whole block in memory.
pub const BLOCK_SIZE_MAX: u32 = 16 * 1024 * 1024;
/// Block size of files we write, in bytes of plaintext.
pub const BLOCK_SIZE_DEFAULT: u32 = 1024 * 1024;

const MAGIC: &[u8; 5] = b"CCSE1";
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Why a sealed file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedFileError {
    /// Does not start like a sealed file.
    #[error("not a CCSE1 file: the owner must encrypt it first, or publish the dataset without CSE")]
    NotSealed,
    /// The header asks for a block size outside the bounds.
    #[error("block size {0} is outside {BLOCK_SIZE_MIN}..={BLOCK_SIZE_MAX}")]
    BlockSize(u32),
    /// No plaintext has this stored length.
    #[error("stored length {0} fits no CCSE1 file: it is cut off or has extra bytes")]
    Length(u64),
    /// A block does not authenticate.
    #[error("block {0} does not authenticate: wrong key, or the file was changed")]
    Block(u64),
    /// A block beyond the last was asked for.
    #[error("block {0} is beyond the end")]
    Beyond(u64),
    /// A key is 32 bytes.
    #[error("a data key must be 32 bytes, this one has {0}")]
    KeyLength(usize),
    /// The operating system gave no random bytes, or the cipher refused to work.
    #[error("the cryptographic library failed")]
    Crypto,
    /// Reading or writing failed.
    #[error("input or output failed")]
    Io(#[from] std::io::Error),
}

/// A dataset's data key. Not `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// Takes a key from bytes, for example from a released secret.
    ///
    /// # Errors
    ///
    /// [`SealedFileError::KeyLength`] if there are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealedFileError> {
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(SealedFileError::KeyLength(bytes.len()));
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    fn cipher(&self) -> Result<LessSafeKey, SealedFileError> {
        UnboundKey::new(&AES_256_GCM, self.0.as_ref())
            .map(LessSafeKey::new)
            .map_err(|_| SealedFileError::Crypto)
    }
}

/// The first bytes of a sealed file, checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    block_size: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// If the bytes are no header or the block size is out of bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedFileError> {
        let bytes: [u8; HEADER_LEN] = bytes.try_into().map_err(|_| SealedFileError::NotSealed)?;
        let rest = bytes
            .strip_prefix(MAGIC.as_slice())
            .ok_or(SealedFileError::NotSealed)?;
        let size = rest.first_chunk::<4>().ok_or(SealedFileError::NotSealed)?;
        let block_size = u32::from_be_bytes(*size);
        if !(BLOCK_SIZE_MIN..=BLOCK_SIZE_MAX).contains(&block_size) {
            return Err(SealedFileError::BlockSize(block_size));
        }
        Ok(Self { bytes, block_size })
    }

    /// A header with a fresh file id.
    ///
    /// # Errors
    ///
    /// If the block size is out of bounds or no random bytes are to be had.
    pub fn fresh(block_size: u32) -> Result<Self, SealedFileError> {
        let mut file_id = [0; 16];
        aws_lc_rs::rand::fill(&mut file_id).map_err(|_| SealedFileError::Crypto)?;
        let bytes = [MAGIC.as_slice(), &block_size.to_be_bytes(), &file_id].concat();
        Self::parse(&bytes)
    }

    fn associated_data(&self, index: u64, last: bool) -> [u8; HEADER_LEN + 9] {
        let mut data = [0; HEADER_LEN + 9];
        let (header, rest) = data.split_at_mut(HEADER_LEN);
        let (place, flag) = rest.split_at_mut(8);
        header.copy_from_slice(&self.bytes);
        place.copy_from_slice(&index.to_be_bytes());
        flag.fill(u8::from(last));
        data
    }
}

/// Where the blocks of a file of known length lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    header: Header,
    block_count: u64,
    last_len: u64,
}

impl Layout {
    /// Derives the layout from the header and the stored length.
    ///
    /// # Errors
    ///
    /// [`SealedFileError::Length`] if no plaintext gives that length.
    pub fn new(header: Header, stored_len: u64) -> Result<Self, SealedFileError> {
        let wrong = || SealedFileError::Length(stored_len);
        let body = stored_len.checked_sub(HEADER_LEN as u64).ok_or_else(wrong)?;
        let full = u64::from(header.block_size).saturating_add(BLOCK_OVERHEAD);
        let block_count = body.div_ceil(full);
        let before = block_count.checked_sub(1).ok_or_else(wrong)?.saturating_mul(full);
        let last_len = body
            .checked_sub(before)
            .and_then(|len| len.checked_sub(BLOCK_OVERHEAD))
            .ok_or_else(wrong)?;
        if last_len == 0 && block_count > 1 {
            return Err(wrong());
        }
        Ok(Self {
            header,
            block_count,
            last_len,
        })
    }

    /// Bytes of plaintext in the file.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.block_count
            .saturating_sub(1)
            .saturating_mul(u64::from(self.header.block_size))
            .saturating_add(self.last_len)
    }

    /// Number of blocks, at least one.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.block_count
    }

    /// The block that holds plaintext byte `offset`, and that byte's place in it.
    #[must_use]
    pub fn locate(&self, offset: u64) -> (u64, usize) {
        let size = u64::from(self.header.block_size);
        let place = usize::try_from(offset.checked_rem(size).unwrap_or(0)).unwrap_or(usize::MAX);
        (offset.checked_div(size).unwrap_or(0), place)
    }

    /// The stored bytes of block `index`.
    ///
    /// # Errors
    ///
    /// [`SealedFileError::Beyond`] past the last block.
    pub fn stored_range(&self, index: u64) -> Result<Range<u64>, SealedFileError> {
        let last = self.is_last(index)?;
        let full = u64::from(self.header.block_size).saturating_add(BLOCK_OVERHEAD);
        let start = index.saturating_mul(full).saturating_add(HEADER_LEN as u64);
        let len = if last {
            self.last_len.saturating_add(BLOCK_OVERHEAD)
        } else {
            full
        };
        Ok(start..start.saturating_add(len))
    }

    fn is_last(&self, index: u64) -> Result<bool, SealedFileError> {
        match index.checked_add(1) {
            Some(next) if next <= self.block_count => Ok(next == self.block_count),
            _ => Err(SealedFileError::Beyond(index)),
        }
    }
}

/// Decrypts single blocks of one file.
pub struct Opener {
    cipher: LessSafeKey,
    layout: Layout,
}

impl Opener {
    /// For a file with this layout.
    ///
    /// # Errors
    ///
    /// If the cipher cannot be set up.
    pub fn new(key: &DataKey, layout: Layout) -> Result<Self, SealedFileError> {
        Ok(Self {
            cipher: key.cipher()?,
            layout,
        })
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Decrypts block `index` from its stored bytes.
    ///
    /// # Errors
    ///
    /// [`SealedFileError::Block`] if it does not authenticate at this place.
    pub fn open_block(&self, index: u64, stored: &[u8]) -> Result<Vec<u8>, SealedFileError> {
        let last = self.layout.is_last(index)?;
        let (nonce, sealed) = stored
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealedFileError::Block(index))?;
        let mut sealed = sealed.to_vec();
        let len = self
            .cipher
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.layout.header.associated_data(index, last)),
                &mut sealed,
            )
            .map_err(|_| SealedFileError::Block(index))?
            .len();
        sealed.truncate(len);
        Ok(sealed)
    }
}

/// Encrypts a stream, block by block.
pub struct Sealer {
    cipher: LessSafeKey,
    header: Header,
    pending: Zeroizing<Vec<u8>>,
    index: u64,
    header_written: bool,
}

impl Sealer {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// If the block size is out of bounds or the cryptographic library fails.
    pub fn new(key: &DataKey, block_size: u32) -> Result<Self, SealedFileError> {
        Ok(Self {
            cipher: key.cipher()?,
            header: Header::fresh(block_size)?,
            pending: Zeroizing::new(Vec::with_capacity(block_size as usize)),
            index: 0,
            header_written: false,
        })
    }

    /// Takes plaintext; appends to `out` whatever stored bytes are now certain.
    ///
    /// # Errors
    ///
    /// If the cryptographic library fails.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealedFileError> {
        let size = self.header.block_size as usize;
        while !plain.is_empty() {
            // A full block is kept until more comes: only then is it known not to be the last.
            if self.pending.len() == size {
                self.seal_pending(false, out)?;
            }
            let room = size.saturating_sub(self.pending.len()).min(plain.len());
            let (now, later) = plain.split_at(room);
            self.pending.extend_from_slice(now);
            plain = later;
        }
        Ok(())
    }

    /// Ends the file: appends its last block to `out`.
    ///
    /// # Errors
    ///
    /// If the cryptographic library fails.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), SealedFileError> {
        self.seal_pending(true, out)
    }

    fn seal_pending(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), SealedFileError> {
        if !self.header_written {
            out.extend_from_slice(&self.header.bytes);
            self.header_written = true;
        }
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealedFileError::Crypto)?;
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.header.associated_data(self.index, last)),
                &mut self.pending,
            )
            .map_err(|_| SealedFileError::Crypto)?;
        out.reserve(self.pending.len().saturating_add(NONCE_LEN + TAG_LEN));
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(tag.as_ref());
        self.pending.clear();
        self.index = self.index.checked_add(1).ok_or(SealedFileError::Crypto)?;
        Ok(())
    }
}

/// Encrypts everything `reader` gives.
///
/// # Errors
///
/// If reading, writing or the cryptographic library fails.
pub fn seal(
    key: &DataKey,
    block_size: u32,
    reader: &mut impl Read,
    writer: &mut impl Write,
) -> Result<(), SealedFileError> {
    let mut sealer = Sealer::new(key, block_size)?;
    let mut plain = Zeroizing::new(vec![0; 64 * 1024]);
    let mut out = Vec::new();
    loop {
        let len = reader.read(&mut plain)?;
        let Some(read) = plain.get(..len).filter(|read| !read.is_empty()) else {
            break;
        };
        sealer.push(read, &mut out)?;
        writer.write_all(&out)?;
        out.clear();
    }
    sealer.finish(&mut out)?;
    writer.write_all(&out)?;
    Ok(())
}

/// Decrypts a whole file of `stored_len` bytes. Nothing is written that did not authenticate, but
/// what was written is only the whole file if this returns `Ok`.
///
/// # Errors
///
/// If the file is not a sealed file of that length under this key, or reading or writing fails.
pub fn open(
    key: &DataKey,
    stored_len: u64,
    reader: &mut impl Read,
    writer: &mut impl Write,
) -> Result<(), SealedFileError> {
    let mut header = [0; HEADER_LEN];
    reader
        .read_exact(&mut header)
        .map_err(|_| SealedFileError::NotSealed)?;
    let opener = Opener::new(key, Layout::new(Header::parse(&header)?, stored_len)?)?;
    for index in 0..opener.layout().block_count() {
        let range = opener.layout().stored_range(index)?;
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut stored = vec![0; len];
        reader.read_exact(&mut stored)?;
        writer.write_all(&Zeroizing::new(opener.open_block(index, &stored)?))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&key(1), BLOCK_SIZE_MIN, &mut &*plain, &mut out).unwrap();
        out
    }

    fn opened(key: &DataKey, stored: &[u8]) -> Result<Vec<u8>, SealedFileError> {
        let mut out = Vec::new();
        open(key, stored.len() as u64, &mut &*stored, &mut out).map(|()| out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_sealed_in_any_pieces_opens_to_the_same(
            plain in proptest::collection::vec(any::<u8>(), 0..5000), piece in 1..3000usize
        ) {
            let mut sealer = Sealer::new(&key(1), BLOCK_SIZE_MIN).unwrap();
            let mut stored = Vec::new();
            for part in plain.chunks(piece) {
                sealer.push(part, &mut stored).unwrap();
            }
            sealer.finish(&mut stored).unwrap();
            let layout = Layout::new(Header::parse(&stored[..HEADER_LEN]).unwrap(), stored.len() as u64).unwrap();
            prop_assert_eq!(layout.plain_len(), plain.len() as u64);
            prop_assert_eq!(opened(&key(1), &stored).unwrap(), plain);
        }
    }

    #[test]
    fn the_edges_of_blocks_round_trip() {
        for len in [0, 1, 1023, 1024, 1025, 2047, 2048, 2049] {
            let plain = vec![7; len];
            assert_eq!(opened(&key(1), &sealed(&plain)).unwrap(), plain, "{len}");
        }
    }

    #[test]
    fn no_file_but_the_sealed_one_opens() {
        let whole = sealed(&[5; 3000]);
        let full = BLOCK_SIZE_MIN as usize + NONCE_LEN + TAG_LEN;
        let first = HEADER_LEN..HEADER_LEN + full;
        let second = first.end..first.end + full;

        let swapped = [
            &whole[..HEADER_LEN],
            &whole[second.clone()],
            &whole[first.clone()],
            &whole[second.end..],
        ]
        .concat();
        let spliced = [
            &whole[..first.end],
            &sealed(&[5; 3000])[second.clone()],
            &whole[second.end..],
        ]
        .concat();
        let mut other_size = whole.clone();
        other_size[8] = 1;
        for (what, changed) in [
            ("cut at a block", whole[..second.end].to_vec()),
            ("cut in a block", whole[..whole.len() - 1].to_vec()),
            ("only a header", whole[..HEADER_LEN].to_vec()),
            ("a byte more", [&whole[..], &[0]].concat()),
            (
                "a block twice",
                [&whole[..second.end], &whole[second.clone()], &whole[second.end..]].concat(),
            ),
            ("blocks swapped", swapped),
            ("a block of another file", spliced),
            ("another block size", other_size),
            ("empty", Vec::new()),
            ("plaintext", b"a,b,c\n1,2,3\n4,5,6\n7,8,9,10,11\n".to_vec()),
        ] {
            assert!(opened(&key(1), &changed).is_err(), "{what}");
        }
        for byte in (0..whole.len())
            .step_by(97)
            .chain([0, 5, 9, 24, 25, 37, whole.len() - 1])
        {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1;
            assert!(opened(&key(1), &flipped).is_err(), "byte {byte}");
        }
        assert!(matches!(opened(&key(2), &whole), Err(SealedFileError::Block(0))));
    }

    #[test]
    fn a_hostile_header_cannot_ask_for_memory() {
        for size in [0, BLOCK_SIZE_MIN - 1, BLOCK_SIZE_MAX + 1, u32::MAX] {
            let bytes = [MAGIC.as_slice(), &size.to_be_bytes(), &[0; 16]].concat();
            assert!(
                matches!(Header::parse(&bytes), Err(SealedFileError::BlockSize(_))),
                "{size}"
            );
        }
    }
}
