//! Who may open which table, as one exhaustive match.
//!
//! Source: `ledger-host.md` §1.7, the reference host's read and write restrictions; the constitution additionally
//! reads public application tables, because accepting a contract compares it with its draft.

/// Whether a table's entries are in clear on the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Visibility {
    /// In clear: the name starts with `public:`.
    Public,
    /// Encrypted under the ledger secret.
    Private,
}

/// What a table is for, decided by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Category {
    /// `ccf.internal.…`: the host's own.
    Internal,
    /// `ccf.gov.…`: changed by accepted proposals and members' signed requests only.
    Governance,
    /// Everything else: the application's.
    Application,
}

/// Visibility and category of a table, or `None` for a reserved or empty name.
#[must_use]
pub const fn classify(name: &str) -> Option<(Visibility, Category)> {
    let bytes = name.as_bytes();
    let (visibility, start) = if starts_with(bytes, 0, b"public:") {
        (Visibility::Public, 7)
    } else {
        (Visibility::Private, 0)
    };
    if bytes.len() == start {
        return None;
    }
    let category = if starts_with(bytes, start, b"ccf.internal.") {
        Category::Internal
    } else if starts_with(bytes, start, b"ccf.gov.") {
        Category::Governance
    } else if starts_with(bytes, start, b"ccf.") {
        return None;
    } else {
        Category::Application
    };
    Some((visibility, category))
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "const context; the length is checked first"
)]
const fn starts_with(bytes: &[u8], at: usize, prefix: &[u8]) -> bool {
    if bytes.len() < at + prefix.len() {
        return false;
    }
    let mut i = 0;
    while i < prefix.len() {
        if bytes[at + i] != prefix[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// On whose behalf a transaction runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context {
    /// The constitution's `validate` and `resolve`.
    Decide,
    /// The constitution's `apply`.
    Apply,
    /// A read-only application request.
    Query,
    /// An application request that may write.
    Update,
    /// The host itself.
    Host,
}

/// What a context may do with a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// May read it.
    pub read: bool,
    /// May write it.
    pub write: bool,
}

/// The permission of `context` on a table of this visibility and category.
#[must_use]
pub const fn access(context: Context, visibility: Visibility, category: Category) -> Access {
    const NONE: Access = Access {
        read: false,
        write: false,
    };
    const READ: Access = Access {
        read: true,
        write: false,
    };
    const BOTH: Access = Access {
        read: true,
        write: true,
    };
    match (context, category, visibility) {
        (Context::Host, _, _) => BOTH,
        // Not even names of private internal tables are visible: they hold keys.
        (_, Category::Internal, Visibility::Private) => NONE,
        (_, Category::Internal, Visibility::Public) => READ,
        (Context::Decide, Category::Governance, Visibility::Public) => READ,
        (Context::Apply, Category::Governance, Visibility::Public) => BOTH,
        (Context::Query | Context::Update, Category::Governance, Visibility::Public) => READ,
        (_, Category::Governance, Visibility::Private) => NONE,
        (Context::Decide, Category::Application, Visibility::Public) => READ,
        (Context::Apply, Category::Application, Visibility::Public) => BOTH,
        (Context::Decide | Context::Apply, Category::Application, Visibility::Private) => NONE,
        (Context::Query, Category::Application, _) => READ,
        (Context::Update, Category::Application, _) => BOTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(context: Context, name: &str, expected: &str) {
        let text = classify(name).map_or("reserved", |(v, c)| match access(context, v, c) {
            Access {
                read: true,
                write: true,
            } => "rw",
            Access {
                read: true,
                write: false,
            } => "r",
            Access {
                read: false,
                write: true,
            } => "w",
            Access {
                read: false,
                write: false,
            } => "-",
        });
        assert_eq!(text, expected, "{context:?} on {name}");
    }

    #[test]
    fn only_apply_writes_governance_tables() {
        for context in [Context::Decide, Context::Query, Context::Update] {
            check(context, "public:ccf.gov.members.info", "r");
        }
        check(Context::Apply, "public:ccf.gov.members.info", "rw");
    }

    #[test]
    fn the_constitution_never_sees_private_data() {
        check(Context::Decide, "secrets", "-");
        check(Context::Apply, "secrets", "-");
        check(Context::Decide, "public:contracts", "r");
    }

    #[test]
    fn no_guest_opens_private_tables_of_host_or_governance() {
        for context in [Context::Decide, Context::Apply, Context::Query, Context::Update] {
            check(context, "ccf.internal.app_keys", "-");
            check(context, "ccf.gov.shares", "-");
        }
    }

    #[test]
    fn other_ccf_names_are_reserved() {
        check(Context::Update, "public:ccf.mine", "reserved");
        check(Context::Update, "ccf.mine", "reserved");
        check(Context::Update, "public:", "reserved");
        check(Context::Update, "", "reserved");
        check(Context::Update, "public:ccfx", "rw");
    }
}
