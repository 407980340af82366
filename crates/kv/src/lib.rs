//! Typed tables over a transactional key-value store.
//!
//! A table is declared once, as a `const` [`Table`]; its visibility and category follow from
//! its name while compiling. [`Read`] and [`Write`] are implemented by the host's transaction,
//! by the handles a component holds, and by the map that native tests use. Which context may
//! open which category is decided in [`access`] and nowhere else.

pub mod access;
pub mod codec;
#[cfg(feature = "store")]
pub mod store;
pub mod table;
pub mod tx_id;
pub mod write_set;

pub use access::{Category, Context, Visibility};
pub use codec::{Json, Pair, Raw, Singleton, Unit};
pub use table::{Denied, Entry, RawEntry, RawKey, Read, Table, TableError, Versioned, Write};
pub use tx_id::TxId;
pub use write_set::WriteSet;
