//! A cursor over outside bytes: takes what is there or says where they ended.

/// The bytes ended before the structure did, or the structure before the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Mislaid {
    /// Fewer bytes than the structure needs.
    #[error("ends too early")]
    TooShort,
    /// Bytes follow that belong to nothing.
    #[error("{0} bytes too many")]
    TooLong(usize),
}

/// Reads front to back.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Mislaid> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Mislaid::TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Mislaid> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Mislaid::TooShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Mislaid> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes, most significant first.
    pub(crate) fn u16_be(&mut self) -> Result<u16, Mislaid> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, most significant first.
    pub(crate) fn u32_be(&mut self) -> Result<u32, Mislaid> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next four bytes, least significant first.
    pub(crate) fn u32_le(&mut self) -> Result<u32, Mislaid> {
        self.array().map(u32::from_le_bytes)
    }

    /// A big-endian 16-bit length and so many bytes.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Mislaid> {
        let size = self.u16_be()?;
        self.take(usize::from(size))
    }

    /// What has not been read.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Makes sure that nothing is left.
    pub(crate) const fn finish(self) -> Result<(), Mislaid> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Mislaid::TooLong(self.rest.len()))
        }
    }
}
