//! The pod side of a run, as a library: what is done inside the attested boundary, next to Spark.
//!
//! Owners' files are decrypted here and only here, and handed to Spark through a loopback WebHDFS
//! door; what Spark writes comes back through the same door and is encrypted before it reaches a
//! store. Spark itself is a child process without keys, tokens or storage credentials.

pub mod inputs;
pub mod job;
pub mod output;
pub mod rows;
pub mod sealed_file;
pub mod spark;
pub mod store;
pub mod webhdfs;
