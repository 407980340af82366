//! The pod side of a run: what is done inside the attested boundary, next to Spark.
//!
//! [`run`] asks the ledger what the run is ([`plan`]), fetches what it lists ([`ledger`]), shows the
//! stores' identities ([`federated`]), and lets Spark work. Owners' files are decrypted here and
//! only here, and handed to Spark through a loopback WebHDFS door; what Spark writes comes back
//! through the same door and is encrypted before it reaches a store. Spark itself is a child
//! process without keys, tokens or storage credentials. What this process is, [`measured`] shows.

pub mod federated;
pub mod inputs;
pub mod job;
pub mod ledger;
pub mod looks;
pub mod measured;
pub mod output;
pub mod plan;
pub mod rows;
pub mod run;
pub mod sealed_file;
pub mod spark;
pub mod store;
pub mod webhdfs;
