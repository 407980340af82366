//! Why an action is refused.

use kv::TableError;

/// An action is refused. The text is for members; nobody branches on it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The state, or the rules, do not admit it.
    #[error("{0}")]
    Refused(String),
    /// Known, but not carried out by this build.
    #[error("{0}")]
    Unavailable(String),
    /// A table is closed or holds something that does not decode: a bug of the host or corruption.
    #[error("the state cannot be read: {0}")]
    Table(#[from] TableError),
}

impl Fault {
    /// A refusal with this text.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// Whether the service may carry this out one day.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// `Ok` if `condition` holds, else a refusal with the text that `reason` makes.
pub(crate) fn require(condition: bool, reason: impl FnOnce() -> String) -> Result<(), Fault> {
    if condition {
        Ok(())
    } else {
        Err(Fault::Refused(reason()))
    }
}
