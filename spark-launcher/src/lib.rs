//! Runs an agreed query as a Spark job, once the ledger shows that everyone concerned consents.

pub mod backends;
