//! Words of the clean-room service: ids, tables, action arguments, API types, the endpoint list.

pub mod actions;
pub mod analytics;
pub mod claims;
pub mod governance;
pub mod ids;
pub mod policy;

pub use ids::{ContractId, DocumentId, Identifier, RunId};
