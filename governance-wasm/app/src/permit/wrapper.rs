//! The host's key wrapping, in a holder that only `permit.rs` can open.

use crate::host_services::{CryptoError, KeyWrapping};

/// Carried by every call and of no use to handlers: what it wraps is released, and that takes a
/// `Permit`.
#[derive(Clone, Copy)]
pub(crate) struct Wrapper<'a>(&'a dyn KeyWrapping);

impl<'a> Wrapper<'a> {
    pub(crate) const fn new(host: &'a dyn KeyWrapping) -> Self {
        Self(host)
    }

    pub(super) fn wrap(self, recipient_pem: &str, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.wrap(recipient_pem, plain)
    }
}
