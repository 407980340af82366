//! Words of any service on this host: ids, members, proposals, framework tables, endpoint
//! descriptions, evidence on the wire, error bodies.
//!
//! Nothing here decides anything; the types exist so that host, guests, client and auditors
//! mean the same thing by the same name.

pub mod address;
pub mod attested;
pub mod b64;
pub mod endpoint;
pub mod error_body;
pub mod evidence;
pub mod ids;
pub mod json;
pub mod member;
pub mod node;
pub mod percent;
pub mod proposal;
pub mod proposal_rows;
pub mod service;
pub mod tables;

pub use error_body::{ErrorBody, FrameworkError};
pub use ids::{Digest, MemberId, NodeId, ProposalId, ServiceId, UserId};
pub use kv::TxId;
