//! Runs an agreed query as a Spark job, once the ledger shows that everyone concerned consents.
//!
//! [`routes`] says in which order a run is admitted; [`ledger`] asks, [`query`] parses and looks at
//! the SQL, [`jobs`] remembers, [`worker`] has a pod carry out one job after another. The launcher
//! holds no secret and sees no data: it is [`identity`], a queue and a child process.

pub mod backends;
pub mod identity;
pub mod jobs;
pub mod ledger;
pub mod query;
pub mod refusal;
pub mod requested;
pub mod routes;
pub mod server;
pub mod worker;
