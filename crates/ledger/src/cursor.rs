//! Reading little-endian integers and length-prefixed bytes off outside input.

/// The input ends before what it declares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Short;

/// The unread rest of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Short)?;
        self.0 = rest;
        Ok(*head)
    }

    /// The next eight bytes as an integer.
    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes preceded by their count. The count is compared with what is there, so nothing is
    /// allocated on its word.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], Short> {
        let count = usize::try_from(self.u64()?).map_err(|_| Short)?;
        self.take(count)
    }
}
