//! Words of the clean-room service: ids, tables, action arguments, API types, the endpoint list.

pub mod actions;
pub mod analytics;
pub mod api;
pub mod claims;
pub mod endpoints;
pub mod error_codes;
pub mod governance;
pub mod ids;
pub mod person;
pub mod policy;
pub mod runs;
pub mod tables;
pub mod tcb;

pub use ids::{ContractId, DocumentId, Identifier, RunId};
pub use person::Person;
